"""Presets: how large, how long, on which data. They count optimiser steps, never seconds. No torch here.

`quick` shows the whole job on a laptop CPU in minutes, on generated stand-ins by default; `compact` trains the same nets
on real data, with five seeds and at most a quarter of an hour of one core a cell; `paper` is the papers' scale on real data.
A preset says what is common to all methods; what one of them changes at that scale stands in its own file
(`methods.base.Rule`). The weights of quick and compact are not the published ones and are printed with their tables.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.plan.settings import Layer
from seqdis.bench.records.config import Settings

if TYPE_CHECKING:
    from seqdis.methods.base import Method


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnData:
    """What a preset changes of every method's training on some data, by name."""

    data: tuple[str, ...]
    training: Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """A named scale.

    Attributes:
        seeds: default number of seeds.
        size: side of frames in pixels.
        nets: sizes of nets, for every method that has the setting.
        needs_gpu: too long for a CPU.
    """

    name: str
    text: str
    source: Literal["real", "synthetic"]
    seeds: int
    size: int
    training: Settings
    on_data: tuple[OnData, ...] = ()
    nets: Settings = dataclasses.field(default_factory=dict)
    evaluation: Settings = dataclasses.field(default_factory=dict)
    data: Settings = dataclasses.field(default_factory=dict)
    needs_gpu: bool = False


QUICK = Preset(
    name="quick",
    text="32x32 frames, narrow nets, one to four minutes a cell on one CPU core; generated stand-ins unless --source real",
    source="synthetic",
    seeds=1,
    size=32,
    training={"steps": 1500, "batch_size": 16, "schedule": "cosine", "validations": 5, "log_every": 25},
    # The score that chooses weights stays at its floor there and would take the earliest ones: it is asked once, at the end.
    on_data=(OnData(data=("smmnist", "smmnist-10k"), training={"steps": 2000, "validations": 1}),),
    nets={"width": 16, "embedding_dim": 128, "hidden_dim": 64},
    evaluation={"draws": 5},
)
COMPACT = dataclasses.replace(
    QUICK,
    name="compact",
    text="the quick preset's nets on real data, 10,000 steps, 5 seeds: at most 15 minutes a cell on one CPU core",
    source="real",
    seeds=5,
    training={**QUICK.training, "steps": 10_000, "validations": 10, "log_every": 100},
    on_data=(OnData(data=("smmnist", "smmnist-10k"), training={"steps": 13_000, "validations": 1}),),
)
PAPER = Preset(
    name="paper",
    text="the papers' nets and sizes on real data: 64x64, batch 128, 100 epochs as the released script",
    source="real",
    seeds=5,
    size=64,
    training={"epochs": 100, "batch_size": 128, "validations": 20, "log_every": 50},
    on_data=(OnData(data=("timit",), training={"batch_size": 256}),),
    evaluation={"draws": 10},
    needs_gpu=True,
)
PAPER_LONG = dataclasses.replace(
    PAPER,
    name="paper-long",
    text="the paper preset trained to the validation plateau, at most 1000 epochs",
    training={**PAPER.training, "epochs": 1000, "validations": 100, "patience": 15},
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in (QUICK, COMPACT, PAPER, PAPER_LONG)}
RENAMED = {"demo": COMPACT.name}
"""Presets of version 0.1.0 whose records are read, listed and tabulated under their names, and that run no more."""


def get(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UserError: there is none.
    """
    if name in RENAMED:
        raise UserError(
            f"the preset {name} of version 0.1.0 is gone, its records are read as ever: use --preset {RENAMED[name]} "
            f"({PRESETS[RENAMED[name]].text})."
        )
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS, "bench list presets")
    return PRESETS[name]


def layers(preset: Preset, method: type[Method] | None, variant: str, dataset: str, modality: str) -> list[Layer]:
    """What a preset, a method's rules and its variant lay over the defaults, in this order.

    Args:
        method: its class; None for a control without settings.
        variant: empty for the plain method.
        dataset: the data set's name.
        modality: "video" or "audio".
    """
    fields = {field.name for field in dataclasses.fields(method.Config)} if method is not None else set()
    name = f"preset {preset.name}"
    found = [
        Layer(
            origin=name,
            method={key: value for key, value in preset.nets.items() if key in fields},
            training=preset.training,
            evaluation=preset.evaluation,
        )
    ]
    found += [
        Layer(origin=f"{name}, {dataset}", training=one.training) for one in preset.on_data if dataset in one.data
    ]
    if method is None:
        return found
    for rule in method.rules:
        if rule.holds(preset.name, variant, dataset, modality):
            where = dataset if rule.data else rule.modality
            changes = {key: value for key, value in rule.method.items() if key in fields}
            origin = ", ".join(filter(None, (f"{method.title} at {preset.name}", where)))
            training = dict(rule.training)
            if "capacity" in training:
                capacity = training["capacity"].items()
                training["capacity"] = {name: points for name, points in capacity if name in method.schedulable}
            found.append(Layer(origin=origin, method=changes, training=training))
    return [*found, Layer(origin=f"variant {variant}", method=dict(method.variants.get(variant, {})))]


def not_trained_note(preset: Preset, method: type[Method], variant: str, dataset: str, modality: str) -> str:
    """The sentence for a row that is not trained at a preset's scale on those data, "" for the others."""
    reasons = [
        rule.not_trained
        for rule in method.rules
        if rule.not_trained and rule.holds(preset.name, variant, dataset, modality)
    ]
    return f"not trained at the {preset.name} scale: {reasons[-1]}" if reasons else ""
