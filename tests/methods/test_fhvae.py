"""FHVAE: the objective against a slow reference, MAP estimates, windows, hierarchical sampling, names of the codes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from seqdis.methods.base import Batch, Context, Latents, Shape
from seqdis.methods.fhvae import FHVAE
from seqdis.methods.fhvae import FHVAEConfig as Config
from seqdis.methods.nets.segments import FlatPosterior, FlatUnroll, SegmentKind, SegmentPosterior, SegmentUnroll
from seqdis.methods.nets.sequence import Gaussian

AUDIO = Shape(frame=(6,), n_frames=5, n_train=12, n_sequences=4)
VIDEO = Shape(frame=(3, 32, 32), n_frames=4, n_train=12, n_sequences=4)
SMALL = Config(static_dim=3, dynamic_dim=2, hidden_dim=8, width=4, embedding_dim=7)
SHAPES = pytest.mark.parametrize("shape", [AUDIO, VIDEO], ids=["audio", "video"])


def built(config: Config = SMALL, shape: Shape = AUDIO, seed: int = 0) -> FHVAE:
    torch.manual_seed(seed)
    return FHVAE(config, shape)


def batch_of(shape: Shape, n: int = 5, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(n, shape.n_frames, *shape.frame, generator=generator, dtype=dtype)
    return Batch(x=x, index=torch.arange(n), sequence=torch.arange(n) % 3, n_segments=torch.arange(n) + 2)


def context(seed: int = 2) -> Context:
    return Context(n_train=12, step=0, epoch=0, n_steps=10, generator=torch.Generator().manual_seed(seed))


# The objective


def slow_posterior(net: SegmentPosterior | FlatPosterior, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance (D,) of the code of one segment (T, F)."""
    if isinstance(net, SegmentPosterior):
        summary = net.lstm(frames[None])[1][0][0, 0]
    else:
        summed = net.hidden.weight @ torch.cat(list(frames)) + net.hidden.bias
        summary = ((summed - summed.mean()) / (summed.var(correction=0) + 1e-5).sqrt()).clamp_min(0)
    head = net.head
    return (head.to_mean.weight @ summary + head.to_mean.bias, head.to_logvar.weight @ summary + head.to_logvar.bias)


def slow_states(net: SegmentUnroll | FlatUnroll, codes: Tensor, n_frames: int) -> Tensor:
    """What frames are decoded from, (B, T, H), of codes (B, D)."""
    if isinstance(net, SegmentUnroll):
        return torch.as_tensor(net.lstm(codes[:, None].repeat(1, n_frames, 1))[0])
    weights, biases = net.frames.weight.chunk(n_frames), net.frames.bias.chunk(n_frames)
    return torch.stack([codes @ w.T + b for w, b in zip(weights, biases, strict=True)], 1)


