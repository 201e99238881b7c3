"""MoCoGAN: a content code, a category and a motion path, generated frame by frame against two discriminators.

Paper: S. Tulyakov, M.-Y. Liu, X. Yang, J. Kautz. MoCoGAN: Decomposing Motion and Content for Video
Generation. CVPR 2018.

Codes. static = z_C ~ N(0, I) (50), one a clip; dynamic = [z_A, z_M,t]: the category z_A, one-hot and uniform
over K classes, the same in every frame, followed by the motion path (10)

    h_0 ~ N(0, I),   z_M,t = h_t = GRU(e_t, h_{t-1}),   e_t ~ N(0, I)
    x_t = G([z_C, z_A, z_M,t])                                       frame by frame, a DCGAN generator

There is no encoder. Losses, with logits, non-saturating, every weight 1:

    D_I:  BCE(D_I(frame of a real clip), 1) + BCE(D_I(frame of a generated clip), 0)
    D_V:  BCE(D_V(real clip), 1) + BCE(D_V(generated clip), 0) + [category term]
    G:    BCE(D_I(generated frame), 1) + BCE(D_V(generated clip), 1) + CE(Q(generated clip), z_A)

Q is the category head on the trunk of D_V. The category term of D_V depends on the mode:

* unsupervised (the plain row): CE(Q(generated clip), z_A). This is InfoGAN's bound on I(z_A; x), which both
  the generator and Q with its trunk maximise. The released code trains Q on labels only, so that without
  labels its category loss pulls the generator towards an untrained head; that is corrected here.
* labels: CE(Q(real clip), y), as in the release. It sees motion labels and stands in no unsupervised ranking.
* no-categories: K = 0, content and motion alone.

From the paper and its release: all sizes at 64x64, the patch D_I and categorical D_V, Adam 2e-4 (0.5, 0.999)
with weight decay 1e-5, one step of each player in turn, separate real and fake passes.

Choices of this suite:
* Instance noise on the discriminators' inputs, falling linearly from 0.1 to 0 over training, and evaluation
  with a moving average (0.999, shorter at first) of the generator's weights and batch statistics: the
  "stable" preset. Variant `paper` has neither. (The release can add its noise to the input of every layer;
  here it is added to the clip only.)
* The discriminators may have a rate of their own (`discriminator_lr`); the small presets use it, since at their
  length a video discriminator of the generator's rate is right about every clip within fifty steps.
* Batches of as many images as clips (the release's default is 10 images and 3 clips). The image discriminator
  sees one random frame of each clip, real or generated; the generator's step uses one set of fresh clips for
  both terms.
* K is the number of motion classes of the data (the number alone is told, no label); 0 where there are none.
* Clips of 16 frames are hard-wired in the release; the rule for other lengths and sides is in `nets/gan.py`.
* Audio: perceptrons for frames and convolutions over time for clips, linear outputs. No paper's row.

Left open by the literature: which labels, lengths and classifier stand behind MoCoGAN's published rows on
Sprites, MUG and SM-MNIST; the weight of the category bound; the strength of the noise. A clip's frames have
no step means apart from its draws (the noise enters the recurrence), so sampling "means" gives draws.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqdis.methods import scales
from seqdis.methods.base import (
    Batch,
    Capabilities,
    Context,
    Latents,
    LogUniform,
    Method,
    Needs,
    NotForTheseData,
    Optimisation,
    Rule,
    Shape,
    Space,
    Uniform,
    default_device,
    randn,
    with_total,
)
from seqdis.methods.nets import gan

IMAGE, VIDEO, GENERATOR = "image_discriminator", "video_discriminator", "generator"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoCoGANConfig:
    """Settings of MoCoGAN.

    Attributes:
        static_dim: size of the content code z_C.
        dynamic_dim: size of the motion code z_M,t; the dynamic code is this plus the number of categories.
        width: channels of the first convolution.
        categories: how the category is learned; "none" leaves it out.
        n_categories: K, or 0 for as many as the data have motion classes.
        lr, beta1, beta2, weight_decay: Adam's settings, of all three players.
        discriminator_lr: rate of the two discriminators, if it is not `lr`; 0 is `lr`.
        noise: standard deviation of the instance noise at the first step; it falls linearly to 0.
        ema: decay of the generator's moving average that is evaluated; 0 evaluates the last weights.
        category_weight: weight of the category terms.
    """

    static_dim: int = 50
    dynamic_dim: int = 10
    width: int = 64
    categories: Literal["unsupervised", "labels", "none"] = "unsupervised"
    n_categories: int = 0
    lr: float = 2e-4
    discriminator_lr: float = 0.0
    beta1: float = 0.5
    beta2: float = 0.999
    weight_decay: float = 1e-5
    noise: float = 0.1
    ema: float = 0.999
    category_weight: float = 1.0


class Generator(nn.Module):
    """The recurrent motion net and the frame generator: what its player trains and evaluation averages."""

    def __init__(self, config: MoCoGANConfig, n_categories: int, shape: Shape) -> None:
        super().__init__()
        # A cell, not nn.GRU: its weights stay plain tensors that a moving average can hold.
        self.recurrent = nn.GRUCell(config.dynamic_dim, config.dynamic_dim)
        in_dim = config.static_dim + n_categories + config.dynamic_dim
        frame_net = gan.ImageGenerator if shape.is_video else gan.FeatureGenerator
        self.frame_net = frame_net(in_dim, shape.frame, config.width)

    def motion(self, noise: Tensor, state: Tensor) -> Tensor:
        """Motion path (B, T, D) from noise (B, T, D) and the first state (B, D)."""
        path = []
        for step in noise.unbind(1):
            state = self.recurrent(step, state)
            path.append(state)
        return torch.stack(path, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Frames (..., C, H, W) in [-1, 1], or (..., F), from frame codes (..., D)."""
        frames: Tensor = self.frame_net(z.flatten(0, -2))
        return frames.reshape(*z.shape[:-1], *frames.shape[1:])


