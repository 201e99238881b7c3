"""Pictures of sheets, and figures as files. matplotlib without torch.

On paper (PNG, PDF) a video clip is a strip of frames from left to right, in a GIF it moves; a spectrogram is a heat map
with time to the right and mel bands upwards. The same cells give the same bytes: no dates, no fonts but matplotlib's
own, no user style.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqdis.bench.core.files import write_output
from seqdis.bench.figures.cells import MAX_TEXT
from seqdis.bench.figures.sheets import Array, Grid

HEADER = (0.20, 0.42, 0.64)

# Drawing a sheet: one canvas of pixels, text around it


def colour_range(grids: Sequence[Grid]) -> tuple[float, float]:
    """The 1st and 99th percentile of all spectrograms of a sheet, so that colours mean the same in every tile."""
    values = [
        clip.astype(np.float32).ravel() for grid in grids for row in grid.rows for clip in row if clip is not None
    ]
    low, high = np.percentile(np.concatenate(values), (1, 99))
    return float(low), max(float(high), float(low) + 1e-3)


def tile(clip: Array, frame: int | None, limits: tuple[float, float], max_frames: int = 4) -> Array:
    """One clip as an RGB image (H, W, 3).

    Args:
        clip: (T, H, W, C) uint8 or (T, F) float16.
        frame: which frame of a video to show, or None for a strip of at most `max_frames`.
        limits: values of the darkest and the brightest colour of a spectrogram.
        max_frames: evenly spaced, the first and the last included.
    """
    if clip.ndim == 2:
        import matplotlib

        scaled = np.clip((clip.astype(np.float32) - limits[0]) / (limits[1] - limits[0]), 0, 1)
        heat = matplotlib.colormaps["magma"](scaled.T[::-1])[..., :3]
        return np.repeat((heat * 255).round().astype(np.uint8), 4, axis=1)
    video = np.repeat(clip, 3, axis=-1) if clip.shape[-1] == 1 else clip
    if frame is not None:
        return video[frame % len(video)]
    chosen = np.linspace(0, len(video) - 1, min(max_frames, len(video))).round().astype(int)
    gap = np.full((video.shape[1], 1, 3), 255, np.uint8)
    pieces = [piece for index in chosen for piece in (gap, video[index])][1:]
    return np.concatenate(pieces, axis=1)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A grid as one image, with where it is covered, and where its rows, columns and header tiles lie in pixels."""

    image: Array
    covered: Array
    row_centres: list[float]
    column_centres: list[float]
    headers: list[tuple[float, float, float, float]]