def slow_terms(method: FHVAE, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """The module docstring's objective, one segment at a time, with torch's own distributions."""
    sums: dict[str, list[Tensor]] = {}
    q2_all = method.static_posterior(method.frame_encoder(batch.x))
    noise2 = torch.randn(q2_all.mean.shape, generator=generator, dtype=q2_all.mean.dtype)
    noise1 = torch.randn(len(batch.x), 2, generator=generator, dtype=noise2.dtype)
    z1s, z2s, kl1 = [], [], []
    for n in range(len(batch.x)):
        features = method.frame_encoder(batch.x) if method.shape.is_video else batch.x
        q2 = Normal(q2_all.mean[n], torch.exp(0.5 * q2_all.logvar[n]))
        z2 = q2.mean + q2.stddev * noise2[n]
        tiled = torch.cat([features[n], z2.repeat(batch.x.shape[1], 1)], 1)
        mean, logvar = slow_posterior(method.dynamic_posterior, tiled)
        q1 = Normal(mean, torch.exp(0.5 * logvar))
        z1 = q1.mean + q1.stddev * noise1[n]
        kl1.append(kl_divergence(q1, Normal(torch.zeros_like(z1), torch.ones_like(z1))).sum())
        row = int(batch.sequence[n])
        mu2 = method.table[row]
        sums.setdefault("kl_static", []).append(kl_divergence(q2, Normal(mu2, torch.full_like(mu2, 0.5))).sum())
        log_prior = Normal(torch.zeros_like(mu2), torch.ones_like(mu2)).log_prob(mu2).sum()
        sums.setdefault("table_prior", []).append(-log_prior / batch.n_segments[n])
        scores = torch.stack(
            [Normal(other, torch.full_like(other, 0.5)).log_prob(q2.mean).sum() for other in method.table]
        )
        sums.setdefault("discriminative", []).append(-(scores[row] - torch.logsumexp(scores, 0)))
        z1s.append(z1)
        z2s.append(z2)
    states = slow_states(method.unroll, torch.cat([torch.stack(z1s), torch.stack(z2s)], 1), batch.x.shape[1])
    if method.shape.is_video:
        recon = ((method.frame_decoder(states) - batch.x) ** 2).sum() / len(batch.x)
    else:
        mean, logvar = method.frame_decoder(states)
        recon = -Normal(mean, torch.exp(0.5 * logvar)).log_prob(batch.x).sum() / len(batch.x)
    terms = {name: torch.stack(values).mean() for name, values in sums.items()}
    return terms | {"recon": recon, "kl_dynamic": torch.stack(kl1).mean()}


@SHAPES
@pytest.mark.parametrize("nets", ["lstm", "flat"])
@pytest.mark.parametrize("alpha", [0.0, 10.0])
def test_objective_is_the_documented_one(shape: Shape, nets: SegmentKind, alpha: float) -> None:
    config = dataclasses.replace(
        SMALL, alpha=alpha, recon_weight=1.5, kl_static_weight=0.7, kl_dynamic_weight=1.3, segment_nets=nets
    )
    method = built(config, shape).double()
    batch = batch_of(shape, dtype=torch.float64)
    found = method.loss(batch, "model", context())
    expected = slow_terms(method, batch, context().generator)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10)
    total = (
        1.5 * expected["recon"]
        + 1.3 * expected["kl_dynamic"]
        + 0.7 * expected["kl_static"]
        + 0.7 * expected["table_prior"]
        + alpha * expected["discriminative"]
    )
    torch.testing.assert_close(found["total"], total, rtol=1e-10, atol=1e-10)


def test_audio_is_read_by_lstms_as_published_and_video_by_flat_nets_unless_told_otherwise() -> None:
    assert isinstance(built(shape=AUDIO).unroll, SegmentUnroll)
    assert isinstance(built(shape=VIDEO).unroll, FlatUnroll)
    assert isinstance(built(dataclasses.replace(SMALL, segment_nets="lstm"), VIDEO).static_posterior, SegmentPosterior)
    assert isinstance(built(dataclasses.replace(SMALL, segment_nets="flat"), AUDIO).dynamic_posterior, FlatPosterior)


def test_flat_nets_tell_frames_apart_from_the_first_step() -> None:
    """What the LSTM that is fed one constant code had not learnt after two thousand steps."""
    moving = {}
    for nets in ("lstm", "flat"):
        config = dataclasses.replace(SMALL, alpha=0.0, segment_nets=nets)
        method = built(config, VIDEO)
        states = method.unroll(torch.randn(64, 5, generator=torch.Generator().manual_seed(0)), 4).detach()
        moving[nets] = float(states.var(1).mean() / states.var((0, 1)).mean())
    assert moving["lstm"] < 0.2 < 0.5 < moving["flat"]


def test_log_variances_of_flat_nets_hang_on_no_scale_of_what_they_read() -> None:
    """Unnormalised, a few steps of Adam on 15 frames of faces sent them to infinity."""
    method = built(dataclasses.replace(SMALL, segment_nets="flat")).double().eval()
    features = torch.randn(3, method.shape.n_frames, *method.shape.frame, dtype=torch.float64)
    once, larger = method.static_posterior(features), method.static_posterior(1e3 * features)
    torch.testing.assert_close(once.logvar, larger.logvar, atol=1e-3, rtol=1e-3)


def test_flat_nets_continue_a_short_segment_with_its_last_frame() -> None:
    method = built(dataclasses.replace(SMALL, segment_nets="flat")).eval()
    x = torch.randn(3, 3, 6)
    short = method.encode(x)
    whole = method.encode(torch.cat([x, x[:, -1:], x[:, -1:]], 1))
    torch.testing.assert_close(short.static, whole.static)
    torch.testing.assert_close(method.decode(short), method.decode(whole)[:, :3])


def test_flat_nets_refuse_more_frames_than_they_were_made_for() -> None:
    with pytest.raises(ValueError, match="cannot read 6"):
        FlatPosterior(3, 5, 4, 2)(torch.zeros(1, 6, 3))
    with pytest.raises(ValueError, match="cannot write 6"):
        FlatUnroll(3, 5, 4)(torch.zeros(1, 3), 6)


