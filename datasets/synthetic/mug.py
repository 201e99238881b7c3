"""Cartoon faces drawn by this suite: the stand-in for MUG, with 52 identities and the six expressions.

A clip goes from a neutral face through onset, apex and offset back to neutral. An expression is a movement of the upper
face (brows raised, brows knit, eyes narrowed) and one of the lower face (mouth open, lips drawn wide, corners down).
Each movement belongs to two expressions and each expression has one of each, so only both together name it:

                   open        wide         down
    raised         surprise    fear
    knit           anger                    sadness
    narrowed                   happiness    disgust

The head moves with the upper face (back, forward, aside), as heads do, so that an expression is a change of many pixels.
The two movements follow one another, in either order, so a single frame shows at most one of them. Amplitudes and
timing vary by clip and know nothing of the identity; a video shows the same person and expression twice.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.seeds import derive

REVISION = "mug-faces-2"
N_IDENTITIES, N_EXPRESSIONS, N_FRAMES = 52, 6, 15
TAKES, SEGMENTS = 4, 2
"""Videos of a person with an expression, and clips of a video."""

Floats = NDArray[np.float32]
RAISED, KNIT, NARROWED, OPEN, WIDE, DROOPING = range(6)
# In label order: anger, disgust, fear, happiness, sadness, surprise.
MOVEMENTS = ((KNIT, OPEN), (NARROWED, DROOPING), (RAISED, WIDE), (NARROWED, WIDE), (KNIT, DROOPING), (RAISED, OPEN))

# Where the head goes with each movement, right and down, in widths of the frame.
HEAD = np.array(((0, -0.1), (0, 0.1), (-0.1, 0), (0, 0), (0, 0), (0, 0)), np.float32)

BACKGROUNDS = (
    (40, 60, 150),
    (30, 130, 110),
    (150, 40, 70),
    (210, 190, 90),
    (120, 120, 130),
    (24, 24, 30),
    (224, 224, 230),
)
SKINS = ((255, 220, 190), (236, 178, 130), (190, 130, 86), (132, 84, 56), (84, 52, 40))
HAIRS = ((32, 26, 26), (110, 62, 26), (236, 200, 90), (206, 76, 24), (176, 176, 184), (120, 50, 140))
SHIRTS = (
    (240, 240, 240),
    (220, 40, 40),
    (40, 170, 70),
    (50, 90, 230),
    (250, 160, 20),
    (20, 20, 20),
    (190, 60, 190),
    (60, 200, 210),
)
IRISES = ((50, 34, 24), (30, 70, 160), (30, 110, 60))
LIPS = ((190, 60, 70), (150, 50, 60), (214, 90, 100))
TEETH, THROAT, WHITE = (248, 248, 240), (64, 14, 20), (250, 250, 250)


def performance(expression: int, generator: np.random.Generator) -> Floats:
    """How strongly each of the six movements is made in each of 15 frames: (15, 6) in [0, 1]."""
    times = np.arange(N_FRAMES)
    strength = np.zeros((N_FRAMES, 6), np.float32)
    parts = MOVEMENTS[expression] if generator.random() < 0.5 else MOVEMENTS[expression][::-1]
    for part, centre in zip(parts, (3.7, 10.3), strict=True):
        middle = centre + generator.uniform(-0.6, 0.6)
        hold, onset = generator.uniform(0.6, 1.4), generator.uniform(1.4, 2.2)
        ramp = np.clip((np.abs(times - middle) - hold) / onset, 0, 1)
        strength[:, part] = generator.uniform(0.75, 1) * (0.5 + 0.5 * np.cos(np.pi * ramp))
    return strength


def draw_videos(
    identities: NDArray[np.int64], expressions: NDArray[np.int64], takes: NDArray[np.int64], size: int
) -> NDArray[np.uint8]:
    """Videos (N, 2, 15, 3, size, size): two clips of each identity, expression and take (N,)."""
    movements, light = [], []
    shift = np.zeros((len(identities), 2), int)
    for n, (identity, expression, take) in enumerate(zip(identities, expressions, takes, strict=True)):
        generator = np.random.default_rng(derive(REVISION, int(identity), int(expression), int(take)))
        movements.append([performance(int(expression), generator) for _ in range(SEGMENTS)])
        shift[n] = generator.integers(-1, 2, 2) * (size // 32)
        light.append(generator.uniform(0.92, 1.0))
    n_frames = SEGMENTS * N_FRAMES
    strength = np.array(movements, np.float32).reshape(-1, 6)
    frames = draw_frames(identities.repeat(n_frames), strength, size)
    frames = frames.reshape(len(identities), n_frames, size, size, 3)
    nods = np.rint(strength @ HEAD * size).astype(int).reshape(len(identities), n_frames, 2)
    lit = _moved(frames, shift[:, None] + nods) * np.array(light, np.float32)[:, None, None, None, None]
    clips = np.clip(lit + 0.5, 0, 255).astype(np.uint8).transpose(0, 1, 4, 2, 3)
    return np.ascontiguousarray(clips).reshape(len(identities), SEGMENTS, N_FRAMES, 3, size, size)


def draw_frames(identities: NDArray[np.int64], strength: Floats, size: int) -> Floats:
    """Frames (M, size, size, 3) in 0..255: the faces of `identities` (M,) with movements of `strength` (M, 6)."""
    canvas = _still_faces(size)[identities]
    looks = {
        name: np.array(colours, np.float32)
        for name, colours in (("skin", SKINS), ("hair", HAIRS), ("iris", IRISES), ("lips", LIPS))
    }
    person = {
        "skin": looks["skin"][identities % 5],
        "brow": looks["hair"][identities % 6] * 0.6,
        "iris": looks["iris"][identities % 3],
        "lips": looks["lips"][identities // 3 % 3],
    }
    top, bottom = int(0.16 * size), int(0.62 * size)
    eyes = canvas[:, top:bottom]
    for side in (-1, 1):
        _paint_eye(eyes, person, strength, side, _grid(size, top, bottom))
    top, bottom = int(0.58 * size), size
    _paint_mouth(canvas[:, top:bottom], person, strength, _grid(size, top, bottom))
    return canvas


def _grid(size: int, top: int, bottom: int) -> tuple[Floats, Floats]:
    y, x = np.mgrid[top:bottom, :size].astype(np.float32)
    return (x + 0.5) / size, (y + 0.5) / size


def _paint(canvas: Floats, distance: Floats, colour: Floats, limit: Floats | None = None) -> Floats:
    """Blends `colour` in where `distance` (in widths of the frame, negative inside) says; edges are one pixel soft."""
    cover = np.clip(0.5 - distance * canvas.shape[2], 0, 1)
    if limit is not None:
        cover = cover * limit
    canvas += cover[..., None] * (colour[..., None, None, :] - canvas)
    return cover


def _ellipse(x: Floats, y: Floats, rx: Any, ry: Any) -> Floats:
    inner = np.minimum(rx, ry)
    distance: Floats = ((np.hypot(x / rx, y / ry) - 1) * inner).astype(np.float32)
    return distance


def _paint_eye(
    canvas: Floats, person: dict[str, Floats], strength: Floats, side: int, grid: tuple[Floats, Floats]
) -> None:
    x, y = grid
    raised, knit, narrowed = (strength[:, i, None, None] for i in (RAISED, KNIT, NARROWED))
    across = (x - 0.5) * side - 0.17
    height = 0.08 * (1 + 0.8 * raised - 0.2 * knit - 0.75 * narrowed)
    white = _paint(canvas, _ellipse(across, y - 0.47, 0.13, height), np.array(WHITE, np.float32)[None])
    _paint(canvas, _ellipse(across, y - 0.47, 0.06, 0.06), person["iris"], white)
    # Brows slope down to the nose when knit.
    level = 0.33 - 0.08 * raised + 0.02 * knit + 0.04 * narrowed - knit * 0.6 * across
    bar = np.hypot(np.maximum(np.abs(across) - 0.1, 0), np.abs(y - level)) - 0.036
    _paint(canvas, bar, person["brow"])


def _paint_mouth(canvas: Floats, person: dict[str, Floats], strength: Floats, grid: tuple[Floats, Floats]) -> None:
    x, y = grid
    agape, wide, drooping = (strength[:, i, None, None] for i in (OPEN, WIDE, DROOPING))
    half = 0.14 + 0.03 * agape + 0.14 * wide + 0.05 * drooping
    tall = 0.036 + 0.14 * agape + 0.07 * wide + 0.02 * drooping
    across = x - 0.5
    bend = (0.13 * drooping - 0.06 * wide) * (across / half) ** 2
    down = y - 0.78 - np.clip(bend, -0.14, 0.14) + 0.05 * drooping
    _paint(canvas, _ellipse(across, down, half, tall), person["lips"])
    parted = np.clip((agape + wide) * 3, 0, 1)
    share = (agape / np.maximum(agape + wide, 1e-6))[:, 0]
    inside = share * np.array(THROAT, np.float32) + (1 - share) * np.array(TEETH, np.float32)
    _paint(canvas, _ellipse(across, down, half - 0.028, np.maximum(tall - 0.028, np.float32(1e-3))), inside, parted)


@functools.lru_cache(maxsize=2)
def _still_faces(size: int) -> Floats:
    """Everything of the 52 people that does not move: (52, size, size, 3)."""
    people = np.arange(N_IDENTITIES)
    palette = [np.array(colours, np.float32)[people % len(colours)] for colours in (BACKGROUNDS, SKINS, HAIRS, SHIRTS)]
    background, skin, hair, shirt = palette
    x, y = _grid(size, 0, size)
    wide = np.array((0.35, 0.38, 0.41), np.float32)[people // 2 % 3, None, None]
    style = (people // 5 % 4)[:, None, None]
    faces = np.broadcast_to(background[:, None, None], (N_IDENTITIES, size, size, 3)).copy()
    _paint(faces, _ellipse(x - 0.5, y - 1.08, 0.6, 0.26) + 0 * wide, shirt)
    back = np.select([style == 1, style == 3], [y - 0.98, y - 0.5], y - 0.62)
    _paint(faces, np.maximum(_ellipse(x - 0.5, y - 0.5, wide + 0.09, 0.52), back), hair)
    head = _ellipse(x - 0.5, y - 0.54, wide, 0.44)
    _paint(faces, head, skin)
    beard = np.where((people % 4 == 3)[:, None, None], np.maximum(head, 0.66 - y), 1)
    _paint(faces, beard.astype(np.float32), hair * 0.85)
    # Fringes: high, parted in the middle, low, none.
    parted = y - 0.2 - 0.25 * np.abs(x - 0.5)
    fringe = np.select([style == 0, style == 1, style == 2], [y - 0.24, parted, y - 0.27], y - 0.12)
    _paint(faces, np.maximum(_ellipse(x - 0.5, y - 0.52, wide + 0.04, 0.48), fringe), hair)
    _paint(faces, _ellipse(x - 0.5, y - 0.6, 0.035, 0.05) + 0 * wide, skin * 0.78)
    return faces


def _moved(frames: Floats, offset: NDArray[np.int64]) -> Floats:
    """Frames (N, T, S, S, 3), each moved right and down by whole pixels (N, T, 2); edges are repeated."""
    places = np.arange(frames.shape[2])
    columns, rows = (np.clip(places - offset[..., axis, None], 0, len(places) - 1) for axis in (0, 1))
    videos, times = np.ogrid[: frames.shape[0], : frames.shape[1]]
    return frames[videos[..., None, None], times[..., None, None], rows[..., :, None], columns[..., None, :]]
