"""Pixel characters drawn by this suite: the stand-in for Sprites, with the same four attributes and nine motions.

A frame is one of a few dozen poses (facing x arm x step) of a chunky figure on black, drawn once as a map of parts and
coloured by the character's palette. Areas are large and plain, so that small models learn them in a minute or two.

The three actions share their poses: casting a spell raises the arm step by step, holds it up and drops it; a slash is
the same with time running backwards (wind up at once, then strike through); a walk alternates steps and swings the
arm half way. So a frame shows where the character faces but not what it does; durations and phases vary by clip.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.seeds import derive

REVISION = "sprites-pixel-3"
GRID = 32
"""Characters are drawn on a grid of 32 x 32 and doubled to 64: the 2 x 2 mean gives the grid back exactly."""

Map = NDArray[np.uint8]
NOTHING, SKIN, SHADED_SKIN, PANTS, SHADED_PANTS, TOPS, SHADED_TOPS, HAIR, SHADED_HAIR, SHOES, EYE = range(11)
DOWN, FORWARD, UP = range(3)

SKINS = ((255, 214, 178), (196, 138, 92), (104, 62, 42), (128, 196, 96), (120, 164, 228), (214, 92, 96))
PANTS_COLOURS = ((236, 236, 236), (206, 36, 44), (36, 150, 64), (44, 76, 214), (232, 196, 44), (146, 58, 180))
TOPS_COLOURS = ((36, 178, 178), (240, 132, 24), (240, 240, 240), (44, 58, 150), (240, 118, 176), (118, 140, 36))
HAIRS = ((250, 226, 92), (56, 96, 230), (222, 62, 28), (226, 226, 238), (48, 178, 90), (150, 86, 214))
SHOE_COLOUR, EYE_COLOUR = (110, 84, 60), (28, 24, 36)


def assign_motions(n_characters: int) -> NDArray[np.int64]:
    """Three different motions for each character (n, 3), ascending: every three characters share out all nine."""
    generator = np.random.default_rng(derive(REVISION, "motions"))
    shuffled = [generator.permutation(9).reshape(3, 3) for _ in range(-(-n_characters // 3))]
    return np.sort(np.concatenate(shuffled)[:n_characters], axis=1).astype(np.int64)


def draw(attributes: NDArray[np.int64], motions: NDArray[np.int64], seeds: NDArray[np.int64]) -> Map:
    """Clips (N, 8, 3, 64, 64) of characters with `attributes` (N, 4) doing `motions` (N,), timed by `seeds` (N,)."""
    directions = motions % 3
    poses = np.array([timing(int(motion) // 3, int(seed)) for motion, seed in zip(motions, seeds, strict=True)])
    arms, steps = poses[..., 0], poses[..., 1]
    maps = pose_maps()[directions[:, None], arms, steps]
    clips = palettes(attributes)[np.arange(len(maps))[:, None, None, None], maps]
    return np.ascontiguousarray(clips.transpose(0, 1, 4, 2, 3)).repeat(2, axis=-1).repeat(2, axis=-2)


def timing(action: int, seed: int) -> NDArray[np.int64]:
    """The pose (arm, step) of each of 8 frames: (8, 2). Steps: 0 together, 1 and 2 one or the other foot forward."""
    generator = np.random.default_rng(seed)
    foot = int(generator.integers(1, 3))
    if action == 0:
        cycle = [(DOWN, 0), (FORWARD, foot), (DOWN, 0), (DOWN, 3 - foot)]
        start = int(generator.integers(4))
        return np.array([cycle[(start + t) % 4] for t in range(8)])
    rising, held = int(generator.integers(1, 3)), int(generator.integers(2, 4))
    core = [(DOWN, foot)] + [(FORWARD, foot)] * rising + [(UP, foot)] * held
    before = int(generator.integers(0, 9 - len(core)))
    frames = [(DOWN, 0)] * before + core + [(DOWN, 0)] * (8 - before - len(core))
    return np.array(frames if action == 1 else frames[::-1])


def palettes(attributes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The colour of each part (N, 11, 3) for characters with `attributes` (N, 4)."""
    skin, pants, tops, hair = (
        np.array(colours)[attributes[:, i]] for i, colours in enumerate((SKINS, PANTS_COLOURS, TOPS_COLOURS, HAIRS))
    )
    shaded = [value for colour in (skin, pants, tops, hair) for value in (colour, colour * 4 // 5)]
    fixed = [np.broadcast_to(np.array(colour), skin.shape) for colour in (SHOE_COLOUR, EYE_COLOUR)]
    return np.stack([np.zeros_like(skin), *shaded, *fixed], axis=1).astype(np.uint8)


@functools.cache
def pose_maps() -> Map:
    """Part maps (3 facings, 3 arms, 3 steps, 32, 32); facings are front, left, right."""
    maps = np.zeros((3, 3, 3, GRID, GRID), np.uint8)
    for arm, step in itertools.product(range(3), range(3)):
        maps[0, arm, step] = _front(arm, step)
        maps[1, arm, step] = _left(arm, step)
        maps[2, arm, step] = maps[1, arm, step, :, ::-1]
    maps.flags.writeable = False
    return maps


Y, X = np.mgrid[:GRID, :GRID] + 0.5


def _ellipse(x: float, y: float, rx: float, ry: float) -> NDArray[np.bool_]:
    return ((X - x) / rx) ** 2 + ((Y - y) / ry) ** 2 <= 1


def _box(left: float, top: float, right: float, bottom: float) -> NDArray[np.bool_]:
    return (left <= X) & (right >= X) & (top <= Y) & (bottom >= Y)


def _limb(x0: float, y0: float, x1: float, y1: float, radius: float) -> NDArray[np.bool_]:
    along = np.clip(((X - x0) * (x1 - x0) + (Y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
    return (X - x0 - along * (x1 - x0)) ** 2 + (Y - y0 - along * (y1 - y0)) ** 2 <= radius**2


def _arm(canvas: Map, shoulder: tuple[float, float], hand: tuple[float, float]) -> None:
    (x0, y0), (x1, y1) = shoulder, hand
    middle = (x0 + 0.45 * (x1 - x0), y0 + 0.45 * (y1 - y0))
    canvas[_limb(*middle, x1, y1, 2.2)] = SKIN
    canvas[_limb(x0, y0, *middle, 2.3)] = SHADED_TOPS


def _front(arm: int, step: int) -> Map:
    canvas = np.zeros((GRID, GRID), np.uint8)
    rise = 0 if step else -1  # the body stands one pixel higher when the feet are together
    for side, x in ((1, 12.0), (2, 20.0)):
        lifted = 3 if step == side else 0
        canvas[_box(x - 3, 22, x + 3, 29 - lifted)] = SHADED_PANTS if lifted else PANTS
        canvas[_box(x - 3, 29 - lifted, x + 3, 31 - lifted)] = SHOES
    canvas[_box(9, 15 + rise, 23, 23)] = TOPS
    canvas[_box(15, 22, 17, 23)] = SHADED_TOPS
    _arm(canvas, (24, 17 + rise), (25, 23 + rise))
    hand = {DOWN: (7, 23), FORWARD: (2.5, 17), UP: (4, 9)}[arm]
    _arm(canvas, (8, 17 + rise), (hand[0], hand[1] + rise))
    canvas[_ellipse(16, 9.5 + rise, 8, 7)] = SKIN
    for x in (12.5, 18.5):
        canvas[_box(x - 0.5, 9 + rise, x + 1.5, 12 + rise)] = EYE
    canvas[_ellipse(16, 9 + rise, 9, 7.5) & (6.5 + rise > Y)] = HAIR
    canvas[_box(7, 6 + rise, 9, 11 + rise) | _box(23, 6 + rise, 25, 11 + rise)] = SHADED_HAIR
    return canvas


def _left(arm: int, step: int) -> Map:
    canvas = np.zeros((GRID, GRID), np.uint8)
    rise = 0 if step else -1
    stride = (0, 4, -4)[step]
    for part, shoe, sign in ((SHADED_PANTS, SHOES, -1), (PANTS, SHOES, 1)):
        foot = 16 + sign * stride
        canvas[_limb(16, 22.5, foot, 27.5, 3.6)] = part
        canvas[_box(foot - 4.5, 29, foot + 3, 31)] = shoe
    canvas[_box(10.5, 15 + rise, 21.5, 23)] = TOPS
    canvas[_box(19, 15 + rise, 21.5, 23)] = SHADED_TOPS
    canvas[_ellipse(15.5, 9.5 + rise, 8, 7)] = SKIN
    canvas[_box(9, 9 + rise, 11, 12 + rise)] = EYE
    head = _ellipse(16, 9 + rise, 9, 7.5)
    canvas[head & (6.5 + rise > Y)] = HAIR
    canvas[head & (X > 19.5) & (12 + rise > Y)] = HAIR
    canvas[_box(22, 6 + rise, 25, 12 + rise)] = SHADED_HAIR
    hand = {DOWN: (16, 22), FORWARD: (6, 18), UP: (5, 8)}[arm]
    _arm(canvas, (16, 17 + rise), (hand[0], hand[1] + rise))
    return canvas
