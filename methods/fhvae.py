"""FHVAE: a factorised hierarchical VAE of segments, with one learned mean for every training sequence.

Paper: W.-N. Hsu, Y. Zhang, J. Glass. Unsupervised Learning of Disentangled and Interpretable Representations
from Sequential Data. NIPS 2017. Hierarchical sampling: W.-N. Hsu, J. Glass. Scalable Factorized Hierarchical
Variational Autoencoder Training. Interspeech 2018.

Sequence i has N_i segments x^(i,n) (here: windows of as many frames as the training clips have). In the paper's
names, which its first code release exchanges:

    mu2^i     ~ N(0, I)                          one a sequence: what the whole of it shares
    z2^(i,n)  ~ N(mu2^i, 0.25 I)                 latent sequence variable  -> the static code
    z1^(i,n)  ~ N(0, I)                          latent segment variable   -> the dynamic code, one a window
    x^(i,n)   ~ N(mu(z1, z2), exp logvar(z1, z2))

with q(mu2) a point, row i of a table that is learned, q(z2 | x), and q(z1 | x, z2) on a draw of z2. Loss, the mean
over segments of

    recon           - log p(x | z1, z2)                          summed over frames and bins
    kl_dynamic      KL(q(z1 | x, z2) || N(0, I))
    kl_static       KL(q(z2 | x) || N(mu2_i, 0.25 I))
    table_prior     - (1 / N_i) log N(mu2_i; 0, I)               the row's prior, shared by its N_i segments
    discriminative  - alpha log softmax_j(-|zbar2 - mu2_j|^2 / (2 * 0.25))[i]

where zbar2 is the posterior mean and the softmax runs over the whole table; its gradient reaches encoder and table.
alpha = 10 is the release's setting; variant `alpha0` is the plain bound. They differ as much as whole methods do:
with alpha = 0 all rows may fall onto one, and z2 then says nothing.

Of an unseen sequence mu2 is its maximum a posteriori estimate, sum_n zbar2^(n) / (N + 0.25 / 1). `pool` gives it for
an utterance, and the same formula over z1 (the paper's mu1, a heuristic).

From the paper and its releases: one LSTM of 256 for each posterior and the decoder, which reads [z1, z2] at
every step; linear heads on the last hidden state of all layers; z1 and z2 of 32; Xavier weights; table ~ N(0, I);
Adam 1e-3 (0.95, 0.999); no normalisation and no dropout in the audio nets.

Hierarchical sampling (`nmu2` > 0), for corpora whose table would be too large: each epoch draws nmu2 sequences,
sets the table to the MAP estimates of their mu2 under the present encoder, and trains on their segments only.

Choices of this suite:
* Video (no paper's row): the shared frame encoder feeds the two posteriors and the shared frame decoder follows;
  p(x | z1, z2) then has the fixed variance 1/2, so that `recon` is the sum of squares that the other methods use.
  Audio keeps the learned diagonal variance. Video segments are read and written by flat nets in place of the LSTMs
  (`segment_nets=lstm` has them): through an LSTM that sees one constant code, 32x32 Sprites stayed for 2000
  steps at segments that stand still (temporal variance of reconstructions 0.4 % of the clips', motion judged at 23 %),
  and flat nets leave that plateau at once.
* A clip is coded window by window. Its static code is the mean of its S windows' posterior means of z2, the
  variable that the decoder reads; the MAP estimate of mu2 is that mean times S / (S + 0.25), a shrunken one. A
  clip that is no whole number of windows long has a last window that overlaps the one before (or one short
  window); `Latents.n_frames` tells `decode` how many frames to return, without it all windows are returned whole.
* A sampled static code is a draw of mu2; z2 is put at its conditional mean, which is mu2. Windows are independent a
  priori, so a sampled dynamic code has no step means: "means" gives draws.
* The weights of the terms are all 1 by default, as published; small presets change them.

Left open by the literature: the published row 5.06 / 22.77 for TIMIT pairs an alpha = 0 speaker number with an
alpha = 1 motion number, as far as could be found out. The 2017 code adds an L2 penalty of 1e-4 on linear weights and
names a learning-rate decay that it never applies; neither is used here.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqdis.methods import estimators, scales
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
    Ramp,
    Rule,
    Shape,
    Space,
    Uniform,
    default_device,
    randn,
    with_total,
)
from seqdis.methods.nets.segments import FlatPosterior, FlatUnroll, SegmentKind, SegmentPosterior, SegmentUnroll, xavier
from seqdis.methods.nets.sequence import Gaussian, GaussianHead
from seqdis.methods.nets.video import DecoderKind, FrameDecoder, FrameEncoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class FHVAEConfig:
    """Settings of FHVAE.

    Attributes:
        static_dim: size of z2 and of mu2.
        dynamic_dim: size of z1.
        hidden_dim: units of each LSTM (of the flat nets: half of the posteriors' layer, and of a frame's state).
        n_layers: layers of each LSTM (2 in the 2018 release).
        segment_nets: how a segment is read and written (see `nets/segments.py`); "auto" is "lstm" for audio, as
            published, and "flat" for video.
        alpha: weight of the discriminative term.
        nmu2: sequences an epoch under hierarchical sampling; 0 keeps a row for every sequence.
        sequence_variance: variance of mu2.
        segment_variance: variance of z2 given mu2.
        recon_weight, kl_static_weight, kl_dynamic_weight: weights of the terms; the second is the table's prior's too.
        width, embedding_dim, decoder: of the frame encoder and decoder, video only.
        lr, beta1, beta2: Adam's settings.
    """

    static_dim: int = 32
    dynamic_dim: int = 32
    hidden_dim: int = 256
    n_layers: int = 1
    segment_nets: SegmentKind = "auto"
    alpha: float = 10.0
    nmu2: int = 0
    sequence_variance: float = 1.0
    segment_variance: float = 0.25
    recon_weight: float = 1.0
    kl_static_weight: float = 1.0
    kl_dynamic_weight: float = 1.0
    width: int = 64
    embedding_dim: int = 128
    decoder: DecoderKind = "transposed"
    lr: float = 1e-3
    beta1: float = 0.95
    beta2: float = 0.999


class FHVAE(Method):
    """Segments explained by a sequence-level and a segment-level code, with a table of sequence means."""

    title: ClassVar[str] = "FHVAE"
    paper: ClassVar[str] = (
        "Hsu, Zhang, Glass. Unsupervised Learning of Disentangled and Interpretable "
        "Representations from Sequential Data. NIPS 2017."
    )
    Config: ClassVar[type[Any]] = FHVAEConfig
    variants: ClassVar[dict[str, dict[str, Any]]] = {"alpha0": {"alpha": 0.0}}
    # An earlier search, 8 trials, drawn Sprites, one seed: the best draw scored 0.39, these settings 0.37.
    rules: ClassVar[tuple[Rule, ...]] = (
        # The table of sequence means is rebuilt every 50 steps from 400 sequences: a row a sequence would be seen twice.
        Rule(
            presets=scales.SMALL,
            method={
                "static_dim": 32,
                "dynamic_dim": 4,
                "lr": 5e-3,
                "recon_weight": 10.0,
                "nmu2": 400,
                "kl_static_weight": 1.0,
                "kl_dynamic_weight": 0.5,
            },
        ),
        # Small corpora need no hierarchical sampling, and a code of 20 frames of speech holds more than one of a few
        # small images.
        Rule(
            presets=scales.SMALL,
            modality="audio",
            method={"nmu2": 0, "dynamic_dim": 8, "kl_static_weight": 5.0, "kl_dynamic_weight": 0.15},
        ),
        # A step (half clips) costs half of the others'.
        Rule(presets=("quick",), training={"steps": 2000}),
        Rule(presets=("compact",), training={"steps": 13_000}),
        Rule(presets=("quick",), data=scales.MOVING_DIGITS, not_trained=scales.BLURRED_DIGITS),
    )
    schedulable: ClassVar[tuple[str, ...]] = (
        *("recon", "kl_static", "kl_dynamic", "table_prior", "discriminative"),
        *("noise_static", "noise_dynamic"),
    )
    # The paper tries alpha from 0 to 10.
    space: ClassVar[Space] = {
        "method.lr": LogUniform(1e-3, 1e-2),
        "method.recon_weight": LogUniform(2.0, 30.0),
        "method.alpha": LogUniform(0.1, 100.0),
        "method.kl_static_weight": LogUniform(0.1, 10.0),
        "method.kl_dynamic_weight": LogUniform(0.05, 5.0),
        "method.static_dim": (16, 32, 64),
        "method.dynamic_dim": (2, 4, 8, 16, 32),
        "training.capacity": Ramp(
            hold=Uniform(0.05, 0.35),
            rise=Uniform(0.1, 0.3),
            start={"kl_static": LogUniform(1.0, 100.0), "kl_dynamic": LogUniform(0.05, 1.0)},
        ),
    }

    config: FHVAEConfig
    row: Tensor

    def __init__(self, config: FHVAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        if shape.n_sequences < 1 or shape.n_train <= shape.n_sequences:
            raise NotForTheseData(
                f"FHVAE needs at least two segments of each sequence, and {shape.n_train} training clips from "
                f"{shape.n_sequences} sequences are one each: cut the clips into shorter windows."
            )
        if config.nmu2 > shape.n_sequences:
            raise ValueError(
                f"FHVAE cannot draw nmu2 = {config.nmu2} of {shape.n_sequences} training sequences; "
                f"choose at most {shape.n_sequences}, or 0 to use them all."
            )
        hidden, layers = config.hidden_dim, config.n_layers
        size = config.embedding_dim if shape.is_video else shape.frame[0]
        self.frame_encoder = FrameEncoder(shape.frame, config.width, size) if shape.is_video else nn.Identity()
        codes, n_frames = config.static_dim + config.dynamic_dim, shape.n_frames
        self.unroll: SegmentUnroll | FlatUnroll
        self.static_posterior: SegmentPosterior | FlatPosterior
        self.dynamic_posterior: SegmentPosterior | FlatPosterior
        if self._is_flat:
            self.static_posterior = FlatPosterior(size, n_frames, 2 * hidden, config.static_dim)
            self.dynamic_posterior = FlatPosterior(size + config.static_dim, n_frames, 2 * hidden, config.dynamic_dim)
            self.unroll = FlatUnroll(codes, n_frames, hidden)
        else:
            self.static_posterior = SegmentPosterior(size, hidden, layers, config.static_dim)
            self.dynamic_posterior = SegmentPosterior(size + config.static_dim, hidden, layers, config.dynamic_dim)
            self.unroll = SegmentUnroll(codes, hidden, layers)
        self.frame_decoder: FrameDecoder | GaussianHead = (
            FrameDecoder(hidden, shape.frame, config.width, config.decoder)
            if shape.is_video
            else GaussianHead(hidden, shape.frame[0])
        )
        n_rows = config.nmu2 or shape.n_sequences
        self.table = nn.Parameter(torch.randn(n_rows, config.static_dim) * math.sqrt(config.sequence_variance))
        # The row of each sequence; -1 has none in this epoch, which the discriminative term would refuse.
        self.register_buffer(
            "row", torch.arange(shape.n_sequences) if not config.nmu2 else torch.full((shape.n_sequences,), -1)
        )
        if isinstance(self.frame_decoder, GaussianHead):
            xavier(self.frame_decoder)

    @property
    def _is_flat(self) -> bool:
        kind = self.config.segment_nets
        return self.shape.is_video if kind == "auto" else kind == "flat"

    @classmethod
    def needs(cls, config: FHVAEConfig) -> Needs:
        return Needs(segments=True)

    @classmethod
    def capabilities(cls, config: FHVAEConfig) -> Capabilities:
        return Capabilities(
            note="one dynamic code a window; what all windows of a sequence share, its kind of "
            "motion included, counts as static"
        )

    @classmethod
    def variant_title(cls, variant: str) -> str:
        return f"{cls.title} ({'alpha = 0' if variant == 'alpha0' else variant})" if variant else cls.title

    def optimisation(self, player: str) -> Optimisation:
        return Optimisation(lr=self.config.lr, betas=(self.config.beta1, self.config.beta2))

    def loss(self, batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
        """The terms of the module's docstring, each without its weight, and their weighted sum."""
        config = self.config
        features = self._features(batch.x)
        static = self.static_posterior(features)
        z2 = ctx.noisy("static", static.sample(ctx.generator))
        dynamic = self._dynamic_posterior(features, z2)
        z1 = ctx.noisy("dynamic", dynamic.sample(ctx.generator))
        states = self._decoder_states(z1, z2, batch.x.shape[1])
        terms = self.static_terms(static, self.row[batch.sequence], batch.n_segments)
        terms["recon"] = self._reconstruction(batch.x, states)
        terms["kl_dynamic"] = estimators.kl_standard_normal(*dynamic).mean()
        return with_total(
            terms,
            {
                "recon": config.recon_weight,
                "kl_dynamic": config.kl_dynamic_weight,
                "kl_static": config.kl_static_weight,
                "table_prior": config.kl_static_weight,
                "discriminative": config.alpha,
            },
            ctx,
        )

    def static_terms(self, posterior: Gaussian, row: Tensor, n_segments: Tensor) -> dict[str, Tensor]:
        """`kl_static`, `table_prior` and `discriminative` (without alpha), means over the batch.

        Args:
            posterior: q(z2 | x), (B, D) each.
            row: (B,) row of the table of each segment's sequence.
            n_segments: (B,) N_i.
        """
        config = self.config
        mu2 = self.table[row]
        logvar = mu2.new_full((1,), math.log(config.segment_variance))
        prior_logvar = mu2.new_full((1,), math.log(config.sequence_variance)).expand_as(mu2)
        log_prior = estimators.gaussian_log_likelihood(mu2, torch.zeros_like(mu2), prior_logvar)
        with torch.set_grad_enabled(torch.is_grad_enabled() and config.alpha != 0):
            distance = estimators.squared_distances(posterior.mean, self.table)
            logits = -distance / (2 * config.segment_variance)
            discriminative = functional.cross_entropy(logits, row).to(mu2.dtype)
        return {
            "kl_static": estimators.kl_diagonal(*posterior, mu2, logvar).mean(),
            "table_prior": -(log_prior / n_segments).mean(),
            "discriminative": discriminative,
        }

    def _reconstruction(self, x: Tensor, states: Tensor) -> Tensor:
        if isinstance(self.frame_decoder, FrameDecoder):
            return estimators.squared_error(x, self.frame_decoder(states))
        return -estimators.gaussian_log_likelihood(x, *self.frame_decoder(states)).sum(1).mean()

    @torch.no_grad()
    def on_epoch(self, ctx: Context) -> Tensor | None:
        """Under hierarchical sampling: draws the epoch's sequences (nmu2,), and sets their rows to MAP estimates.

        Raises:
            ValueError: the trainer gives no segments to estimate from.
        """
        if not self.config.nmu2:
            return None
        if ctx.segments is None:
            raise ValueError("hierarchical sampling (nmu2 > 0) needs the segments of the training sequences")
        drawn = torch.randperm(self.shape.n_sequences, generator=ctx.generator, device=ctx.generator.device)
        sequences = drawn[: self.config.nmu2].sort().values.to(self.row.device)
        self.row.fill_(-1)
        self.row[sequences] = torch.arange(len(sequences), device=self.row.device)
        total, count = torch.zeros_like(self.table), self.table.new_zeros(len(self.table), 1)
        was_training = self.training
        self.eval()
        try:
            for batch in ctx.segments(sequences):
                row = self.row[batch.sequence]
                means = self.static_posterior(self._features(batch.x)).mean
                total.index_add_(0, row, means)
                count.index_add_(0, row, torch.ones_like(means[:, :1]))
        finally:
            self.train(was_training)
        self.table.copy_(self._map_estimate(total, count))
        return sequences

    def _map_estimate(self, total: Tensor, n: Tensor | int) -> Tensor:
        """MAP of mu2 from the sum of n posterior means of z2."""
        return total / (n + self.config.segment_variance / self.config.sequence_variance)

    def _features(self, x: Tensor) -> Tensor:
        """Frame embeddings (B, T, g), or the feature frames themselves."""
        features: Tensor = self.frame_encoder(x)
        return features

    def _dynamic_posterior(self, features: Tensor, z2: Tensor) -> Gaussian:
        tiled = z2[:, None].expand(-1, features.shape[1], -1)
        posterior: Gaussian = self.dynamic_posterior(torch.cat([features, tiled.to(features.dtype)], 2))
        return posterior

    def _decoder_states(self, z1: Tensor, z2: Tensor, n_frames: int) -> Tensor:
        """What each frame is decoded from, (B, T, hidden), from the codes of its segment and no frame."""
        states: Tensor = self.unroll(torch.cat([z1, z2], 1), n_frames)
        return states

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Latents:
        """Codes of clips (B, T, ...): static (B, D2), dynamic (B, S, D1), one a window."""
        n_frames = x.shape[1]
        windows, n_windows = self._windows(x)
        features = self._features(windows)
        static = self.static_posterior(features)
        z2 = static.mean if generator is None else static.sample(generator)
        dynamic = self._dynamic_posterior(features, z2)
        z1 = dynamic.mean if generator is None else dynamic.sample(generator)
        whole = n_frames == n_windows * self.shape.n_frames
        return Latents(
            static=z2.reshape(len(x), n_windows, -1).mean(1),
            dynamic=z1.reshape(len(x), n_windows, -1),
            n_frames=None if whole else n_frames,
        )

    def _windows(self, x: Tensor) -> tuple[Tensor, int]:
        """Windows (B * S, W, ...) of clips (B, T, ...), in order, and S. The last one ends with the clip."""
        n_frames, size = x.shape[1], min(self.shape.n_frames, x.shape[1])
        starts = [min(start, n_frames - size) for start in range(0, n_frames, size)]
        return torch.stack([x[:, start : start + size] for start in starts], 1).flatten(0, 1), len(starts)

    def decode(self, latents: Latents) -> Tensor:
        size, (n, n_windows) = self.shape.n_frames, latents.dynamic.shape[:2]
        z2 = latents.static.repeat_interleave(n_windows, 0)
        states = self._decoder_states(latents.dynamic.flatten(0, 1), z2, size)
        head = self.frame_decoder
        frames: Tensor = head(states) if isinstance(head, FrameDecoder) else head.mean(states)
        frames = frames.reshape(n, n_windows, size, *self.shape.frame)
        if latents.n_frames is None:
            return frames.flatten(1, 2)
        if latents.n_frames < size:
            return frames[:, 0, : latents.n_frames]
        # The last window overlaps the one before: only its end is new.
        rest = latents.n_frames - (n_windows - 1) * size
        return torch.cat([frames[:, :-1].flatten(1, 2), frames[:, -1, size - rest :]], 1)

    def sample_static(self, n: int, generator: torch.Generator) -> Tensor:
        return math.sqrt(self.config.sequence_variance) * randn(
            (n, self.config.static_dim), generator, default_device(self)
        )

    def sample_dynamic(self, n: int, n_frames: int, generator: torch.Generator, *, means: bool = False) -> Tensor:
        n_windows = -(-n_frames // self.shape.n_frames)
        return randn((n, n_windows, self.config.dynamic_dim), generator, default_device(self))

    def pool(self, latents: Latents) -> tuple[Tensor, Tensor]:
        """MAP estimates of mu2 (D2,) and of its like for z1 (D1,) from all segments of one sequence."""
        n_windows = latents.dynamic.shape[1]
        n = len(latents.static) * n_windows
        return (
            self._map_estimate(n_windows * latents.static.sum(0), n),
            self._map_estimate(latents.dynamic.flatten(0, 1).sum(0), n),
        )


METHOD = FHVAE
