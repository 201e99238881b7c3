"""Estimators that the objectives are made of, as pure functions: divergences, mutual information, contrast.

Shape legend: B batch, M posteriors, T frames, D latent. Log-variances are log-variances; results are in nats.

Minibatch-weighted sampling (MWS; Chen et al. 2018) estimates an aggregated posterior over N training clips
from the batch's: log q(s_i) = logsumexp_j log q(s_i | x_j) - log(B N). The log N does not cancel
in I(s; z): `mws_cross_information` takes it off, and does not clamp, since a centred estimate may be
negative. (The released C-DSVAE code keeps the offset, which has no gradient, and clamps at zero.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

CrossReduction = Literal["mean", "sum", "trajectory"]

# Scales of the inverse multiquadric kernel in the original WAE-MMD code.
IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def no_autocast(x: Tensor) -> torch.autocast:
    """A context in which nothing on x's device is computed in reduced precision."""
    return torch.autocast(x.device.type, enabled=False)


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Sum of squares over all but the first dimension, mean over the batch: a scalar.

    With weight 1 it is a Gaussian negative log-likelihood of variance 1/2, up to a constant.
    """
    return (reconstruction.to(x.dtype) - x).square().sum() / len(x)


def gaussian_log_likelihood(x: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log N(x; mean, exp logvar) summed over the last dimension: (...,)."""
    return -0.5 * (math.log(2 * math.pi) + logvar + (x - mean).square() * torch.exp(-logvar)).sum(-1)


def kl_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp logvar) || N(0, I)) summed over the last dimension: (...,)."""
    return -0.5 * (1 + logvar - mean.square() - torch.exp(logvar)).sum(-1)


def kl_diagonal(mean_q: Tensor, logvar_q: Tensor, mean_p: Tensor, logvar_p: Tensor) -> Tensor:
    """KL(q || p) of diagonal Gaussians summed over the last dimension: (...,)."""
    ratio = torch.exp(logvar_q - logvar_p) + (mean_q - mean_p).square() * torch.exp(-logvar_p)
    return 0.5 * (logvar_p - logvar_q + ratio - 1).sum(-1)


def pairwise_log_density(sample: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log N(sample_i; mean_j, exp logvar_j) of every pair, in float64: (..., B, M).

    The square is expanded, so that all pairs are one matrix product. In float32 that would cancel
    catastrophically once posteriors sharpen (nats of error), hence float64 throughout.

    Args:
        sample: (..., B, D).
        mean: (..., M, D).
        logvar: (..., M, D).
    """
    with no_autocast(sample):
        sample, mean, logvar = sample.double(), mean.double(), logvar.double()
        precision = torch.exp(-logvar)
        weights = torch.cat([precision, -2 * mean * precision], dim=-1)
        square = torch.cat([sample.square(), sample], dim=-1) @ weights.transpose(-1, -2)
        constant = (logvar + mean.square() * precision + math.log(2 * math.pi)).sum(-1)
        return -0.5 * (square + constant.unsqueeze(-2))


