"""Audio files and features: reading with clear errors, log-mel and log-spectrum frames, and their pictures.

Frames are 25 ms long and 10 ms apart, so a 20-frame segment spans 200 ms (as TIMIT is used since FHVAE). No frame
is padded: a waveform of n samples has 1 + (n - window) // hop frames.

Shape legend: S samples, n frames, W window, F features.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqdis.bench.core.errors import UserError

if TYPE_CHECKING:
    from seqdis.datasets.audio.segments import SegmentSplit

Waveform = NDArray[np.float32]
FeatureName = Literal["mel80", "spec200"]

WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.010
PRE_EMPHASIS = 0.97
FLOOR = -20.0  # of the natural logarithm
N_MELS = 80
LOUD_RANGE = (0.05, 0.95)
SUFFIXES = (".wav", ".flac", ".sph")
MAX_SECONDS = 3600
CHUNK = 512  # frames that are transformed together: what fits in a core's cache
SPHERE_HEADER = 1024
SPHERE_TYPES = {"01": "<i2", "10": ">i2"}


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself. `offset` is where SPHERE samples begin, 0 for files that libsndfile reads."""

    rate: int
    n_samples: int
    n_channels: int
    offset: int = 0
    dtype: str = ""


def read_header(path: Path) -> Header:
    """Rate, length and channels of an audio file, without decoding it.

    Raises:
        UserError: it is empty, unreadable, damaged or no audio; the message names it.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(SPHERE_HEADER)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not start:
        raise UserError(f"{path} is empty; fetch it again or remove it.")
    if start.startswith(b"NIST_1A"):
        return _sphere_header(path, start)
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        raise UserError(f"{path} is damaged or no audio file ({error}).") from error
    return Header(int(info.samplerate), int(info.frames), int(info.channels))


def _sphere_header(path: Path, start: bytes) -> Header:
    """The fields of a NIST SPHERE header: lines of `name -type value` up to `end_head`, in ASCII."""
    fields: dict[str, str] = {}
    try:
        lines = start.decode("ascii", errors="replace").splitlines()
        size = int(lines[1])
        for line in lines[2:]:
            if line.strip() == "end_head":
                break
            name, _, value = line.split(None, 2)
            fields[name] = value.strip()
        header = Header(
            int(fields["sample_rate"]),
            int(fields["sample_count"]),
            int(fields.get("channel_count", "1")),
            size,
            SPHERE_TYPES[fields.get("sample_byte_format", "01")],
        )
        if fields.get("sample_n_bytes", "2") != "2" or not fields.get("sample_coding", "pcm").startswith("pcm"):
            raise ValueError(f"coding {fields.get('sample_coding')}, {fields.get('sample_n_bytes')} bytes a sample")
        if "shorten" in fields.get("sample_coding", ""):
            raise ValueError("samples are compressed with shorten; unpack them with w_decode or sph2pipe first")
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path} has a NIST SPHERE header that cannot be used ({error}).") from error
    return header


def read_audio(path: Path, *, rate: int = 0) -> tuple[Waveform, int]:
    """A mono waveform in [-1, 1) and its sampling rate. Several channels are averaged.

    Args:
        rate: what the rate must be; 0 takes any.

    Raises:
        UserError: unreadable, damaged, of zero length or of another rate; the message names the file.
    """
    header = read_header(path)
    if rate and header.rate != rate:
        raise UserError(
            f"{path} is sampled at {header.rate} Hz and the others, or this data set, at {rate} Hz; "
            "resample it first (sox in.wav -r RATE out.wav)."
        )
    if header.n_samples <= 0:
        raise UserError(f"{path} has no samples; remove it.")
    if header.n_samples > MAX_SECONDS * header.rate:
        raise UserError(f"{path} is longer than an hour: not an utterance.")
    samples = _sphere_samples(path, header) if header.offset else _decoded(path)
    if len(samples) != header.n_samples:
        raise UserError(f"{path} is damaged: {len(samples)} of {header.n_samples} samples are there.")
    if not np.isfinite(samples).all():
        raise UserError(f"{path} holds samples that are not numbers.")
    return samples.mean(1) if samples.ndim == 2 else samples, header.rate


def _decoded(path: Path) -> Waveform:
    import soundfile

    try:
        samples: Waveform = soundfile.read(str(path), dtype="float32")[0]
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}).") from error
    return samples


def _sphere_samples(path: Path, header: Header) -> Waveform:
    count = header.n_samples * header.n_channels
    values = np.fromfile(path, dtype=header.dtype, offset=header.offset, count=count)
    samples: Waveform = values.astype(np.float32) * np.float32(1 / 32768)
    return samples.reshape(-1, header.n_channels) if header.n_channels > 1 else samples


@dataclasses.dataclass(frozen=True)
class Features:
    """How frames become features.

    Attributes:
        name: `mel80`, 80 log-mel bands of the magnitude, or `spec200`, the log magnitude without the DC bin (16 kHz).
        rate: of the waveforms, in Hz.
    """

    name: FeatureName = "mel80"
    rate: int = 16_000

    def __post_init__(self) -> None:
        if self.name not in ("mel80", "spec200"):
            raise UserError(f"unknown audio features {self.name!r}; they are mel80 or spec200.")
        if self.name == "spec200" and self.rate != 16_000:
            raise UserError(f"spec200 needs audio of 16000 Hz, not {self.rate} Hz; use mel80.")

    @property
    def window(self) -> int:
        return round(WINDOW_SECONDS * self.rate)

    @property
    def hop(self) -> int:
        return round(HOP_SECONDS * self.rate)

    @property
    def n_fft(self) -> int:
        """For mel80 at least twice the window: with fewer points the lowest bands would hold no bin at all."""
        return self.window if self.name == "spec200" else 1 << math.ceil(math.log2(2 * self.window))

    @property
    def size(self) -> int:
        """F."""
        return self.window // 2 if self.name == "spec200" else N_MELS

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform; 0 if it is shorter than one window."""
        return max(0, 1 + (n_samples - self.window) // self.hop)


def log_features(waveforms: list[Waveform], features: Features) -> tuple[Tensor, Tensor]:
    """Features of all frames of some waveforms, one after another.

    Pre-emphasis 0.97, Hamming window, magnitude, (mel bands with unit peak,) natural logarithm floored at -20.

    Args:
        waveforms: each (S,) float32, together no more than fits in memory as overlapping frames.

    Returns:
        Features (n, F) float32, and the frames' log mean squares (n,) before the pre-emphasis.
    """
    samples = np.concatenate(waveforms)
    lengths = np.array([len(waveform) for waveform in waveforms])
    begins = np.cumsum(lengths) - lengths
    emphasised = np.empty_like(samples)
    np.multiply(samples[:-1], -PRE_EMPHASIS, out=emphasised[1:])
    emphasised[1:] += samples[1:]
    emphasised[begins] = samples[begins]
    counts = [features.n_frames(length) for length in lengths]
    starts = np.concatenate(
        [begin + features.hop * np.arange(n, dtype=np.int64) for begin, n in zip(begins, counts, strict=True)]
    )
    squares = np.append(0.0, np.cumsum(np.square(samples, dtype=np.float64)))
    energy = torch.from_numpy((squares[starts + features.window] - squares[starts]) / features.window).float()
    windows = np.lib.stride_tricks.sliding_window_view(emphasised, features.window)
    values = torch.empty(len(starts), features.size)
    for at in range(0, len(starts), CHUNK):
        frames = torch.from_numpy(windows[starts[at : at + CHUNK]]) * _hamming(features.window)
        # numpy's magnitude of complex numbers is ten times as fast as torch's.
        spectrum = torch.from_numpy(np.abs(torch.fft.rfft(frames, n=features.n_fft).numpy()))
        values[at : at + CHUNK] = spectrum[:, 1:] if features.name == "spec200" else spectrum @ mel_filters(features)
    floor = math.exp(FLOOR)
    return values.clamp_(min=floor).log_(), energy.clamp_(min=floor).log_()


@functools.cache
def _hamming(window: int) -> Tensor:
    return torch.hamming_window(window, periodic=False)


@functools.cache
def mel_filters(features: Features) -> Tensor:
    """(n_fft / 2 + 1, 80) triangles with peak 1, evenly spaced in mel = 2595 log10(1 + f / 700) from 0 to rate / 2."""
    top = 2595 * math.log10(1 + features.rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, N_MELS + 2) / 2595) - 1)
    frequency = np.arange(features.n_fft // 2 + 1)[:, None] * features.rate / features.n_fft
    rise = (frequency - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - frequency) / (corners[2:] - corners[1:-1])
    return torch.from_numpy(np.clip(np.minimum(rise, fall), 0, None).astype(np.float32))


def loud_frames(energy: NDArray[Any]) -> NDArray[np.uint8]:
    """Which frames (n,) of one utterance are loud: log energy above the middle between its 5 and 95 % quantiles."""
    if not len(energy):
        return np.zeros(0, np.uint8)
    low, high = np.quantile(energy, LOUD_RANGE)
    return (energy > (low + high) / 2).astype(np.uint8)


_COLOURS = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)


