"""Sheets of clips: which clip stands where, and what is written beside it. `drawing` makes pictures of them.

A sheet is a list of grids; a grid is rows of clips with labels. Figure numbers refer to Bai et al. 2021 (C-DSVAE).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.records.clips import Clips, is_audio

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Clips in rows. A clip is (T, H, W, C) uint8 or (T, F) float16; None leaves a blank.

    Attributes:
        rows: the clips.
        row_labels: one a row.
        column_labels: one a column, or none.
        title: above the grid.
        header_rows, header_columns: how many of the first show real clips that the others are made of.
    """

    rows: Sequence[Sequence[Array | None]]
    row_labels: Sequence[str]
    column_labels: Sequence[str] = ()
    title: str = ""
    header_rows: int = 0
    header_columns: int = 0


def swap_sheet(clips: Clips) -> list[Grid]:
    """Every static code with every dynamic code (Figures 12 and 13).

    Raises:
        UserError: the method has no encoder.
    """
    if "swaps" not in clips:
        raise UserError("this method has no encoder, so nothing can be swapped; try 'bench figure samples'.")
    originals, swaps = clips["originals"], clips["swaps"]
    n = len(originals)
    rows: list[list[Array | None]] = [[None, *originals]]
    rows += [[originals[i], *swaps[i]] for i in range(n)]
    labels = ["dynamics z from"] + [f"s of clip {i + 1}" for i in range(n)]
    columns = ["static s from"] + [f"z of clip {j + 1}" for j in range(n)]
    return [Grid(rows, labels, columns, "Swaps: s of the row, z of the column", header_rows=1, header_columns=1)]


def fixed_sheet(clips: Clips) -> list[Grid]:
    """One code of the row's clip kept, the other drawn from its prior (Figures 3 to 5 and 9 to 11)."""
    grids = []
    for name, kept, drawn in (("fixed_dynamic", "z", "s"), ("fixed_static", "s", "z")):
        block = clips[name]
        originals = clips.get("originals")
        first: list[list[Array | None]] = [[originals[i]] if originals is not None else [] for i in range(len(block))]
        rows = [head + list(row) for head, row in zip(first, block, strict=True)]
        source = "clip" if originals is not None else "draw"
        columns = ([] if originals is None else ["test clip"]) + [
            f"{drawn} draw {j + 1}" for j in range(block.shape[1])
        ]
        what = {"z": "Fixed dynamics", "s": "Fixed static code"}[kept]
        grids.append(
            Grid(
                rows,
                [f"{kept} of {source} {i + 1}" for i in range(len(block))],
                columns,
                f"{what}: {kept} of the row, {drawn} drawn from its prior",
                header_columns=int(originals is not None),
            )
        )
    return grids


def samples_sheet(clips: Clips) -> list[Grid]:
    """Both codes drawn from their priors."""
    samples = clips["samples"]
    width = max(1, int(np.ceil(np.sqrt(len(samples) * 1.5))))
    rows = [list(samples[start : start + width]) for start in range(0, len(samples), width)]
    return [Grid(rows, [""] * len(rows), (), "Samples: s and z drawn from their priors")]


def interpolate_sheet(clips: Clips) -> list[Grid]:
    """Straight lines between static codes (Figure 16)."""
    block = clips["interpolation"]
    columns = [f"{weight:.0%}" for weight in np.linspace(0, 1, block.shape[1])]
    n = len(clips["originals"]) if "originals" in clips else max(len(block) + 1, 2)
    labels = [f"s {i + 1} → s {(i + 1) % n + 1}" for i in range(len(block))]
    return [Grid([list(row) for row in block], labels, columns, "Interpolation in s, with z of the first clip")]


def audio_sheet(clips: Clips) -> list[Grid]:
    """Spectrograms: test clips, reconstructions, and cross-reconstruction (Figure 13).

    Raises:
        UserError: the clips are video.
    """
    if not is_audio(clips):
        raise UserError("these clips are video; try 'bench figure swap', or a cell on an audio data set.")
    if "swaps" not in clips:
        return samples_sheet(clips)
    columns = [f"clip {i + 1}" for i in range(len(clips["originals"]))]
    above = Grid(
        [list(clips["originals"]), list(clips["reconstructions"])],
        ["test clip", "reconstruction"],
        columns,
        "Log-mel spectrograms: time to the right, frequency upwards",
    )
    return [above, *swap_sheet(clips)]


def compare_sheet(titled: Sequence[tuple[str, Clips]]) -> list[Grid]:
    """All methods on the same clips: reconstruction, swap with the next clip, and fixed dynamics.

    Raises:
        UserError: the cells do not show the same test clips, so that nothing could be compared.
    """
    encoders = [(title, clips) for title, clips in titled if "originals" in clips]
    grids: list[Grid] = []
    if encoders:
        originals = encoders[0][1]["originals"]
        for title, clips in encoders[1:]:
            if not np.array_equal(clips["originals"], originals):
                raise UserError(f"{title} was shown other test clips; compare cells of one data set, source and size.")
        n = len(originals)
        columns = [f"clip {i + 1}" for i in range(n)]
        grids.append(
            Grid(
                [list(originals)] + [list(clips["reconstructions"]) for _, clips in encoders],
                ["test clip"] + [title for title, _ in encoders],
                columns,
                "Reconstruction",
                header_rows=1,
            )
        )
        following = [(i + 1) % n for i in range(n)]
        grids.append(
            Grid(
                [list(originals), [originals[j] for j in following]]
                + [[clips["swaps"][i, j] for i, j in enumerate(following)] for _, clips in encoders],
                ["s from", "z from"] + [title for title, _ in encoders],
                (),
                "Swap: s of a clip, z of the next",
                header_rows=2,
            )
        )
        grids.append(
            Grid(
                [list(originals)] + [list(clips["fixed_dynamic"][:, 0]) for _, clips in encoders],
                ["z from"] + [title for title, _ in encoders],
                (),
                "z kept, s drawn from its prior",
                header_rows=1,
            )
        )
    width = min(len(clips["samples"]) for _, clips in titled)
    width = min(width, len(encoders[0][1]["originals"]) if encoders else 6)
    grids.append(
        Grid(
            [list(clips["samples"][:width]) for _, clips in titled],
            [title for title, _ in titled],
            (),
            "Samples from both priors",
        )
    )
    return grids


SHEETS = {
    "swap": swap_sheet,
    "fixed": fixed_sheet,
    "samples": samples_sheet,
    "interpolate": interpolate_sheet,
    "audio": audio_sheet,
}
