"""Openers about the world: which job asks about what, and what becomes of the answer."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from selfinstruct.dialogue_seeds import Entity
from selfinstruct.schema import Message, Opener, Provenance, Reject, Topic
from selfinstruct.stages.questions import Counts, Questions, Subject
from tests.stages.asking import lists
from tests.stages.dialogue_parts import Script, prompt
from tests.stages.prompt_files import answer

_BLOCKS = "+++\nversion = 1\n+++\n{% block completion %}1.{% endblock %}\n{% block user %}TEXT{% endblock %}\n"
ENTITIES = tuple(Entity(id=f"entity-{n}", entity=name) for n, name in enumerate(("the Nile", "jazz", "rust")))


def topic(number: int) -> Topic:
    """The sub-topic of that number."""
    made = Provenance(seeds=(f"topic-{number // 3}",), prompts=("t@1:aa",), models=("m",), calls=("c0",))
    name = f"part {number}"
    return Topic(id=f"topics-0-{number}-0", provenance=made, topic="Nature", subtopic=name, lang="en")


TOPICS = [topic(number) for number in range(12)]


def question(number: int) -> Opener:
    """An accepted question of that number."""
    return Opener(
        id=f"openers-0-{number}-0",
        provenance=Provenance(seeds=("topic-1",), parents=(TOPICS[number].id,), calls=("c1",)),
        instruction=f"Question {number}?",
        lang="en",
        sector="world",
        origin="question",
        topic="Nature",
        subtopic=f"part {number}",
    )


def stage(folder: Path, share: str = "0.25", *, entities: tuple[Entity, ...] | None = None, seed: int = 1) -> Questions:
    """Four jobs a round, of which a share asks for related questions."""
    about = "{{ count }} about {{ entity }}" if entities else "{{ count }} about {{ subtopic }} in {{ topic }}"
    return Questions(
        entities=entities,
        about=prompt(folder, "about", _BLOCKS.replace("TEXT", about)),
        related=prompt(folder, "related", _BLOCKS.replace("TEXT", "{{ count }} like {{ question }} on {{ subtopic }}")),
        lists=lists(70, seed=seed),
        counts=Counts(questions=5, related=2, related_share=Fraction(share)),
    )


def subjects(made: Questions, rounds: int, accepted: int = 0) -> list[Subject]:
    """What the jobs of the first rounds are about, with so many questions accepted from the start."""
    pool = [question(number) for number in range(accepted)]
    return [job.material for number in range(rounds) for job in made.plan(number, TOPICS, pool)]


# --- the plan -------------------------------------------------------------------------------------------------------


def test_all_subtopics_are_asked_about_before_one_is_asked_about_again(tmp_path: Path) -> None:
    """In an order of the seed's, the same in each pass; rounds are full for as long as anybody asks."""
    asked = [subject.id for subject in subjects(stage(tmp_path, "0"), 9)]
    assert len(asked) == 36
    assert sorted(asked[:12]) == sorted(topic.id for topic in TOPICS)
    assert asked[:12] == asked[12:24] == asked[24:]
    assert asked[:12] != [topic.id for topic in TOPICS]
    assert [subject.id for subject in subjects(stage(tmp_path, "0", seed=2), 3)] != asked[:12]


def test_slots_count_within_a_round_and_samples_differ_between_rounds(tmp_path: Path) -> None:
    """A sub-topic that comes again is asked with another draw."""
    made = stage(tmp_path, "0")
    jobs = [job for number in (0, 3) for job in made.plan(number, TOPICS, ())]
    assert [(job.stage, job.round, job.slot) for job in jobs] == [("openers", r, s) for r in (0, 3) for s in range(4)]
    assert jobs[0].material == jobs[4].material
    assert made.prompt(jobs[0]).draw != made.prompt(jobs[4]).draw


@pytest.mark.parametrize(("share", "places"), [("0.25", {3, 7, 11, 15, 19}), ("0.4", {2, 4, 7, 9, 12, 14, 17, 19})])
def test_a_share_of_the_jobs_asks_for_questions_related_to_accepted_ones(
    tmp_path: Path, share: str, places: set[int]
) -> None:
    """Spread evenly over the jobs, whatever the rounds; each accepted question is taken once, in order."""
    asked = subjects(stage(tmp_path, share), 5, accepted=12)
    assert {place for place, subject in enumerate(asked) if subject.question} == places
    parents = [subject.id for subject in asked if subject.question]
    assert parents == [f"openers-0-{number}-0" for number in range(len(places))]


def test_questions_that_are_related_take_no_subtopic_from_the_others(tmp_path: Path) -> None:
    """The other jobs go through all sub-topics without a gap."""
    asked = subjects(stage(tmp_path), 4, accepted=12)
    fresh = [subject.id for subject in asked if not subject.question]
    assert sorted(fresh) == sorted(topic.id for topic in TOPICS)


def test_where_no_question_is_there_yet_a_subtopic_from_the_end_stands_in(tmp_path: Path) -> None:
    """So the first rounds ask about none twice: they are not bound to wait for each other."""
    asked = subjects(stage(tmp_path), 3, accepted=0)
    assert all(subject.question == "" for subject in asked)
    assert len({subject.id for subject in asked}) == 12
    order = [subject.id for subject in subjects(stage(tmp_path, "0"), 3)]
    assert [asked[place].id for place in (3, 7, 11)] == [order[-1], order[-2], order[-3]]


def test_what_is_accepted_later_does_not_change_an_earlier_parent(tmp_path: Path) -> None:
    """A longer pool with the same beginning gives the same jobs, as an extension needs."""
    made = stage(tmp_path)
    pool = [question(number) for number in range(12)]
    assert made.plan(1, TOPICS, pool) == made.plan(1, TOPICS, pool[:2])


