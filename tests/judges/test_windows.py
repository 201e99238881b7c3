"""The judge of moving digits: its windows, its pairs against a slow reference, and that it learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from seqdis.bench.core.errors import UserError
from seqdis.datasets.smmnist import SmMnist
from seqdis.datasets.video import handwriting, moving
from seqdis.judges.architectures import ARCHITECTURES, build, default_architecture
from seqdis.judges.settings import Recipe
from seqdis.judges.training import default_recipe, fit_judge
from seqdis.judges.windows import Windows, sorted_marginals

torch.set_num_threads(1)

PAIR = {"digit_low": (10, "static"), "digit_high": (10, "static")}
KINDS = ("windows", "windows-deep")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> SmMnist:
    root = tmp_path_factory.mktemp("caches")
    SmMnist.prepare(root, "synthetic")
    return SmMnist.open(root, "synthetic", 32, n_validation=100, n_test=200)


def test_marginals_are_those_of_a_softmax_over_sorted_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    evidence, twice = (3 * torch.randn(2, 4, generator=generator) for _ in range(2))
    low, high = sorted_marginals(evidence, twice)
    for b in range(2):
        pairs = [(i, j) for i in range(4) for j in range(i, 4)]
        scores = torch.stack([evidence[b, i] + evidence[b, j] + (twice[b, i] if i == j else 0) for i, j in pairs])
        p = scores.softmax(0)
        for k in range(4):
            assert low[b, k].exp() == pytest.approx(float(sum(q for q, (i, _) in zip(p, pairs, strict=True) if i == k)))
            assert high[b, k].exp() == pytest.approx(
                float(sum(q for q, (_, j) in zip(p, pairs, strict=True) if j == k))
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [32, 64])
def test_a_frame_is_judged_as_its_windows_are_one_by_one(kind: str, side: int) -> None:
    """No padding: what a window says hangs on nothing outside it, so crops can teach it."""
    torch.manual_seed(0)
    net = build((1, side, side), PAIR, ARCHITECTURES[kind]).eval()
    assert isinstance(net, Windows)
    frames = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
    whole = net.windows(frames)
    assert whole.shape == (2, 11, 9, 9)
    step = side // 16
    for row, column in ((0, 0), (3, 8), (8, 5)):
        cut = frames[..., row * step : row * step + side // 2, column * step : column * step + side // 2]
        torch.testing.assert_close(net.windows(cut)[..., 0, 0], whole[..., row, column], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_distributions_with_gradients_everywhere(kind: str) -> None:
    net = build((1, 32, 32), PAIR, ARCHITECTURES[kind])
    logits = net(torch.rand(3, 4, 1, 32, 32))
    for value in logits.values():
        torch.testing.assert_close(value.exp().sum(1), torch.ones(3))
    # The smaller digit is no larger: P(low <= k) >= P(high <= k).
    assert (logits["digit_low"].exp().cumsum(1) >= logits["digit_high"].exp().cumsum(1) - 1e-5).all()
    torch.stack([value[:, 0].sum() for value in logits.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_windows_are_labelled_by_the_digit_in_their_middle() -> None:
    """Digits that are plain squares of their own brightness, so that a window's content tells where they lie."""
    squares = torch.zeros(10, 32, 32, dtype=torch.uint8)
    for k in range(10):
        squares[k, 10:22, 10:22] = 10 + 10 * k
    x, label = handwriting.windows(squares, torch.arange(10), 3999, 64, torch.Generator().manual_seed(0))
    assert x.shape == (3999, 1, 32, 32)
    assert label.min() == 0
    assert label.max() == 10
    assert 0.25 < (label == 10).float().mean() < 0.33
    middle = x[:, 0, 16, 16] * 256
    for k in range(10):
        # Its digit, with another on top or not; a strong bend may carry an edge into the middle.
        assert 0.06 < (label == k).float().mean() < 0.08
        assert (middle[label == k] >= 10 + 10 * k - 1).float().mean() > 0.99
    assert (middle[label == 10] == 0).float().mean() > 0.3


def test_varied_digits_stay_near_and_differ_each_time(digits: SmMnist) -> None:
    some = digits.train.digits[:64]
    first, again, other = (handwriting.vary(some, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == some.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a.float() - b.float()).square().mean())

    assert 0 < distance(first, some) < 0.6 * distance(some.roll(1, 0), some)


def test_varied_clips_move_as_the_clips_do(digits: SmMnist) -> None:
    split, index = digits.train, torch.arange(8)
    varied = split.varied_clips(index, torch.Generator().manual_seed(5))
    plain = split.clips(index, torch.Generator().manual_seed(5))
    assert varied.shape == plain.shape
    assert (varied - plain).abs().mean() < 0.5 * (plain.roll(1, 0) - plain).abs().mean()
    assert split.digits.shape[-1] == moving.DIGIT


def test_a_short_training_already_tells_most_pairs(digits: SmMnist) -> None:
    architecture = default_architecture(digits.spec, "default")
    assert architecture.kind == "cnn-windows"
    assert default_architecture(digits.spec, "second").kind == "cnn-windows-deep"
    recipe = dataclasses.replace(
        default_recipe(digits.spec, architecture), windows=100, steps=4, check_every=4, look_clips=50
    )
    shown: list[str] = []
    judge = fit_judge(digits, recipe=recipe, progress=lambda *words: shown.append(words[2]))
    assert judge.card.joint["digits"] > 0.4  # chance is 0.02
    assert judge.card.n_test == 200
    assert any(text.startswith("single windows") for text in shown)


def test_the_same_seed_trains_the_same_weights_in_spite_of_dropout(digits: SmMnist) -> None:
    recipe = Recipe(windows=3, window_batch=12, steps=2, frames=2, batch_size=4, check_every=2, look_clips=10)
    trained = []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        judge = fit_judge(digits, recipe=recipe)
        assert torch.equal(torch.get_rng_state(), before), "the global generator is left as it was"
        trained.append(judge.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_windows_need_a_pair_and_known_frames(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sorted pair"):
        build((1, 32, 32), {"digit": (10, "static")}, ARCHITECTURES["windows"])
    with pytest.raises(UserError, match="32 or 64"):
        build((1, 16, 16), PAIR, ARCHITECTURES["windows"])
    assert Recipe().windows == 0
