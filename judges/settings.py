"""What decides the numbers of an evaluation, as recorded: the protocol's version and its settings. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Literal

PROTOCOL_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What changes the numbers of an evaluation (`batch_size` apart, which only bounds memory).

    Attributes:
        draws: prior draws a test clip, in each direction.
        sample: decode `draw`s of the dynamic prior, or the `means` of its steps as the official code does.
        max_clips: test clips examined, evenly spread over the split; 0 is all of them.
        selection_clips: validation clips that choose the checkpoint; 0 is all of them.
        shuffle_clips: clips for the static code's change under frame shuffles.
        seed: of the prior draws; the same for every method. They are made on the CPU, so that a seed means the same
            draws on every device.
    """

    draws: int = 10
    sample: Literal["draw", "means"] = "draw"
    max_clips: int = 0
    selection_clips: int = 256
    shuffle_clips: int = 256
    batch_size: int = 128
    seed: int = 0
