"""Curves of training from records: losses, validation scores, and the mutual information of the codes.

A line is the mean over the seeds of one configuration, with a band from the lowest to the highest seed where there
are several: other batch sizes and other settings are other lines. matplotlib without torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.figures.cells import MAX_TEXT, Cell, Row, row_names
from seqdis.bench.records.record import Config, Training

# What C-DSVAE's Figures 6, 14 and 15 draw against the training step.
INFORMATION = {"mi_static": "I(s; x)", "mi_dynamic": "I(z; x)", "mi_cross": "I(s; z), mean over frames"}
TERMS = {"total": "total loss", "recon": "reconstruction", "kl_static": "KL of s", "kl_dynamic": "KL of z"}
MAX_POINTS = 400
PALETTE = ("#0b5cad", "#c2410c", "#15803d", "#9333ea", "#b91c1c", "#0e7490", "#a16207", "#4b5563")

Points = list[tuple[float, float]]


def loss_points(training: Training, term: str) -> Points:
    """(step, value) of a logged term, of the first player that logs it; at most `MAX_POINTS`."""
    players = dict.fromkeys(entry["player"] for entry in training.losses if term in entry)
    first = next(iter(players), None)
    points = [
        (float(entry["step"]), float(entry[term]))
        for entry in training.losses
        if entry["player"] == first and term in entry
    ]
    return thinned(points)


def information_points(training: Training, config: Config, n_frames: int, term: str) -> Points:
    """(step, nats) of an estimate; a sum over frames of I(s; z_t), as S3VAE's loss has, is divided by their number."""
    summed = term == "mi_cross" and config.method.get("mws_reduction") == "sum"
    return [(step, value / (n_frames if summed else 1)) for step, value in loss_points(training, term)]


def validation_points(training: Training) -> Points:
    """(step, score) of each validation that has a score."""
    return thinned(
        [
            (float(entry["step"]), float(entry["score"]))
            for entry in training.validation
            if isinstance(entry.get("score"), int | float)
        ]
    )


def thinned(points: Points) -> Points:
    """At most `MAX_POINTS` of the points, the first and the last included."""
    if len(points) <= MAX_POINTS:
        return points
    return [points[index] for index in np.linspace(0, len(points) - 1, MAX_POINTS).round().astype(int)]


