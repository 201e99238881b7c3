"""The networks that judges are made of, by name, and which one judges which data."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from seqdis.bench.core.errors import UserError
from seqdis.datasets.base import Spec
from seqdis.judges.nets import AudioTcn, VideoLstm, VideoTcn
from seqdis.judges.settings import NAMES, Architecture, Factors, Kind
from seqdis.judges.windows import Windows

ARCHITECTURES: dict[str, Architecture] = {
    "default": Architecture(),
    "second": Architecture(kind="cnn-tcn", embedding=64, hidden=96),
    # The official Sprites judge: the frame encoder of the methods, bi-LSTM 256, heads 512-256-K.
    "official": Architecture(width=64, max_width=512, embedding=128, hidden=256, head_hidden=256, pooled=False),
    "windows": Architecture(kind="cnn-windows", width=24, max_width=48, embedding=128),
    "windows-deep": Architecture(kind="cnn-windows-deep", width=16, max_width=32, embedding=96),
    "audio": Architecture(kind="audio-tcn", embedding=96, hidden=96),
}
NETWORKS: dict[Kind, Callable[[tuple[int, ...], Factors, Architecture], nn.Module]] = {
    "cnn-lstm": VideoLstm,
    "cnn-tcn": VideoTcn,
    "cnn-windows": Windows,
    "cnn-windows-deep": Windows,
    "audio-tcn": AudioTcn,
}


def build(frame: tuple[int, ...], factors: Factors, arch: Architecture) -> nn.Module:
    """The network for clips of `frame` ((C, S, S) or (F,)) and `factors`, name -> (classes, role).

    Raises:
        UserError: the kind does not fit the data.
    """
    if arch.kind not in NETWORKS:
        raise UserError(f"a judge of kind {arch.kind!r} is unknown; there are {', '.join(NETWORKS)}.")
    if (len(frame) == 3) != (arch.kind != "audio-tcn"):
        raise UserError(f"a judge of kind {arch.kind!r} does not take frames of shape {tuple(frame)}.")
    return NETWORKS[arch.kind](frame, factors, arch)


def default_architecture(spec: Spec, name: str) -> Architecture:
    """The network that a judge of this name has on these data.

    Raises:
        UserError: no such name.
    """
    if name not in NAMES:
        raise UserError(f"unknown judge {name!r}: --name is one of {', '.join(NAMES)}.")
    if spec.modality == "audio":
        return ARCHITECTURES["audio"]
    pairs = [set(joint.factors) for joint in spec.joints if joint.is_sorted and len(joint.factors) == 2]
    if {factor.name for factor in spec.factors} in pairs and name != "official":
        return ARCHITECTURES["windows" if name == "default" else "windows-deep"]
    return ARCHITECTURES[name]
