"""Audio: SPHERE and other files, features against a slow reference, WSOLA, segments, generated speech."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from seqdis.bench.core.errors import UserError
from seqdis.datasets.audio import wsola
from seqdis.datasets.audio.features import (
    FLOOR,
    Features,
    log_features,
    loud_frames,
    mel_filters,
)
from seqdis.datasets.audio.files import read_audio, read_header
from seqdis.datasets.audio.pictures import spectrogram, utterances
from seqdis.datasets.audio.segments import DrawnSegments, Frames, SegmentSplit
from seqdis.datasets.synthetic import speech as synthetic
from seqdis.judges import trials
from seqdis.judges.metrics import equal_error_rate

RATE = 16_000


def sphere(samples: np.ndarray, *, rate: int = RATE, order: str = "01", count: int = -1, extra: str = "") -> bytes:
    """A NIST SPHERE file of int16 samples (S,) or (S, channels)."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    lines = [
        "NIST_1A",
        "   1024",
        f"channel_count -i {channels}",
        f"sample_count -i {len(samples) if count < 0 else count}",
        f"sample_rate -i {rate}",
        "sample_n_bytes -i 2",
        f"sample_byte_format -s2 {order}",
        *([extra] if extra else []),
        "end_head",
        "",
    ]
    header = "\n".join(lines).encode().ljust(1024, b" ")
    return header + samples.astype("<i2" if order == "01" else ">i2").tobytes()


def wav(samples: np.ndarray, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype=subtype)
    return buffer.getvalue()


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=n) * 3000).astype(np.int16)


@pytest.mark.parametrize("order", ["01", "10"])
def test_sphere_files_are_read_in_both_byte_orders(tmp_path: Path, order: str) -> None:
    samples = noise(4000)
    path = tmp_path / "SA1.WAV"
    path.write_bytes(sphere(samples, order=order))
    found, rate = read_audio(path, rate=RATE)
    assert rate == RATE
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, samples / np.float32(32768))


