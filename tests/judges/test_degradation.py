"""Clips made worse or moved, against their definitions."""

from __future__ import annotations

import pytest
import torch

from seqdis.judges.degradation import blurred, degrade, shifted
from seqdis.judges.settings import Recipe


def test_blur_is_the_mean_of_the_box_and_keeps_plain_areas() -> None:
    x = torch.rand((2, 3, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    assert blurred(x, 3)[1, 2, 0, 10, 7] == pytest.approx(float(x[1, 2, 0, 9:12, 6:9].mean()), abs=1e-6)
    large = torch.rand((1, 1, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    assert blurred(large, 3)[0, 0, 0, 10, 7] == pytest.approx(float(large[0, 0, 0, 8:13, 5:10].mean()), abs=1e-6)
    assert torch.allclose(blurred(torch.full((1, 2, 3, 16, 16), 0.3), 3), torch.tensor(0.3))


@pytest.mark.parametrize("shape", [(8, 4, 3, 16, 16), (8, 10, 20)])
def test_degrading_changes_the_asked_share_within_range_and_by_the_generator(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(degraded=0.5)
    made = [degrade(x, recipe, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert torch.equal(made[0][4:], x[4:])
    assert (made[0][:4] != x[:4]).flatten(1).any(1).all()
    if len(shape) == 5:
        assert 0 <= made[0].min() <= made[0].max() <= 1
    assert degrade(x, Recipe(degraded=0), torch.Generator()) is x


def test_shift_moves_each_clip_as_a_whole() -> None:
    """Every frame of a clip moves alike, or its motion would change; clips move differently."""
    still = torch.rand((6, 1, 1, 32, 32), generator=torch.Generator().manual_seed(0)).expand(6, 4, 1, 32, 32)
    made, again, other = (shifted(still, 2, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert made.shape == still.shape
    torch.testing.assert_close(made, made[:, :1].expand_as(made))
    assert torch.equal(made, again)
    assert not torch.equal(made, other)
    assert shifted(still, 0, torch.Generator()) is still
    moved = shifted(still, 2, torch.Generator().manual_seed(0))[0, 0, 0]
    places = [
        torch.roll(still[0, 0, 0], (down, right), (0, 1))[2:-2, 2:-2] for down in range(-2, 3) for right in range(-2, 3)
    ]
    assert sum(torch.equal(moved[2:-2, 2:-2], place) for place in places) == 1
