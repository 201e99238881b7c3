"""Clips of a cell as small WebP pictures for the page: animated for video, still for spectrograms.

Every picture is one sheet, transparent between its tiles, with no text in it: what it shows is said in words beside
it. A moving one comes with a still, for readers who want no motion. Nothing is written for data that may not be
shown.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seqdis.bench.figures import drawing, sheets
from seqdis.bench.figures.sheets import Grid
from seqdis.bench.records.clips import Clips

MILLISECONDS = 150
QUALITY = 85
LARGE = 25_000  # bytes a frame
MAX_FRAMES = 32


@dataclasses.dataclass(frozen=True)
class Picture:
    """One sheet: file names, its bytes, its size in CSS pixels, and what it shows in words."""

    name: str
    title: str
    caption: str
    alt: str
    width: int
    height: int
    files: dict[str, bytes]
    moving: str
    still: str
    centres: tuple[float, ...] = ()
    """Of the rows, in CSS pixels from the top."""


def reconstruction_sheet(clips: Clips) -> list[Grid]:
    """Test clips above what is decoded from their codes."""
    return [Grid([list(clips["originals"]), list(clips["reconstructions"])], ["", ""], header_rows=1)]


def fixed(index: int) -> Callable[[Clips], list[Grid]]:
    """One of the two grids of `sheets.fixed_sheet`."""
    return lambda clips: sheets.fixed_sheet(clips)[index : index + 1]


# name, title, what it shows, how it is made, and whether it needs an encoder
_SHEETS: tuple[tuple[str, str, str, Callable[[Clips], list[Grid]], bool], ...] = (
    (
        "reconstruction",
        "Reconstruction",
        "Top: test clips. Bottom: decoded from their own codes.",
        reconstruction_sheet,
        True,
    ),
    (
        "swap",
        "Swaps",
        "The left column gives the static code s, the top row gives the dynamic code z.",
        sheets.swap_sheet,
        True,
    ),
    (
        "fixed-dynamic",
        "Fixed dynamics",
        "Each row keeps one z; each column has one s drawn from its prior.",
        fixed(0),
        False,
    ),
    (
        "fixed-static",
        "Fixed static code",
        "Each row keeps one s; each column has one z drawn from its prior.",
        fixed(1),
        False,
    ),
    (
        "interpolation",
        "Interpolation",
        "From left to right, s moves in a straight line between two clips; z stays.",
        sheets.interpolate_sheet,
        False,
    ),
    ("samples", "Samples", "Both codes drawn from their priors.", sheets.samples_sheet, False),
)


def pictures(clips: Clips, title: str) -> list[Picture]:
    """The sheets of a cell whose data may be shown.

    Args:
        clips: as `load_clips` gives them.
        title: of the cell's row, for the texts that replace the pictures.
    """
    made = []
    for name, heading, caption, sheet, needs_encoder in _SHEETS:
        if needs_encoder and "originals" not in clips:
            continue
        first = "Its first column is a test clip. " if name.startswith("fixed") and "originals" in clips else ""
        made.append(picture(name, heading, f"{first}{caption}", f"{heading} of {title}: {caption}", sheet(clips)))
    return made


def comparison(titled: Sequence[tuple[str, Clips]]) -> list[tuple[Picture, list[str]]]:
    """All methods on the same clips: each grid of `sheets.compare_sheet` as a picture, with its row labels."""
    made = []
    for index, grid in enumerate(sheets.compare_sheet(titled)):
        text = f"{grid.title}; rows from top to bottom: {', '.join(grid.row_labels)}"
        made.append((picture(f"compare-{index}", grid.title, "", text, [grid]), list(grid.row_labels)))
    return made


def picture(name: str, title: str, caption: str, alt: str, grids: Sequence[Grid]) -> Picture:
    """One grid as files: `<name>.webp` and `<name>-still.webp` (one file for spectrograms)."""
    grid = grids[0]
    if drawing.is_spectrogram(grids):
        limits = drawing.colour_range(grids)
        frames = [rgba(grid, None, limits)]
        moving = still = f"{name}.webp"
        files = {moving: webp(frames)}
    else:
        count = min(drawing.n_frames(grids), MAX_FRAMES)
        frames = [rgba(grid, index, (0.0, 1.0)) for index in range(count)]
        moving, still = f"{name}.webp", f"{name}-still.webp"
        files = {moving: webp(frames), still: webp(frames[:1])}
    height, width = frames[0].shape[:2]
    # Small frames are shown larger, in whole steps so that pixels stay square.
    zoom = max(1, min(4, 64 // drawing.tile_height(grids)))
    centres = tuple(zoom * centre for centre in drawing.layout(grid, 0, (0.0, 1.0), 1).row_centres)
    return Picture(name, title, caption, alt, width * zoom, height * zoom, files, moving, still, centres)


def rgba(grid: Grid, frame: int | None, limits: tuple[float, float]) -> Any:
    """A grid's pixels (H, W, 4), transparent where there is no tile."""
    drawn = drawing.layout(grid, frame, limits, max_frames=1)
    alpha = np.where(drawn.covered, 255, 0).astype(np.uint8)
    return np.concatenate([np.where(drawn.covered[..., None], drawn.image, 0), alpha[..., None]], -1).astype(np.uint8)


def webp(frames: Sequence[Any]) -> bytes:
    """Frames (H, W, 4) as one WebP, endless if there are several: without loss unless that would be large."""
    exact = encoded(frames, lossless=True)
    return exact if len(exact) <= LARGE * len(frames) else encoded(frames, lossless=False)


def encoded(frames: Sequence[Any], *, lossless: bool) -> bytes:
    """Frames as WebP."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    several = {"save_all": True, "append_images": images[1:], "duration": MILLISECONDS, "loop": 0}
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="WEBP",
        lossless=lossless,
        quality=40 if lossless else QUALITY,
        method=2,
        **(several if len(images) > 1 else {}),
    )
    return buffer.getvalue()
