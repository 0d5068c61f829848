"""A tuning's loss as a picture: every logged step of training, and of what was held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

NAME: Final = "loss.png"
_MARGINS: Final = ("rewards/margins", "margin")


def points(log: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of what was logged under a name."""
    found = [(int(entry["step"]), float(entry[name])) for entry in log if name in entry]
    return [step for step, _ in found], [value for _, value in found]


def draw(out: Path, log: Sequence[dict[str, Any]]) -> None:
    """Write ``loss.png`` into the folder; nothing where nothing was logged yet. Raises `OSError`."""
    names = ["loss", *sorted({key for entry in log for key in entry if key.startswith("eval_") and _is_loss(key)})]
    curves = {name: points(log, name) for name in names}
    if not any(steps for steps, _ in curves.values()):
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, (steps, values) in curves.items():
        if steps:
            label = "training" if name == "loss" else name.removeprefix("eval_").removesuffix("loss").strip("_")
            axes.plot(steps, values, marker="" if name == "loss" else "o", markersize=4, label=label or "held out")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    _add_margins(axes, log)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    part = out / f".{NAME}.tmp"
    figure.savefig(part, dpi=120, format="png", metadata={"Software": None})
    part.replace(out / NAME)


def _is_loss(key: str) -> bool:
    return key.endswith("_loss")


def _add_margins(axes: Any, log: Sequence[dict[str, Any]]) -> None:
    """Of preferences, how far chosen is above rejected, on a scale of its own."""
    found = [(key, points(log, key)) for name in _MARGINS for key in (name, f"eval_{name}")]
    if not any(steps for _, (steps, _) in found):
        return
    other = axes.twinx()
    other.set_ylabel("margin, chosen − rejected")
    for key, (steps, values) in found:
        if steps:
            held_out = key.startswith("eval_")
            label = "margin, held out" if held_out else "margin, training"
            other.plot(steps, values, "o--" if held_out else "-", color="tab:green", markersize=4, label=label)