def test_sphere_agrees_with_libsndfile(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "a.sph"
    path.write_bytes(sphere(noise(3000)))
    np.testing.assert_array_equal(read_audio(path)[0], soundfile.read(str(path), dtype="float32")[0])


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_channels_are_averaged(tmp_path: Path, kind: str) -> None:
    import soundfile

    samples = noise(2000).reshape(1000, 2)
    path = tmp_path / f"a.{kind}"
    soundfile.write(str(path), samples, RATE, subtype="PCM_16")
    np.testing.assert_allclose(read_audio(path)[0], samples.mean(1) / 32768, atol=1e-6)
    path.with_suffix(".sph").write_bytes(sphere(samples))
    np.testing.assert_allclose(read_audio(path.with_suffix(".sph"))[0], samples.mean(1) / 32768, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"this is no audio", "no audio file"),
        (sphere(noise(100))[:300], "damaged|header"),
        (sphere(noise(100), count=200), "100 of 200 samples"),
        (sphere(noise(100), count=0), "no samples"),
        (sphere(noise(100), rate=8000), "8000 Hz"),
        (sphere(noise(100), extra="sample_coding -s26 pcm,embedded-shorten-v2.00"), "shorten"),
        (sphere(noise(100)).replace(b"sample_rate -i", b"sample_late -i"), "header"),
        (sphere(noise(100)).replace(b"channel_count -i 1", b"channel_count -i -1"), "says that it has -1 channels"),
        (sphere(noise(100)).replace(b"   1024", b"  -1024"), "begin at byte -1024"),
        (sphere(noise(100)).replace(b"count -i 100", b"count -i " + b"9" * 700), "longer than an hour"),
        (sphere(noise(100)).replace(b"count -i 1\n", b"count -i " + b"9" * 700 + b"\n"), "9... channels"),
        (wav(noise(100)).replace((16_000).to_bytes(4, "little"), (1).to_bytes(4, "little")), "sampled at 1 Hz"),
        (wav(noise(100))[:-50], "cut short.*200 bytes of samples and has 150"),
        (wav(noise(100)).replace((200).to_bytes(4, "little"), (1 << 31).to_bytes(4, "little")), "cut short"),
        (wav(np.array([0.0, 3e38] * 50, np.float32), "FLOAT"), "beyond 32768"),
        (wav(np.array([0.0, np.nan] * 50, np.float32), "FLOAT"), "not numbers"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "damaged|no audio"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(UserError, match=text) as caught:
        read_audio(path, rate=RATE)
    assert "bad.wav" in str(caught.value)


def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UserError, match=r"pipe\.wav is not a regular file"):
        read_audio(tmp_path / "pipe.wav")


def test_floats_that_hold_16_bit_numbers_are_taken(tmp_path: Path) -> None:
    (tmp_path / "loud.wav").write_bytes(wav(np.array([-32768.0, 32767.0] * 50, np.float32), "FLOAT"))
    assert read_audio(tmp_path / "loud.wav")[0].min() == -32768


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.wav"):
        read_header(tmp_path / "nothing.wav")


def slow_log_mel(x: np.ndarray, features: Features) -> np.ndarray:
    """Frame by frame, bin by bin, from the definitions."""
    emphasised = np.append(x[0], x[1:] - 0.97 * x[:-1]).astype(np.float64)
    top = 2595 * np.log10(1 + features.rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, 82) / 2595) - 1)
    rows = []
    for start in range(0, len(x) - features.window + 1, features.hop):
        frame = emphasised[start : start + features.window] * np.hamming(features.window)
        spectrum = np.abs(np.fft.fft(frame, features.n_fft))[: features.n_fft // 2 + 1]
        row = []
        for band in range(80):
            low, centre, high = corners[band : band + 3]
            total = 0.0
            for k, magnitude in enumerate(spectrum):
                f = k * features.rate / features.n_fft
                total += magnitude * max(0.0, min((f - low) / (centre - low), (high - f) / (high - centre)))
            row.append(np.log(max(total, np.exp(FLOOR))))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_log_mel_equals_the_slow_reference(rate: int) -> None:
    rng = np.random.default_rng(0)
    features = Features(rate=rate)
    waves = [rng.normal(size=n).astype(np.float32) * 0.1 for n in (900, 1333)]
    found, energy = log_features(waves, features)
    slow = [slow_log_mel(wave, features) for wave in waves]
    np.testing.assert_allclose(found.numpy(), np.concatenate(slow), atol=2e-4)
    assert [features.n_frames(len(wave)) for wave in waves] == [len(rows) for rows in slow]
    first = np.log((waves[0][: features.window].astype(np.float64) ** 2).mean())
    assert energy[0].item() == pytest.approx(first, abs=1e-4)


def test_every_mel_band_has_bins_and_unit_peak() -> None:
    for rate in (16_000, 8_000):
        filters = mel_filters(Features(rate=rate))
        assert (filters.max(0).values > 0.4).all()
        assert filters.max() <= 1


def test_silence_stays_at_the_floor_and_frames_are_counted() -> None:
    features = Features()
    found, _ = log_features([np.zeros(16_000, np.float32)], features)
    assert found.shape == (98, 80)
    assert (found == FLOOR).all()
    assert features.n_frames(399) == 0
    assert features.n_frames(400) == 1
    spectrum, _ = log_features([noise(16_000).astype(np.float32) / 32768], Features("spec200"))
    assert spectrum.shape == (98, 200)


def test_a_tone_is_where_it_should_be() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / RATE).astype(np.float32)
    spectrum, _ = log_features([tone], Features("spec200"))
    assert (spectrum.argmax(1) == 24).all()  # 1,000 Hz / 40 Hz, less the DC bin
    mel, _ = log_features([tone], Features())
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82) / 2595) - 1)
    assert (mel.argmax(1) == int(np.abs(corners[1:-1] - 1000).argmin())).all()


@pytest.mark.parametrize(("name", "rate"), [("mel40", 16_000), ("spec200", 8_000)])
def test_unknown_features_are_refused(name: str, rate: int) -> None:
    with pytest.raises(UserError, match="mel80"):
        Features(name, rate)  # type: ignore[arg-type]


