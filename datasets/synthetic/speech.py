"""Generated speech: the stand-in for TIMIT. Voices by source and filter, utterances as strings of phones.

A glottal pulse train (pitch with a falling contour, vibrato and jitter) and noise are shaped, window by window in the
frequency domain, by formants that glide from one phone's targets to the next. Speakers differ in pitch, vocal-tract
length, spectral tilt, breathiness, tempo and a fixed resonance curve; phones are the same for all. So speaker and
words are independent by construction, every frame's phone is known, and no two speakers sound alike. It is not
natural speech and is never reported beside TIMIT.

Formant targets are round numbers of the order that phonetics textbooks give for adult speakers. Targets and
frequencies are in Hz, times in seconds.

Shape legend: U utterances, S samples, n frames of the filter, K frequency bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from seqdis.bench.core.seeds import derive

RATE = 16_000
SECONDS = 1.25
SPEAKERS = {"train": 24, "validation": 8, "test": 12}
UTTERANCES = 8
WINDOW = 512
HOP = 128
BLOCK = 64  # utterances that are synthesised together
LEVEL = 0.08
UPPER_FORMANTS = (4500.0, 5500.0, 6500.0, 7500.0)  # of a neutral tube: the same for all phones

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Phone:
    """How a phone sounds: formants (Hz), how much voice and noise, where the noise lies, and how long it lasts."""

    name: str
    formants: tuple[float, float, float, float]
    voice: float
    noise: float = 0.0
    noise_at: float = 4000.0
    noise_width: float = 1500.0
    seconds: float = 0.08


VOWELS = (
    Phone("iy", (280, 2250, 2900, 3500), 1.0, seconds=0.11),
    Phone("ih", (400, 1950, 2550, 3500), 1.0),
    Phone("eh", (540, 1800, 2480, 3500), 1.0),
    Phone("ae", (680, 1700, 2420, 3500), 1.0, seconds=0.12),
    Phone("aa", (730, 1100, 2440, 3400), 1.0, seconds=0.12),
    Phone("ah", (620, 1200, 2400, 3400), 1.0),
    Phone("uh", (440, 1020, 2240, 3300), 1.0),
    Phone("uw", (310, 880, 2250, 3300), 1.0, seconds=0.11),
    Phone("er", (480, 1350, 1700, 3300), 1.0, seconds=0.1),
)
ONSETS = (
    Phone("m", (260, 1100, 2200, 3300), 0.35, seconds=0.07),
    Phone("n", (260, 1600, 2500, 3300), 0.35, seconds=0.06),
    Phone("l", (350, 1050, 2700, 3400), 0.6, seconds=0.06),
    Phone("r", (350, 1200, 1600, 3300), 0.6, seconds=0.06),
    Phone("w", (300, 700, 2200, 3300), 0.55, seconds=0.06),
    Phone("y", (270, 2150, 2950, 3500), 0.55, seconds=0.06),
    Phone("s", (320, 1700, 2600, 3500), 0.0, 0.6, 5800, 1300, 0.1),
    Phone("sh", (320, 1800, 2500, 3500), 0.0, 0.7, 3000, 900, 0.1),
    Phone("f", (320, 1200, 2400, 3500), 0.0, 0.25, 5000, 3500, 0.09),
    Phone("z", (320, 1700, 2600, 3500), 0.3, 0.4, 5600, 1300, 0.08),
    Phone("v", (300, 1200, 2300, 3400), 0.35, 0.12, 4500, 3500, 0.06),
    Phone("k", (320, 1900, 2400, 3400), 0.0, 0.7, 2000, 800, 0.04),
    Phone("t", (320, 1750, 2600, 3500), 0.0, 0.8, 4300, 1500, 0.04),
    Phone("p", (320, 1000, 2300, 3400), 0.0, 0.5, 1000, 900, 0.04),
)
SILENCE = Phone("sil", (450, 1450, 2450, 3400), 0.0, 0.002, 3000, 4000, 0.05)
STOPS = frozenset({"k", "t", "p"})
PHONES = (*VOWELS, *ONSETS, SILENCE)


@dataclasses.dataclass(frozen=True)
class Voice:
    """What makes a speaker. `tract` multiplies every formant; `tilt` is the slope of the source in dB an octave;
    `curve` the fixed resonances in dB at nine places from 0 to half the sampling rate."""

    pitch: float
    pitch_range: float
    tract: float
    tilt: float
    breath: float
    tempo: float
    bandwidth: float
    curve: tuple[float, ...]


def draw_voice(rng: np.random.Generator) -> Voice:
    """A speaker. Pitch and tract length go together, loosely, as they do in people."""
    height = rng.normal()
    return Voice(
        pitch=float(np.clip(150 * np.exp(0.28 * height + 0.12 * rng.normal()), 75, 300)),
        pitch_range=float(rng.uniform(0.06, 0.2)),
        tract=float(np.exp(0.075 * height + 0.05 * rng.normal())),
        tilt=float(rng.uniform(-13, -5)),
        breath=float(10 ** rng.uniform(-2.4, -1.1)),
        tempo=float(rng.uniform(0.88, 1.15)),
        bandwidth=float(rng.uniform(0.8, 1.5)),
        curve=tuple(float(v) for v in rng.normal(scale=5, size=9)),
    )


@dataclasses.dataclass(frozen=True)
class Score:
    """What an utterance says: phones (P,) as positions in `PHONES`, and where they end (P,) in samples."""

    phones: NDArray[np.int64]
    ends: NDArray[np.int64]


def draw_score(voice: Voice, rng: np.random.Generator) -> Score:
    """Syllables (onset, vowel, now and then a final consonant) with silence around them, for `SECONDS`."""
    chosen: list[int] = [len(PHONES) - 1]
    seconds: list[float] = [float(rng.uniform(0.03, 0.09))]
    stop = SECONDS - float(rng.uniform(0.03, 0.09))
    while sum(seconds) < stop:
        syllable = [len(VOWELS) + int(rng.integers(len(ONSETS))), int(rng.integers(len(VOWELS)))]
        if rng.random() < 0.25:
            syllable.append(len(VOWELS) + int(rng.integers(len(ONSETS))))
        for position in syllable:
            phone = PHONES[position]
            if phone.name in STOPS:  # a stop is a closure, then its burst
                chosen.append(len(PHONES) - 1)
                seconds.append(float(rng.uniform(0.03, 0.05)))
            chosen.append(position)
            seconds.append(phone.seconds * voice.tempo * float(rng.uniform(0.8, 1.3)))
    ends = np.minimum(np.cumsum(seconds), stop)
    kept = np.flatnonzero(np.diff(ends, prepend=0) > 0)
    phones = np.append(np.asarray(chosen)[kept], len(PHONES) - 1)
    return Score(phones, np.rint(np.append(ends[kept], SECONDS) * RATE).astype(np.int64))


@dataclasses.dataclass(frozen=True)
class Spoken:
    """One synthetic utterance."""

    split: str
    speaker: str
    name: str
    voice: Voice
    score: Score
    seed: int


def script(seed: int = 0) -> list[Spoken]:
    """All utterances of the corpus, speaker by speaker: who says what. Nothing is synthesised yet."""
    spoken = []
    for split, n_speakers in SPEAKERS.items():
        for number in range(n_speakers):
            rng = np.random.default_rng(derive(seed, "voice", split, number))
            voice = draw_voice(rng)
            speaker = f"{split}{number:02d}"
            spoken += [
                Spoken(split, speaker, f"u{k}", voice, draw_score(voice, rng), int(rng.integers(1 << 62)))
                for k in range(UTTERANCES)
            ]
    return spoken


def synthesise(spoken: list[Spoken]) -> Iterator[NDArray[np.float32]]:
    """The waveforms (S,) of utterances, in order, a block of them at a time."""
    for start in range(0, len(spoken), BLOCK):
        yield from _block(spoken[start : start + BLOCK])


def _block(spoken: list[Spoken]) -> NDArray[np.float32]:
    n_samples = round(SECONDS * RATE)
    targets = np.stack([_targets(utterance) for utterance in spoken])  # (U, n, 8)
    rngs = [np.random.default_rng(utterance.seed) for utterance in spoken]
    pitch = np.stack([_pitch(utterance.voice, n_samples, rng) for utterance, rng in zip(spoken, rngs, strict=True)])
    noise = np.stack([rng.normal(size=n_samples) for rng in rngs])
    phase = np.cumsum(pitch / RATE, axis=1)
    pulses = np.diff(np.floor(phase), axis=1, prepend=0) * np.sqrt(RATE / pitch)  # unit power whatever the pitch
    filters = [_filters(utterance.voice, target) for utterance, target in zip(spoken, targets, strict=True)]
    voiced, hiss = (np.stack(part) for part in zip(*filters, strict=True))
    wave = _shaped(pulses, voiced) + _shaped(noise, hiss)
    loudest = np.sqrt((wave**2).mean(1, keepdims=True))
    wave = LEVEL * wave / loudest + 1e-4 * np.stack([rng.normal(size=n_samples) for rng in rngs])
    return np.clip(wave, -0.99, 0.99).astype(np.float32)


def _shaped(source: Array, filters: Array) -> Array:
    """Signals (U, S) through filters (U, n, K) that change from window to window."""
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    spectrum = torch.stft(torch.from_numpy(source), WINDOW, HOP, window=window, return_complex=True)
    shaped = torch.istft(spectrum * torch.from_numpy(filters).mT, WINDOW, HOP, window=window, length=source.shape[1])
    return np.asarray(shaped.numpy())


def _pitch(voice: Voice, n_samples: int, rng: np.random.Generator) -> Array:
    """Hz (S,): an accent or two over a falling line, a slow vibrato, and jitter."""
    time = np.arange(n_samples) / n_samples
    accents = rng.normal(size=5)
    contour = np.interp(time, np.linspace(0, 1, 5), accents) + 0.8 * (0.5 - time)
    wobble = 0.01 * np.sin(2 * np.pi * (5.5 * SECONDS * time + rng.random()))
    jitter = 0.008 * np.repeat(rng.normal(size=n_samples // 100 + 1), 100)[:n_samples]
    return voice.pitch * np.exp(voice.pitch_range * contour + wobble + jitter)


def _targets(utterance: Spoken) -> Array:
    """Sound parameters (n, 8) at each filter window: four formants, voice, noise, its place and width.

    Formants glide over 40 ms (coarticulation), levels over 15 ms.
    """
    n = round(SECONDS * RATE) // HOP + 1
    table = np.array(
        [[*phone.formants, phone.voice, phone.noise, phone.noise_at, phone.noise_width] for phone in PHONES]
    )
    which = np.searchsorted(utterance.score.ends, np.arange(n) * HOP, side="right")
    rows = table[utterance.score.phones[np.minimum(which, len(utterance.score.phones) - 1)]]
    return np.hstack([_smoothed(rows[:, :4], 0.04), _smoothed(rows[:, 4:], 0.015)])


def _smoothed(rows: Array, seconds: float) -> Array:
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(rows, seconds * RATE / HOP / 2, axis=0, mode="nearest"))


def _filters(voice: Voice, targets: Array) -> tuple[Array, Array]:
    """Magnitudes (n, K) for the pulses and for the noise."""
    frequency = np.fft.rfftfreq(WINDOW, 1 / RATE)
    upper = np.broadcast_to(UPPER_FORMANTS, (len(targets), len(UPPER_FORMANTS)))
    formants = np.hstack([targets[:, :4], upper])[:, :, None] * voice.tract
    bandwidth = voice.bandwidth * (50 + 0.045 * formants)
    resonance = formants**2 / np.sqrt((formants**2 - frequency**2) ** 2 + (bandwidth * frequency) ** 2)
    tract = resonance.prod(1)
    octaves = np.log2(np.maximum(frequency, 100) / 100)
    curve = np.interp(frequency, np.linspace(0, RATE / 2, len(voice.curve)), voice.curve)
    personal = 10 ** (curve / 20)
    glottis = 10 ** (voice.tilt * octaves / 20) * frequency / (frequency + 80)
    level = targets[:, 4, None]
    voiced = level * tract * glottis * personal
    breath = level * voice.breath * tract * personal
    at, width = targets[:, 6, None] * np.sqrt(voice.tract), targets[:, 7, None]
    hiss = 0.1 * targets[:, 5, None] * np.exp(-0.5 * ((frequency - at) / width) ** 2) * personal
    return voiced, hiss + breath
