"""Controls of the evaluation protocol: autoencoders that hold the whole clip in one of the two codes.

No paper: neither disentangles, both reconstruct. They are never ranked.

    all-in-z:  L = REC + w sum_t KL(q(z_t|x_<=t) || p(z_t|z_<t));   the decoder does not see s
    all-in-s:  L = REC + w KL(q(s|x_1:T) || N(0, I));   flat nets read and write the clip, z is not seen

With the dynamic code fixed, `all-in-z` keeps every factor of a clip, the static ones included; with the
static code fixed, `all-in-s` keeps every factor, the motion included. A score that either of them wins
measures reconstruction. The matching prior is learned (z) or standard (s), so that sampling is defined; the
code that the decoder ignores is zero when encoded and N(0, I) when sampled. Nets and sizes are those of the
VAE rows (`methods/vae.py`), but for the flat nets of `nets/segments.py`: an LSTM that unrolls one constant code
into frames gave clips that stand still, and so held no motion.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from seqdis.methods import estimators, scales
from seqdis.methods.base import (
    Batch,
    Capabilities,
    Context,
    Latents,
    Method,
    Rule,
    Shape,
    default_device,
    randn,
    with_total,
)
from seqdis.methods.nets import (
    DecoderKind,
    DynamicPosterior,
    LstmPrior,
    frame_nets,
    init_normal,
)
from seqdis.methods.nets.segments import FlatPosterior, FlatUnroll
from seqdis.methods.vae import reconstruction_error


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Settings of the controls; sizes as in `vae.VAEConfig`.

    Attributes:
        holds: the code that holds the clip.
        kl_weight: w. The priors must not cost reconstruction, so it is small.
    """

    holds: Literal["dynamic", "static"] = "dynamic"
    lr: float = 1e-3
    static_dim: int = 256
    dynamic_dim: int = 32
    width: int = 64
    embedding_dim: int = 128
    hidden_dim: int = 256
    recon_weight: float = 1.0
    kl_weight: float = 0.1
    recon_frames: int = 0
    decoder: DecoderKind = "transposed"


class Autoencoder(Method):
    """An autoencoder with everything in z, or everything in s."""

    title = "Autoencoder"
    paper = "none: a control of the evaluation protocol"
    Config = AutoencoderConfig
    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "all-in-z": {"holds": "dynamic"},
        "all-in-s": {"holds": "static"},
    }
    schedulable: ClassVar[tuple[str, ...]] = ("recon", "kl_static", "kl_dynamic")
    rules: ClassVar[tuple[Rule, ...]] = (
        # A control must be able to hold the whole clip in either code.
        Rule(presets=scales.SMALL, method={"dynamic_dim": 32}),
        Rule(presets=scales.SMALL, data=scales.MOVING_DIGITS, method={"lr": 5e-3, "recon_weight": 10.0}),
        Rule(presets=("quick",), data=scales.MOVING_DIGITS, not_trained=scales.BLURRED_DIGITS),
    )
    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        dynamic = config.holds == "dynamic"
        self.frame_encoder, self.frame_decoder = frame_nets(
            shape,
            config.width,
            config.embedding_dim,
            config.dynamic_dim if dynamic else config.hidden_dim,
            config.decoder,
        )
        self.posterior: DynamicPosterior | FlatPosterior
        if dynamic:
            self.posterior = DynamicPosterior(config.embedding_dim, config.hidden_dim, config.dynamic_dim)
            self.prior = LstmPrior(config.dynamic_dim, config.hidden_dim)
        else:
            self.posterior = FlatPosterior(
                config.embedding_dim, shape.n_frames, 2 * config.hidden_dim, config.static_dim
            )
            self.unroll = FlatUnroll(config.static_dim, shape.n_frames, config.hidden_dim)
        for part in (self.frame_encoder, self.frame_decoder, *([self.posterior, self.prior] if dynamic else [])):
            init_normal(part)

    @classmethod
    def capabilities(cls, config: Any) -> Capabilities:
        return Capabilities(ranked=False, note=f"control: everything in the {config.holds} code")

    @classmethod
    def variant_title(cls, variant: str) -> str:
        titles = {"all-in-z": "Autoencoder, all in z", "all-in-s": "Autoencoder, all in s"}
        return titles.get(variant) or super().variant_title(variant)

    def loss(self, batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
        config = self.config
        features = self.frame_encoder(batch.x)
        if isinstance(self.posterior, DynamicPosterior):
            q, z = self.posterior(features, ctx.generator)
            codes = z
            penalty = {"kl_dynamic": estimators.kl_diagonal(*q, *self.prior(z)).sum(1).mean()}
        else:
            q = self.posterior(features)
            codes = self._unrolled(q.sample(ctx.generator), batch.x.shape[1])
            penalty = {"kl_static": estimators.kl_standard_normal(*q).mean()}
        recon = reconstruction_error(batch.x, codes, self.frame_decoder, config.recon_frames, ctx.generator)
        return with_total(
            {"recon": recon, **penalty},
            {"recon": config.recon_weight, "kl_dynamic": config.kl_weight, "kl_static": config.kl_weight},
            ctx,
        )

    def _unrolled(self, s: Tensor, n_frames: int) -> Tensor:
        """Frame codes (B, T, H) of static codes (B, Ds)."""
        codes: Tensor = self.unroll(s, n_frames)
        return codes

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Latents:
        features = self.frame_encoder(x)
        if isinstance(self.posterior, DynamicPosterior):
            z = self.posterior(features, generator)[1]
            return Latents(static=z.new_zeros(len(x), self.config.static_dim), dynamic=z)
        q = self.posterior(features)
        s = q.mean if generator is None else q.sample(generator)
        return Latents(static=s, dynamic=s.new_zeros(*x.shape[:2], self.config.dynamic_dim))

    def decode(self, latents: Latents) -> Tensor:
        codes = latents.dynamic
        if self.config.holds == "static":
            codes = self._unrolled(latents.static, latents.dynamic.shape[1])
        clips: Tensor = self.frame_decoder(codes)
        return clips

    def sample_static(self, n: int, generator: torch.Generator) -> Tensor:
        return randn((n, self.config.static_dim), generator, default_device(self))

    def sample_dynamic(self, n: int, n_frames: int, generator: torch.Generator, *, means: bool = False) -> Tensor:
        if self.config.holds == "dynamic":
            return self.prior.sample(n, n_frames, generator, means=means)
        size = (n, n_frames, self.config.dynamic_dim)
        return randn(size, generator, default_device(self))


METHOD = Autoencoder
