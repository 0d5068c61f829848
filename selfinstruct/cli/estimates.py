"""What ``--dry-run`` and `selfinstruct plan` print: calls, tokens, cost, disk and time, low, likely and high."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from selfinstruct.cli import figures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selfinstruct.forecast import Estimate, Forecast, Use
    from selfinstruct.money import Price


def print_forecast(forecast: Forecast, body: dict[str, Any] | None = None, *, as_json: bool) -> None:
    """The forecast, below the body of the first request where there is one to show; or both as one JSON value."""
    if as_json:
        import orjson

        row = {} if body is None else {"request": body}
        typer.echo(orjson.dumps(row | as_row(forecast), option=orjson.OPT_INDENT_2).decode())
        return
    if body is not None:
        typer.echo(body["prompt"] if "prompt" in body else _transcript(body.get("messages", [])))
        beside = ", ".join(f"{name} {value!r}" for name, value in body.items() if name not in ("prompt", "messages"))
        typer.echo(f"\n--- sent with: {beside}\n")
    for line in _lines(forecast):
        typer.echo(line)
    typer.echo("Nothing was sent.")


def _transcript(messages: list[dict[str, str]]) -> str:
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)


# --- for people -----------------------------------------------------------------------------------------------------


def _lines(forecast: Forecast) -> Iterator[str]:
    yield _row("", "", ["low", "likely", "high"])
    stages = list(forecast.stages.items())
    for name, estimate in [*stages, ("total", forecast.total)] if len(stages) > 1 else stages:
        yield from _part(name, estimate, forecast)
    yield _row("", "disk", [_bytes(use.disk) for use in forecast.total])
    if forecast.seconds is not None:
        yield _row("", "time", [figures.duration(seconds) for seconds in forecast.seconds])
    yield ""
    yield from _prices(forecast)
    if forecast.recorded:
        used = forecast.used
        paid = f", {_money(used.cost, forecast)}" if used.cost else ""
        yield f"recorded  {_number(sum(forecast.recorded.values()))} calls{paid}; none of them is made again"
    yield from _reach(forecast)
    yield from (f"note      {note}" for note in forecast.notes)
    yield from (f"reckoned  {assumption}" for assumption in forecast.assumptions)


def _part(name: str, estimate: Estimate, forecast: Forecast) -> Iterator[str]:
    yield _row(name, "calls", [_number(use.calls) for use in estimate])
    yield _row("", "tokens in", [_number(use.prompt_tokens) for use in estimate])
    yield _row("", "tokens out", [_number(use.completion_tokens) for use in estimate])
    if any(forecast.prices.values()):
        yield _row("", "cost", [_money(use.cost, forecast) for use in estimate])


def _row(name: str, what: str, values: list[str]) -> str:
    return f"{name:<12}{what:<12}" + "".join(f"{value:>16}" for value in values)


def _prices(forecast: Forecast) -> Iterator[str]:
    from selfinstruct.money import PRICE_HINT, show_price

    for model, price in sorted(forecast.prices.items()):
        yield f"price     {model}: " + (show_price(price) if price else f"unknown: give {PRICE_HINT}")
    if forecast.unpriced and any(forecast.prices.values()):
        yield f"          {_number(forecast.unpriced)} calls without a known price are missing from the cost"


def _reach(forecast: Forecast) -> Iterator[str]:
    if forecast.reach is None:
        return
    most, likely, least = (_number(count) for count in forecast.reach)
    caps = ", ".join(f"--{name} {value}" for name, value in _caps(forecast).items() if value is not None)
    yield (
        f"caps      {caps}: enough for {least} (at the high reckoning) to {most} (low) of {_number(forecast.wanted)}"
        f" {forecast.unit}, likely {likely}"
    )


def _caps(forecast: Forecast) -> dict[str, Any]:
    caps = forecast.caps
    return {"max-cost": str(caps.cost) if caps.cost else None, "max-calls": caps.calls, "max-tokens-total": caps.tokens}


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def _money(pico: int, forecast: Forecast) -> str:
    from selfinstruct.money import show_money

    return show_money(pico, forecast.currency)


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


# --- for machines ---------------------------------------------------------------------------------------------------


def as_row(forecast: Forecast) -> dict[str, Any]:
    """The forecast as JSON values."""
    names = ("low", "likely", "high")
    total = _estimate(forecast.total, forecast)
    for name, seconds in zip(names, forecast.seconds or (None,) * 3, strict=True):
        total[name]["seconds"] = None if seconds is None else round(seconds, 1)
    return {
        "unit": forecast.unit,
        "wanted": forecast.wanted,
        "stages": {name: _estimate(estimate, forecast) for name, estimate in forecast.stages.items()},
        "total": total,
        "currency": forecast.currency,
        "prices": {model: _price(price) for model, price in sorted(forecast.prices.items())},
        "unpriced_calls": forecast.unpriced,
        "recorded_calls": forecast.recorded,
        "used": forecast.used._asdict() | {"cost": _units(forecast.used.cost, forecast)},
        "caps": _caps(forecast),
        "reach": None if forecast.reach is None else dict(zip(names, forecast.reach, strict=True)),
        "notes": forecast.notes,
        "assumptions": forecast.assumptions,
    }


def _estimate(estimate: Estimate, forecast: Forecast) -> dict[str, dict[str, Any]]:
    return {name: _use(use, forecast) for name, use in estimate._asdict().items()}


def _use(use: Use, forecast: Forecast) -> dict[str, Any]:
    """Costs are decimal strings in whole units of the currency, null where no price is known."""
    cost = _units(use.cost, forecast) if any(forecast.prices.values()) else None
    return {
        "calls": use.calls,
        "prompt_tokens": use.prompt_tokens,
        "completion_tokens": use.completion_tokens,
        "cost": cost,
        "disk_bytes": use.disk,
    }


def _units(pico: int, forecast: Forecast) -> str:
    from selfinstruct.money import Amount

    return Amount(forecast.currency, pico).units


def _price(price: Price | None) -> dict[str, str] | None:
    """Per million tokens."""
    if price is None:
        return None
    from selfinstruct.money import Amount

    return {
        "in": Amount(price.currency, price.input * 10**6).units,
        "out": Amount(price.currency, price.output * 10**6).units,
        "currency": price.currency,
        "source": price.source,
        "date": price.date,
    }
