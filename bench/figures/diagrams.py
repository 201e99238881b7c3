"""The critical-difference diagram: average ranks over data sets, and which of them nothing separates.

matplotlib without torch.
"""

from __future__ import annotations

from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.tables.layout import clean
from seqdis.bench.tables.statistics import AcrossDatasets

_STEP = 0.24  # inches between two labels
LONGEST = 30


def not_separated(average: dict[str, float], distance: float) -> list[tuple[float, float]]:
    """Stretches of the rank axis (best, worst) whose rows lie within the critical difference; none inside another."""
    values = sorted(average.values())
    stretches = [(low, max(value for value in values if value - low < distance)) for low in values]
    longest: list[tuple[float, float]] = []
    for low, high in stretches:
        if high > low and (not longest or high > longest[-1][1]):
            longest.append((low, high))
    return longest


def critical_difference(across: AcrossDatasets, context: str) -> Any:
    """The diagram of Demsar 2006, figure 1: best rank on the left, bars join what is not separable.

    Raises:
        UserError: too few data sets or rows; the reason is the table's.
    """
    if across.critical_difference is None:
        raise UserError(f"no diagram of {context}: {across.reason}.")
    from matplotlib.figure import Figure

    names = sorted(across.average, key=lambda name: (across.average[name], name))
    bars = not_separated(across.average, across.critical_difference)
    half = (len(names) + 1) // 2
    height = 1.3 + 0.14 * len(bars) + _STEP * half
    figure = Figure(figsize=(8.0, height), dpi=150, facecolor="white")
    axis = figure.add_axes((0.31, 0.0, 0.38, 1.0))
    axis.set_axis_off()
    axis.set_xlim(0.8, len(names) + 0.2)
    axis.set_ylim(0.0, height)
    line, top = height - 0.95, height - 0.5
    axis.plot([1, len(names)], [line, line], color="black", linewidth=1.0)
    for rank in range(1, len(names) + 1):
        axis.plot([rank, rank], [line, line + 0.06], color="black", linewidth=1.0)
        axis.text(rank, line + 0.1, str(rank), ha="center", va="bottom", fontsize=8)
    distance = across.critical_difference
    axis.plot([1, 1 + distance], [top, top], color="black", linewidth=1.6, marker="|", clip_on=False)
    axis.text(1 + distance / 2, top + 0.05, f"critical difference {distance:.2f}", ha="center", va="bottom", fontsize=8)
    for number, (low, high) in enumerate(bars):
        y = line - 0.12 - 0.14 * number
        axis.plot([low - 0.03, high + 0.03], [y, y], color="#0b5cad", linewidth=3.5, solid_capstyle="butt")
    below = line - 0.12 - 0.14 * len(bars)
    for position, name in enumerate(names):
        is_left = position < half
        y = below - _STEP * (1 + (position if is_left else len(names) - 1 - position))
        edge, value = 0.8 if is_left else len(names) + 0.2, across.average[name]
        axis.plot([value, value, edge], [line, y, y], color="0.35", linewidth=0.9, clip_on=False)
        text = axis.text(
            edge,
            y,
            f" {clean(name, LONGEST)} ({value:.2f}) ",
            ha="right" if is_left else "left",
            va="center",
            fontsize=8,
        )
        text.set_parse_math(False)
    title = f"Average ranks over {across.n_datasets} data sets: {context}; Friedman p = {across.p_value:.3g}"
    figure.text(0.01, 1 - 0.1 / height, title, fontsize=9, ha="left", va="top", parse_math=False)
    return figure
