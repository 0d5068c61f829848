"""`selfinstruct show`: where one record, reject or call came from. It only reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli.options import Json, OutputDir
from selfinstruct.errors import BadData, UsageProblem

if TYPE_CHECKING:
    from selfinstruct.ledger_reader import Call, LedgerReader


def show(
    id: Annotated[str, typer.Argument(help="A record's or reject's id, such as instances-0-3-0, or a call's key.")],
    run: Annotated[
        str | None, typer.Option(help="The run's name, or the path of its folder. [default: the latest that has it]")
    ] = None,
    output_dir: OutputDir = None,
    json: Json = False,
) -> None:
    """Show a record, reject or call: its prompts and answers, parents and nearest neighbours."""
    from selfinstruct.config import settings
    from selfinstruct.run_folder import find, runs_in

    root = settings({"output_dir": output_dir}).output_dir
    for path in [find(root, run)] if run is not None else reversed(runs_in(root)):
        found = _find(path, id)
        if found:
            typer.echo(_as_json(found) if json else _show_text(path, found))
            return
    where = f"run '{run}'" if run else f"any run in {root}"
    raise BadData(f"nothing called '{id}' in {where}; a running or interrupted run keeps its last rounds in the ledger")


def _find(path: Path, id: str) -> dict[str, Any] | None:
    """The record with its calls and relatives, or the call alone; None when the run has neither."""
    from selfinstruct.ledger_reader import LedgerReader

    if not (path / "ledger.sqlite3").exists():
        return None
    reader = LedgerReader(path / "ledger.sqlite3")
    try:
        if "-" not in id:
            if len(id) < 6:
                raise UsageProblem(f"'{id}': a call is named by at least 6 hex digits of its key")
            call = reader.find_prefix(id.lower())
            return {"calls": [_call(call)]} if call else None
        row = _record(path, id)
        return {"record": row, "relatives": _relatives(path, row), "calls": _calls(reader, row)} if row else None
    finally:
        reader.close()


def _record(path: Path, id: str) -> dict[str, Any] | None:
    import orjson

    from selfinstruct.store import lines_of, round_of

    if not re.fullmatch(r"[a-z]+-\d+-\d+(-\d+)?", id):
        return None
    needle = b'{"id":"%s"' % id.encode()
    for kind in ("shard", "rejects"):
        for line in lines_of(path / id.partition("-")[0], kind, round_of(id)):
            if line.startswith(needle):
                found: dict[str, Any] = orjson.loads(line)
                return found
    return None


def _calls(reader: LedgerReader, row: dict[str, Any]) -> list[dict[str, Any]]:
    calls = (reader.find_prefix(key) for key in row["provenance"]["calls"])
    return [_call(call) for call in calls if call]


def _call(call: Call) -> dict[str, Any]:
    import orjson

    body = orjson.loads(call.body)
    prompt = body.pop("prompt", None)
    messages = body.pop("messages", [])
    shown = prompt if prompt is not None else "\n\n".join(map(_message, messages))
    answer: dict[str, Any] = {"text": "(no answer yet)"}
    if call.state == "settled":
        completion = call.completion()
        answer = completion.model_dump(include={"text", "reasoning", "finish_reason", "model"})
    elif call.state != "open":
        answer = {"text": f"({call.state}) {call.answer.decode()}"}
    return {"key": call.key, "draw": str(call.draw), "settings": body, "prompt": shown, "answer": answer}


def _message(message: dict[str, Any]) -> str:
    """A message for people: its text, or the JSON of what it has beside its role where that is more, or no text."""
    has = {name: value for name, value in message.items() if name != "role"}
    shown = has["content"] if has.keys() == {"content"} and isinstance(has["content"], str) else _as_json(has)
    return f"[{message.get('role', '')}]\n{shown}"


def _relatives(path: Path, row: dict[str, Any]) -> dict[str, str]:
    """The texts behind the ids a record names: seeds, parents, nearest neighbours; what cannot be found is left out."""
    from selfinstruct import identity, resources, seed_tasks

    nearest = row.get("nearest") or (row.get("novelty") or {}).get("nearest") or []
    ids = [*row["provenance"]["seeds"], *row["provenance"]["parents"], *(n["id"] for n in nearest)]
    texts: dict[str, str] = {}
    own = next((Path(started.seed_tasks) for started in identity.of_run(path) if started.seed_tasks), None)
    files = [own] if own else resources.seeds_dir().glob("*_seed_tasks.jsonl")
    seeds = {task.id: task.instruction for file in files if file.exists() for task in seed_tasks.load(file)}
    for id in ids:
        relative = {} if id in seeds else _record(path, id) or {}
        told = relative | relative.get("candidate", {})  # it may be a reject
        text = seeds.get(id) or told.get("instruction") or told.get("subtopic")
        if text:
            texts[id] = text
    return texts


def _as_json(found: dict[str, Any]) -> str:
    import orjson

    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()


def _show_text(path: Path, found: dict[str, Any]) -> str:
    parts = [f"run {path.name}"]
    if "record" in found:
        row, texts = found["record"], found["relatives"]
        told = row | row.get("candidate", {}) | {"id": row["id"]}  # a reject: why, then the texts of the candidate
        parts += [_field(k, v) for k, v in told.items() if k not in ("provenance", "novelty", "nearest", "candidate")]
        nearest = row.get("nearest") or (row.get("novelty") or {}).get("nearest") or []
        parts += [f"nearest: {n['score']:.4f} {n['id']}  {texts.get(n['id'], '')}" for n in nearest]
        for kind in ("seeds", "parents"):
            parts += [f"{kind}: {id}  {texts.get(id, '')}" for id in row["provenance"][kind]]
        parts.append("prompts: " + ", ".join(row["provenance"]["prompts"]))
    for call in found["calls"]:
        parts.append(f"\n=== call {call['key']}\n    {call['draw']}, {_as_json(call['settings'])}")
        parts.append(f"--- prompt\n{call['prompt']}")
        parts.append(f"--- answer ({call['answer'].get('finish_reason', '')})\n{call['answer']['text']}")
    return "\n".join(parts)


def _field(name: str, value: Any) -> str:
    """A field for people; the turns of a dialogue below each other."""
    if name in ("messages", "history"):
        return f"{name}:\n" + "\n".join(map(_message, value))
    if name == "completions":
        return f"{name}:" + "".join(f"\n{_as_json(one)}" for one in value)
    return f"{name}: " + (
        ", ".join(f"{k} {v}" for k, v in value.items() if v) if isinstance(value, dict) else str(value)
    )
