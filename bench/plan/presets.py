"""Presets: how large, how long, on which data. They count optimiser steps, never seconds. No torch here.

`quick` shows the whole job on a laptop CPU in minutes, on generated stand-ins by default; `demo` trains the same
nets for several minutes a cell; `paper` is the papers' scale on real data. The weights of quick and demo are not the
published ones and are printed with their tables: at this scale the published 1/1/1 puts all motion into the static
code.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from seqdis.bench.core.errors import unknown_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a method is trained.

    Attributes:
        steps: optimiser steps; 0 means `epochs` decides.
        epochs: passes over the training clips, if `steps` is 0.
        batch_size: clips a step (the last, smaller batch of an epoch is dropped).
        schedule: `constant`, or `cosine` down to `final_lr` times the rate.
        precision: `float32`, `tf32` or `bfloat16` (autocast around the loss).
        compile: run the loss through torch.compile.
        validations: how often the judge scores the validation clips, evenly spaced, the last at the end.
        patience: stop after so many validations without a better score; 0 never stops early.
        log_every: steps between two logged losses (each one synchronises once).
        clip_norm: gradient-norm ceiling; 0 is none.
    """

    steps: int = 0
    epochs: int = 100
    batch_size: int = 128
    schedule: Literal["constant", "cosine"] = "constant"
    final_lr: float = 0.05
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    compile: bool = False
    validations: int = 20
    patience: int = 0
    log_every: int = 50
    clip_norm: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """A named scale.

    `method` (sizes of nets) applies to every method that has the setting; `objective` (rates and weights) only to the
    family that shares the sequential VAE's backbone and objective, `by_dataset` and `rates` are that family's by data
    set; `by_method` to the method named. A method outside of that family keeps its own paper's rates and weights unless
    it is named.
    `not_trained` names rows, as typed, that this scale does not train, and why; their records and tables say so.
    `not_trained_on` names such rows by data set, and goes before it.
    """

    name: str
    text: str
    source: Literal["real", "synthetic"]
    seeds: int
    size: int
    training: dict[str, Any]
    method: dict[str, Any] = dataclasses.field(default_factory=dict)
    objective: dict[str, Any] = dataclasses.field(default_factory=dict)
    by_dataset: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    by_method: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    by_method_and_dataset: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    training_by_method: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    training_by_dataset: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    rates: dict[str, float] = dataclasses.field(default_factory=dict)
    evaluation: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    not_trained: dict[str, str] = dataclasses.field(default_factory=dict)
    not_trained_on: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    needs_gpu: bool = False


# Narrow nets for 32x32 frames; the weights move motion out of the static code at this scale.
_SMALL_NETS = {"width": 16, "embedding_dim": 128, "hidden_dim": 64}
_SMALL_OBJECTIVE = {
    "static_dim": 32,
    "dynamic_dim": 4,
    "lr": 5e-3,
    "recon_weight": 10.0,
    "recon_frames": 4,
    "kl_static_weight": 5.0,
    "kl_dynamic_weight": 0.3,
}

# Drawn digits, one seed, 250 validation clips: of 13 trials of DSVAE (nine of 300 to 1000 steps, to see what ends its first
# plateau; four of 2400 to 5000) these settings rebuilt most pairs of digits, 10 % after 2500 steps. At this scale the score
# that chooses weights stays at its floor and would take the earliest ones, so it is asked once, at the end.
_MOVING_DIGITS = ("smmnist", "smmnist-10k")
_DIGITS_OBJECTIVE = {"dynamic_dim": 16, "init": "framework", "kl_static_weight": 0.5, "kl_dynamic_weight": 0.3}

_BLURRED = (
    "at this scale digits are put where they are, too blurred to be told apart: pairs are judged right hardly more often "
    "than by a constant guess, in reconstructions as in swaps"
)
_NOT_TRAINED_ON_DIGITS = dict.fromkeys(("dsvae", "cdsvae", "s3vae", "rwae", "fhvae", "autoencoder"), _BLURRED)

# Small corpora need no hierarchical sampling, and a code of 20 frames of speech holds more than one of a few small images.
_SPEECH_FHVAE = {"nmu2": 0, "dynamic_dim": 8, "kl_static_weight": 5.0, "kl_dynamic_weight": 0.15}

