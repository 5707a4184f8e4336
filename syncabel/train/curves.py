"""The curves of a run, drawn from its log: loss, learning rate, gradient norm and Recall@1 on dev."""

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CURVES", "draw_curves"]

CURVES = "curves.png"
_BLUE, _VERMILION = "#0072b2", "#d55e00"  # told apart by the colour-blind (Okabe and Ito, 2008)
_PANELS = (
    ("loss", "Loss (nats per loss token)"),
    ("learning_rate", "Learning rate"),
    ("grad_norm", "Gradient norm before clipping"),
    ("eval_recall_at_1", "Constrained Recall@1 on dev"),
)


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, title: str, chosen: int | None = None) -> bool:
    """Draw a panel for each quantity that was logged.

    Args:
        rows: of log.jsonl, each with its step.
        path: the PNG.
        title: over the panels.
        chosen: the step whose weights were exported, marked in each panel; None for no mark.

    Returns:
        Whether there was something to draw and matplotlib to draw it with; without it a line on standard error says so.
    """
    panels = [(name, label) for name, label in _PANELS if any(name in row for row in rows)]
    if not panels:
        return False
    if find_spec("matplotlib") is None:
        print(f"{path.name} is not drawn: install matplotlib with pip install 'syncabel[plot]'", file=sys.stderr)
        return False
    from matplotlib.figure import Figure  # without pyplot: no window, no state that outlives the call

    figure = Figure(figsize=(10, 3.2 * ((len(panels) + 1) // 2)), layout="constrained")
    figure.suptitle(title)
    for number, (name, label) in enumerate(panels, 1):
        axes = figure.add_subplot((len(panels) + 1) // 2, 2, number)
        _panel(axes, [row for row in rows if name in row], name, label)
        if chosen is not None:
            axes.axvline(chosen, color=_VERMILION, linewidth=1, linestyle="--", label=f"exported: step {chosen:,}")
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    return True


def _panel(axes: "Axes", rows: Sequence[Mapping[str, Any]], name: str, label: str) -> None:
    steps, values = [row["step"] for row in rows], [row[name] for row in rows]
    axes.plot(steps, values, color=_BLUE, marker="o" if len(rows) < 40 else "", markersize=3, linewidth=1.2)
    if f"{name}_low" in rows[0]:
        axes.fill_between(steps, [row[f"{name}_low"] for row in rows], [row[f"{name}_high"] for row in rows], color=_BLUE, alpha=0.15, linewidth=0)
        axes.set_ylim(0, 1)
    axes.set_xlabel("Optimizer step")
    axes.set_title(label, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="0.92", linewidth=0.6)
