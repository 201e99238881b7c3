"""DSVAE: the sequential variational autoencoder itself.

Li and Mandt, "Disentangled Sequential Autoencoder", ICML 2018.

    L = REC + KL(q(s|x) || p(s)) + sum_t KL(q(z_t|x) || p(z_t|z_<t)),   all weights 1

Variant `mws` is the C-DSVAE paper's "DSVAE + all MWS estimation" (its appendix F): mutual information terms
in place of augmentation, estimated by minibatch-weighted sampling,

    L = REC + KL + KL - beta_s I(s; x) - beta_z I(z; x) + gamma I(s; z)

From the paper: model and objective. Documented choices: the networks are the backbone that S3VAE and
C-DSVAE share (`methods/vae.py`), so that rows differ in their objective only; z_t reads the frames up
to t and not s, as in the later methods (the paper's "factorised q" reads frame t only, its "full q" also s:
neither is built); REC is a sum of squares. Left open by the literature: the backbone behind the published
DSVAE rows, and beta of the `mws` variant (1 here; each I(.; x) is capped at log B, so a large beta buys
nothing).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from torch import Tensor

from seqdis.methods.base import Batch, Context, with_total
from seqdis.methods.vae import SequentialVAE, VAEConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class DSVAEConfig(VAEConfig):
    """Settings of DSVAE.

    Attributes:
        mi_static_weight: beta_s, of I(s; x), which is maximised.
        mi_dynamic_weight: beta_z, of I(z; x), which is maximised.
        mi_cross_weight: gamma, of I(s; z), which is minimised.
    """

    mi_static_weight: float = 0.0
    mi_dynamic_weight: float = 0.0
    mi_cross_weight: float = 0.0


class DSVAE(SequentialVAE):
    """The evidence lower bound, and MWS terms where weighted."""

    title = "DSVAE"
    paper = "Li and Mandt, Disentangled Sequential Autoencoder, ICML 2018"
    Config = DSVAEConfig
    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "mws": {"mi_static_weight": 1.0, "mi_dynamic_weight": 1.0, "mi_cross_weight": 1.0},
    }
    schedulable: ClassVar[tuple[str, ...]] = (*SequentialVAE.schedulable, "mi_static", "mi_dynamic", "mi_cross")
    config: DSVAEConfig

    @classmethod
    def variant_title(cls, variant: str) -> str:
        return "DSVAE + all MWS" if variant == "mws" else super().variant_title(variant)

    def loss(self, batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
        config = self.config
        q = self.draw(self.embed(batch.x), ctx)
        weights = {
            "mi_static": -config.mi_static_weight,
            "mi_dynamic": -config.mi_dynamic_weight,
            "mi_cross": config.mi_cross_weight,
        }
        terms = self.elbo(batch.x, q, ctx.generator) | self.information(q, ctx.n_train, weights)
        return with_total(terms, self.elbo_weights() | weights, ctx)


METHOD = DSVAE
