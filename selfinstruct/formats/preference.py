"""Layouts of preference pairs, one JSON object a line: TRL's, Zephyr's (H4), Argilla's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import orjson

from selfinstruct.feedback_schema import PreferencePair
from selfinstruct.formats.transcript import transcript
from selfinstruct.schema import Message


def trl(records: Iterable[PreferencePair]) -> Iterator[bytes]:
    """TRL's conversational preference format with an explicit prompt, for its DPOTrainer and RewardTrainer.

    ``prompt`` has the messages up to the answer, ``chosen`` and ``rejected`` the answer alone. ``score_chosen``,
    ``score_rejected`` and ``margin`` are columns that DPO passes over; TRL's RewardTrainer puts a ``margin``, where
    there is one, into its loss.
    """
    for record in records:
        yield _line(
            {
                "prompt": [turn.model_dump() for turn in _asked(record)],
                "chosen": [_answer(record.chosen.response)],
                "rejected": [_answer(record.rejected.response)],
                "score_chosen": record.chosen.score,
                "score_rejected": record.rejected.score,
                "margin": record.margin,
            }
        )


def h4(records: Iterable[PreferencePair]) -> Iterator[bytes]:
    """``ultrafeedback_binarized``, Zephyr's: ``chosen``, ``rejected`` and ``messages`` (the chosen ones) are whole.

    ``prompt`` is the instruction, or a transcript where something was said before it; ``prompt_id`` its hex sha256.
    """
    for record in records:
        prompt = transcript(record.history, record.instruction, record.lang)
        asked = [turn.model_dump() for turn in _asked(record)]
        chosen = [*asked, _answer(record.chosen.response)]
        yield _line(
            {
                "prompt": prompt,
                "prompt_id": hashlib.sha256(prompt.encode()).hexdigest(),
                "chosen": chosen,
                "rejected": [*asked, _answer(record.rejected.response)],
                "messages": chosen,
                "score_chosen": record.chosen.score,
                "score_rejected": record.rejected.score,
            }
        )


def argilla(records: Iterable[PreferencePair]) -> Iterator[bytes]:
    """``ultrafeedback-binarized-preferences``, Argilla's; the ratings are overall scores where pairs go by those.

    ``instruction`` is a transcript where something was said before it.
    """
    for record in records:
        yield _line(
            {
                "source": record.source,
                "instruction": transcript(record.history, record.instruction, record.lang),
                "chosen_response": record.chosen.response,
                "rejected_response": record.rejected.response,
                "chosen_avg_rating": record.chosen.score,
                "rejected_avg_rating": record.rejected.score,
                "chosen_model": record.chosen.model,
            }
        )


def _asked(record: PreferencePair) -> tuple[Message, ...]:
    return (*record.history, Message(role="user", content=record.instruction))


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _line(row: dict[str, object]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
