"""A method for a data set: whether it can be scored there, what it may know of the data, its first weights."""

from __future__ import annotations

from typing import Any

import torch

from seqdis.bench.cell.device import to_channels_last
from seqdis.bench.core.errors import UserError
from seqdis.datasets.base import Spec
from seqdis.methods.base import Method, NotForTheseData, Shape, SignalShape


class NotApplicable(UserError):
    """The method cannot be scored on this data set; the message is the reason that the table prints."""


def check_applicable(kind: type[Method], config: Any, spec: Spec) -> None:
    """Looks at what the method's class says of itself, before anything is built.

    Raises:
        NotApplicable: the method has no codes, or the data no signal, and it takes them.
    """
    if spec.headline[0] == "verification" and not kind.capabilities(config).encodes:
        raise NotApplicable(f"{kind.title} has no encoder, and speaker verification compares codes")
    if kind.needs(config).signal and spec.signal is None:
        raise NotApplicable(f"{kind.title} needs a per-frame signal, and {spec.name} has none")


def shape_of(spec: Spec, *, n_frames: int, n_train: int, n_sequences: int) -> Shape:
    """What a method may know of the data.

    Args:
        spec: of the data set.
        n_frames: of the clips that it is trained on, which may be segments.
        n_train: their number.
        n_sequences: that they are cut from.
    """
    motions = [factor.n_classes for factor in spec.by_role("dynamic")]
    return Shape(
        frame=spec.frame,
        n_frames=n_frames,
        n_train=n_train,
        n_sequences=n_sequences,
        n_motions=motions[0] if motions else 0,
        signal=None if spec.signal is None else SignalShape(dim=spec.signal.dim, kind=spec.signal.kind),
    )


def build_method(
    kind: type[Method], config: Any, shape: Shape, *, seed: int, device: torch.device, channels_last: bool = True
) -> Method:
    """The method on `device` with weights drawn from `seed`; the generators of torch are left as they were.

    Raises:
        NotApplicable: it cannot be built for such data.
        UserError: it cannot be built with these settings; its cause is what the method raised.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            method = kind(config, shape)
        except NotForTheseData as error:
            raise NotApplicable(str(error)) from error
        except Exception as error:  # networks of sizes that do not go together
            told = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise UserError(f"{kind.title} cannot be made with these settings ({told[:300]}).") from error
    method = method.to(device)
    return to_channels_last(method) if shape.is_video and channels_last else method