def test_loudness_splits_speech_from_silence() -> None:
    energy = np.concatenate([np.full(30, -18.0), np.full(50, -4.0), np.full(20, -17.0)])
    assert loud_frames(energy).tolist() == [0] * 30 + [1] * 50 + [0] * 20
    assert loud_frames(np.zeros(0)).shape == (0,)
    shifted = loud_frames(energy + 7)  # a threshold for each utterance: gain does not matter
    assert shifted.tolist() == loud_frames(energy).tolist()


@pytest.mark.parametrize("factor", [Fraction(5, 4), Fraction(4, 5), Fraction(12, 11), Fraction(3, 4)])
def test_a_shifted_tone_changes_pitch_and_keeps_length_and_level(factor: Fraction) -> None:
    time = np.arange(RATE) / RATE
    tones = [0.3 * np.sin(2 * np.pi * f * time[:n]).astype(np.float32) for f, n in ((200, RATE), (310, 12_345))]
    for tone, f, moved in zip(tones, (200, 310), wsola.shift_voices(tones, [factor] * 2, RATE), strict=True):
        assert len(moved) == len(tone)
        assert moved.dtype == np.float32
        spectrum = np.abs(np.fft.rfft(moved * np.hanning(len(moved)), 8 * len(moved)))
        assert spectrum.argmax() * RATE / (8 * len(moved)) == pytest.approx(f * float(factor), abs=2)
        inside = slice(1000, -1000)
        assert moved[inside].std() == pytest.approx(tone[inside].std(), rel=0.05)


def test_stretching_keeps_the_tone_continuous() -> None:
    """Where frames join, a sine must go on as a sine: nothing but its frequency may stand out."""
    tone = torch.sin(2 * torch.pi * 220 * torch.arange(RATE) / RATE)[None]
    long = wsola.stretch(tone, 1.3, frame=640, tolerance=160)[0, 2048:18_000].numpy()
    spectrum = np.abs(np.fft.rfft(long * np.hanning(len(long)))) ** 2
    peak = spectrum.argmax()
    assert peak * RATE / len(long) == pytest.approx(220, abs=2)
    assert spectrum[max(0, peak - 12) : peak + 13].sum() / spectrum.sum() > 0.99


def test_events_stay_where_they_were() -> None:
    rng = np.random.default_rng(0)
    wave = 0.001 * rng.normal(size=2 * RATE).astype(np.float32)
    for start in (6000, 15_000, 24_000):
        wave[start : start + 2500] += 0.3 * rng.normal(size=2500).astype(np.float32)
    for factor in (Fraction(4, 3), Fraction(3, 4)):
        moved = wsola.shift_voices([wave], [factor], RATE)[0]
        level = [np.sqrt(np.convolve(w**2, np.ones(400) / 400, "same")) for w in (wave, moved)]
        for start in (6000, 15_000, 24_000):
            centre = [
                np.average(np.arange(start - 3000, start + 5500), weights=w[start - 3000 : start + 5500] > 0.05)
                for w in level
            ]
            assert abs(centre[0] - centre[1]) < 160  # less than a feature frame
    alone = wsola.shift_voices([wave], [Fraction(4, 3)], RATE)[0]
    together = wsola.shift_voices([wave[:9000], wave], [Fraction(4, 3)] * 2, RATE)[1]
    np.testing.assert_allclose(together, alone, atol=1e-5)  # what else is in the batch does not matter


def test_copies_do_not_lead_or_lag(spoken: tuple[list[synthetic.Spoken], list[np.ndarray]]) -> None:
    """The loudness of each frame must agree best with the original's at no shift, whatever the factor."""
    waves = spoken[1][:24]
    original = log_features(waves, Features())[1].view(24, -1).numpy()
    for factor in (Fraction(12, 11), Fraction(11, 12), Fraction(4, 3), Fraction(3, 4)):
        moved = log_features(wsola.shift_voices(waves, [factor] * 24, RATE), Features())[1].view(24, -1).numpy()
        likeness = [
            np.corrcoef(original[:, 5:-5].ravel(), moved[:, 5 + lag : moved.shape[1] - 5 + lag].ravel())[0, 1]
            for lag in range(-4, 5)
        ]
        assert int(np.argmax(likeness)) == 4, (factor, likeness)