def test_without_subtopics_there_is_nothing_to_ask(tmp_path: Path) -> None:
    """The run ends at once and does not divide by zero."""
    assert stage(tmp_path).plan(0, [], ()) == []


def test_entities_take_the_place_of_subtopics(tmp_path: Path) -> None:
    """Then the stage reads nobody, and each entity is the seed of its questions."""
    made = stage(tmp_path, "0", entities=ENTITIES)
    assert (made.reads, stage(tmp_path).reads) == (None, Topic)
    asked = [job.material for job in made.plan(0, (), ())]
    assert sorted(subject.topic for subject in asked[:3]) == ["jazz", "rust", "the Nile"]
    assert asked[3] == asked[0]
    assert {(subject.id, subject.seeds, subject.subtopic) for subject in asked} == {
        (entity.id, (entity.id,), "") for entity in ENTITIES
    }


# --- the request ----------------------------------------------------------------------------------------------------


def test_a_prompt_names_what_is_asked_about_and_how_many_questions(tmp_path: Path) -> None:
    """Sub-topic, question or entity, each with its own prompt and number."""
    fresh, *_, related = stage(tmp_path).plan(0, TOPICS, [question(0)])
    of_topic = stage(tmp_path).prompt(fresh).messages
    of_question = stage(tmp_path).prompt(related)
    entities = stage(tmp_path, entities=ENTITIES)
    of_entity = entities.prompt(entities.plan(0, (), ())[0]).messages
    assert of_topic == (Message(role="user", content=f"5 about {fresh.material.subtopic} in Nature"),)
    assert of_question.messages == (Message(role="user", content="2 like Question 0? on part 0"),)
    assert (str(of_question.draw), of_question.sampling.max_tokens) == ("openers/0/3/0/0", 70)
    assert of_entity in {(Message(role="user", content=f"5 about {entity.entity}"),) for entity in ENTITIES}


def test_a_question_on_an_entity_is_related_on_that_entity(tmp_path: Path) -> None:
    """It has no sub-topic: the entity stands in its place."""
    made = stage(tmp_path, entities=ENTITIES)
    parent = question(0).model_copy(update={"topic": "jazz", "subtopic": ""})
    related = made.plan(0, (), [parent])[3]
    assert made.prompt(related).messages == (Message(role="user", content="2 like Question 0? on jazz"),)


# --- the answer -----------------------------------------------------------------------------------------------------


async def test_each_item_of_the_answer_is_an_opener_on_its_subtopic(tmp_path: Path) -> None:
    """With the meta topic as seed and the sub-topic as parent."""
    made = stage(tmp_path)
    job = made.plan(0, TOPICS, ())[0]
    subject = job.material
    script = Script({(0, 0): "1. Why do rivers bend?\n2. How old is the oldest river?"})
    openers = await made.run(job, {"teacher": script})
    provenance = Provenance(
        seeds=subject.seeds, parents=(subject.id,), prompts=(made.about.ref,), models=("m",), calls=("call-0.0",)
    )
    assert openers == [
        Opener(
            id=f"openers-0-0-{n}",
            provenance=provenance,
            instruction=text,
            lang="en",
            sector="world",
            origin="question",
            topic="Nature",
            subtopic=subject.subtopic,
        )
        for n, text in enumerate(("Why do rivers bend?", "How old is the oldest river?"))
    ]


def test_a_related_question_names_the_question_it_is_related_to(tmp_path: Path) -> None:
    """As its parent, beside the meta topic that both come from; the prompt is the other one."""
    made = stage(tmp_path)
    related = made.plan(0, TOPICS, [question(0)])[3]
    [opener] = made.parse(answer("1. Why do they?"), related)
    assert isinstance(opener, Opener)
    assert (opener.origin, opener.topic, opener.subtopic) == ("related", "Nature", "part 0")
    assert opener.provenance == Provenance(
        seeds=("topic-1",),
        parents=("openers-0-0-0",),
        prompts=(made.related.ref,),
        models=("served",),
        calls=("call-1",),
    )


def test_an_entity_is_a_seed_and_no_parent(tmp_path: Path) -> None:
    """Nothing of ours made it."""
    made = stage(tmp_path, entities=ENTITIES)
    job = made.plan(0, (), ())[0]
    [opener] = made.parse(answer("1. How old is it?"), job)
    assert (opener.provenance.seeds, opener.provenance.parents) == ((job.material.id,), ())
    assert isinstance(opener, Opener)
    assert (opener.origin, opener.topic, opener.subtopic) == ("question", job.material.topic, "")


def test_an_answer_that_is_no_list_is_an_unusable_reject(tmp_path: Path) -> None:
    """Of the job as a whole, with what it was asked about."""
    made = stage(tmp_path)
    job = made.plan(0, TOPICS, ())[0]
    [reject] = made.parse(answer("I'm sorry, but I can't help with that."), job)
    assert isinstance(reject, Reject)
    assert (reject.id, reject.stage, reject.reason, reject.unusable) == ("openers-0-0", "openers", "no_list", True)
    assert reject.provenance.parents == (job.material.id,)


def test_a_base_model_goes_on_with_the_list_it_was_shown(tmp_path: Path) -> None:
    """The first number stands in the prompt."""
    made = replace(stage(tmp_path), lists=lists(70, rendering="completion"))
    job = made.plan(0, TOPICS, ())[0]
    openers = made.parse(answer(" Why do rivers bend?\n2. How deep are they?\n"), job)
    texts = [opener.instruction for opener in openers if isinstance(opener, Opener)]
    assert texts == ["Why do rivers bend?", "How deep are they?"]