# What the settings rest on: for each method, bench tune --methods METHOD --dataset sprites --trials 8 (drawn Sprites, one
# seed, scored on validation clips). Best score of the seven draws, and that of the settings which were there before:
# dsvae 0.78, 0.81; rwae 0.62, 0.68; cdsvae 0.61, 0.69; fhvae 0.39, 0.37: kept, since seeds differ by more than 0.02.
# s3vae 0.79, 0.59; mocogan 0.24, 0.10: the draw is used.
QUICK = Preset(
    name="quick",
    text="32x32 frames, narrow nets, one to four minutes a cell on one CPU core; generated stand-ins unless --source real",
    source="synthetic",
    seeds=1,
    size=32,
    training={"steps": 1500, "batch_size": 16, "schedule": "cosine", "validations": 5, "log_every": 25},
    method=_SMALL_NETS,
    objective=_SMALL_OBJECTIVE,
    by_dataset=dict.fromkeys(_MOVING_DIGITS, _DIGITS_OBJECTIVE),
    by_method={
        # The port's units multiply every weight by 2T; these are in the units of a sum over time, like the others'.
        "s3vae": {
            "units": "sum",
            "triplet_weight": 100.0,
            "prediction_weight": 10.0,
            "lr": 3e-3,
            "recon_weight": 5.0,
            "kl_static_weight": 8.0,
            "kl_dynamic_weight": 0.15,
        },
        "rwae": {"static_penalty_weight": 300.0, "dynamic_penalty_weight": 40.0},
        "mocogan": {"lr": 4e-3, "discriminator_lr": 1e-3, "noise": 0.2},
        # The table of sequence means is rebuilt every 50 steps from 400 sequences: a row a sequence would be seen twice.
        "fhvae": {
            "static_dim": 32,
            "dynamic_dim": 4,
            "lr": 5e-3,
            "recon_weight": 10.0,
            "nmu2": 400,
            "kl_static_weight": 1.0,
            "kl_dynamic_weight": 0.5,
        },
        # A control must be able to hold the whole clip in either code.
        "autoencoder": {"dynamic_dim": 32},
    },
    by_method_and_dataset={
        **{("fhvae", name): _SPEECH_FHVAE for name in ("timit", "speech", "fsdd-mini", "librispeech-mini")},
        **{("s3vae", name): {"recon_weight": 10.0, **_DIGITS_OBJECTIVE} for name in _MOVING_DIGITS},
        **{("autoencoder", name): {"lr": 5e-3, "recon_weight": 10.0} for name in _MOVING_DIGITS},
    },
    # A MoCoGAN step costs four of the others', an FHVAE step (half clips) half of one.
    training_by_method={"mocogan": {"steps": 600}, "fhvae": {"steps": 2000}},
    training_by_dataset={name: {"steps": 2000, "validations": 1} for name in _MOVING_DIGITS},
    evaluation={"draws": 5},
    not_trained={
        "mocogan": "600 adversarial steps give grainy clips whose poses and colours have only begun to form; the "
        "demo preset trains five times as long"
    },
    not_trained_on=dict.fromkeys(_MOVING_DIGITS, _NOT_TRAINED_ON_DIGITS),
)
DEMO = dataclasses.replace(
    QUICK,
    name="demo",
    text="the quick preset's nets and data, five times the steps: several minutes a cell",
    seeds=1,
    training={**QUICK.training, "steps": 7500, "validations": 10, "log_every": 100},
    training_by_method={"mocogan": {"steps": 3000}, "fhvae": {"steps": 10000}},
    training_by_dataset={name: {"steps": 10_000, "validations": 1} for name in _MOVING_DIGITS},
    not_trained={},
    not_trained_on={},
)
PAPER = Preset(
    name="paper",
    text="the papers' nets and sizes on real data: 64x64, batch 128, 100 epochs as the released script",
    source="real",
    seeds=5,
    size=64,
    training={"epochs": 100, "batch_size": 128, "validations": 20, "log_every": 50},
    training_by_dataset={"timit": {"batch_size": 256}},
    # The authors' batch; 100 epochs of Sprites are 28,100 iterations of their 100,000.
    training_by_method={"mocogan": {"batch_size": 32}},
    rates={"sprites": 1.5e-3},
    evaluation={"draws": 10},
    needs_gpu=True,
)
PAPER_LONG = dataclasses.replace(
    PAPER,
    name="paper-long",
    text="the paper preset trained to the validation plateau, at most 1000 epochs",
    training={**PAPER.training, "epochs": 1000, "validations": 100, "patience": 15},
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in (QUICK, DEMO, PAPER, PAPER_LONG)}


def get(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UserError: there is none.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS, "bench list presets")
    return PRESETS[name]


def not_trained_note(preset: Preset, method: str, variant: str, dataset: str) -> str:
    """The sentence for a row that the preset does not train on those data, "" for the others.

    A variant shares its method's fate, unless it is named itself.
    """
    known = {**preset.not_trained, **preset.not_trained_on.get(dataset, {})}
    why = known.get(f"{method}:{variant}") or known.get(method)
    return f"not trained at the {preset.name} scale: {why}" if why else ""


def method_settings(preset: Preset, method: str, dataset: str, config: type[Any]) -> dict[str, Any]:
    """What the preset changes of a method's defaults; general settings only where its config has them.

    Args:
        preset: whose settings.
        method: its name.
        dataset: the data set's name.
        config: the method's config class; one that has `BACKBONE = True` shares the sequential VAE's objective.
    """
    fields = {field.name for field in dataclasses.fields(config)}
    general = dict(preset.method)
    if getattr(config, "BACKBONE", False):
        general |= {**preset.objective, **preset.by_dataset.get(dataset, {})}
        if dataset in preset.rates:
            general["lr"] = preset.rates[dataset]
    own = {**preset.by_method.get(method, {}), **preset.by_method_and_dataset.get((method, dataset), {})}
    return {**{key: value for key, value in general.items() if key in fields}, **own}


def training_settings(preset: Preset, method: str, dataset: str) -> dict[str, Any]:
    """What the preset changes of the training defaults, the method's own last."""
    return {
        **preset.training,
        **preset.training_by_dataset.get(dataset, {}),
        **preset.training_by_method.get(method, {}),
    }