def test_factors_go_both_ways_and_avoid_one() -> None:
    drawn = np.array([float(f) for f in wsola.draw_factors(2000, np.random.default_rng(0))])
    assert 0.4 < (drawn > 1).mean() < 0.6
    assert np.abs(np.log(drawn)).min() > np.log(1.08)
    assert np.abs(np.log(drawn)).max() < np.log(1.36)


def make_split(*, is_random: bool, shifted: bool = False) -> SegmentSplit:
    lengths = torch.tensor([20, 27, 28, 61])
    x = torch.arange(136).half()[:, None].expand(136, 3).contiguous()
    frames = Frames(
        x=x,
        lengths=lengths,
        speaker=torch.tensor([0, 0, 1, 1]),
        loud=(torch.arange(136) % 2).byte(),
        mean=torch.zeros(3),
        std=torch.ones(3),
        phone=(torch.arange(136) % 39).to(torch.int8),
        shifted=torch.stack([x + 500, x + 1000]) if shifted else None,
    )
    return SegmentSplit(frames, is_random=is_random)


def test_fixed_segments_lie_end_to_end_without_the_rest() -> None:
    split = make_split(is_random=False)
    clips = split.clips(torch.arange(len(split)))
    assert clips[:, 0, 0].tolist() == [0, 20, 47, 75, 95, 115]
    assert (clips[:, :, 0] - clips[:, :1, 0] == torch.arange(20)).all()
    assert split.sequence.tolist() == [0, 1, 2, 3, 3, 3]
    assert split.n_segments.tolist() == [1, 1, 1, 3, 3, 3]
    assert split.identity.tolist() == [0, 0, 1, 1, 1, 1]
    assert torch.equal(split.x.float(), clips)
    assert torch.equal(split.frame_labels["phone"], (clips[..., 0] % 39).long())
    assert split.signal is not None
    assert torch.equal(split.signal[..., 0], clips[..., 0] % 2)


def test_random_segments_stay_in_their_utterance_and_reach_every_start() -> None:
    split = make_split(is_random=True)
    assert len(split) == 1 + 1 + 2 + 6  # floor((L - 20) / 8) + 1 of each
    index = torch.arange(len(split)).repeat(300)
    starts = split.clips(index, torch.Generator().manual_seed(0))[:, 0, 0]
    utterance = split.utterance_of[index]
    assert starts[utterance == 0].unique().tolist() == [0]
    assert sorted(starts[utterance == 1].unique().tolist()) == list(range(20, 28))
    assert sorted(starts[utterance == 3].unique().tolist()) == list(range(75, 75 + 42))
    assert split.signal is None
    assert split.frame_labels == {}
    assert len(split.fixed()) == 6


def test_views_and_signal_belong_to_the_same_frames() -> None:
    split = make_split(is_random=True, shifted=True)
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(len(split), (40,), generator=generator)
    drawn = split.draw(index, generator)
    split.draw(index, generator)  # later draws change nothing
    x, view = drawn.x, drawn.motion_view(generator)
    added = (view - x)[..., 0]
    assert set(added.unique().tolist()) == {500.0, 1000.0}
    assert (added == added[:, :1]).all()
    assert torch.equal(drawn.signal()[..., 0], x[..., 0] % 2)


def test_warped_view_changes_the_voice_alike_in_every_frame() -> None:
    split = make_split(is_random=False)
    x = torch.randn(6, 1, 80).expand(6, 20, 80).contiguous()
    split.mean, split.std = torch.randn(80), torch.rand(80) + 0.5
    drawn = DrawnSegments(split, torch.arange(6), x, torch.zeros(6, 20, dtype=torch.long))
    view = drawn.motion_view(torch.Generator().manual_seed(0))
    assert view.shape == x.shape
    torch.testing.assert_close(view, view[:, :1].expand_as(view))
    assert (view - x).abs().mean() > 0.05