def pairwise_log_density_direct(sample: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """As `pairwise_log_density`, from (..., B, M, D) differences and in the inputs' precision: for checks."""
    return gaussian_log_likelihood(sample.unsqueeze(-2), mean.unsqueeze(-3), logvar.unsqueeze(-3))


def mws_log_density(pairs: Tensor, n_data: int) -> Tensor:
    """MWS estimate of the aggregated posterior's log density at each sample: (..., B).

    Args:
        pairs: (..., B, B) log densities of sample i under posterior j.
        n_data: N, the number of training clips.
    """
    return torch.logsumexp(pairs, dim=-1) - math.log(pairs.shape[-1] * n_data)


def mws_information(pairs: Tensor) -> Tensor:
    """I(code; x) from the batch, averaged over it: (...,), in [.., log B].

    The released code logs this without the log B, so that it lies below zero.

    Args:
        pairs: (..., B, B) log densities of sample i under posterior j.
    """
    own = pairs.diagonal(dim1=-2, dim2=-1)
    return (own - torch.logsumexp(pairs, dim=-1)).mean(-1) + math.log(pairs.shape[-1])


def mws_cross_information(
    static_pairs: Tensor, dynamic_pairs: Tensor, n_data: int, *, reduction: CrossReduction = "mean", relu: bool = False
) -> Tensor:
    """I(s; z) by MWS, centred: a scalar, at most log B for `mean` and `trajectory`.

    Args:
        static_pairs: (B, B) log densities of s_i under posterior j.
        dynamic_pairs: (T, B, B) the same of z_t.
        n_data: N.
        reduction: `mean` over frames of I(s; z_t), as the released C-DSVAE code; `sum` over them (S3VAE);
            `trajectory` I(s; z_1:T), which saturates soonest.
        relu: clamp every sample's uncentred value at zero, as the released code does. At N in the thousands
            it never
            acts: the offset keeps the values near log N.
    """
    if reduction == "trajectory":
        dynamic_pairs = dynamic_pairs.sum(0, keepdim=True)
    value = (
        mws_log_density(static_pairs + dynamic_pairs, n_data)
        - mws_log_density(static_pairs, n_data)
        - mws_log_density(dynamic_pairs, n_data)
    )
    if relu:
        value = torch.relu(value)
    per_frame = value.mean(-1) - math.log(n_data)
    return per_frame.sum() if reduction == "sum" else per_frame.mean()


def infonce(anchors: Tensor, positives: Tensor, temperature: float = 0.5) -> Tensor:
    """Symmetric InfoNCE over 2B rows with cosine similarity: a scalar.

    Every row's partner is its positive, the 2B - 2 others its negatives; itself is masked. With B = 128 and
    temperature 0.5, unrelated codes give about log 255 = 5.54, perfect positives among orthogonal negatives
    3.57, and no value lies below 1.73.

    Args:
        anchors: (B, D).
        positives: (B, D).
        temperature: divides the cosine.
    """
    with no_autocast(anchors):
        codes = F.normalize(torch.cat([anchors, positives]), dim=1)
        similarity = codes @ codes.T / temperature
        rows = torch.arange(len(codes), device=codes.device)
        similarity = similarity.masked_fill(rows[:, None] == rows, -torch.inf)
        return F.cross_entropy(similarity, rows.roll(len(anchors)))


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """mean max(|a - p| - |a - n| + margin, 0) of Euclidean distances between (B, D) codes: a scalar."""
    return F.triplet_margin_loss(anchor, positive, negative, margin=margin)


def squared_distances(u: Tensor, v: Tensor) -> Tensor:
    """|u_i - v_j|^2 of every pair, in float64 for the reason `pairwise_log_density` gives: (..., B, M)."""
    with no_autocast(u):
        u, v = u.double(), v.double()
        return u.square().sum(-1).unsqueeze(-1) + v.square().sum(-1).unsqueeze(-2) - 2 * u @ v.transpose(-1, -2)


def imq_kernel(squared_distance: Tensor, dim: int, scales: Sequence[float] = IMQ_SCALES) -> Tensor:
    """Sum of inverse multiquadrics C / (C + d^2), C = 2 * dim * scale (WAE's, for a prior of variance 1)."""
    kernel = torch.zeros_like(squared_distance)
    for scale in scales:
        constant = 2.0 * dim * scale
        kernel = kernel + constant / (constant + squared_distance)
    return kernel


def mmd_unbiased(u: Tensor, v: Tensor, scales: Sequence[float] = IMQ_SCALES) -> Tensor:
    """Unbiased squared maximum mean discrepancy between clouds u and v (..., B, D), B >= 2: (...,).

    It may be negative, and is not clamped: clamping would bias it and stop its gradient.
    """
    n, dim = u.shape[-2:]
    within_u, within_v = (imq_kernel(squared_distances(cloud, cloud), dim, scales) for cloud in (u, v))
    within = within_u + within_v
    across = imq_kernel(squared_distances(u, v), dim, scales)
    off_diagonal = within.sum((-2, -1)) - within.diagonal(dim1=-2, dim2=-1).sum(-1)
    return off_diagonal / (n * (n - 1)) - 2 * across.mean((-2, -1))
