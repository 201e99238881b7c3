"""Estimators against closed forms, slow independent formulas, and numerical gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from seqdis.methods import estimators as est


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normal(mean: Tensor, logvar: Tensor) -> Independent:
    return Independent(Normal(mean, torch.exp(0.5 * logvar)), 1)


def posteriors(b: int = 5, d: int = 3, frames: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    size = (frames, b, d) if frames else (b, d)
    mean, logvar = draw(*size, seed=1), draw(*size, seed=2)
    return mean + torch.exp(0.5 * logvar) * draw(*size, seed=3), mean, logvar


def log_density(x: list[float], mean: list[float], logvar: list[float]) -> float:
    """One pair, number by number."""
    return sum(
        -0.5 * (math.log(2 * math.pi) + v + (a - m) ** 2 / math.exp(v)) for a, m, v in zip(x, mean, logvar, strict=True)
    )


def slow_pairs(sample: Tensor, mean: Tensor, logvar: Tensor) -> list[list[float]]:
    return [
        [log_density(x, m, v) for m, v in zip(mean.tolist(), logvar.tolist(), strict=True)] for x in sample.tolist()
    ]


def log_sum_exp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def test_divergences_match_torch_distributions() -> None:
    mean_q, logvar_q, mean_p, logvar_p = (draw(4, 6, 3, seed=seed) for seed in range(4))
    q, p = normal(mean_q, logvar_q), normal(mean_p, logvar_p)
    torch.testing.assert_close(est.kl_diagonal(mean_q, logvar_q, mean_p, logvar_p), kl_divergence(q, p))
    standard = normal(torch.zeros_like(mean_q), torch.zeros_like(mean_q))
    torch.testing.assert_close(est.kl_standard_normal(mean_q, logvar_q), kl_divergence(q, standard))
    torch.testing.assert_close(est.gaussian_log_likelihood(mean_p, mean_q, logvar_q), q.log_prob(mean_p))


def test_squared_error_sums_all_but_the_batch() -> None:
    x, y = draw(4, 2, 3, 5), draw(4, 2, 3, 5, seed=1)
    slow = sum(((a - b) ** 2).sum().item() for a, b in zip(x, y, strict=True)) / 4
    assert est.squared_error(x, y).item() == pytest.approx(slow, rel=1e-12)


def test_pairwise_density_matches_number_by_number() -> None:
    sample, mean, logvar = posteriors()
    slow = torch.tensor(slow_pairs(sample, mean, logvar), dtype=torch.float64)
    torch.testing.assert_close(est.pairwise_log_density(sample, mean, logvar), slow)
    torch.testing.assert_close(est.pairwise_log_density_direct(sample, mean, logvar), slow)


def test_pairwise_density_works_on_frames_at_once() -> None:
    sample, mean, logvar = posteriors(frames=4)
    together = est.pairwise_log_density(sample, mean, logvar)
    for t in range(4):
        torch.testing.assert_close(together[t], est.pairwise_log_density(sample[t], mean[t], logvar[t]))


@pytest.mark.parametrize(("spread", "logvar"), [(1.0, -1.0), (3.0, -3.0), (5.0, -5.0), (5.0, -10.0)])
def test_sharp_posteriors_lose_no_nats_to_the_matrix_product(spread: float, logvar: float) -> None:
    """The expanded square in float32 would be off by nats here."""
    mean = (spread * draw(64, 32)).float()
    logvars = torch.full_like(mean, logvar)
    sample = (mean + math.exp(logvar / 2) * draw(64, 32, seed=1)).float()
    exact = est.pairwise_log_density_direct(sample.double(), mean.double(), logvars.double())
    difference = est.pairwise_log_density(sample, mean, logvars) - exact
    assert difference.logsumexp(1).sub(math.log(64)).abs().max() < 1e-5
    assert (difference.abs() / exact.abs().clamp_min(1)).max() < 1e-9


def test_mws_matches_the_slow_formula() -> None:
    n_data, (s, s_mean, s_logvar), (z, z_mean, z_logvar) = 50, posteriors(), posteriors(frames=3, d=2)
    static, dynamic = est.pairwise_log_density(s, s_mean, s_logvar), est.pairwise_log_density(z, z_mean, z_logvar)
    b, offset = len(s), math.log(len(s) * n_data)
    slow_s = slow_pairs(s, s_mean, s_logvar)
    slow_z = [slow_pairs(z[t], z_mean[t], z_logvar[t]) for t in range(3)]

    def cross(pairs: list[list[float]]) -> list[float]:
        joint = [log_sum_exp([a + c for a, c in zip(slow_s[i], pairs[i], strict=True)]) - offset for i in range(b)]
        return [joint[i] - (log_sum_exp(slow_s[i]) - offset) - (log_sum_exp(pairs[i]) - offset) for i in range(b)]

    frames = [sum(cross(pairs)) / b - math.log(n_data) for pairs in slow_z]
    path = [[sum(pairs[i][j] for pairs in slow_z) for j in range(b)] for i in range(b)]
    assert est.mws_cross_information(static, dynamic, n_data).item() == pytest.approx(sum(frames) / 3)
    assert est.mws_cross_information(static, dynamic, n_data, reduction="sum").item() == pytest.approx(sum(frames))
    whole = est.mws_cross_information(static, dynamic, n_data, reduction="trajectory").item()
    assert whole == pytest.approx(sum(cross(path)) / b - math.log(n_data))
    aggregated = torch.tensor([log_sum_exp(row) - offset for row in slow_s], dtype=torch.float64)
    torch.testing.assert_close(est.mws_log_density(static, n_data), aggregated)
    information = sum(slow_s[i][i] - log_sum_exp(slow_s[i]) + math.log(b) for i in range(b)) / b
    assert est.mws_information(static).item() == pytest.approx(information)


def test_cross_information_runs_from_log_n_to_log_bn_before_centring() -> None:
    b, n, zeros = 128, 9000, torch.zeros(128, 256)
    overlapping = est.pairwise_log_density(draw(b, 256), zeros, zeros)
    overlapping_z = est.pairwise_log_density(draw(1, b, 32), torch.zeros(1, b, 32), torch.zeros(1, b, 32))
    separated = 1000.0 * torch.eye(b, 256)
    apart = est.pairwise_log_density(separated, separated, zeros)
    separated_z = separated[None, :, :32] + 1000.0 * torch.arange(b)[None, :, None]
    apart_z = est.pairwise_log_density(separated_z, separated_z, torch.zeros(1, b, 32))
    low = est.mws_cross_information(overlapping, overlapping_z, n).item() + math.log(n)
    high = est.mws_cross_information(apart, apart_z, n).item() + math.log(n)
    assert (round(low, 3), round(high, 3)) == (9.105, 13.957)


def test_relu_acts_on_the_uncentred_value_only() -> None:
    static = torch.tensor([[0.0, 5.0], [5.0, 0.0]], dtype=torch.float64)
    dynamic = torch.tensor([[[5.0, 0.0], [0.0, 5.0]]], dtype=torch.float64)
    plain = est.mws_cross_information(static, dynamic, 9000)
    assert plain < 0
    assert est.mws_cross_information(static, dynamic, 9000, relu=True).item() == pytest.approx(plain.item())
    assert est.mws_cross_information(static, dynamic, 1, relu=True).item() == 0.0


class TestLinearGaussian:
    """x ~ N(0, 1), s = a x + noise, z = b x + noise: everything is known in closed form."""

    n, a, b, sigma = 3000, 1.5, -0.8, 0.7

    def codes(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = draw(self.n, 1)
        logvar = torch.full_like(x, 2 * math.log(self.sigma))
        s = self.a * x + self.sigma * draw(self.n, 1, seed=1)
        z = self.b * x + self.sigma * draw(self.n, 1, seed=2)
        return x, s, z, logvar

    def test_aggregated_posterior(self) -> None:
        x, s, _, logvar = self.codes()
        estimate = est.mws_log_density(est.pairwise_log_density(s, self.a * x, logvar), 777) + math.log(777)
        exact = Normal(0.0, math.sqrt(self.a**2 + self.sigma**2)).log_prob(s.squeeze(1))
        inner = s.squeeze(1).abs() < 3
        assert (estimate - exact)[inner].abs().mean() < 0.03

    def test_information_of_a_code(self) -> None:
        x, s, _, logvar = self.codes()
        estimate = est.mws_information(est.pairwise_log_density(s, self.a * x, logvar)).item()
        assert estimate == pytest.approx(0.5 * math.log(1 + self.a**2 / self.sigma**2), abs=0.03)

    def test_information_between_codes(self) -> None:
        x, s, z, logvar = self.codes()
        static = est.pairwise_log_density(s, self.a * x, logvar)
        dynamic = est.pairwise_log_density(z[None], self.b * x[None], logvar[None])
        rho = self.a * self.b / math.sqrt((self.a**2 + self.sigma**2) * (self.b**2 + self.sigma**2))
        estimate = est.mws_cross_information(static, dynamic, 9000).item()
        assert estimate == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.03)

    def test_mean_divergence_is_information_plus_divergence_of_the_aggregate(self) -> None:
        """E_x KL(q(s|x) || p(s)) = I(s; x) + KL(q(s) || p(s))."""
        x, s, _, logvar = self.codes()
        left = est.kl_standard_normal(self.a * x, logvar).mean().item()
        information = est.mws_information(est.pairwise_log_density(s, self.a * x, logvar)).item()
        aggregate = est.kl_standard_normal(torch.zeros(1), torch.tensor([math.log(self.a**2 + self.sigma**2)]))
        assert left == pytest.approx(information + aggregate.item(), abs=0.08)


def slow_infonce(u: Tensor, v: Tensor, temperature: float) -> float:
    """Row by row; the self-similarity is subtracted from the sum, as the released code does."""
    rows = [*u, *v]
    total = 0.0
    for i, row in enumerate(rows):
        similar = [math.exp(torch.cosine_similarity(row, other, dim=0).item() / temperature) for other in rows]
        total -= math.log(similar[(i + len(u)) % len(rows)] / (sum(similar) - math.exp(1 / temperature)))
    return total / len(rows)


def test_infonce_matches_the_slow_formula() -> None:
    u, v = draw(7, 5), draw(7, 5, seed=1)
    for temperature in (0.1, 0.5, 2.0):
        assert est.infonce(u, v, temperature).item() == pytest.approx(slow_infonce(u, v, temperature), rel=1e-9)


def test_infonce_sanity_values() -> None:
    wide = 4096
    assert est.infonce(draw(128, wide), draw(128, wide, seed=1)).item() == pytest.approx(5.54, abs=0.02)
    orthogonal = torch.eye(128, dtype=torch.float64)
    assert est.infonce(orthogonal, 3 * orthogonal).item() == pytest.approx(3.566, abs=1e-3)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert est.infonce(opposite, opposite).item() == pytest.approx(-2 + math.log(math.exp(2) + 2 * math.exp(-2)))
    bound = -2 + math.log(math.exp(2) + 254 * math.exp(-2))
    assert round(bound, 2) == 1.73
    assert est.infonce(orthogonal, orthogonal).item() > bound


def test_infonce_does_not_care_for_scale_or_order() -> None:
    u, v, order = draw(6, 4), draw(6, 4, seed=1), torch.tensor([3, 1, 0, 5, 4, 2])
    value = est.infonce(u, v)
    torch.testing.assert_close(est.infonce(5 * u, 0.1 * v), value)
    torch.testing.assert_close(est.infonce(u[order], v[order]), value)
    torch.testing.assert_close(est.infonce(v, u), value)


def test_triplet_matches_the_slow_formula() -> None:
    anchor, positive, negative = (draw(6, 4, seed=seed) for seed in range(3))
    slow = (
        sum(
            max(torch.dist(a, p).item() - torch.dist(a, n).item() + 1.0, 0.0)
            for a, p, n in zip(anchor, positive, negative, strict=True)
        )
        / 6
    )
    assert est.triplet(anchor, positive, negative).item() == pytest.approx(slow, rel=1e-4)


def slow_mmd(u: Tensor, v: Tensor) -> float:
    def kernel(a: Tensor, b: Tensor) -> float:
        constants = [2 * u.shape[1] * scale for scale in est.IMQ_SCALES]
        return sum(c / (c + (a - b).square().sum().item()) for c in constants)

    n = len(u)
    within = sum(kernel(cloud[i], cloud[j]) for cloud in (u, v) for i in range(n) for j in range(n) if i != j)
    return within / (n * (n - 1)) - 2 * sum(kernel(a, b) for a in u for b in v) / n**2


def test_mmd_matches_the_slow_formula_frame_by_frame() -> None:
    u, v = draw(3, 6, 4), 1 + draw(3, 6, 4, seed=1)
    together = est.mmd_unbiased(u, v)
    assert together.shape == (3,)
    for t in range(3):
        assert together[t].item() == pytest.approx(slow_mmd(u[t], v[t]), rel=1e-9)


def test_mmd_is_unbiased_and_not_clamped() -> None:
    same = est.mmd_unbiased(draw(2000, 8, 3), draw(2000, 8, 3, seed=1))
    assert (same < 0).any()
    assert same.mean().abs() < 3 * same.std() / math.sqrt(2000)
    assert est.mmd_unbiased(draw(64, 3), 2 + draw(64, 3, seed=1)) > 0.5


def _cross(s: Tensor, m: Tensor, v: Tensor) -> Tensor:
    pairs = est.pairwise_log_density(s, m, v)
    z = est.pairwise_log_density(s[None] * 0.5, m[None], v[None])
    return est.mws_cross_information(pairs, torch.cat([z, 2 * z]), 50)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, c: est.kl_diagonal(a, b, c, b * c),
        lambda a, b, c: est.kl_standard_normal(a, b) + est.gaussian_log_likelihood(c, a, b),
        est.pairwise_log_density,
        lambda a, b, c: est.mws_log_density(est.pairwise_log_density(a, b, c), 50),
        lambda a, b, c: est.mws_information(est.pairwise_log_density(a, b, c)),
        _cross,
        lambda a, b, c: est.infonce(a, b * c, 0.5),
        lambda a, b, c: est.mmd_unbiased(a, b * c),
        lambda a, b, c: est.triplet(a, b, c, 0.3),
        lambda a, b, c: est.squared_error(a, b * c),
    ],
)
def test_gradients(function: Callable[..., Tensor]) -> None:
    inputs = tuple(draw(4, 3, seed=seed).requires_grad_() for seed in range(3))
    assert torch.autograd.gradcheck(function, inputs)


def test_autocast_does_not_reach_densities_and_similarities() -> None:
    sample, mean, logvar = (value.float() for value in posteriors(8, 16))
    plain = (est.pairwise_log_density(sample, mean, logvar), est.infonce(sample, mean), est.mmd_unbiased(sample, mean))
    with torch.autocast("cpu", torch.bfloat16):
        cast = (
            est.pairwise_log_density(sample, mean, logvar),
            est.infonce(sample, mean),
            est.mmd_unbiased(sample, mean),
        )
    for a, b in zip(plain, cast, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=0)