def test_subset_numbers_utterances_anew() -> None:
    split = make_split(is_random=False)
    part = split.subset(torch.tensor([5, 0, 3]))
    assert part.clips(torch.arange(3))[:, 0, 0].tolist() == [115, 0, 75]
    assert part.sequence.tolist() == [1, 0, 1]
    assert part.subset(torch.tensor([2])).clips(torch.tensor([0]))[0, 0, 0] == 75


@pytest.fixture(scope="module")
def spoken() -> tuple[list[synthetic.Spoken], list[np.ndarray]]:
    script = [u for u in synthetic.script() if u.split == "test"]
    return script, list(synthetic.synthesise(script))


def test_generated_speech_is_bounded_and_reproducible(spoken: tuple[list[synthetic.Spoken], list[np.ndarray]]) -> None:
    script, waves = spoken
    assert len(waves) == synthetic.SPEAKERS["test"] * synthetic.UTTERANCES
    assert all(wave.shape == (20_000,) and np.abs(wave).max() < 1 and wave.std() > 0.01 for wave in waves)
    again = next(synthetic.synthesise(script[5:6]))
    np.testing.assert_allclose(again, waves[5], atol=1e-6)


def test_phones_are_aligned_and_cover_the_utterance(spoken: tuple[list[synthetic.Spoken], list[np.ndarray]]) -> None:
    script, waves = spoken
    quiet, loud = [], []
    for utterance, wave in zip(script, waves, strict=True):
        assert utterance.score.ends[-1] == len(wave)
        assert (np.diff(utterance.score.ends) >= 0).all()
        begins = np.append(0, utterance.score.ends[:-1])
        for phone, a, b in zip(utterance.score.phones, begins, utterance.score.ends, strict=True):
            middle = wave[a + (b - a) // 4 : b - (b - a) // 4]
            if len(middle) > 100:
                kind = synthetic.PHONES[phone]
                (quiet if kind.name == "sil" else loud if kind in synthetic.VOWELS else []).append(middle.std())
    assert np.median(loud) > 10 * np.median(quiet)


def test_speakers_are_told_apart_on_voices_never_heard(spoken: tuple[list[synthetic.Spoken], list[np.ndarray]]) -> None:
    script, waves = spoken
    values, _ = log_features(waves, Features())
    mean = values.view(len(waves), -1, 80).mean(1).numpy()
    every = trials.all_pairs(np.array([utterance.speaker for utterance in script]))
    eer = equal_error_rate(trials.cosine_scores(mean - mean.mean(0), every), every.target)
    assert eer < 0.25  # plain averages of the features, no learning


def test_spectrogram_puts_low_frequencies_at_the_bottom() -> None:
    values = np.zeros((5, 8))
    values[:, 0] = 1
    picture = spectrogram(values, low=0, high=1, zoom=2)
    assert picture.shape == (16, 10, 3)
    assert picture[-1].mean() > 200 > 50 > picture[0].mean()


def test_preview_has_a_row_for_each_speaker() -> None:
    sheet = utterances(make_split(is_random=False), seconds=0.4)
    assert sheet.shape == (2 * (3 * 2 + 6), 2 * (40 * 2 + 6), 3)
    assert sheet.dtype == np.uint8


def test_real_files_of_two_rates_are_read() -> None:
    configured = os.environ.get("SEQDIS_TEST_DATA")
    if not configured:
        pytest.skip("SEQDIS_TEST_DATA is not set")
    flac = next(iter(sorted((Path(configured) / "speech/librispeech-mini/test-other").glob("*/*.flac"))))
    wav = Path(configured) / "speech/fsdd-mini/0_george_0.wav"
    for path, rate in ((flac, 16_000), (wav, 8_000)):
        samples, found = read_audio(path)
        assert found == rate
        assert len(samples) == read_header(path).n_samples
        values, _ = log_features([samples], Features(rate=rate))
        assert torch.isfinite(values).all()
        assert values.std() > 1
