"""The contract of a method: what the trainer gives it, what it must answer, and what it may leave out.

Shape legend: B batch, T frames, C, H, W image, F features, D latent size; video is (B, T, C, H, W) in [0, 1],
audio (B, T, F) normalised features.

A method is one file with one `Method` subclass and one frozen `Config` whose defaults are the paper's. It knows no
data set, file, judge, trainer or device, and imports nothing of the suite but this module, `estimators` and `nets`.

Names of the codes, here and in the papers: `static` is s (C-DSVAE, R-WAE), f (DSVAE), z_f (S3VAE), mu_2 (FHVAE),
z_C (MoCoGAN); `dynamic` is z_1:T (DSVAE, S3VAE, C-DSVAE, R-WAE), z_1 (FHVAE, one a segment), z_A and z_M (MoCoGAN).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn


class NotForTheseData(ValueError):
    """Raised when a method is built for data that it has no answer for. The message is the reason that tables print."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignalShape:
    """A free per-frame signal, (B, T, dim): `multilabel` in {0, 1} (cells that move) or `regression` (distances)."""

    dim: int
    kind: Literal["multilabel", "regression"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """All that a method may know of the data.

    Attributes:
        frame: (C, H, W) for video, (F,) for audio.
        n_frames: T of the clips it is trained on.
        n_train: N, the number of training clips (minibatch-weighted sampling needs it).
        n_sequences: number of distinct training sequences, the range of `Batch.sequence` (FHVAE's table).
        n_motions: number of motion classes, 0 if the data have none (MoCoGAN's categories).
        signal: what `Batch.signal` holds, if the data have one.
    """

    frame: tuple[int, ...]
    n_frames: int
    n_train: int
    n_sequences: int = 0
    n_motions: int = 0
    signal: SignalShape | None = None

    @property
    def is_video(self) -> bool:
        return len(self.frame) == 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method's loss reads beside x. What is not asked for is not made.

    `segments` asks for training clips that are cut from longer sequences, at least two of each (FHVAE).
    `signal` and `motion_labels` are extra supervision; the record says so.
    """

    content_view: bool = False
    motion_view: bool = False
    signal: bool = False
    motion_labels: bool = False
    segments: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a method can do at evaluation.

    Attributes:
        encodes: it infers codes from a clip. Without, only the protocols that generate are run.
        categories: its dynamic code has a category: none, found without labels, or set by training labels.
        ranked: it stands in unsupervised rankings.
        note: printed beside its row, such as a documented departure that a reader must know.
    """

    encodes: bool = True
    categories: Literal["none", "unsupervised", "labels"] = "none"
    ranked: bool = True
    note: str = ""


@dataclasses.dataclass(kw_only=True)
class Batch:
    """One training batch, on the device.

    Attributes:
        x: (B, T, C, H, W) in [0, 1], or (B, T, F).
        index: (B,) position of each clip in the training split.
        sequence: (B,) index of the sequence each clip is cut from, in [0, n_sequences).
        n_segments: (B,) number of training clips cut from that sequence.
        content_view: (B, T) a frame permutation a clip: the time-shuffled (or reversed) clip is
            `x.gather`-ed by it, and frame-wise embeddings may be permuted instead of computed again.
        motion_view: like x, the clip with its content changed and its motion kept.
        signal: (B, T, K).
        motion_labels: (B,) motion class.
    """

    x: Tensor
    index: Tensor
    sequence: Tensor
    n_segments: Tensor
    content_view: Tensor | None = None
    motion_view: Tensor | None = None
    signal: Tensor | None = None
    motion_labels: Tensor | None = None


@dataclasses.dataclass(kw_only=True)
class Context:
    """Where training stands. `generator` is on the batch's device and seeded from (seed, step): draw from it only.

    `segments(sequences)` iterates over batches holding every training clip of the given sequences (M,), in order
    (for methods that rebuild a table between epochs); `Batch.x`, `sequence`, `n_segments` and `index` are set.

    `capacity` is what the capacity schedule has at this step, by the names of `Method.schedulable`: `with_total` and
    `noisy` apply it and note in `applied` what they did. The trainer refuses a schedule that nobody applies.
    """

    n_train: int
    step: int
    epoch: int
    n_steps: int
    generator: torch.Generator
    segments: Callable[[Tensor], Iterator[Batch]] | None = None
    capacity: Mapping[str, float] = dataclasses.field(default_factory=dict)
    applied: set[str] = dataclasses.field(default_factory=set)

    def noisy(self, code: Literal["static", "dynamic"], sample: Tensor) -> Tensor:
        """Samples of a code (B, ...) as the loss reads them: with the noise that the capacity schedule has for it now."""
        name = f"noise_{code}"
        self.applied.add(name)
        deviation = self.capacity.get(name)
        if not deviation:
            return sample
        return sample + deviation * randn(sample.shape, self.generator, sample.device, sample.dtype)


@dataclasses.dataclass(kw_only=True)
class Latents:
    """Codes of B clips: `static` (B, Ds) and `dynamic` (B, T, Dd), or (B, S, Dd) where one code covers a segment.

    `n_frames` is set only where segments do not tell the length of the clips: what `decode` shall return then.
    """

    static: Tensor
    dynamic: Tensor
    n_frames: int | None = None

    def __getitem__(self, index: Any) -> Latents:
        return Latents(static=self.static[index], dynamic=self.dynamic[index], n_frames=self.n_frames)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimisation:
    """Adam's settings for one player."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0


@dataclasses.dataclass(frozen=True)
class Uniform:
    """A range of a setting that is searched: values from `low` to `high`, every one as likely.

    Of a setting that counts, both bounds and the values between them are whole.
    """

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class LogUniform(Uniform):
    """A range of positive values, every factor as likely: for rates, weights and sizes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ramp:
    """Capacity schedules to search, of one shape and one time: each name of `schedulable` has its start up to progress
    `hold`, and from there to `hold` + `rise` goes to what it is without a schedule (a factor of 1, no noise).

    Attributes:
        hold, rise: shares of training.
        start: factors, or deviations of noise, to try of each name.
    """

    hold: tuple[float, ...] | Uniform
    rise: tuple[float, ...] | Uniform
    start: Mapping[str, tuple[float, ...] | Uniform]


Space = Mapping[str, tuple[Any, ...] | Uniform | Ramp]
"""Settings ("method.lr", "training.batch_size") and what is searched of each: the values to try, or a range; of
"training.capacity" a `Ramp`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What a method changes of its defaults and of a preset, at some scales and on some data.

    The defaults of `Config` are the paper's. What a smaller scale needs stands in the method's own file, so that a file
    outside of the suite has the same rights as ours. Rules apply in their order, the later one wins; a subclass that adds
    rules writes `rules = (*Parent.rules, Rule(...))`. `bench describe METHOD --preset P --dataset D` shows what comes out.

    Attributes:
        presets: names of the presets that it holds for.
        data: names of the data sets that it holds for; empty for all.
        modality: "video" or "audio"; empty for both.
        variants: of the method; empty for all, "" is the plain one.
        method: changes to the method's config; settings that a subclass's config lacks are passed over.
        training: changes to the preset's training, such as `steps` or `batch_size`; of `capacity`, names that are not
            in a subclass's `schedulable` are passed over.
        not_trained: why rows are not trained at this scale, one sentence without an end; records and tables print it.
    """

    presets: tuple[str, ...]
    data: tuple[str, ...] = ()
    modality: Literal["", "video", "audio"] = ""
    variants: tuple[str, ...] = ()
    method: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    not_trained: str = ""

    def holds(self, preset: str, variant: str, data: str, modality: str) -> bool:
        """Whether it applies to a row."""
        wanted = ((self.presets, preset), (self.data, data), (self.variants, variant))
        return all(not names or name in names for names, name in wanted) and self.modality in ("", modality)


class Method(nn.Module):
    """Base class of every method. A subclass sets the class attributes and implements the abstract methods.

    Class attributes:
        title: as printed in tables.
        paper: the reference, one line.
        Config: frozen dataclass; its defaults are the paper's; it holds `lr`, and `static_dim`, `dynamic_dim`,
            `width` (channels of the first convolution), `embedding_dim` (g), `hidden_dim` where it has them.
        variants: name -> changes to the config's defaults. The empty name is not listed: it is the plain method.
        rules: what it changes at a scale, see `Rule`.
        schedulable: what a capacity schedule (`--set training.capacity.NAME=...`) may change: names of loss terms, whose
            weights it multiplies, and `noise_static`, `noise_dynamic` where the loss passes that code's samples through
            `Context.noisy`.
        space: what `bench tune` searches, see `Space`.
        players: parameter groups that take turns in each step, in order. VAEs have one. An instance may set its
            own, where the config decides.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    Config: ClassVar[type[Any]]
    variants: ClassVar[dict[str, dict[str, Any]]] = {}
    rules: ClassVar[tuple[Rule, ...]] = ()
    schedulable: ClassVar[tuple[str, ...]] = ()
    space: ClassVar[Space] = {}
    players: ClassVar[tuple[str, ...]] = ("model",)

    # Categories in the dynamic code. With any, `sample_dynamic` also takes `category`, (n,) of them.
    n_categories: int = 0

    def __init__(self, config: Any, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape

    @classmethod
    def needs(cls, config: Any) -> Needs:
        """What the loss reads under this config."""
        return Needs()

    @classmethod
    def capabilities(cls, config: Any) -> Capabilities:
        """What the method can do under this config."""
        return Capabilities()

    @classmethod
    def variant_title(cls, variant: str) -> str:
        """The row's name in tables; a subclass may say it better than 'C-DSVAE (no-content-aug)'."""
        return f"{cls.title} ({variant})" if variant else cls.title

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        """The parameters that `player`'s step updates. All of them for a method with one player."""
        return list(self.parameters())

    def optimisation(self, player: str) -> Optimisation:
        """Adam's settings for `player`; the trainer multiplies the rate by its schedule."""
        return Optimisation(lr=self.config.lr)

    def loss(self, batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
        """Loss terms of `player` as scalars: "total" is what is minimised, the others are logged (detached or not).

        Terms are sums over time, pixels and dimensions, means over the batch, in nats where they are nats. Names:
        `recon`, `kl_static`, `kl_dynamic`, `mi_static`, `mi_dynamic`, `mi_cross`, `contrastive_static`,
        `contrastive_dynamic`, or the method's own. No host synchronisation here.
        """
        raise NotImplementedError

    def on_step_end(self, ctx: Context) -> None:
        """Called after every player has stepped (a moving average of weights, say)."""

    def on_epoch(self, ctx: Context) -> Tensor | None:
        """Called before each epoch. May return the sequences (M,) that the epoch's batches are drawn from."""
        return None

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Latents:
        """Codes of clips `x`: posterior means, or draws if a generator is given."""
        raise NotImplementedError(f"{type(self).__name__} has no encoder")

    def decode(self, latents: Latents) -> Tensor:
        """Clips (B, T, C, H, W) in [0, 1], or (B, T, F), from codes: the mean of p(x | s, z)."""
        raise NotImplementedError

    def sample_static(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, Ds) draws from the static prior, on the parameters' device wherever the generator is."""
        raise NotImplementedError

    def sample_dynamic(self, n: int, n_frames: int, generator: torch.Generator, *, means: bool = False) -> Tensor:
        """(n, T, Dd) draws from the dynamic prior, or (n, S, Dd) for `n_frames` frames; as for `sample_static`.

        Args:
            means: give the step means of a roll on drawn values, as the official C-DSVAE code does.
        """
        raise NotImplementedError

    def pool(self, latents: Latents) -> tuple[Tensor, Tensor]:
        """One static vector (Ds,) and one dynamic vector (Dd,) for all B segments of one sequence: their means."""
        return latents.static.mean(0), latents.dynamic.flatten(0, 1).mean(0)


def with_total(terms: dict[str, Tensor], weights: Mapping[str, float], ctx: Context) -> dict[str, Tensor]:
    """The terms and their weighted sum, `total`, each weight times the factor that the capacity schedule has for it now.

    A term without a weight, or of weight 0, is logged only.

    Raises:
        ValueError: a term is no scalar.
    """
    for name, value in terms.items():
        if value.dim():
            raise ValueError(f"loss term {name} has shape {tuple(value.shape)}, not that of a scalar")
    weighted = {name: weights[name] for name in terms if weights.get(name)}
    ctx.applied.update(weighted)
    parts = [weight * ctx.capacity.get(name, 1.0) * terms[name] for name, weight in weighted.items()]
    return {"total": torch.stack(parts).sum(), **terms}


def required(value: Tensor | None, name: str) -> Tensor:
    """A field of `Batch` that the method's `needs` asked for.

    Raises:
        ValueError: the trainer did not make it.
    """
    if value is None:
        raise ValueError(f"the batch has no {name}, which this method's needs() asks for")
    return value


def randn(
    size: tuple[int, ...] | torch.Size,
    generator: torch.Generator,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Standard normal draws on `device`, made where the generator is: one on the CPU gives the same on any device."""
    return torch.randn(size, generator=generator, device=generator.device, dtype=dtype).to(device)


def default_device(module: nn.Module) -> torch.device:
    """The device of a module's first parameter."""
    return next(module.parameters()).device
