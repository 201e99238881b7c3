"""A trainer on random clips, ready to step: what steps are counted and timed on, without any data.

Clips have the shape, motions and signal of the data set that is named, as its `Spec` says; it is not opened.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from seqdis.bench.cell.build import build_method, shape_of
from seqdis.bench.cell.check.bed import ReadBacks
from seqdis.bench.cell.trainer import Trainer
from seqdis.bench.core.errors import UserError
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.settings import Layer, merged
from seqdis.bench.records.config import Precision, TrainingConfig
from seqdis.datasets.base import Source, Spec, Split

WARM_UP = 2
"""Steps, or rounds of them, that are not timed."""
COUNTED = 4
"""Clips of the batch that operations are counted on, where it is not the batch that is timed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a method is stepped.

    Attributes:
        preset: whose nets, frame size and data options.
        dataset: whose shapes.
        source: of the data set; None: the first that it has.
        size: side of frames in pixels; 0: the preset's.
        data: options of the data set; None: the preset's.
        batch_size: clips a step.
        overrides: settings of the method, over the preset's and the variant's.
        n_clips: training clips, two of each sequence.
        channels_last: whether weights of convolutions lie so.
        cuda_graph: compiled with CUDA graphs.
    """

    preset: str
    dataset: str
    batch_size: int
    device: torch.device
    precision: Precision = "float32"
    compile: bool = False
    channels_last: bool = True
    cuda_graph: bool = False
    source: Source | None = None
    size: int = 0
    data: Mapping[str, Any] | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    n_clips: int = 1024

    def spec(self) -> Spec:
        """The data set as it describes itself, unopened."""
        preset = presets.get(self.preset)
        kind = catalog.load_dataset(self.dataset)
        options = preset.data if self.data is None else self.data
        return kind.describe(self.source or kind.sources[0], self.size or preset.size, **options)


class Bed:
    """A trainer on random clips.

    Attributes:
        spec: of the data set.
        n_frames: of the clips that the method is trained on, which may be segments of the data set's.
        index: (B,) the clips that it steps on.

    Raises:
        NotApplicable: the method cannot be built for such data.
    """

    def __init__(self, ref: MethodRef, settings: Settings) -> None:
        device, batch_size = settings.device, settings.batch_size
        if settings.cuda_graph and device.type != "cuda":
            raise UserError(
                "CUDA graphs need a GPU, and this step runs on the CPU: leave the option out, or give --device cuda."
            )
        kind = catalog.load_method(ref)
        self.spec = _without_copies(settings.spec())
        layers = presets.layers(presets.get(settings.preset), kind, ref.variant, settings.dataset, self.spec.modality)
        layers.append(Layer(origin="bench perf", method=dict(settings.overrides)))
        config = merged({"method": kind.Config}, layers, {})["method"].config
        self.n_frames = (kind.needs(config).segments and self.spec.segment_frames) or self.spec.n_frames
        split = random_split(self.spec, self.n_frames, max(2 * batch_size, settings.n_clips))
        shape = shape_of(self.spec, n_frames=self.n_frames, n_train=len(split), n_sequences=split.n_sequences)
        method = build_method(kind, config, shape, seed=0, device=device, channels_last=settings.channels_last)
        training = TrainingConfig(
            steps=10**6, batch_size=batch_size, precision=settings.precision, compile=settings.compile
        )
        motions = [split.labels[factor.name] for factor in self.spec.by_role("dynamic")]
        self.trainer = Trainer(
            method, split, self.spec, training, seed=0, device=device, motion_labels=motions[0] if motions else None
        )
        if settings.cuda_graph:
            # Its graphs hold the loss and the backward pass; shapes are fixed, since partial batches are dropped.
            self.trainer.compiled = torch.compile(method.loss, mode="reduce-overhead")
        self.device = device
        # What an epoch begins with (FHVAE builds its table there) is not part of a step.
        self.index: Tensor = self.trainer.begin_epoch()[:batch_size]

    def step(self) -> None:
        """One whole training step: batch, views, loss, gradients, update."""
        self.trainer.step(self.index)

    def flops_per_frame(self) -> float:
        """Counted operations of a step's convolutions and matrix products, per frame of the batch."""
        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops() / (len(self.index) * self.n_frames)

    def values_read_back(self) -> int:
        """How often a step copies a value to the host."""
        with ReadBacks() as seen:
            self.step()
        return len(seen.operations)

    def parts(self, rounds: int) -> dict[str, float]:
        """Median seconds of a step's parts, each timed alone: batch with its views, forward, backward, update."""
        trainer, method = self.trainer, self.trainer.method
        found: dict[str, list[float]] = {"batch": [], "forward": [], "backward": [], "update": []}
        for _ in range(WARM_UP + rounds):
            start = now(self.device)
            batch = trainer.batch(self.index)
            at = now(self.device)
            found["batch"].append(at - start)
            spent = dict.fromkeys(("forward", "backward", "update"), 0.0)
            for player in method.players:
                start = now(self.device)
                total = trainer.losses(batch, player, trainer.context())["total"]
                middle = now(self.device)
                trainer.backward(player, total)
                end = now(self.device)
                trainer.update(player)
                spent["forward"] += middle - start
                spent["backward"] += end - middle
                spent["update"] += now(self.device) - end
            for name, seconds in spent.items():
                found[name].append(seconds)
        method.zero_grad(set_to_none=True)
        return {name: statistics.median(values[WARM_UP:]) for name, values in found.items()}


def _without_copies(spec: Spec) -> Spec:
    """Voices are shifted in the step, since random speech has no prepared copies in another voice."""
    augment = dataclasses.replace(spec.augment, audio="vtlp" if spec.augment.audio else "")
    return dataclasses.replace(spec, augment=augment)


def random_split(spec: Spec, n_frames: int, n_clips: int) -> Split:
    """Random clips in the resident format (uint8 video, float16 audio): two of each sequence. Never zeros."""
    generator = torch.Generator().manual_seed(0)
    shape = (n_clips, n_frames, *spec.frame)
    x = (
        torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        if spec.modality == "video"
        else torch.randn(shape, generator=generator).half()
    )
    number = torch.arange(n_clips)
    return Split(
        x,
        {factor.name: number % factor.n_classes for factor in spec.by_role("dynamic")},
        number // 2,
        sequence=number // 2,
        signal=_random_signal(spec, (n_clips, n_frames), generator),
    )


def _random_signal(spec: Spec, clips_and_frames: tuple[int, int], generator: torch.Generator) -> Tensor | None:
    if spec.signal is None:
        return None
    shape = (*clips_and_frames, spec.signal.dim)
    if spec.signal.kind == "multilabel":
        return torch.randint(0, 2, shape, generator=generator).float()
    return torch.randn(shape, generator=generator)


def now(device: torch.device) -> float:
    """The clock when all work given to the device so far is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory_bytes(device: torch.device) -> int:
    """Most that this process has held: of the GPU's memory, as torch allocated it, or of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
