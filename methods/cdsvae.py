"""C-DSVAE: DSVAE with contrastive terms that bound the codes' information from below.

Bai, Wang and Gomes, "Contrastively Disentangled Sequential Variational Autoencoder", NeurIPS 2021
(arXiv 2110.12091).

    L = REC + alpha (KL_s + KL_z) + beta_c C_s + beta_m C_z + gamma I(s; z)          (eq. 5, 6, 8)

C_s is a symmetric InfoNCE (cosine, temperature 0.5, 2B - 2 negatives from the batch) between the static
means of a clip and of its time-shuffled copy; C_z between the flattened dynamic means of a clip and of a
copy whose appearance is changed. I(s; z) is estimated by minibatch-weighted sampling, averaged over frames.
The weights 1, 10, 10, 1 are those of the released Sprites script; the paper's others are not known, and
these are used throughout.

Variants: `no-content-aug` (beta_c = 0) and `no-motion-aug` (beta_m = 0) of tables 5 and 6, all else kept
(whether the authors put an MWS estimate in the removed term's place is not stated), and `gamma0` (appendix
E.1). For presets with weights and a schedule of their own: `no-schedule`, and with the released weights and no schedule
`published-weights`, the same with `mws_logvar_bug` (`published-logvar`) and with `bn_stats=all_views`
(`published-views`).

Where paper and released code disagree, the choice here and the option for the other:

* q(z_t): a causal LSTM over embeddings, in one call. `dynamic_posterior=nested` samples as the paper writes,
  `rnn_bilstm` is the code's tanh RNN over the static posterior's states.
* Heads of q(s): linear as in the paper. `leaky_heads` as in the code.
* Prior: two LSTM layers as in the code. `prior_layers=1` as in the paper.
* Decoder: transposed convolutions as in the code. `decoder=upsample` reads the paper's list of channels.
* I(s; z): the density reads log-variances as such. `mws_logvar_bug` takes them for log standard deviations as
  the code does. The estimate is centred; the code's log N offset has no gradient. `mws_relu` clamps as the
  code does.
* Views: the code passes both augmented clips through the whole model in training mode, decoder included, so
  that running statistics are a mixture. Here the shuffled view permutes embeddings, the motion view passes the
  encoder only and leaves running statistics alone; `bn_stats=all_views` lets it move them. Thrown-away
  decodes are not made under any option.
* Augmentation: the content view shuffles frames; the paper also reverses them. That, and the motion view less any of
  its parts, are variants of the plug-in `examples/cdsvae_ablation.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

from torch import Tensor

from seqdis.methods import estimators, scales
from seqdis.methods.base import Batch, Context, LogUniform, Needs, Rule, Space, required, with_total
from seqdis.methods.vae import DIGITS, SQUEEZED, SequentialVAE, VAEConfig, opened_late, permute_frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class CDSVAEConfig(VAEConfig):
    """Settings of C-DSVAE; alpha is `kl_static_weight` and `kl_dynamic_weight`.

    Attributes:
        contrastive_static_weight: beta_c; at 0 the content view is not asked for.
        contrastive_dynamic_weight: beta_m; at 0 the motion view is not asked for.
        mi_cross_weight: gamma.
        temperature: tau of both InfoNCE terms.
        bn_stats: whether the motion view also moves the encoder's running statistics (`all_views`, as released).
            It is normalised by its own batch statistics either way.
    """

    contrastive_static_weight: float = 10.0
    contrastive_dynamic_weight: float = 10.0
    mi_cross_weight: float = 1.0
    temperature: float = 0.5
    bn_stats: Literal["originals", "all_views"] = "originals"


class CDSVAE(SequentialVAE):
    """The evidence lower bound, two contrastive terms and I(s; z)."""

    title = "C-DSVAE"
    paper = "Bai, Wang and Gomes, Contrastively Disentangled Sequential Variational Autoencoder, NeurIPS 2021"
    Config = CDSVAEConfig
    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "no-content-aug": {"contrastive_static_weight": 0.0},
        "no-motion-aug": {"contrastive_dynamic_weight": 0.0},
        "gamma0": {"mi_cross_weight": 0.0},
        "no-schedule": {},
        # The released weights, which small presets change. Literals: the site reads them without importing the file.
        "published-weights": {
            "recon_weight": 1.0,
            "kl_static_weight": 1.0,
            "kl_dynamic_weight": 1.0,
            "contrastive_static_weight": 10.0,
            "contrastive_dynamic_weight": 10.0,
            "mi_cross_weight": 1.0,
        },
        "published-logvar": {
            "recon_weight": 1.0,
            "kl_static_weight": 1.0,
            "kl_dynamic_weight": 1.0,
            "contrastive_static_weight": 10.0,
            "contrastive_dynamic_weight": 10.0,
            "mi_cross_weight": 1.0,
            "mws_logvar_bug": True,
        },
        "published-views": {
            "recon_weight": 1.0,
            "kl_static_weight": 1.0,
            "kl_dynamic_weight": 1.0,
            "contrastive_static_weight": 10.0,
            "contrastive_dynamic_weight": 10.0,
            "mi_cross_weight": 1.0,
            "bn_stats": "all_views",
        },
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        *SequentialVAE.rules,
        Rule(
            presets=("compact",),
            modality="video",
            method={
                "kl_dynamic_weight": 6.0,
                "contrastive_static_weight": 1.0,
                "contrastive_dynamic_weight": 100.0,
            },
            training={"capacity": opened_late(0.3, 0.6)},
        ),
        SQUEEZED,
        *DIGITS,
        Rule(
            presets=scales.SMALL,
            data=scales.MOVING_DIGITS,
            method={"contrastive_static_weight": 10.0, "contrastive_dynamic_weight": 10.0},
        ),
        Rule(
            presets=scales.SMALL,
            variants=("no-schedule", "published-weights", "published-logvar", "published-views"),
            training={"capacity": {}},
        ),
    )
    schedulable: ClassVar[tuple[str, ...]] = (
        *SequentialVAE.schedulable,
        *("contrastive_static", "contrastive_dynamic", "mi_cross"),
    )
    space: ClassVar[Space] = {
        **SequentialVAE.space,
        "method.contrastive_static_weight": LogUniform(0.3, 30.0),
        "method.contrastive_dynamic_weight": LogUniform(3.0, 300.0),
    }
    config: CDSVAEConfig

    @classmethod
    def variant_title(cls, variant: str) -> str:
        titles = {
            "no-content-aug": "C-DSVAE w/o content aug",
            "no-motion-aug": "C-DSVAE w/o motion aug",
            "gamma0": "C-DSVAE, gamma = 0",
            "no-schedule": "C-DSVAE, no schedule",
            "published-weights": "C-DSVAE, published weights",
            "published-logvar": "C-DSVAE, published weights, released I(s; z)",
            "published-views": "C-DSVAE, published weights, released statistics of views",
        }
        return titles.get(variant) or super().variant_title(variant)

    @classmethod
    def needs(cls, config: Any) -> Needs:
        return Needs(
            content_view=bool(config.contrastive_static_weight), motion_view=bool(config.contrastive_dynamic_weight)
        )

    def loss(self, batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
        config = self.config
        features = self.embed(batch.x)
        content = motion = None
        if config.contrastive_static_weight:
            content = permute_frames(features, required(batch.content_view, "content_view"))
        if config.contrastive_dynamic_weight:
            motion = self.embed(
                required(batch.motion_view, "motion_view"), update_statistics=config.bn_stats == "all_views"
            )
        q = self.draw(features, ctx, content=content, motion=motion)
        terms = self.elbo(batch.x, q, ctx.generator)
        if q.content_mean is not None:
            terms["contrastive_static"] = estimators.infonce(q.static.mean, q.content_mean, config.temperature)
        if q.motion_mean is not None:
            terms["contrastive_dynamic"] = estimators.infonce(
                q.dynamic.mean.flatten(1), q.motion_mean.flatten(1), config.temperature
            )
        terms |= self.information(q, ctx.n_train, {"mi_cross": config.mi_cross_weight})
        return with_total(
            terms,
            self.elbo_weights()
            | {
                "contrastive_static": config.contrastive_static_weight,
                "contrastive_dynamic": config.contrastive_dynamic_weight,
                "mi_cross": config.mi_cross_weight,
            },
            ctx,
        )


METHOD = CDSVAE
