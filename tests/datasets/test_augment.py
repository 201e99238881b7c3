from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from seqdis.datasets import augment
from seqdis.datasets.augment import content_view, motion_view, vtlp
from seqdis.datasets.base import AugmentPolicy

ALL = AugmentPolicy(crop=True, colour=True, blur=True)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(b: int = 12, t: int = 5, c: int = 3, size: int = 32) -> Tensor:
    return torch.rand(b, t, c, size, size, generator=gen(99)) * 255 / 256


def test_content_view_is_a_fresh_permutation_for_each_clip() -> None:
    generator = gen()
    first, second = content_view(500, 8, generator), content_view(500, 8, generator)
    assert first.dtype == torch.int64
    assert (first.sort(dim=1).values == torch.arange(8)).all()
    assert len(first.unique(dim=0)) > 480
    assert not torch.equal(first, second)
    assert torch.equal(first, content_view(500, 8, gen()))


def test_content_view_permutations_are_uniform() -> None:
    orders = content_view(60_000, 3, gen())
    counts = (orders @ torch.tensor([9, 3, 1])).unique(return_counts=True)[1].double()
    assert len(counts) == 6
    chi_squared = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_squared < 20.5  # the 99.9 % point for 5 degrees of freedom


def test_content_view_can_reverse_and_refuses_other_modes() -> None:
    assert content_view(2, 4, gen(), "reverse").tolist() == [[3, 2, 1, 0]] * 2
    with pytest.raises(ValueError, match="shuffle"):
        content_view(2, 4, gen(), "sort")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "policy", [ALL, AugmentPolicy(crop=True), AugmentPolicy(colour=True), AugmentPolicy(blur=True)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_frame_of_a_clip_is_changed_alike(policy: AugmentPolicy, channels: int) -> None:
    still = clips(c=channels)[:, :1].expand(-1, 5, -1, -1, -1)
    view = motion_view(still, policy, gen())
    assert torch.allclose(view, view[:, :1].expand_as(view), atol=1e-6)
    assert not torch.allclose(view, still, atol=1e-2)


def test_clips_are_changed_differently() -> None:
    same = clips(b=1).expand(20, -1, -1, -1, -1)
    view = motion_view(same, ALL, gen())
    distances = torch.cdist(view.flatten(1), view.flatten(1))
    assert (distances + torch.eye(20) * 1e9 > 0.1).all()


@pytest.mark.parametrize("policy", [ALL, AugmentPolicy(crop=True, blur=True)])
def test_reordering_frames_and_augmenting_commute(policy: AugmentPolicy) -> None:
    x, order = clips(), torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(motion_view(x[:, order], policy, gen()), motion_view(x, policy, gen())[:, order], atol=1e-5)


def test_view_stays_in_range_keeps_shape_and_leaves_its_input_alone() -> None:
    for c, size in ((1, 64), (3, 32), (3, 64)):
        x = clips(c=c, size=size)
        before = x.clone()
        view = motion_view(x, ALL, gen())
        assert view.shape == x.shape
        assert view.min() >= 0
        assert view.max() <= 1
        assert torch.equal(x, before)


def test_same_generator_same_view_other_seed_other_view() -> None:
    x = clips()
    assert torch.equal(motion_view(x, ALL, gen(1)), motion_view(x, ALL, gen(1)))
    assert not torch.equal(motion_view(x, ALL, gen(1)), motion_view(x, ALL, gen(2)))


def test_no_policy_changes_nothing() -> None:
    x = clips()
    assert torch.equal(motion_view(x, AugmentPolicy(), gen()), x)


def test_never_flips() -> None:
    ramp = torch.linspace(0.1, 0.9, 32).expand(200, 2, 3, 32, 32)
    view = motion_view(ramp, AugmentPolicy(crop=True, blur=True), gen())
    assert (view.diff(dim=-1) > -1e-6).all()
    assert (motion_view(ramp.mT, AugmentPolicy(crop=True, blur=True), gen()).diff(dim=-2) > -1e-6).all()


def test_crop_keeps_at_least_80_percent_of_the_area() -> None:
    ramp = torch.arange(64.0).expand(300, 1, 1, 64, 64) / 64
    view = motion_view(ramp, AugmentPolicy(crop=True), gen())[:, 0, 0, 32]
    side = (view[:, 40] - view[:, 20]) / 20 * 64  # source pixels a pixel
    assert side.min() >= math.sqrt(0.8) - 1e-4
    assert side.max() <= 1 + 1e-4
    assert side.square().mean() == pytest.approx(0.9, abs=0.01)


def _slow_resample(frame: np.ndarray, side: float, top: float, left: float, sigma: float | None) -> np.ndarray:
    """Pixel by pixel: bilinear reading of the box, then a 3 x 3 Gaussian with mirrored edges."""
    h, w = frame.shape
    out = np.zeros_like(frame)
    for i in range(h):
        for j in range(w):
            y = min(max((i + 0.5) * side + top * (1 - side) * h - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * side + left * (1 - side) * w - 0.5, 0), w - 1)
            y0, x0 = min(int(y), h - 2), min(int(x), w - 2)
            fy, fx = y - y0, x - x0
            out[i, j] = (1 - fy) * ((1 - fx) * frame[y0, x0] + fx * frame[y0, x0 + 1]) + fy * (
                (1 - fx) * frame[y0 + 1, x0] + fx * frame[y0 + 1, x0 + 1]
            )
    if sigma is None:
        return out
    kernel = np.array([[math.exp(-(a * a + b * b) / (2 * sigma**2)) for a in (-1, 0, 1)] for b in (-1, 0, 1)])
    kernel /= kernel.sum()
    padded = np.pad(out, 1, mode="reflect")
    return np.array([[(padded[i : i + 3, j : j + 3] * kernel).sum() for j in range(w)] for i in range(h)])


def _slow_recolour(clip: np.ndarray, brightness: float, contrast: float, saturation: float, angle: float) -> np.ndarray:
    """Step by step on (T, 3, H, W), through Python's own YIQ (whose axes differ by rounding only)."""
    weights = np.array(augment.LUMA)
    clip = clip * brightness
    mean = float(np.tensordot(clip, weights, axes=(1, 0)).mean())
    clip = contrast * clip + (1 - contrast) * mean
    luma = np.tensordot(clip, weights, axes=(1, 0))[:, None]
    clip = saturation * clip + (1 - saturation) * luma
    i = 0.5959 * clip[:, 0] - 0.2746 * clip[:, 1] - 0.3213 * clip[:, 2]
    q = 0.2115 * clip[:, 0] - 0.5227 * clip[:, 1] + 0.3112 * clip[:, 2]
    turned = (i + 1j * q) * np.exp(1j * angle)
    to_yiq = np.array([weights, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    yiq = np.stack([luma[:, 0], turned.real, turned.imag], axis=1)
    return np.clip(np.einsum("ij,tjhw->tihw", np.linalg.inv(to_yiq), yiq), 0, 1)


def test_views_equal_a_slow_reference_with_the_same_draws() -> None:
    x = clips(b=6, t=2, size=16)
    draws = torch.rand(6, augment._N, generator=gen()).double().numpy()
    view = motion_view(x, ALL, gen())
    seen = set()
    for n, draw in enumerate(draws):
        side = math.sqrt(0.8 + 0.2 * draw[augment._AREA])
        sigma = 0.1 + 1.9 * draw[augment._SIGMA] if draw[augment._BLUR] < 0.5 else None
        frames = [
            [_slow_resample(x[n, t, c].numpy(), side, draw[augment._TOP], draw[augment._LEFT], sigma) for c in range(3)]
            for t in range(2)
        ]
        jittered = draw[augment._COLOUR] < 0.8
        factors = [
            0.2 + 1.6 * draw[k] if jittered else 1.0
            for k in (augment._BRIGHTNESS, augment._CONTRAST, augment._SATURATION)
        ]
        if draw[augment._GREY] < 0.2:
            factors[2] = 0.0
        angle = 2 * math.pi * 0.2 * (2 * draw[augment._HUE] - 1) if jittered else 0.0
        expected = _slow_recolour(np.array(frames), *factors, angle)
        assert np.abs(view[n].numpy() - expected).max() < 1e-4
        seen |= {jittered, sigma is None, draw[augment._GREY] < 0.2}
    assert seen == {True, False}


def test_greyscale_and_jitter_come_as_often_as_they_should() -> None:
    x = clips(b=4000, t=1, size=16)
    view = motion_view(x, AugmentPolicy(colour=True), gen())
    grey = (view[:, 0, 0] - view[:, 0, 1]).abs().amax(dim=(1, 2)) < 1e-5
    assert grey.float().mean().item() == pytest.approx(0.2, abs=0.03)
    untouched = (view - x).abs().amax(dim=(1, 2, 3, 4)) < 1e-5
    assert untouched.float().mean().item() == pytest.approx(0.2 * 0.8, abs=0.03)


def test_hue_turns_by_at_most_a_fifth_of_the_circle_both_ways() -> None:
    red = torch.tensor([0.45, 0.35, 0.35]).view(1, 1, 3, 1, 1).expand(2000, 1, 3, 16, 16)
    view = motion_view(red, AugmentPolicy(colour=True), gen())[:, 0, :, 0, 0].numpy()
    hues = np.array([colorsys.rgb_to_hsv(*map(float, colour))[0] for colour in view if np.ptp(colour) > 0.02])
    signed = (hues + 0.5) % 1 - 0.5
    assert np.abs(signed).max() < 0.27  # YIQ angles and HSV hues differ by some degrees
    assert signed.min() < -0.12
    assert signed.max() > 0.12


def test_grey_scale_clips_keep_the_order_of_their_levels() -> None:
    x = clips(c=1)
    view = motion_view(x, AugmentPolicy(colour=True), gen())
    # An affine map with a positive factor, then a clamp: ranks within a clip never swap.
    for source, changed in zip(x.flatten(1), view.flatten(1), strict=True):
        assert (changed[source.argsort()].diff() >= -1e-6).all()


def test_a_clip_is_changed_alike_in_batches_of_any_size() -> None:
    x = clips(b=8)
    assert torch.allclose(motion_view(x, ALL, gen())[:3], motion_view(x[:3], ALL, gen()), atol=1e-5)


def test_view_under_autocast_is_computed_in_full_precision() -> None:
    x = clips()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        view = motion_view(x, ALL, gen())
    assert view.dtype == torch.float32
    assert torch.equal(view, motion_view(x, ALL, gen()))


def test_vtlp_moves_bands_alike_in_every_frame_and_tilts_within_bounds() -> None:
    still = torch.randn(40, 1, 80, generator=gen()).expand(-1, 20, -1)
    view = vtlp(still, gen(), db_per_unit=4.343)
    assert torch.allclose(view, view[:, :1].expand_as(view), atol=1e-5)
    flat = vtlp(torch.zeros(500, 1, 80), gen(), db_per_unit=4.343)[:, 0] * 4.343
    assert flat[:, [0, 79]].abs().max() <= 6 + 1e-4
    assert flat.abs().max() > 4
    assert flat.diff(dim=1).abs().max() < 1  # smooth: less than a decibel from band to band


def test_vtlp_moves_a_peak_by_the_warp_factor() -> None:
    x = torch.zeros(300, 1, 80)
    x[:, 0, 30] = 100
    view = vtlp(x, gen(), db_per_unit=1e9)[:, 0]
    place = (view * torch.arange(80)).sum(1) / view.sum(1)
    factor = torch.exp(math.log(0.85) + torch.rand(300, 4, generator=gen())[:, 0] * math.log(1.18 / 0.85))
    assert torch.allclose(place, 30 * factor, atol=0.6)


def test_vtlp_keeps_the_ends_of_the_axis() -> None:
    x = torch.arange(80.0).expand(100, 3, 80)
    view = vtlp(x, gen(), db_per_unit=1e9)
    assert torch.allclose(view[..., 0], torch.zeros(1), atol=1e-3)
    assert torch.allclose(view[..., -1], torch.full((1,), 79.0), atol=1e-3)
    assert (view.diff(dim=-1) > 0).all()


def test_audio_goes_by_the_policy() -> None:
    x = torch.randn(4, 20, 80, generator=gen())
    assert torch.equal(motion_view(x, AugmentPolicy(), gen()), x)
    view = motion_view(x, AugmentPolicy(audio="vtlp", db_per_unit=5.0), gen())
    assert torch.equal(view, vtlp(x, gen(), db_per_unit=5.0))
    with pytest.raises(ValueError, match="waveforms"):
        motion_view(x, AugmentPolicy(audio="wsola"), gen())


@pytest.mark.gpu
def test_views_on_a_gpu_need_no_transfer_to_the_host() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    x, generator = clips().cuda(), torch.Generator("cuda").manual_seed(0)
    motion_view(x, ALL, generator)
    torch.cuda.set_sync_debug_mode("error")
    try:
        motion_view(x, ALL, generator)
        content_view(12, 5, generator)
        vtlp(torch.randn(4, 20, 80, device="cuda"), generator, db_per_unit=4.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