@SHAPES
def test_every_parameter_has_a_gradient(shape: Shape) -> None:
    method = built(shape=shape)
    method.loss(batch_of(shape), "model", context())["total"].backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("alpha", "rows"), [(0.0, [True, True, True, False]), (10.0, [True] * 4)])
def test_discriminative_term_reaches_the_whole_table(alpha: float, rows: list[bool]) -> None:
    method = built(dataclasses.replace(SMALL, alpha=alpha))
    method.loss(batch_of(AUDIO), "model", context())["total"].backward()
    assert method.table.grad is not None
    assert (method.table.grad.abs().sum(1) > 0).tolist() == rows


def static_terms(method: FHVAE, mean: Tensor, row: Tensor, logvar: float = 0.0, n: int = 2) -> dict[str, Tensor]:
    return method.static_terms(Gaussian(mean, torch.full_like(mean, logvar)), row, torch.full_like(row, n))


def test_discriminative_term_spans_chance_and_certainty_and_reads_the_mean_only() -> None:
    method = built()
    rows = torch.arange(4)
    with torch.no_grad():
        method.table.fill_(0.3)
    blind = static_terms(method, torch.randn(4, 3), rows)["discriminative"]
    assert blind.item() == pytest.approx(math.log(4), rel=1e-5)
    with torch.no_grad():
        method.table.copy_(20 * torch.randn(4, 3))
    sure = static_terms(method, method.table.detach(), rows)["discriminative"]
    assert sure.item() == pytest.approx(0.0, abs=1e-6)
    assert static_terms(method, method.table.detach(), rows, logvar=3.0)["discriminative"] == sure


def test_row_s_prior_is_shared_by_its_segments() -> None:
    method = built()
    rows = torch.tensor([0, 1])
    once, thrice = (static_terms(method, torch.zeros(2, 3), rows, n=n)["table_prior"] for n in (1, 3))
    torch.testing.assert_close(once, 3 * thrice)


def test_alpha_rows_are_told_apart() -> None:
    assert FHVAE.variants == {"alpha0": {"alpha": 0.0}}
    assert Config().alpha == 10.0
    assert FHVAE.variant_title("alpha0") == "FHVAE (alpha = 0)"
    assert dataclasses.astuple(built(Config()).optimisation("model"))[:2] == (1e-3, (0.95, 0.999))


# MAP estimates


@pytest.mark.parametrize(("n_clips", "n_windows"), [(1, 1), (7, 1), (3, 4)])
def test_pooling_is_the_numerical_optimum(n_clips: int, n_windows: int) -> None:
    method = built()
    generator = torch.Generator().manual_seed(0)
    z2 = torch.randn(n_clips, n_windows, 3, generator=generator)
    z1 = torch.randn(n_clips, n_windows, 2, generator=generator)
    static, dynamic = method.pool(Latents(static=z2.mean(1), dynamic=z1))
    for found, codes in ((static, z2), (dynamic, z1)):
        draws = codes.flatten(0, 1).double().numpy()

        def negative_log_posterior(mu: np.ndarray, draws: np.ndarray = draws) -> float:
            return float(((draws - mu) ** 2).sum() / (2 * 0.25) + (mu**2).sum() / 2)

        best = minimize(negative_log_posterior, np.zeros(draws.shape[1])).x
        assert found.tolist() == pytest.approx(best.tolist(), abs=1e-4)


# Windows of clips


@SHAPES
def test_a_clip_is_coded_window_by_window(shape: Shape) -> None:
    method = built(shape=shape).eval()
    n, w = 3, shape.n_frames
    x = torch.rand(n, 3 * w, *shape.frame)
    whole = method.encode(x)
    parts = [method.encode(x[:, start : start + w]) for start in (0, w, 2 * w)]
    assert whole.n_frames is None
    assert whole.dynamic.shape == (n, 3, 2)
    for number, part in enumerate(parts):
        torch.testing.assert_close(whole.dynamic[:, number], part.dynamic[:, 0])
    torch.testing.assert_close(whole.static, torch.stack([part.static for part in parts]).mean(0))


