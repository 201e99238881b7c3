"""Free per-frame signals that S3VAE predicts: where things move (Sprites), how far eyes and lips are open (MUG).

Both are measured in the frames, never taken from labels: gridded dense optical flow after Farneback (2003), and three
opening distances of a face, from landmarks where the database has them, else from the pixels of a face crop (Zhu et
al. 2020 use such signals; the grid's labels and the normalisation are this suite's choices). Measured once and cached
beside the data, under the digest of the clips they were measured in; where that folder may only be read, in each run.

Shape legend: N clips, T frames, H, W frame, K cells or distances.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqdis.datasets.base import Spec
from seqdis.datasets.cache import Array, Cache, Progress, UnwritableError, open_cache, preparing, writing_cache
from seqdis.datasets.video.frames import halve

REVISION = "signal-2"
GRID = 3
TOP_CELLS = 3
STILL = 0.02
"""Mean flow of a cell, in pixels of a 64 x 64 frame, below which nothing moves there."""
BLOCK = 32

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]
Boxes = tuple[tuple[Box, Box], ...]
# Where a face crop shows the left eye, the right eye and the lips, each with a place where their skin is plain (cheeks;
# beside the upper lip, where a beard is beard), as fractions of its side (left, top, right, bottom): in the square that
# the Haar cascade gives, and in the drawn faces. A place is taken with its mirror image.
BOXES = {
    "real": (
        ((0.18, 0.30, 0.44, 0.50), (0.22, 0.50, 0.42, 0.56)),
        ((0.56, 0.30, 0.82, 0.50), (0.22, 0.50, 0.42, 0.56)),
        ((0.38, 0.64, 0.62, 0.98), (0.20, 0.66, 0.32, 0.74)),
    ),
    "synthetic": (
        ((0.17, 0.43, 0.49, 0.66), (0.20, 0.58, 0.44, 0.63)),
        ((0.51, 0.43, 0.83, 0.66), (0.20, 0.58, 0.44, 0.63)),
        ((0.40, 0.62, 0.60, 0.99), (0.24, 0.71, 0.34, 0.78)),
    ),
}
DIFFERENT = 16.0
"""Mean difference of the channels, in levels, above which a pixel is no longer the skin around a feature."""


def load_signals(
    cache: Cache, spec: Spec, *, top_cells: int = TOP_CELLS, progress: Progress | None = None
) -> dict[str, Tensor]:
    """The signal of each split, (N, T, K) float32; measured at the first call, and cached where that may be written.

    Args:
        cache: the prepared clips.
        spec: theirs; `spec.signal.kind` says which signal.
        top_cells: how many of the 9 cells are marked in a frame (flow only).
        progress: called with (done, total, text), if given.
    """
    is_flow = spec.signal is not None and spec.signal.kind == "multilabel"
    measure = grid_flow if is_flow else functools.partial(opening, boxes=BOXES[spec.source])
    folder = cache.folder.parent / f"{cache.folder.name}-signal"
    revision = f"{REVISION}-{cache.digest[:16]}"
    splits = [name.removesuffix("_x") for name in cache.arrays if name.endswith("_x")]
    raw: dict[str, Floats] = {}
    with contextlib.suppress(UnwritableError):  # data that somebody shares: kept in memory, measured again next time
        with preparing(folder, revision=revision, progress=progress) as needed:
            if needed:
                with writing_cache(folder, {"revision": revision}) as writer:
                    for split in splits:
                        raw[split] = _measured(cache.array(f"{split}_x"), measure, progress)
                        writer.save(split, raw[split])
        found = open_cache(folder, revision=revision, title="the signal", command=f"rm -r {folder}")
        raw = {split: np.array(found.array(split)) for split in splits}
    for split in splits:
        if split not in raw:
            raw[split] = _measured(cache.array(f"{split}_x"), measure, progress)
    if is_flow:
        return {split: torch.from_numpy(moving_cells(flow, top_cells)) for split, flow in raw.items()}
    return {split: torch.from_numpy(value) for split, value in _standardised(raw, cache).items()}


def _measured(clips: Array, measure: Callable[[Pixels], Floats], progress: Progress | None) -> Floats:
    blocks = []
    for start in range(0, len(clips), BLOCK):
        blocks.append(measure(np.asarray(clips[start : start + BLOCK])))
        if progress is not None:
            progress(start, len(clips), "measuring the signal of the clips")
    return np.concatenate(blocks)


def grid_flow(clips: Pixels) -> Floats:
    """Mean length of the optical flow in each cell of a 3 x 3 grid, (N, T, 9), in pixels of a 64 x 64 frame.

    Frames of 64 x 64 are halved first: the grid is coarse, and it takes a quarter of the time.

    Args:
        clips: (N, T, 3 or 1, H, W) uint8.

    Returns:
        Flow from frame t to t + 1; the last frame has that of the one before it. Cells are counted along rows.
    """
    import cv2

    n, t, _, h, w = clips.shape
    if h == 64:
        clips, h, w = halve(clips), 32, 32
    grey = _grey(clips).round().astype(np.uint8)
    flow = np.empty((n, t - 1, h, w, 2), np.float32)
    for clip, step in itertools.product(range(n), range(t - 1)):
        # One pyramid level, 7-pixel windows: motions in these clips are a few pixels a frame.
        cv2.calcOpticalFlowFarneback(grey[clip, step], grey[clip, step + 1], flow[clip, step], 0.5, 1, 7, 3, 5, 1.1, 0)
    length = np.hypot(flow[..., 0], flow[..., 1]).reshape(-1, h, w) * (64 / h)
    edges_y, edges_x = ([round(i * side / GRID) for i in range(GRID + 1)] for side in (h, w))
    cells = [
        length[:, edges_y[i] : edges_y[i + 1], edges_x[j] : edges_x[j + 1]].mean(axis=(1, 2))
        for i, j in itertools.product(range(GRID), range(GRID))
    ]
    signal = np.stack(cells, axis=1).reshape(n, t - 1, GRID * GRID).astype(np.float32)
    return np.concatenate([signal, signal[:, -1:]], axis=1)


def moving_cells(flow: Floats, top_cells: int) -> Floats:
    """Marks the `top_cells` most moving cells of each frame (N, T, 9); cells that are still are never marked."""
    threshold = np.sort(flow, axis=-1)[..., -top_cells, None]
    return ((flow >= threshold) & (flow > STILL)).astype(np.float32)


def opening(clips: Pixels, boxes: Boxes) -> Floats:
    """How far each eye and the lips are open, (N, T, 3), as a fraction of the frame, measured in a face crop's pixels.

    Frames are first laid over the first of their clip, because heads move. A box around each feature holds skin (the
    clip's median colour in a plain place) and what is none: the white and the iris of an eye; lips, teeth and throat.
    The number of such pixels by the box's width is the mean height of the opening.
    """
    n, t = clips.shape[:2]
    side = clips.shape[-1]
    frames = steadied(clips).reshape(n * t, *clips.shape[2:]).astype(np.float32)
    measured = []
    for box, place in boxes:
        plain = [_cut(frames, place), _cut(frames[..., ::-1], place)]
        colours = np.concatenate(plain, axis=2).reshape(n, t, frames.shape[1], -1)
        skin = np.median(colours, axis=(1, 3)).repeat(t, axis=0)[:, :, None, None]
        patch = _cut(frames, box)
        different = np.abs(patch - skin).mean(axis=1) > DIFFERENT
        measured.append(different.sum(axis=(1, 2)) / patch.shape[-1] / side)
    return np.stack(measured, axis=1).reshape(n, t, 3).astype(np.float32)


def _cut(frames: Floats, box: Box) -> Floats:
    left, top, right, bottom = (round(value * frames.shape[-1]) for value in box)
    return frames[:, :, top:bottom, left:right]


def steadied(clips: Pixels) -> Pixels:
    """Clips (N, T, C, H, W) with each frame moved, by whole pixels and at most 3/16 of the side, to where it correlates
    best with the first frame of its clip. Edges are repeated."""
    n, t, _, h, w = clips.shape
    grey = _grey(clips)
    grey = grey - grey.mean(axis=(2, 3), keepdims=True)
    # Steps of brightness, because plain areas correlate nearly as well when they lie a pixel aside.
    steps = np.diff(grey, axis=2, append=grey[:, :, -1:]), np.diff(grey, axis=3, append=grey[..., -1:])
    edges = np.abs(steps[0]) + np.abs(steps[1])
    spectrum = np.fft.rfft2(edges - edges.mean(axis=(2, 3), keepdims=True))
    match = np.fft.irfft2(spectrum * spectrum[:, :1].conj(), s=(h, w))
    reach = 3 * h // 16
    near = np.concatenate([np.arange(reach + 1), np.arange(-reach, 0)])
    best = match[:, :, near[:, None], near].reshape(n, t, -1).argmax(axis=-1)
    down, right = near[best // len(near)], near[best % len(near)]
    rows = np.clip(np.arange(h) + down[..., None], 0, h - 1)[:, :, None, :, None]
    columns = np.clip(np.arange(w) + right[..., None], 0, w - 1)[:, :, None, None, :]
    return np.take_along_axis(np.take_along_axis(clips, rows, axis=3), columns, axis=4)


def opening_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left eye, right eye and lips from 68 landmarks (68, 2), divided by the distance between the eyes."""

    def distance(a: int, b: int) -> float:
        return float(np.hypot(*(points[a] - points[b])))

    between = float(np.hypot(*(points[36:42].mean(axis=0) - points[42:48].mean(axis=0))))
    eyes = [(distance(37, 41) + distance(38, 40)) / 2, (distance(43, 47) + distance(44, 46)) / 2]
    return np.array([*eyes, distance(62, 66)]) / max(between, 1e-9)


def _standardised(raw: dict[str, Floats], cache: Cache) -> dict[str, Floats]:
    """Zero mean and unit variance on the training split; distances from landmarks on their own scale."""
    result = {split: _scaled(value, raw["train"]) for split, value in raw.items()}
    given = {split: cache.array(f"{split}_landmarks") for split in raw if f"{split}_landmarks" in cache.arrays}
    if given and np.isfinite(given["train"]).any():
        for split, value in given.items():
            scaled = _scaled(value, given["train"])
            result[split] = np.where(np.isfinite(scaled), scaled, result[split])
    return result


def _scaled(value: Floats, reference: Floats) -> Floats:
    mean, spread = np.nanmean(reference, axis=(0, 1)), np.nanstd(reference, axis=(0, 1))
    scaled: Floats = ((value - mean) / np.maximum(spread, 1e-6)).astype(np.float32)
    return scaled


def _grey(clips: Pixels) -> Floats:
    """(N, T, C, H, W) to luminance (N, T, H, W)."""
    if clips.shape[2] == 1:
        return clips[:, :, 0].astype(np.float32)
    weights = np.array((0.299, 0.587, 0.114), np.float32)
    grey: Floats = np.tensordot(clips.astype(np.float32), weights, axes=(2, 0))
    return grey