def mean_and_range(curves: Sequence[Points]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Steps that every curve covers, and the mean, lowest and highest value there.

    Curves that were logged at other steps are interpolated linearly; nothing is extrapolated.
    """
    steps = np.unique(np.concatenate([[step for step, _ in points] for points in curves]))
    first = max(points[0][0] for points in curves)
    last = min(points[-1][0] for points in curves)
    steps = steps[(steps >= first) & (steps <= last)]
    values = np.stack(
        [np.interp(steps, [step for step, _ in points], [value for _, value in points]) for points in curves]
    )
    return steps, values.mean(0), values.min(0), values.max(0)


def by_row(cells: Iterable[Cell]) -> dict[Row, list[Cell]]:
    """Cells of each row, which differ in their seed only, ordered by it and by seed."""
    groups: dict[Row, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: (cell.row, cell.record.cell.seed)):
        groups.setdefault(cell.row, []).append(cell)
    return groups


def information_curves(cells: Sequence[Cell]) -> Any:
    """I(s; x), I(z; x) and I(s; z) during training, one panel each.

    I(s; z) is drawn as the mean over frames of I(s; z_t), whichever of mean and sum a method's loss takes: only so do
    the curves share an axis.

    Raises:
        UserError: no cell has logged any of them.
    """
    panels = {
        label: {
            key: [
                information_points(cell.record.training, cell.record.config, cell.data.n_frames, term) for cell in group
            ]
            for key, group in by_row(cells).items()
        }
        for term, label in INFORMATION.items()
    }
    if not any(points for panel in panels.values() for curves in panel.values() for points in curves):
        raise UserError(
            "none of these cells has logged mutual information (mi_static, mi_dynamic, mi_cross); "
            "choose cells of cdsvae or of dsvae:mws."
        )
    return draw_panels(
        panels,
        cells,
        "Mutual information of the codes during training",
        dict.fromkeys(panels, "nats, as estimated in training"),
        is_bounded=True,
    )


def batch_bounds(panel: dict[Row, list[Points]]) -> set[float]:
    """ln(batch size), which no contrastive estimate can exceed, of the batch sizes whose curves all keep below it."""
    highest: dict[int, float] = {}
    for (_, _, size, _), curves in panel.items():
        values = [value for points in curves for _, value in points]
        if values:
            highest[size] = max(highest.get(size, -math.inf), *values)
    return {math.log(size) for size, value in highest.items() if size > 1 and value <= math.log(size) + 1e-3}


def training_curves(cells: Sequence[Cell]) -> Any:
    """Loss terms and the validation score, one panel each.

    Raises:
        UserError: no cell has logged anything.
    """
    panels = {
        label: {
            key: [loss_points(cell.record.training, term) for cell in group] for key, group in by_row(cells).items()
        }
        for term, label in TERMS.items()
    }
    panels["validation score"] = {
        key: [validation_points(cell.record.training) for cell in group] for key, group in by_row(cells).items()
    }
    panels = {
        label: panel for label, panel in panels.items() if any(points for curves in panel.values() for points in curves)
    }
    if not panels:
        raise UserError("these cells have logged neither losses nor validation scores.")
    units = {
        label: "score (higher is better)" if label == "validation score" else "nats, sum over a clip"
        for label in panels
    }
    return draw_panels(panels, cells, "Training curves", units)


def draw_panels(
    panels: dict[str, dict[Row, list[Points]]],
    cells: Sequence[Cell],
    title: str,
    units: dict[str, str],
    *,
    is_bounded: bool = False,
) -> Any:
    """Panels side by side, at most three a row, one legend for all.

    Args:
        is_bounded: draw the ceiling of contrastive estimates, see `batch_bounds`.
    """
    from matplotlib.figure import Figure

    drawn = {key for panel in panels.values() for key, curves in panel.items() if any(curves)}
    titles = row_names(cell for cell in cells if cell.row in drawn)
    keys = sorted(titles)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.6 * rows + 1.0), dpi=150, facecolor="white", layout="constrained")
    has_bound = False
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, (label, panel) in zip(axes, panels.items(), strict=False):
        for key, curves in sorted(panel.items()):
            curves = [points for points in curves if points]
            if not curves:
                continue
            colour, dashes = stroke(keys.index(key))
            steps, mean, low, high = mean_and_range(curves)
            axis.plot(
                steps,
                mean,
                dashes,
                color=colour,
                linewidth=1.4,
                marker="o" if len(steps) < 3 else None,
                markersize=3,
            )
            if len(curves) > 1:
                axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        for bound in batch_bounds(panel) if is_bounded else ():
            axis.axhline(bound, color="0.45", linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
            has_bound = True
        axis.set_title(label, fontsize=9, loc="left")
        axis.set_xlabel("optimiser step")
        axis.set_ylabel(units[label])
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    contexts = "; ".join(dict.fromkeys(cell.context for cell in cells))[: 2 * MAX_TEXT]
    figure.suptitle(f"{title}\n{contexts}", fontsize=9, x=0.01, ha="left", parse_math=False)
    handles = [line(index) for index in range(len(keys))]
    labels = [titles[key] for key in keys]
    if has_bound:
        from matplotlib.lines import Line2D

        handles.append(Line2D([], [], color="0.45", linewidth=0.9, linestyle=(0, (1, 2))))
        labels.append("ln(batch size): the most a contrastive estimate can be")
    legend = figure.legend(handles, labels, loc="outside lower left", ncols=4, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def line(index: int) -> Any:
    """The legend's line of the method at `index`."""
    from matplotlib.lines import Line2D

    colour, dashes = stroke(index)
    return Line2D([], [], color=colour, linestyle=dashes, linewidth=1.4)


def stroke(index: int) -> tuple[str, Any]:
    """Colour and dashes of the method at `index`: told apart without colour once the palette is used up."""
    return PALETTE[index % len(PALETTE)], ("-", "--", ":", "-.")[index // len(PALETTE) % 4]
