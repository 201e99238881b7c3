"""What decides the numbers, as recorded: of an evaluation, of a judge's network and of its training. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from seqdis.bench.core.rules import MOST_COUNTED, Range

PROTOCOL_VERSION = 1

Count = Annotated[int, Range(0, MOST_COUNTED)]
Positive = Annotated[int, Range(1, MOST_COUNTED)]

Direction = Literal["fix_dynamic", "fix_static"]
"""Which code of a clip is kept; the other one is drawn from its prior."""
KEPT: dict[Direction, Literal["static", "dynamic"]] = {"fix_dynamic": "dynamic", "fix_static": "static"}
"""The role of the factors that a direction keeps."""
DIRECTIONS: tuple[Direction, ...] = tuple(KEPT)

Factors = dict[str, tuple[int, str]]
"""What a judge has heads for: name -> (number of classes, role)."""
Kind = Literal["cnn-lstm", "cnn-tcn", "cnn-windows", "cnn-windows-deep", "audio-tcn"]

NAMES = ("default", "second", "official")
"""What a judge may be called with --name: each is a network of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What changes the numbers of an evaluation (`batch_size` apart, which only bounds memory).

    Attributes:
        draws: prior draws a test clip, in each direction.
        sample: decode `draw`s of the dynamic prior, or the `means` of its steps as the official code does. `training codes`
            is how a model from elsewhere is scored that has no prior.
        max_clips: test clips examined, evenly spread over the split; 0 is all of them.
        selection_clips: validation clips that choose the checkpoint; 0 is all of them.
        shuffle_clips: clips for the static code's change under frame shuffles.
        seed: of the prior draws; the same for every method. They are made on the CPU, so that a seed means the same
            draws on every device.
    """

    draws: Positive = 10
    sample: Literal["draw", "means", "training codes"] = "draw"
    max_clips: Count = 0
    selection_clips: Count = 256
    shuffle_clips: Count = 256
    batch_size: Positive = 128
    seed: Count = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a judge is built from; a card holds it, so that a judge can be built again.

    Attributes:
        kind: `cnn-lstm` (the field's: frame CNN, bi-LSTM), `cnn-tcn` (its cross-check: max-pooled frame CNN and
            convolutions over time), `cnn-windows` and `cnn-windows-deep` (two digits that move about) or `audio-tcn`.
        width: channels of the first convolution, doubled at each halving up to `max_width`.
        embedding: features of a frame, or of a window.
        hidden: of the LSTM (each direction) or of the convolutions over time.
        head_hidden: of each head; 0 makes it linear.
        pooled: heads also see features pooled over time; without, the ends of the LSTM alone, as published.
    """

    kind: Kind = "cnn-lstm"
    width: int = 16
    max_width: int = 64
    embedding: int = 96
    hidden: int = 64
    head_hidden: int = 0
    pooled: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a judge is trained.

    Attributes:
        steps: optimiser steps at most.
        frames: train on so many frames of each clip, drawn at random and kept in order; 0 is all. Only for networks
            that pool over time.
        batch_size: clips a step.
        lr: Adam's rate, cosine down to `final_lr` times it.
        weight_decay: decoupled from the gradient.
        degraded: share of each batch that is blurred and gets noise.
        blur: side in pixels of the box that half-strength to full-strength blur averages over, at 32 pixels.
        noise: largest standard deviation of the noise.
        shift: largest shift of a clip in each direction, in pixels at 32 pixels; one a clip, edges repeated.
        windows: steps on single windows before the first clip, for networks that slide a window over frames.
        window_batch: windows a step.
        window_lr: Adam's rate on windows, with the same schedule.
        label_smoothing: of the cross-entropy; keeps the judge from certainty on clips unlike any real one.
        check_every: steps between two looks at the validation clips.
        look_clips: validation clips of a look, evenly spread; 0 is all.
        good_checks: stop after so many looks in a row with every head perfect, clean and blurred.
    """

    steps: int = 1200
    frames: int = 0
    batch_size: int = 32
    lr: float = 2e-3
    final_lr: float = 0.02
    weight_decay: float = 0.0
    degraded: float = 0.5
    blur: int = 3
    noise: float = 0.05
    shift: int = 0
    windows: int = 0
    window_batch: int = 144
    window_lr: float = 3e-3
    label_smoothing: float = 0.0
    check_every: int = 200
    look_clips: int = 0
    good_checks: int = 2