def layout(grid: Grid, frame: int | None, limits: tuple[float, float], max_frames: int) -> Layout:
    """Tiles on white, with a wider gap after header rows and columns."""
    tiles = [[None if clip is None else tile(clip, frame, limits, max_frames) for clip in row] for row in grid.rows]
    height, width = next(image.shape[:2] for row in tiles for image in row if image is not None)
    columns = max(len(row) for row in tiles)
    gap, wide = max(3, height // 10), max(6, height // 4)
    lefts = [
        column * (width + gap) + (wide if grid.header_columns <= column and grid.header_columns else 0)
        for column in range(columns)
    ]
    tops = [
        row * (height + gap) + (wide if grid.header_rows <= row and grid.header_rows else 0)
        for row in range(len(tiles))
    ]
    image = np.full((tops[-1] + height, lefts[-1] + width, 3), 255, np.uint8)
    covered = np.zeros(image.shape[:2], bool)
    headers = []
    for row, (top, images) in enumerate(zip(tops, tiles, strict=True)):
        for column, (left, pixels) in enumerate(zip(lefts, images, strict=False)):
            if pixels is None:
                continue
            image[top : top + height, left : left + width] = pixels
            covered[top : top + height, left : left + width] = True
            if row < grid.header_rows or column < grid.header_columns:
                headers.append((left - 1.0, top - 1.0, width + 1.0, height + 1.0))
    return Layout(image, covered, [top + height / 2 for top in tops], [left + width / 2 for left in lefts], headers)


def draw_sheet(
    grids: Sequence[Grid],
    title: str,
    subtitle: str,
    *,
    frame: int | None = None,
    max_frames: int = 4,
    tile_inches: float = 0.72,
) -> Any:
    """A matplotlib figure of a sheet.

    Args:
        grids: one above the other.
        title, subtitle: what it shows and of which data; taken as plain text.
        frame: which frame videos show, or None for strips.
        max_frames: in a strip.
        tile_inches: height of a tile.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    limits = colour_range(grids) if is_spectrogram(grids) else (0.0, 1.0)
    layouts = [layout(grid, frame, limits, max_frames) for grid in grids]
    # Inches per pixel: one scale for the whole sheet, so that tiles have one size in every grid.
    scale = tile_inches / tile_height(grids)
    longest = max((len(label) for grid in grids for label in grid.row_labels), default=0)
    left = 0.25 + 0.075 * min(longest, 40)
    width = max(left + max(each.image.shape[1] for each in layouts) * scale + 0.25, 3.2)
    heights = [each.image.shape[0] * scale for each in layouts]
    above = [0.34 + (0.2 if grid.column_labels else 0.0) for grid in grids]
    total = 0.75 + sum(heights) + sum(above) + 0.15 * len(grids)
    figure = Figure(figsize=(width, total), dpi=150, facecolor="white")
    figure.text(0.12 / width, 1 - 0.28 / total, title, fontsize=12, fontweight="bold", parse_math=False)
    figure.text(0.12 / width, 1 - 0.50 / total, subtitle, fontsize=8, color="0.35", parse_math=False)
    top = total - 0.62
    for grid, each, height, space in zip(grids, layouts, heights, above, strict=True):
        top -= space
        axes = figure.add_axes(
            (left / width, (top - height) / total, each.image.shape[1] * scale / width, height / total)
        )
        axes.imshow(
            each.image,
            interpolation="nearest",
            aspect="auto",
            extent=(0, each.image.shape[1], each.image.shape[0], 0),
        )
        axes.set_axis_off()
        figure.text(0.12 / width, (top + space - 0.2) / total, grid.title, fontsize=9, parse_math=False)
        offset = 0.06 / scale
        for label, centre in zip(grid.row_labels, each.row_centres, strict=True):
            axes.text(-offset, centre, label[:MAX_TEXT], ha="right", va="center", fontsize=7, parse_math=False)
        for label, centre in zip(grid.column_labels, each.column_centres, strict=False):
            axes.text(
                centre,
                -offset * 0.8,
                label[:MAX_TEXT],
                ha="center",
                va="bottom",
                fontsize=7,
                parse_math=False,
            )
        for x, y, w, h in each.headers:
            axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=HEADER, linewidth=1.2, clip_on=False))
        top -= height + 0.15
    return figure


def is_spectrogram(grids: Sequence[Grid]) -> bool:
    """Whether a sheet shows audio."""
    return next(clip.ndim == 2 for grid in grids for row in grid.rows for clip in row if clip is not None)


def tile_height(grids: Sequence[Grid]) -> int:
    """Pixels of a tile from top to bottom."""
    return next(clip.shape[1] for grid in grids for row in grid.rows for clip in row if clip is not None)


def n_frames(grids: Sequence[Grid]) -> int:
    """Frames of the longest clip of a sheet."""
    return max(len(clip) for grid in grids for row in grid.rows for clip in row if clip is not None)


# Files


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's defaults whatever the user's matplotlibrc says, plain and the same everywhere."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.size": 8,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "grid.alpha": 0.25,
                "pdf.fonttype": 42,
                "legend.frameon": False,
                "axes.axisbelow": True,
            }
        )
        yield


def figure_bytes(figure: Any, kind: str) -> bytes:
    """A figure as PNG or PDF, without date or version, so that equal figures are equal bytes."""
    metadata: dict[str, None] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }[kind]
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()


def sheet_files(
    grids: Sequence[Grid], title: str, subtitle: str, formats: Sequence[str], max_frames: int = 4
) -> dict[str, bytes]:
    """A sheet in each format: {format: bytes}. A GIF of spectrograms is left out: they do not move."""
    files = {}
    with house_style():
        for kind in formats:
            if kind != "gif":
                files[kind] = figure_bytes(draw_sheet(grids, title, subtitle, max_frames=max_frames), kind)
            elif not is_spectrogram(grids):
                frames = [draw_sheet(grids, title, subtitle, frame=index) for index in range(n_frames(grids))]
                files[kind] = gif_bytes([rendered(figure) for figure in frames])
    return files


def rendered(figure: Any) -> Array:
    """A figure's pixels (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def gif_bytes(frames: Sequence[Array], milliseconds: int = 150) -> bytes:
    """Frames (H, W, 3) as an endless GIF with one palette."""
    from PIL import Image

    stacked = Image.fromarray(np.concatenate(list(frames)))
    palette = stacked.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=milliseconds,
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def write_files(folder: Path, stem: str, files: Mapping[str, bytes]) -> list[Path]:
    """Writes `<stem>.<format>` for each, whole or not at all (a link's target), and returns the paths."""
    paths = [folder / f"{stem}.{kind}" for kind in files]
    for path, content in zip(paths, files.values(), strict=True):
        write_output(path, content)
    return paths
