"""Openers that ask for a text: in which order types of text meet subjects, and what becomes of the answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from selfinstruct.dialogue_seeds import MetaTopic, TextType
from selfinstruct.protocols import Job
from selfinstruct.schema import Message, Opener, Provenance, Reject
from selfinstruct.stages.writings import Pair, Writings
from tests.stages.asking import lists
from tests.stages.dialogue_parts import Script
from tests.stages.prompt_files import answer, prompt_file

TYPES = tuple(TextType(id=f"type-{name}", type=name, purpose=f"to {name}") for name in ("poem", "letter", "plan"))
ABOUT = tuple(MetaTopic(id=f"topic-{name}", topic=name) for name in ("Nature", "Sport", "Law", "Food", "Art"))


def stage(folder: Path, seed: int = 1) -> Writings:
    """Three types, five topics, four jobs a round."""
    return Writings(
        types=TYPES,
        topics=ABOUT,
        prompt_file=prompt_file(folder, "", "1.", "{{ count }}: a {{ type }}, {{ purpose }}, on {{ about }}"),
        lists=lists(60, seed=seed),
        count=2,
    )


def pairs(made: Writings, rounds: int) -> list[Pair]:
    """What the jobs of the first rounds pair."""
    return [job.material for number in range(rounds) for job in made.plan(number, (), ())]


def test_no_pair_comes_twice_before_all_have_come(tmp_path: Path) -> None:
    """Fifteen pairs, each once; then each once more, in full rounds without an end."""
    made = pairs(stage(tmp_path), 15)
    assert set(Counter(made[:15]).values()) == set(Counter(made[15:30]).values()) == {1}
    assert len(set(made)) == 15
    assert len(made) == 60


def test_types_take_turns_and_each_meets_the_topics_in_an_order_of_its_own(tmp_path: Path) -> None:
    """So a small run has many types and many topics."""
    made = pairs(stage(tmp_path), 4)
    assert [pair.type for pair in made[:6]] == [*TYPES, *TYPES]
    orders = [[pair.about.topic for pair in made[:15] if pair.type is kind] for kind in TYPES]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == sorted(topic.topic for topic in ABOUT) for order in orders)


def test_the_order_is_the_seeds(tmp_path: Path) -> None:
    """The same each time, another with another seed; what was accepted plays no part."""
    assert pairs(stage(tmp_path), 3) == pairs(stage(tmp_path), 3)
    assert pairs(stage(tmp_path), 3) != pairs(stage(tmp_path, seed=2), 3)


def test_the_prompt_names_type_purpose_and_subjects(tmp_path: Path) -> None:
    """And how many instructions are asked for."""
    request = stage(tmp_path).prompt(Job("openers", 2, 1, Pair(TYPES[0], ABOUT[1])))
    assert request.messages == (Message(role="user", content="2: a poem, to poem, on Sport"),)
    assert (str(request.draw), request.sampling.max_tokens) == ("openers/2/1/0/0", 60)


def test_a_topic_is_named_with_its_scope(tmp_path: Path) -> None:
    """Behind the colon of the language."""
    pair = Pair(TYPES[0], MetaTopic(id="topic-Law", topic="Law", scope="courts"))
    texts = []
    for lang in ("en", "zh"):
        made = replace(stage(tmp_path), lists=lists(60, lang=lang))
        texts.append((made.prompt(Job("openers", 0, 0, pair)).messages or ())[0].content)
    assert [text.rpartition(" on ")[2] for text in texts] == ["Law: courts", "Law：courts"]


async def test_each_item_of_the_answer_is_an_opener(tmp_path: Path) -> None:
    """Its topic is the type, its sub-topic the subjects; both are its seeds."""
    made = stage(tmp_path)
    job = Job("openers", 2, 1, Pair(TYPES[0], ABOUT[1]))
    script = Script({(0, 0): "1. Write a poem on rowing.\n2. Rhyme about chess."})
    first, second = await made.run(job, {"teacher": script})
    assert first == Opener(
        id="openers-2-1-0",
        provenance=Provenance(
            seeds=("type-poem", "topic-Sport"), prompts=(made.prompt_file.ref,), models=("m",), calls=("call-0.0",)
        ),
        instruction="Write a poem on rowing.",
        lang="en",
        sector="writing",
        origin="writing",
        topic="poem",
        subtopic="Sport",
    )
    assert (second.id, second.provenance) == ("openers-2-1-1", first.provenance)


def test_an_answer_that_is_no_list_is_an_unusable_reject(tmp_path: Path) -> None:
    """Of the job as a whole, with what it was asked about."""
    [reject] = stage(tmp_path).parse(answer(""), Job("openers", 2, 1, Pair(TYPES[0], ABOUT[1])))
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason, reject.unusable) == ("openers-2-1", "no_list", True)
    assert reject.provenance.seeds == ("type-poem", "topic-Sport")
