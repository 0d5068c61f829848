"""`selfinstruct status` and `selfinstruct show`: what a run has, and where one record came from. Both only read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli.options import Json, OutputDir
from selfinstruct.errors import BadData, UsageProblem

if TYPE_CHECKING:
    from selfinstruct.ledger import Call, LedgerReader


def status(
    run: Annotated[str | None, typer.Argument(help="The run's name; without it, every run is listed.")] = None,
    output_dir: OutputDir = None,
    json: Json = False,
) -> None:
    """Show what runs have accepted, rejected and spent."""
    from selfinstruct.config import settings
    from selfinstruct.run_folder import run_path

    root = settings({"output_dir": output_dir}).output_dir
    if run is not None and not (run_path(root, run) / "ledger.sqlite3").exists():
        raise BadData(f"{run_path(root, run)}: no such run; 'selfinstruct status' lists them")
    found = [_status(path) for path in ([root / run] if run else _runs(root))]
    if json:
        import orjson

        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    if not found:
        typer.echo(f"no runs in {root}; 'selfinstruct generate' starts one")
    for row in found:
        typer.echo(_status_text(row))


def _runs(root: Path) -> list[Path]:
    """The runs in a folder, the latest last."""
    ledgers = sorted(root.glob("*/ledger.sqlite3"), key=lambda path: path.stat().st_mtime)
    return [path.parent for path in ledgers]


def _status(path: Path) -> dict[str, Any]:
    from selfinstruct import identity
    from selfinstruct.ledger import LedgerReader
    from selfinstruct.store import Tally, read_manifest

    reader = LedgerReader(path / "ledger.sqlite3")
    calls = {row.stage: row for row in reader.by_stage()}
    stages: list[dict[str, Any]] = []
    target = 0
    for started in identity.of_run(path):
        target = started.target
        tally, manifest = Tally(), read_manifest(path / started.stage)
        for shard in manifest.shards if manifest else ():
            tally.add(shard)
        row = calls.get(started.stage)
        stages.append(
            {
                "stage": started.stage,
                "state": manifest.state if manifest else "running",
                "accepted": tally.accepted,
                "rejects": dict(sorted(tally.rejects.items())),
                "barren": tally.barren,
                "calls": row.calls if row else 0,
                "tokens": row.prompt_tokens + row.completion_tokens if row else 0,
            }
        )
    result = {"run": path.name, "target": target, "stages": stages, "ambiguous": reader.attempts("ambiguous")}
    reader.close()
    return result


def _status_text(row: dict[str, Any]) -> str:
    lines = [f"{row['run']}  (target {row['target']})"]
    for stage in row["stages"]:
        lines.append(
            f"  {stage['stage']:<12}{stage['state']:<10}{stage['accepted']:>8} in shards"
            f"{sum(stage['rejects'].values()):>8} rejects{stage['calls']:>8} calls{stage['tokens']:>11} tokens"
        )
        if stage["rejects"]:
            lines.append("    " + ", ".join(f"{reason} {count}" for reason, count in stage["rejects"].items()))
    if any(stage["state"] == "running" for stage in row["stages"]):
        lines.append("  not finished: what is not yet in a shard is in the ledger; run the same command again to go on")
    return "\n".join(lines)


def show(
    id: Annotated[str, typer.Argument(help="A record's or reject's id, such as instances-0-3-0, or a call's key.")],
    run: Annotated[str | None, typer.Option(help="The run's name. [default: the latest that has it]")] = None,
    output_dir: OutputDir = None,
    json: Json = False,
) -> None:
    """Show a record, reject or call: its prompts and answers, parents and nearest neighbours."""
    from selfinstruct.config import settings
    from selfinstruct.run_folder import run_path

    root = settings({"output_dir": output_dir}).output_dir
    for path in [run_path(root, run)] if run else reversed(_runs(root)):
        found = _find(path, id)
        if found:
            typer.echo(_as_json(found) if json else _show_text(path, found))
            return
    where = f"run '{run}'" if run else f"any run in {root}"
    raise BadData(f"nothing called '{id}' in {where}; a running or interrupted run keeps its last rounds in the ledger")


def _find(path: Path, id: str) -> dict[str, Any] | None:
    """The record with its calls and relatives, or the call alone; None when the run has neither."""
    from selfinstruct.ledger import LedgerReader

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
    calls = (reader.find(key) for key in row["provenance"]["calls"])
    return [_call(call) for call in calls if call]


def _call(call: Call) -> dict[str, Any]:
    import orjson

    body = orjson.loads(call.body)
    prompt = body.pop("prompt", None)
    messages = body.pop("messages", [])
    shown = prompt if prompt is not None else "\n\n".join(f"[{m['role']}]\n{m['content']}" for m in messages)
    answer: dict[str, Any] = {"text": "(no answer yet)"}
    if call.state == "settled":
        completion = call.completion()
        answer = completion.model_dump(include={"text", "reasoning", "finish_reason", "model"})
    elif call.state == "refused":
        answer = {"text": "(refused) " + call.answer.decode()}
    return {"key": call.key, "draw": call.draw, "settings": body, "prompt": shown, "answer": answer}


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
        relative = None if id in seeds else _record(path, id)
        text = seeds.get(id) or (relative or {}).get("instruction")
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
        for key, value in row.items():
            if key not in ("provenance", "novelty", "nearest"):
                parts.append(f"{key}: {value}")
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
