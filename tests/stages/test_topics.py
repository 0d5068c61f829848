"""Meta topics → sub-topics: each meta topic is asked once, and each item of the answer is a candidate."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.dialogue_seeds import MetaTopic
from selfinstruct.protocols import Job
from selfinstruct.schema import Completion, Message, Provenance, Reject, Rendering, Topic
from selfinstruct.stages.topics import Topics
from tests.stages.asking import lists
from tests.stages.dialogue_parts import Script
from tests.stages.prompt_files import answer, prompt_file

METAS = tuple(MetaTopic(id=f"topic-{n}", topic=name, scope=f"all of {name}") for n, name in enumerate("ABCDE"))
JOB = Job("topics", 1, 0, METAS[2])


def stage(folder: Path, rendering: Rendering = "chat", round_size: int = 2) -> Topics:
    """Five meta topics, two of them a round unless told otherwise."""
    return Topics(
        metas=METAS,
        prompt_file=prompt_file(
            folder, 'stop = ["{{ count + 1 }}."]', "{{ topic }} ({{ scope }})\n1.", "Parts of {{ topic }}: {{ count }}."
        ),
        lists=lists(90, rendering=rendering, round_size=round_size),
        count=3,
    )


def test_each_meta_topic_is_asked_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Two a round, the last round smaller, and then nothing more; what was accepted plays no part."""
    topics = stage(tmp_path)
    planned = [topics.plan(number, (), ()) for number in range(5)]
    assert [[job.material.id for job in jobs] for jobs in planned] == [
        ["topic-0", "topic-1"],
        ["topic-2", "topic-3"],
        ["topic-4"],
        [],
        [],
    ]
    assert planned[1] == [Job("topics", 1, 0, METAS[2]), Job("topics", 1, 1, METAS[3])]


def test_a_round_may_hold_exactly_all_there_is(tmp_path: Path) -> None:
    """Then the next one is empty."""
    topics = stage(tmp_path, round_size=5)
    assert [len(topics.plan(number, (), ())) for number in range(2)] == [5, 0]


def test_the_request_is_the_rendered_prompt(tmp_path: Path) -> None:
    """Topic, scope and count are filled in; the list stops before one item more; both renderings."""
    request = stage(tmp_path).prompt(JOB)
    assert request.messages == (Message(role="user", content="Parts of C: 3."),)
    assert (str(request.draw), request.stop, request.sampling.max_tokens) == ("topics/1/0/0/0", ("4.",), 90)
    assert stage(tmp_path, rendering="completion").prompt(JOB).prompt == "C (all of C)\n1."


async def test_each_item_of_the_answer_is_a_subtopic(tmp_path: Path) -> None:
    """Asked once; numbered in the order of the answer, without the full stop of a sentence that it is not."""
    topics, script = stage(tmp_path), Script({(0, 0): "1. Bees.\n2. Ants\n3. 蚂蚁。"})
    made = await topics.run(JOB, {"teacher": script})
    provenance = Provenance(seeds=("topic-2",), prompts=(topics.prompt_file.ref,), models=("m",), calls=("call-0.0",))
    assert made == [
        Topic(id=f"topics-1-0-{n}", provenance=provenance, topic="C", subtopic=text, lang="en")
        for n, text in enumerate(("Bees", "Ants", "蚂蚁"))
    ]
    assert len(script.asked) == 1


def test_a_base_model_goes_on_with_the_list_it_was_shown(tmp_path: Path) -> None:
    """The first number stands in the prompt."""
    topics = stage(tmp_path, rendering="completion")
    made = topics.parse(answer(" Bees\n2. Ants\n"), JOB)
    assert [record.subtopic for record in made if isinstance(record, Topic)] == ["Bees", "Ants"]


def test_the_item_that_the_token_limit_cut_is_a_reject_beside_the_others(tmp_path: Path) -> None:
    """Under its own number; the answer as a whole was of use."""
    kept, cut = stage(tmp_path).parse(answer("1. Bees and wasps\n2. Ants and th", finish_reason="length"), JOB)
    assert isinstance(kept, Topic)
    assert isinstance(cut, Reject)
    assert (cut.id, cut.stage, cut.reason, cut.unusable) == ("topics-1-0-1", "topics", "truncated", False)
    assert cut.candidate == {"text": "Ants and th"}
    assert cut.provenance == kept.provenance


@pytest.mark.parametrize(
    ("completion", "id", "reason"),
    [
        (answer("1. Bees and wa", finish_reason="length"), "topics-1-0-0", "truncated"),
        (answer("1. Bees", finish_reason="content_filter"), "topics-1-0", "content_filter"),
        (Completion(text="", reasoning="Hm", finish_reason="length", call="call-1"), "topics-1-0", "thinking_cut"),
        (answer("I'm sorry, but I can't help with that."), "topics-1-0", "no_list"),
        (answer(""), "topics-1-0", "no_list"),
    ],
    ids=["only-a-piece", "filtered", "only-thought", "declined", "empty"],
)
def test_an_answer_without_a_whole_item_is_one_unusable_reject(
    tmp_path: Path, completion: Completion, id: str, reason: str
) -> None:
    """With the text as it came, so that a person can see why."""
    [reject] = stage(tmp_path).parse(completion, JOB)
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason, reject.unusable) == (id, reason, True)
    assert reject.candidate["text"] in completion.text
    assert (reject.provenance.seeds, reject.provenance.calls) == (("topic-2",), ("call-1",))


BARE = "Solitary bees\nHow wasps build\nAnts and their gardens"


def test_a_chat_model_may_leave_the_numbers_out(tmp_path: Path) -> None:
    """Then each line is an item, under the numbers that it would have had."""
    made = stage(tmp_path).parse(answer(BARE), JOB)
    assert [(record.id, record.subtopic) for record in made if isinstance(record, Topic)] == [
        (f"topics-1-0-{n}", line) for n, line in enumerate(BARE.split("\n"))
    ]


def test_lines_without_numbers_are_no_list_where_the_answer_was_cut(tmp_path: Path) -> None:
    """It may have been about to say what it is."""
    [reject] = stage(tmp_path).parse(answer(BARE, finish_reason="length"), JOB)
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.unusable) == ("no_list", True)
