"""Clips of a cell: what they show, and that they survive the disk."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from seqdis.bench.cell.clips import ClipConfig, make_clips
from seqdis.bench.records.clips import load_clips, save_clips

torch = pytest.importorskip("torch")


@pytest.fixture
def dataset():
    """Eight frames of one flat colour a clip: static is the colour's level, dynamic its slope over time."""
    from seqdis.datasets.base import DataSet, Factor, Spec, Split

    level = torch.arange(40).remainder(5)
    slope = torch.arange(40).div(5, rounding_mode="floor").remainder(4)
    values = 20 * level[:, None] + 4 * slope[:, None] * torch.arange(8) + 10
    x = values.to(torch.uint8)[:, :, None, None, None].expand(-1, -1, 3, 16, 16).contiguous()
    data = DataSet()
    factors = (
        Factor(name="level", classes=tuple("abcde"), role="static"),
        Factor(name="slope", classes=tuple("wxyz"), role="dynamic"),
    )
    data.spec = Spec(
        name="flat",
        title="Flat",
        source="synthetic",
        modality="video",
        frame=(3, 16, 16),
        n_frames=8,
        factors=factors,
        headline=("fix_dynamic", "slope"),
        split_rule="-",
        revision="1",
        licence="-",
        citation="-",
    )
    data.test = Split(x, {"level": level, "slope": slope}, torch.arange(40))
    return data


@pytest.fixture
def exact():
    """A method whose codes are the flat clip's own start and slope: every swap is known in closed form."""
    from seqdis.methods.base import Capabilities, Latents, Method

    @dataclasses.dataclass(frozen=True)
    class Settings:
        encodes: bool = True

    class Exact(Method):
        title, paper, Config = "Exact", "-", Settings

        @classmethod
        def capabilities(cls, config):
            return Capabilities(encodes=config.encodes)

        def encode(self, x, generator=None):
            values = x.mean((2, 3, 4))
            return Latents(static=values[:, :1], dynamic=(values - values[:, :1])[:, :, None])

        def decode(self, latents):
            values = latents.static[:, None] + latents.dynamic
            return values[..., None, None].expand(-1, -1, 3, 16, 16).clamp(0, 1)

        def sample_static(self, n, generator):
            return torch.rand(n, 1, generator=generator) / 2

        def sample_dynamic(self, n, n_frames, generator, *, means=False):
            return torch.rand(n, 1, 1, generator=generator) * torch.arange(n_frames)[None, :, None] / 64

    return lambda encodes=True: Exact(Settings(encodes=encodes), None)


def values(array):
    return array[..., 0, 0, 0].astype(int)


def test_make_clips_swaps_static_of_the_row_with_dynamic_of_the_column(exact, dataset):
    clips = make_clips(exact(), dataset)
    shown = values(clips["originals"])
    expected = shown[:, None, :1] + (shown - shown[:, :1])[None]
    assert clips["swaps"].shape == (6, 6, 8, 16, 16, 3)
    assert clips["swaps"].dtype == np.uint8
    np.testing.assert_array_equal(values(clips["swaps"]), expected)
    np.testing.assert_array_equal(clips["reconstructions"], clips["originals"])


def test_make_clips_keeps_what_each_row_fixes(exact, dataset):
    clips = make_clips(exact(), dataset, ClipConfig(clips=4, draws=5))
    shown = values(clips["originals"])
    static, dynamic = values(clips["fixed_static"]), values(clips["fixed_dynamic"])
    assert static.shape == dynamic.shape == (4, 5, 8)
    np.testing.assert_array_equal(static[..., 0], np.repeat(shown[:, :1], 5, 1))
    slopes = dynamic - dynamic[..., :1]
    np.testing.assert_allclose(slopes, np.repeat((shown - shown[:, :1])[:, None], 5, 1), atol=1)
    # The same draws stand in every row, so that a column can be compared from top to bottom.
    np.testing.assert_allclose(dynamic[..., 0], np.repeat(dynamic[:1, :, 0], 4, 0), atol=1)


def test_make_clips_interpolates_in_straight_lines_between_neighbours(exact, dataset):
    clips = make_clips(exact(), dataset, ClipConfig(clips=4, pairs=2, steps=5))
    shown, line = values(clips["originals"]), values(clips["interpolation"])
    assert line.shape == (2, 5, 8)
    for row in range(2):
        expected = np.linspace(shown[row, 0], shown[row + 1, 0], 5)
        np.testing.assert_allclose(line[row, :, 0], expected, atol=1)


def test_make_clips_differ_in_identity_and_labels_and_do_not_depend_on_the_seed(exact, dataset):
    first, second = (make_clips(exact(), dataset, ClipConfig(clips=4, seed=seed)) for seed in (0, 1))
    np.testing.assert_array_equal(first["originals"], second["originals"])
    assert not np.array_equal(first["samples"], second["samples"])
    assert len(np.unique(first["labels"][:, 0])) == len(np.unique(first["labels"][:, 1])) == 4


def test_make_clips_without_encoder_gives_prior_rows_only(exact, dataset):
    clips = make_clips(exact(encodes=False), dataset)
    assert set(clips) == {"fixed_static", "fixed_dynamic", "samples", "interpolation"}
    starts = values(clips["fixed_static"])[..., 0]
    np.testing.assert_array_equal(starts, np.repeat(starts[:, :1], starts.shape[1], 1))


def test_save_clips_gives_the_same_bytes_and_load_gives_the_arrays_back(exact, dataset, tmp_path):
    clips = make_clips(exact(), dataset)
    first = save_clips(tmp_path / "a", clips)
    second = save_clips(tmp_path / "b", dict(reversed(clips.items())))
    assert first.read_bytes() == second.read_bytes()
    loaded = load_clips(tmp_path / "a")
    assert set(loaded) == set(clips)
    for name, array in clips.items():
        np.testing.assert_array_equal(loaded[name], array)
    assert load_clips(tmp_path) == {}