def spectrogram(features: NDArray[Any], *, low: float, high: float, zoom: int = 2) -> NDArray[np.uint8]:
    """A picture (zoom * F, zoom * n, 3) of features (n, F): time to the right, frequency upwards, dark to light."""
    level = np.clip((np.asarray(features, np.float64).T[::-1] - low) / max(high - low, 1e-9), 0, 1)
    place = level * (len(_COLOURS) - 1)
    below = np.minimum(place.astype(int), len(_COLOURS) - 2)
    part = (place - below)[..., None]
    colour = _COLOURS[below] * (1 - part) + _COLOURS[below + 1] * part
    return np.rint(colour).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)


def preview(split: SegmentSplit, *, n_rows: int = 6, seconds: float = 2.4, zoom: int = 2) -> NDArray[np.uint8]:
    """A sheet (H, W, 3) of whole utterances, one speaker a row, two utterances side by side."""
    speakers = split.speaker_of.cpu().numpy()
    chosen = [np.flatnonzero(speakers == speaker)[:2] for speaker in np.unique(speakers)[:n_rows]]
    width = min(round(seconds / HOP_SECONDS), max(int(split.lengths[number]) for pair in chosen for number in pair))
    rows = []
    for pair in chosen:
        cells = []
        for utterance in pair:
            shown = split.utterance(int(utterance))[:width].float().cpu().numpy()
            picture = spectrogram(shown, low=-2.5, high=2.5, zoom=zoom)
            blank = np.full((picture.shape[0], width * zoom, 3), 255, np.uint8)
            blank[:, : picture.shape[1]] = picture
            cells.append(np.pad(blank, ((0, 6), (0, 6), (0, 0)), constant_values=255))
        while len(cells) < 2:
            cells.append(np.full_like(cells[0], 255))
        rows.append(np.concatenate(cells, 1))
    return np.concatenate(rows)