class MoCoGAN(Method):
    """Generator against an image and a video discriminator, with an optional motion category."""

    title: ClassVar[str] = "MoCoGAN"
    paper: ClassVar[str] = (
        "Tulyakov, Liu, Yang, Kautz. MoCoGAN: Decomposing Motion and Content for Video Generation. CVPR 2018."
    )
    Config: ClassVar[type[Any]] = MoCoGANConfig
    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "labels": {"categories": "labels"},
        "no-categories": {"categories": "none"},
        "paper": {"noise": 0.0, "ema": 0.0},
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        # Found by an earlier search, 8 trials, drawn Sprites, one seed: 0.24 on validation clips, 0.10 before.
        Rule(presets=scales.SMALL, method={"lr": 4e-3, "discriminator_lr": 1e-3, "noise": 0.2}),
        # A step costs four of the others'.
        Rule(
            presets=("quick",),
            training={"steps": 600},
            not_trained="600 adversarial steps give grainy clips whose poses and colours have only begun to form; the "
            "compact preset trains seven times as long",
        ),
        Rule(presets=("compact",), training={"steps": 4200}),
        # The authors' batch; 100 epochs of Sprites are 28,100 iterations of their 100,000.
        Rule(presets=scales.PAPER, training={"batch_size": 32}),
    )
    # Its content code is drawn, not inferred, so there is no capacity to limit: noise on a draw is another draw. What can
    # be scheduled is how much the generator heeds each critic; a discriminator of one term is the same at any weight (Adam).
    schedulable: ClassVar[tuple[str, ...]] = ("adversarial_image", "adversarial_video", "category")
    space: ClassVar[Space] = {
        "method.lr": LogUniform(2e-4, 8e-3),
        "method.discriminator_lr": LogUniform(5e-5, 2e-3),
        "method.noise": Uniform(0.0, 1.0),
        "method.category_weight": LogUniform(0.1, 10.0),
        "method.static_dim": (16, 32, 50, 64),
        "method.dynamic_dim": (4, 10, 16),
    }
    players: ClassVar[tuple[str, ...]] = (IMAGE, VIDEO, GENERATOR)

    config: MoCoGANConfig

    def __init__(self, config: MoCoGANConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        if config.categories == "labels" and not shape.n_motions:
            raise NotForTheseData("MoCoGAN with motion labels needs data that have motion classes.")
        if config.categories == "labels" and config.n_categories not in (0, shape.n_motions):
            raise ValueError(
                "MoCoGAN with motion labels has one category a motion class: set n_categories to "
                f"0 or {shape.n_motions}, not {config.n_categories}."
            )
        self.n_categories = 0 if config.categories == "none" else config.n_categories or shape.n_motions
        self.generator = Generator(config, self.n_categories, shape)
        self.average = gan.WeightAverage(self.generator) if config.ema else None
        if shape.is_video:
            self.image_discriminator: nn.Module = gan.ImageDiscriminator(shape.frame, config.width)
            self.video_discriminator: nn.Module = gan.VideoDiscriminator(
                shape.frame, shape.n_frames, config.width, self.n_categories
            )
        else:
            self.image_discriminator = gan.FeatureDiscriminator(shape.frame, config.width)
            self.video_discriminator = gan.FeatureSequenceDiscriminator(
                shape.frame, shape.n_frames, config.width, self.n_categories
            )

    @classmethod
    def needs(cls, config: MoCoGANConfig) -> Needs:
        return Needs(motion_labels=config.categories == "labels")

    @classmethod
    def capabilities(cls, config: MoCoGANConfig) -> Capabilities:
        supervised = config.categories == "labels"
        return Capabilities(
            encodes=False,
            categories=config.categories,
            ranked=not supervised,
            note="no encoder: scored on what it generates"
            + ("; the video discriminator is trained on motion labels" if supervised else ""),
        )

    @classmethod
    def variant_title(cls, variant: str) -> str:
        names = {"labels": "motion labels", "no-categories": "no categories", "paper": "unstabilised"}
        return f"{cls.title} ({names.get(variant, variant)})" if variant else cls.title

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        return list(self.get_submodule(player).parameters())

    def optimisation(self, player: str) -> Optimisation:
        own = self.config.discriminator_lr if player != GENERATOR else 0.0
        return Optimisation(
            lr=own or self.config.lr,
            betas=(self.config.beta1, self.config.beta2),
            weight_decay=self.config.weight_decay,
        )

    def loss(self, batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
        """The player's terms: `adversarial_image`, `adversarial_video`, `category`, and for the
        discriminators the shares of real and generated samples they tell right (a D_V above 0.98 for long is
        the sign of a collapse)."""
        if player == IMAGE:
            return self._image_loss(batch.x, ctx)
        if player == VIDEO:
            return self._video_loss(batch, ctx)
        return self._generator_loss(len(batch.x), batch.x.shape[1], ctx)

    def _image_loss(self, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        real = self._noisy(self._to_net(_random_frame(x, ctx.generator)), ctx)
        with torch.no_grad():
            codes, _ = self._frame_codes(len(x), x.shape[1], ctx.generator)
            fake = self._noisy(self.generator(_random_frame(codes, ctx.generator)), ctx)
        on_real, on_fake = self.image_discriminator(real), self.image_discriminator(fake)
        terms = {"adversarial_image": _bce(on_real, 1) + _bce(on_fake, 0), **_shares(on_real, on_fake)}
        return with_total(terms, self._weights, ctx)

    def _video_loss(self, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        with torch.no_grad():
            codes, category = self._frame_codes(len(batch.x), batch.x.shape[1], ctx.generator)
            fake = self._noisy(self.generator(codes), ctx)
        on_real, real_classes = self.video_discriminator(self._noisy(self._to_net(batch.x), ctx))
        on_fake, fake_classes = self.video_discriminator(fake)
        terms = {"adversarial_video": _bce(on_real, 1) + _bce(on_fake, 0), **_shares(on_real, on_fake)}
        if not self.n_categories:
            return with_total(terms, self._weights, ctx)
        if self.config.categories == "labels":
            if batch.motion_labels is None:
                raise ValueError("MoCoGAN with motion labels was given a batch without them.")
            classes, target = real_classes, batch.motion_labels
        else:
            classes, target = fake_classes, category
        terms["category"] = functional.cross_entropy(classes.float(), target)
        return with_total(terms, self._weights, ctx)

    def _generator_loss(self, n: int, n_frames: int, ctx: Context) -> dict[str, Tensor]:
        codes, category = self._frame_codes(n, n_frames, ctx.generator)
        fake = self.generator(codes)
        terms = {
            "adversarial_image": _bce(self.image_discriminator(self._noisy(_random_frame(fake, ctx.generator), ctx)), 1)
        }
        on_video, classes = self.video_discriminator(self._noisy(fake, ctx))
        terms["adversarial_video"] = _bce(on_video, 1)
        if self.n_categories:
            terms["category"] = functional.cross_entropy(classes.float(), category)
        return with_total(terms, self._weights, ctx)

    @property
    def _weights(self) -> dict[str, float]:
        return {"adversarial_image": 1.0, "adversarial_video": 1.0, "category": self.config.category_weight}

    def on_step_end(self, ctx: Context) -> None:
        """Updates the average; its decay grows to the config's, so that short runs forget their start."""
        if self.average is not None:
            self.average.update(self.generator, min(self.config.ema, (1 + ctx.step) / (10 + ctx.step)))

    def _to_net(self, x: Tensor) -> Tensor:
        """The nets' range: frames in [-1, 1]. Features are normalised already."""
        return x * 2 - 1 if self.shape.is_video else x

    def _noisy(self, x: Tensor, ctx: Context) -> Tensor:
        sigma = self.config.noise * max(1 - ctx.step / max(ctx.n_steps, 1), 0.0)
        return x + sigma * randn(x.shape, ctx.generator, x.device) if sigma else x

    def _frame_codes(self, n: int, n_frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Frame codes (n, T, D) in the order content, category, motion, and the categories (n,)."""
        category = self._sample_category(n, generator)
        dynamic = self._dynamic(self.generator, category, n_frames, generator)
        return _join(self.sample_static(n, generator), dynamic), category

    def _sample_category(self, n: int, generator: torch.Generator) -> Tensor:
        drawn = torch.randint(max(self.n_categories, 1), (n,), generator=generator, device=generator.device)
        return drawn.to(default_device(self))

    def _dynamic(self, module: Generator, category: Tensor, n_frames: int, generator: torch.Generator) -> Tensor:
        n, size, device = len(category), self.config.dynamic_dim, category.device
        state = randn((n, size), generator, device)
        path = module.motion(randn((n, n_frames, size), generator, device), state)
        if not self.n_categories:
            return path
        # scatter, since one_hot may check its input on the host.
        one_hot = path.new_zeros(n, self.n_categories).scatter_(1, category[:, None], 1.0)
        return torch.cat([one_hot[:, None].expand(-1, n_frames, -1), path], 2)

    def _evaluated(self) -> Generator:
        """The moving average in eval mode if there is one, else the generator itself."""
        return self.generator if self.training or self.average is None else self.average.module

    def decode(self, latents: Latents) -> Tensor:
        frames: Tensor = self._evaluated()(_join(latents.static, latents.dynamic))
        return (frames + 1) / 2 if self.shape.is_video else frames

    def sample_static(self, n: int, generator: torch.Generator) -> Tensor:
        return randn((n, self.config.static_dim), generator, default_device(self))

    def sample_dynamic(
        self, n: int, n_frames: int, generator: torch.Generator, *, means: bool = False, category: Tensor | None = None
    ) -> Tensor:
        """(n, T, K + D) draws, the category's one-hot first.

        Args:
            means: changes nothing, see the module's docstring.
            category: (n,) categories to use instead of uniform draws.

        Raises:
            ValueError: a category is given to a model that has none.
        """
        if category is None:
            category = self._sample_category(n, generator)
        elif not self.n_categories:
            raise ValueError("this MoCoGAN has no categories to choose from")
        return self._dynamic(self._evaluated(), category.to(default_device(self)), n_frames, generator)


def _join(static: Tensor, dynamic: Tensor) -> Tensor:
    """Frame codes (B, T, Ds + Dd)."""
    return torch.cat([static[:, None].expand(-1, dynamic.shape[1], -1), dynamic], 2)


def _random_frame(x: Tensor, generator: torch.Generator) -> Tensor:
    """One uniformly drawn frame (B, ...) of each clip (B, T, ...)."""
    index = torch.randint(x.shape[1], (len(x),), generator=generator, device=generator.device).to(x.device)
    return x[torch.arange(len(x), device=x.device), index]


def _bce(logits: Tensor, target: int) -> Tensor:
    """Mean binary cross-entropy against one target for all."""
    sign = -1.0 if target else 1.0
    return functional.softplus(sign * logits.float()).mean()


def _shares(on_real: Tensor, on_fake: Tensor) -> dict[str, Tensor]:
    return {
        "accuracy_real": (on_real.detach() > 0).float().mean(),
        "accuracy_fake": (on_fake.detach() < 0).float().mean(),
    }


METHOD = MoCoGAN