@SHAPES
@pytest.mark.parametrize("n_frames", [1, 3, 4, 5, 8, 9, 10, 13])
def test_decoding_returns_the_clip_s_frames(shape: Shape, n_frames: int) -> None:
    method = built(shape=shape).eval()
    x = torch.rand(3, n_frames, *shape.frame)
    codes = method.encode(x)
    assert method.decode(codes).shape == x.shape
    assert method.decode(codes[1:2]).shape == x[1:2].shape
    n_windows = -(-n_frames // shape.n_frames)
    assert codes.dynamic.shape[1] == n_windows
    drawn = method.sample_dynamic(3, n_frames, torch.Generator())
    assert drawn.shape == codes.dynamic.shape
    assert method.decode(Latents(static=codes.static, dynamic=drawn)).shape[1] == n_windows * shape.n_frames


def test_an_odd_clip_s_last_window_ends_with_it() -> None:
    method = built().eval()
    x = torch.randn(2, 12, 6)
    codes = method.encode(x)
    last = method.encode(x[:, -5:])
    torch.testing.assert_close(codes.dynamic[:, 2], last.dynamic[:, 0])
    alone = method.decode(Latents(static=codes.static, dynamic=codes.dynamic[:, 2:]))
    torch.testing.assert_close(method.decode(codes)[:, 10:], alone[:, 3:])


def test_codes_are_means_unless_a_generator_draws_them() -> None:
    method = built().eval()
    x = torch.randn(2, 10, 6)
    means, again = method.encode(x), method.encode(x)
    torch.testing.assert_close(means.static, again.static, rtol=0, atol=0)
    draws = torch.stack([method.encode(x, torch.Generator().manual_seed(seed)).static for seed in range(400)])
    assert (draws[0] != means.static).all()
    deviation = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - means.static).abs() < 5 * deviation).all()


@SHAPES
def test_evaluation_touches_no_statistics(shape: Shape) -> None:
    method = built(shape=shape).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.decode(method.encode(torch.rand(2, 8, *shape.frame)))
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]), name


# Names: static is z2 (sequence level), dynamic is z1 (segment level) and is inferred after z2


def test_static_is_inferred_first_and_dynamic_is_told_it() -> None:
    method = built().eval()
    x = torch.randn(2, 5, 6)
    before = method.encode(x)
    with torch.no_grad():
        for parameter in method.dynamic_posterior.parameters():
            parameter.mul_(2.0)
    after = method.encode(x)
    torch.testing.assert_close(after.static, before.static, rtol=0, atol=0)
    assert not torch.allclose(after.dynamic, before.dynamic)
    with torch.no_grad():
        method.static_posterior.head.to_mean.bias.add_(5.0)
    told = method.encode(x)
    torch.testing.assert_close(told.static, before.static + 5.0)
    assert not torch.allclose(told.dynamic, after.dynamic)
    assert method.table.shape == (4, SMALL.static_dim)


def test_priors_have_the_variances_of_the_config() -> None:
    method = built(dataclasses.replace(SMALL, sequence_variance=4.0))
    generator = torch.Generator().manual_seed(0)
    assert float(method.sample_static(5000, generator).std()) == pytest.approx(2.0, rel=0.05)
    assert float(method.sample_dynamic(5000, 5, generator).std()) == pytest.approx(1.0, rel=0.05)


def test_audio_reconstruction_learns_its_variance() -> None:
    method = built(dataclasses.replace(SMALL, alpha=0.0))
    batch = batch_of(AUDIO)
    batch.x = torch.randn(5, 5, 6, generator=torch.Generator().manual_seed(0)) * 0.1
    optimiser = torch.optim.Adam(method.parameters(), lr=2e-2)
    for step in range(60):
        loss = method.loss(batch, "model", context(step))
        optimiser.zero_grad()
        loss["total"].backward()
        optimiser.step()
    # A unit variance could not get below log sqrt(2 pi) a bin.
    assert loss["recon"] < 0.5 * 30 * 0.5 * math.log(2 * math.pi)


# Hierarchical sampling


class Corpus:
    """Segments of sequences that differ in a constant offset."""

    def __init__(self, n_sequences: int = 8, n_segments: int = 3) -> None:
        generator = torch.Generator().manual_seed(0)
        self.sequence = torch.arange(n_sequences).repeat_interleave(n_segments)
        offset = 2 * torch.randn(n_sequences, 1, 6, generator=generator)
        self.x = offset[self.sequence] + torch.randn(len(self.sequence), 5, 6, generator=generator) * 0.5
        self.shape = Shape(frame=(6,), n_frames=5, n_train=len(self.sequence), n_sequences=n_sequences)
        self.asked: list[Tensor] = []

    def batch(self, index: Tensor) -> Batch:
        sequence = self.sequence[index]
        n = torch.bincount(self.sequence)[sequence]
        return Batch(x=self.x[index], index=index, sequence=sequence, n_segments=n)

    def segments(self, sequences: Tensor) -> Iterator[Batch]:
        self.asked.append(sequences)
        for index in torch.isin(self.sequence, sequences).nonzero().flatten().split(4):
            yield self.batch(index)

    def context(self, seed: int = 0) -> Context:
        return dataclasses.replace(context(seed), segments=self.segments)


