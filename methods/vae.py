"""The model that DSVAE, S3VAE, R-WAE and C-DSVAE share: a static code, a code a frame, a learned prior.

    p(x, s, z) = p(s) prod_t p(z_t | z_<t) p(x_t | s, z_t)        (DSVAE; C-DSVAE eq. 1)
    q(s, z | x) = q(s | x_1:T) prod_t q(z_t | ...)                (C-DSVAE eq. 2), z independent of s given x

p(s) is N(0, I); the prior of z_t and both posteriors are diagonal Gaussians of recurrent networks. The
prior is teacher-forced with posterior samples in training, and fed its own draws when it generates. Each
method adds its terms to those of `elbo` and does only the work that its loss reads: a view of other frames
goes through the frame encoder only, a view that reorders the same frames permutes their embeddings, which
is exact because the encoder works frame by frame and batch statistics do not depend on order.

Shape legend: B clips, T frames, g embedding, Ds static, Dd dynamic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from seqdis.methods import estimators, scales
from seqdis.methods.base import (
    Context,
    Latents,
    LogUniform,
    Method,
    Ramp,
    Rule,
    Shape,
    Space,
    Uniform,
    default_device,
    randn,
)
from seqdis.methods.estimators import CrossReduction
from seqdis.methods.nets import (
    DecoderKind,
    DynamicKind,
    DynamicPosterior,
    Gaussian,
    LstmPrior,
    StaticPosterior,
    frame_nets,
    init_normal,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """Networks of the shared model and their reconstruction.

    Where the C-DSVAE paper and its released code differ, both can be had.

    Attributes:
        lr: Adam's rate; the paper's 1.5e-3 is for Sprites, 1e-3 for the rest.
        static_dim: Ds; 256 and 32 are the released Sprites values, also used where none were published.
        dynamic_dim: Dd.
        width: channels of the first convolution; a quarter of the audio perceptrons' hidden size.
        embedding_dim: g.
        hidden_dim: units of every recurrent layer.
        recon_weight: of the sum of squared errors over pixels and frames.
        recon_frames: reconstruct so many frames of each clip, drawn anew each step, and scale the error by
            T / recon_frames (unbiased). 0 is all.
        dynamic_posterior: `causal` (one LSTM call, ours), `nested` (the paper's sampling) or `rnn_bilstm` (the
            released code's).
        leaky_heads: LeakyReLU on q(s)'s mean and log-variance, as released.
        prior_layers: the released code stacks 2, the paper names 1.
        decoder: `transposed` (released) or `upsample` (a reading of the paper's channel list).
        init: `normal` draws convolution and linear weights with standard deviation 0.01, as released;
            `framework` leaves them to torch.
    """

    lr: float = 1e-3
    static_dim: int = 256
    dynamic_dim: int = 32
    width: int = 64
    embedding_dim: int = 128
    hidden_dim: int = 256
    recon_weight: float = 1.0
    recon_frames: int = 0
    dynamic_posterior: DynamicKind = "causal"
    leaky_heads: bool = False
    prior_layers: int = 2
    decoder: DecoderKind = "transposed"
    init: Literal["normal", "framework"] = "normal"


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEConfig(BackboneConfig):
    """Settings of the evidence lower bound, and of mutual information by minibatch-weighted sampling (MWS).

    Attributes:
        kl_static_weight: of KL(q(s|x) || p(s)).
        kl_dynamic_weight: of the sum over t of KL(q(z_t) || p(z_t | z_<t)), one trajectory.
        mws_reduction: over frames of I(s; z_t): `mean` (released), `sum`, or the `trajectory`.
        mws_dynamic: I(z; x) of the whole `trajectory`, or the `sum` over frames that the released code logs.
        mws_logvar_bug: take log-variances for log standard deviations in I(s; z), as the released code does.
        mws_relu: clamp I(s; z) with its log N offset at zero, sample by sample, as released.
        log_information: log the MWS estimates even if no term of the loss reads them.
    """

    kl_static_weight: float = 1.0
    kl_dynamic_weight: float = 1.0
    mws_reduction: CrossReduction = "mean"
    mws_dynamic: Literal["trajectory", "sum"] = "trajectory"
    mws_logvar_bug: bool = False
    mws_relu: bool = False
    log_information: bool = False


@dataclasses.dataclass(kw_only=True)
class Inference:
    """Posteriors of a batch and their samples; means of views, where a view was given.

    Attributes:
        static: q(s | x), (B, Ds).
        dynamic: q(z_t | ...), (B, T, Dd).
        s: (B, Ds), a sample, or the mean.
        z: (B, T, Dd), likewise.
        content_mean: (B, Ds), the static mean of the content view.
        motion_mean: (B, T, Dd), the dynamic means of the motion view.
    """

    static: Gaussian
    dynamic: Gaussian
    s: Tensor
    z: Tensor
    content_mean: Tensor | None = None
    motion_mean: Tensor | None = None


# Drawn digits, one seed, 250 validation clips: of 13 trials of DSVAE (nine of 300 to 1000 steps, to see what ends its first
# plateau; four of 2400 to 5000) these settings rebuilt most pairs of digits, 10 % after 2500 steps.
SMALL_DIGITS = {
    "static_dim": 32,
    "dynamic_dim": 16,
    "init": "framework",
    "kl_static_weight": 0.5,
    "kl_dynamic_weight": 0.3,
}
DIGITS = (
    Rule(presets=scales.SMALL, data=scales.MOVING_DIGITS, method=SMALL_DIGITS, training={"capacity": {}}),
    Rule(presets=("quick",), data=scales.MOVING_DIGITS, not_trained=scales.BLURRED_DIGITS),
)
"""Of the shared model on moving digits; a class that adds rules for all videos puts these after them."""


def opened_late(hold: float, until: float, *, static: float = 20.0, dynamic: float = 0.1) -> dict[str, Any]:
    """A capacity schedule that lets z learn the motion first: KL_s times `static` and KL_z times `dynamic` until `hold`,
    then both falling or rising to 1 at `until`.

    What s holds early z never learns: at small scales the two divergences at constant weights put motion into s.
    """
    return {"kl_static": ((hold, static), (until, 1.0)), "kl_dynamic": ((hold, dynamic), (until, 1.0))}


def squeezed_then_opened(opened: float = 0.5) -> dict[str, Any]:
    """A capacity schedule in four acts, for KL_s of weight 1 and KL_z of weight 5 beside a `recon_weight` of 10:

    1. s is closed (KL_s times 2000: its divergence is 0) and z is cheap: it learns the motion, and some of the appearance.
    2. s is still closed and z gets dear in steps, 4 to 120 times its weight: appearance, which is worth less a nat than
       motion, leaves z. In steps, since a motion is cheap only once the prior has learnt to copy it from frame to frame.
    3. s opens, and z's price falls at the same moment: appearance goes where it is cheap, and nothing pays for moving motion.
    4. Both at their weights.

    Prices in between go wrong: KL_s times 20 or 100 does not close s, KL_z of 20 lets appearance stay, and a z that is dear
    when s opens gives s the motion.

    Args:
        opened: progress at which s opens.
    """
    prices = ((0.3, 1.0), (0.44, 4.0), (0.58, 12.0), (0.72, 30.0), (0.86, 60.0), (1.0, 120.0))
    dynamic: list[tuple[float, float]] = []
    begins = 0.0
    for until, price in prices:
        dynamic += [(round(opened * begins, 4), price), (round(opened * until, 4), price)]
        begins = until + 0.02
    after = round(opened + 0.005, 4)
    return {"kl_static": ((opened, 2000.0), (after, 1.0)), "kl_dynamic": (*dynamic, (after, 1.0))}


SQUEEZED = Rule(
    presets=("compact",),
    data=("sprites",),
    method={"recon_weight": 10.0, "kl_static_weight": 1.0, "kl_dynamic_weight": 5.0, "lr": 5e-3},
    training={"capacity": squeezed_then_opened()},
)
"""Of the shared model on Sprites, whose prices it was found for: others' frames, clips and motions are worth other prices."""


def permute_frames(features: Tensor, order: Tensor) -> Tensor:
    """The frames of each clip (B, T, ...) that (B, K) names, in that order: (B, K, ...)."""
    return features[torch.arange(len(features), device=features.device)[:, None], order]


def reconstruction_error(
    x: Tensor, codes: Tensor, decoder: Callable[[Tensor], Tensor], n_chosen: int, generator: torch.Generator
) -> Tensor:
    """Sum of squared errors a clip, mean over the batch.

    Args:
        x: (B, T, ...).
        codes: (B, T, D), what each frame is decoded from.
        decoder: frames from codes.
        n_chosen: decode so many frames of each clip, drawn without replacement, and scale the error by T /
            n_chosen
            (unbiased). 0 decodes all.
        generator: draws them.
    """
    n_frames = x.shape[1]
    if 0 < n_chosen < n_frames:
        chosen = torch.rand(x.shape[:2], generator=generator, device=x.device).argsort(dim=1)[:, :n_chosen]
        x, codes = permute_frames(x, chosen), permute_frames(codes, chosen)
    return estimators.squared_error(x, decoder(codes)) * (n_frames / x.shape[1])


class SequentialModel(Method):
    """The shared networks and codes, without an objective."""

    schedulable: ClassVar[tuple[str, ...]] = ("recon", "noise_static", "noise_dynamic")
    # At this scale the published 1/1/1 puts all motion into the static code.
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            presets=scales.SMALL,
            method={
                "static_dim": 32,
                "dynamic_dim": 4,
                "lr": 5e-3,
                "recon_weight": 10.0,
                "recon_frames": 4,
                "kl_static_weight": 5.0,
                "kl_dynamic_weight": 0.3,
            },
        ),
        *DIGITS,
        Rule(presets=scales.PAPER, data=("sprites",), method={"lr": 1.5e-3}),
    )
    config: BackboneConfig

    def __init__(self, config: Any, shape: Shape) -> None:
        super().__init__(config, shape)
        self.frame_encoder, self.frame_decoder = frame_nets(
            shape, config.width, config.embedding_dim, self.frame_code_dim, config.decoder
        )
        self.static_posterior = StaticPosterior(
            config.embedding_dim, config.hidden_dim, config.static_dim, config.leaky_heads
        )
        reads_states = config.dynamic_posterior == "rnn_bilstm"
        self.dynamic_posterior = DynamicPosterior(
            2 * config.hidden_dim if reads_states else config.embedding_dim,
            config.hidden_dim,
            config.dynamic_dim,
            config.dynamic_posterior,
        )
        self.prior = LstmPrior(config.dynamic_dim, config.hidden_dim, config.prior_layers)
        if config.init == "normal":
            init_normal(self)

    @property
    def frame_code_dim(self) -> int:
        """Size of what one frame is decoded from."""
        return self.config.static_dim + self.config.dynamic_dim

    def embed(self, x: Tensor, *, update_statistics: bool = True) -> Tensor:
        """Frame embeddings (B, T, g), normalised by the statistics of x; see `nets.BatchNorm`."""
        features: Tensor = self.frame_encoder(x, update_statistics)
        return features

    def infer(
        self,
        features: Tensor,
        generator: torch.Generator | None = None,
        *,
        content: Tensor | None = None,
        motion: Tensor | None = None,
    ) -> Inference:
        """Both posteriors, and the means of views, each recurrent network in one call.

        Args:
            features: (B, T, g) embeddings of the originals.
            generator: draws the samples; without, they are the means.
            content: (B, T, g) embeddings of a view whose static mean is wanted.
            motion: (B, T, g) embeddings of a view whose dynamic means are wanted.
        """
        reads_states = self.dynamic_posterior.kind == "rnn_bilstm"
        views = {"own": features, "content": content, "motion": motion if reads_states else None}
        present = {name: view for name, view in views.items() if view is not None}
        stacked = self.static_posterior.states(torch.cat([*present.values()]))
        states = dict(zip(present, stacked.chunk(len(present)), strict=True))
        summary = self.static_posterior.summary
        static = self.static_posterior.head(summary(states["own"]))
        dynamic, z, motion_mean = self._infer_dynamic(
            states["own"] if reads_states else features, states.get("motion") if reads_states else motion, generator
        )
        return Inference(
            static=static,
            dynamic=dynamic,
            z=z,
            motion_mean=motion_mean,
            s=static.mean if generator is None else static.sample(generator),
            content_mean=(None if content is None else self.static_posterior.head.mean(summary(states["content"]))),
        )

    def draw(
        self, features: Tensor, ctx: Context, *, content: Tensor | None = None, motion: Tensor | None = None
    ) -> Inference:
        """As `infer`, with samples as the loss reads them: drawn from `ctx.generator`, with the noise of the schedule."""
        q = self.infer(features, ctx.generator, content=content, motion=motion)
        q.s, q.z = ctx.noisy("static", q.s), ctx.noisy("dynamic", q.z)
        return q

    def _infer_dynamic(
        self, inputs: Tensor, motion: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Gaussian, Tensor, Tensor | None]:
        posterior = self.dynamic_posterior
        if motion is None or posterior.kind == "nested":
            dynamic, z = posterior(inputs, generator)
            return dynamic, z, None if motion is None else posterior.mean(motion)
        hidden = posterior.states(torch.cat([inputs, motion]))
        dynamic = posterior.head(hidden[: len(inputs)])
        z = dynamic.mean if generator is None else dynamic.sample(generator)
        return dynamic, z, posterior.head.mean(hidden[len(inputs) :])

    def frame_codes(self, s: Tensor, z: Tensor) -> Tensor:
        """What each frame is decoded from, (B, T, frame_code_dim): z_t beside s."""
        return torch.cat([z, s.unsqueeze(1).expand(-1, z.shape[1], -1)], dim=-1)

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Latents:
        inference = self.infer(self.embed(x), generator)
        return Latents(static=inference.s, dynamic=inference.z)

    def decode(self, latents: Latents) -> Tensor:
        clips: Tensor = self.frame_decoder(self.frame_codes(latents.static, latents.dynamic))
        return clips

    def sample_static(self, n: int, generator: torch.Generator) -> Tensor:
        return randn((n, self.config.static_dim), generator, default_device(self))

    def sample_dynamic(self, n: int, n_frames: int, generator: torch.Generator, *, means: bool = False) -> Tensor:
        return self.prior.sample(n, n_frames, generator, means=means)

    def reconstruction(self, x: Tensor, s: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        """Sum of squared errors a clip, mean over the batch."""
        codes = self.frame_codes(s, z)
        return reconstruction_error(x, codes, self.frame_decoder, self.config.recon_frames, generator)


class SequentialVAE(SequentialModel):
    """The shared model trained by the evidence lower bound; subclasses add terms."""

    schedulable: ClassVar[tuple[str, ...]] = (*SequentialModel.schedulable, "kl_static", "kl_dynamic")
    # A direction that single runs on real Sprites gave, not yet a search's result. Not at quick, whose 1500 steps are too
    # few for what s keeps: one seed on drawn Sprites, motion 84 -> 99 % (C-DSVAE 75 -> 84), skin 72 -> 45 % (75 -> 38).
    rules: ClassVar[tuple[Rule, ...]] = (
        *SequentialModel.rules,
        Rule(
            presets=("compact",),
            modality="video",
            method={"kl_dynamic_weight": 6.0},
            training={"capacity": opened_late(0.2, 0.5)},
        ),
        SQUEEZED,
        *DIGITS,
    )
    # An earlier search, drawn Sprites, 8 trials, one seed: best score on validation clips of the seven draws, and of the
    # settings that were there before: DSVAE 0.78 and 0.81, C-DSVAE 0.61 and 0.69: kept, since seeds differ by more than
    # 0.02.
    # Weights around those of the papers (1) and of the small scale; schedules that let the dynamic code learn first.
    space: ClassVar[Space] = {
        "method.lr": LogUniform(1e-3, 8e-3),
        "method.recon_weight": LogUniform(2.0, 30.0),
        "method.kl_static_weight": LogUniform(0.3, 20.0),
        "method.kl_dynamic_weight": LogUniform(0.1, 30.0),
        "method.static_dim": (16, 32, 64, 128, 256),
        "method.dynamic_dim": (2, 4, 8, 16, 32),
        "training.capacity": Ramp(
            hold=Uniform(0.05, 0.35),
            rise=Uniform(0.1, 0.3),
            start={"kl_static": LogUniform(1.0, 100.0), "kl_dynamic": LogUniform(0.05, 1.0)},
        ),
    }
    config: VAEConfig

    def elbo(self, x: Tensor, q: Inference, generator: torch.Generator) -> dict[str, Tensor]:
        """`recon`, `kl_static` and `kl_dynamic` (C-DSVAE sections 2.1, 2.2), unweighted."""
        prior = self.prior(q.z)
        return {
            "recon": self.reconstruction(x, q.s, q.z, generator),
            "kl_static": estimators.kl_standard_normal(*q.static).mean(),
            "kl_dynamic": estimators.kl_diagonal(*q.dynamic, *prior).sum(1).mean(),
        }

    def information(self, q: Inference, n_train: int, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """MWS estimates `mi_static`, `mi_dynamic`, `mi_cross`; none of them if no weight asks and none is
        logged.

        Those without a weight are logged only and hold no graph.

        Args:
            q: posteriors and samples.
            n_train: N.
            weights: of the three terms in the loss; a missing one is 0.
        """
        if not any(weights.values()) and not self.config.log_information:
            return {}
        z, mean, logvar = (value.transpose(0, 1) for value in (q.z, *q.dynamic))
        tracked = torch.is_grad_enabled()
        with torch.set_grad_enabled(tracked and any(weights.values())):
            static_pairs = estimators.pairwise_log_density(q.s, *q.static)
            dynamic_pairs = estimators.pairwise_log_density(z, mean, logvar)
            cross_pairs = (static_pairs, dynamic_pairs)
            if self.config.mws_logvar_bug:
                cross_pairs = (
                    estimators.pairwise_log_density(q.s, q.static.mean, 2 * q.static.logvar),
                    estimators.pairwise_log_density(z, mean, 2 * logvar),
                )
        terms = {}
        with torch.set_grad_enabled(tracked and bool(weights.get("mi_static"))):
            terms["mi_static"] = estimators.mws_information(static_pairs)
        with torch.set_grad_enabled(tracked and bool(weights.get("mi_dynamic"))):
            whole = dynamic_pairs.sum(0) if self.config.mws_dynamic == "trajectory" else dynamic_pairs
            terms["mi_dynamic"] = estimators.mws_information(whole).sum()
        with torch.set_grad_enabled(tracked and bool(weights.get("mi_cross"))):
            terms["mi_cross"] = estimators.mws_cross_information(
                *cross_pairs, n_train, reduction=self.config.mws_reduction, relu=self.config.mws_relu
            )
        return {name: value.to(q.s.dtype) for name, value in terms.items()}

    def elbo_weights(self) -> dict[str, float]:
        """Weights of the terms of `elbo`."""
        return {
            "recon": self.config.recon_weight,
            "kl_static": self.config.kl_static_weight,
            "kl_dynamic": self.config.kl_dynamic_weight,
        }
