"""First-frame VAE: a sequential VAE whose static code is read from the first frame alone.

An example of a method in one file, outside of the suite; nobody has published it. It inherits the shared model and its
evidence lower bound and changes one thing: what the static posterior sees. Run it with

    bench check examples/first_frame_vae.py:FirstFrameVAE
    bench run --methods examples/first_frame_vae.py:FirstFrameVAE --datasets sprites --preset quick
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from seqdis.methods.base import Batch, Context, Shape, with_total
from seqdis.methods.nets import GaussianHead, init_normal
from seqdis.methods.vae import Inference, SequentialVAE, VAEConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstFrameConfig(VAEConfig):
    """The shared settings; a field added here can be set with --set method.NAME=VALUE and is part of the record."""


class FirstFrameVAE(SequentialVAE):
    """q(s | x_1) and q(z_t | x_1:t); the prior, decoder and objective of DSVAE."""

    title = "First-frame VAE"
    paper = "an example of this suite's documentation"
    Config = FirstFrameConfig

    def __init__(self, config: FirstFrameConfig, shape: Shape) -> None:
        if config.dynamic_posterior == "rnn_bilstm":
            raise ValueError("nothing here reads a whole clip: set dynamic_posterior to causal or nested.")
        super().__init__(config, shape)
        # One frame has no history: a recurrent layer's weights for it would never be trained.
        self.static_posterior = GaussianHead(config.embedding_dim, config.static_dim, config.leaky_heads)
        if config.init == "normal":
            init_normal(self.static_posterior)

    def infer(self, features: Tensor, generator: torch.Generator | None = None, **views: Any) -> Inference:
        """Both posteriors from embeddings (B, T, g); encoding and training go through here."""
        static = self.static_posterior(features[:, 0])
        dynamic, z = self.dynamic_posterior(features, generator)
        s = static.mean if generator is None else static.sample(generator)
        return Inference(static=static, dynamic=dynamic, s=s, z=z)

    def loss(self, batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
        """The evidence lower bound."""
        q = self.draw(self.embed(batch.x), ctx)
        return with_total(self.elbo(batch.x, q, ctx.generator), self.elbo_weights(), ctx)


METHOD = FirstFrameVAE