def test_an_epoch_s_table_is_the_map_estimate_of_its_sequences() -> None:
    corpus = Corpus()
    method = built(dataclasses.replace(SMALL, nmu2=5), corpus.shape)
    method.train()
    sequences = method.on_epoch(corpus.context())
    assert sequences is not None
    assert len(set(sequences.tolist())) == 5
    assert method.table.shape == (5, 3)
    assert method.training
    for row, sequence in enumerate(sequences.tolist()):
        codes = method.encode(corpus.x[corpus.sequence == sequence])
        torch.testing.assert_close(method.table[row], method.pool(codes)[0])
        assert method.row[sequence] == row
    another = method.on_epoch(corpus.context(1))
    assert another is not None
    assert set(another.tolist()) != set(sequences.tolist())


def test_a_sequence_that_was_not_drawn_is_refused() -> None:
    corpus = Corpus()
    method = built(dataclasses.replace(SMALL, nmu2=5), corpus.shape)
    sequences = method.on_epoch(corpus.context())
    assert sequences is not None
    inside = torch.isin(corpus.sequence, sequences)
    method.loss(corpus.batch(inside.nonzero().flatten()), "model", context())["total"].backward()
    with pytest.raises(IndexError):
        method.loss(corpus.batch((~inside).nonzero().flatten()), "model", context())


def test_without_hierarchical_sampling_the_table_is_left_alone() -> None:
    corpus = Corpus()
    method = built(shape=corpus.shape)
    before = method.table.detach().clone()
    assert method.on_epoch(corpus.context()) is None
    assert torch.equal(method.table, before)
    assert not corpus.asked


def test_rebuilding_the_table_touches_no_statistics_of_a_frame_encoder() -> None:
    method = built(dataclasses.replace(SMALL, nmu2=2), VIDEO)
    x = torch.rand(12, 4, 3, 32, 32)
    sequence = torch.arange(12) // 3

    def segments(sequences: Tensor) -> Iterator[Batch]:
        index = torch.isin(sequence, sequences).nonzero().flatten()
        yield Batch(x=x[index], index=index, sequence=sequence[index], n_segments=torch.full_like(index, 3))

    before = {name: value.clone() for name, value in method.frame_encoder.state_dict().items()}
    method.train()
    method.on_epoch(dataclasses.replace(context(), segments=segments))
    assert all(torch.equal(value, before[name]) for name, value in method.frame_encoder.state_dict().items())


def test_hierarchical_sampling_needs_segments() -> None:
    with pytest.raises(ValueError, match="segments"):
        built(dataclasses.replace(SMALL, nmu2=2)).on_epoch(context())


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (SMALL, dataclasses.replace(AUDIO, n_train=4), "two segments"),
        (SMALL, dataclasses.replace(AUDIO, n_sequences=0), "two segments"),
        (dataclasses.replace(SMALL, nmu2=5), AUDIO, "at most 4"),
    ],
)
def test_data_that_cannot_be_used_are_refused(config: Config, shape: Shape, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(config, shape)


@pytest.mark.parametrize("nmu2", [0, 6])
def test_it_learns_to_tell_sequences_apart(nmu2: int) -> None:
    corpus = Corpus()
    method = built(dataclasses.replace(SMALL, nmu2=nmu2), corpus.shape)
    optimiser = torch.optim.Adam(method.parameters(), lr=1e-2)
    every = torch.arange(len(corpus.x))
    for epoch in range(120):
        sequences = method.on_epoch(corpus.context(epoch))
        index = every if sequences is None else every[torch.isin(corpus.sequence, sequences)]
        loss = method.loss(corpus.batch(index), "model", context(epoch))
        optimiser.zero_grad()
        loss["total"].backward()
        optimiser.step()
    assert loss["discriminative"] < 0.3 * math.log(nmu2 or 8)
    codes = method.eval().encode(corpus.x)
    distance = torch.cdist(codes.static, codes.static)
    same = corpus.sequence[:, None] == corpus.sequence
    assert distance[same].sum() / (same.sum() - len(same)) < 0.4 * distance[~same].mean()
