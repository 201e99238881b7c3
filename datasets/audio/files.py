"""Audio files: headers and samples, read with clear errors; many files are read ahead in threads."""

from __future__ import annotations

import dataclasses
import stat
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import shown

Waveform = NDArray[np.float32]

SUFFIXES = (".wav", ".flac", ".sph")
MAX_SECONDS = 3600
RATES = range(1000, 768_001)
MAX_CHANNELS = 64
LOUDEST = 2.0**15
"""Largest sample: floats are in [-1, 1], or 16-bit numbers as they are. Beyond it features would not be finite."""
READERS = 4
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
        UserError: it is empty, unreadable, damaged, cut short, no audio, or has a length, rate or number of channels
            that no utterance has; the message names it.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            raise UserError(f"{path} is not a regular file; remove it.")
        with open(path, "rb") as file:
            start = file.read(SPHERE_HEADER)
            if start.startswith(b"RIFF"):
                _check_riff(path, file, about.st_size)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not start:
        raise UserError(f"{path} is empty; fetch it again or remove it.")
    header = _sphere_header(path, start) if start.startswith(b"NIST_1A") else _other_header(path)
    if header.rate not in RATES:
        raise UserError(f"{path} says that it is sampled at {shown(header.rate)} Hz: not speech, or damaged.")
    if not 1 <= header.n_channels <= MAX_CHANNELS:
        raise UserError(f"{path} says that it has {shown(header.n_channels)} channels: not speech, or damaged.")
    if header.n_samples <= 0:
        raise UserError(f"{path} has no samples; remove it.")
    if header.n_samples > MAX_SECONDS * header.rate:
        raise UserError(f"{path} is longer than an hour: not an utterance.")
    if header.offset:
        there = (about.st_size - header.offset) // (2 * header.n_channels)
        if there < header.n_samples:
            raise UserError(f"{path} is damaged: {max(0, there)} of {header.n_samples} samples are there.")
    return header


def _check_riff(path: Path, file: IO[bytes], size: int) -> None:
    """Raises UserError if a WAV file holds less than it says: libsndfile takes what is there without a word."""
    place = 12
    while place + 8 <= size:
        file.seek(place)
        kind, claimed = struct.unpack("<4sI", file.read(8))
        if kind == b"data":
            if claimed > size - place - 8:
                raise UserError(
                    f"{path} is cut short, or was written to a pipe: it says {claimed} bytes of samples and has "
                    f"{size - place - 8}. Copy it again, or write it anew (sox in.wav out.wav)."
                )
            return
        place += 8 + claimed + claimed % 2


def _other_header(path: Path) -> Header:
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
        if size < 16:
            raise ValueError(f"samples that begin at byte {shown(size)}")
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
    samples = _sphere_samples(path, header) if header.offset else _decoded(path)
    if len(samples) != header.n_samples:
        raise UserError(f"{path} is damaged: {len(samples)} of {header.n_samples} samples are there.")
    if not np.isfinite(samples).all():
        raise UserError(f"{path} holds samples that are not numbers.")
    if len(samples) and max(samples.max(), -samples.min()) > LOUDEST:
        raise UserError(f"{path} holds samples beyond {LOUDEST:.0f}; floats are to be in [-1, 1]: scale them.")
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


def read_blocks(blocks: list[list[Path]], rate: int) -> Iterator[list[Waveform]]:
    """The waveforms of blocks of files, block by block; the next one is read while this one is used.

    Raises:
        UserError: as `read_audio`.
    """
    pool = ThreadPoolExecutor(READERS)
    try:
        coming = [pool.submit(read_audio, path, rate=rate) for path in (blocks[0] if blocks else [])]
        for following in [*blocks[1:], []]:
            current, coming = coming, [pool.submit(read_audio, path, rate=rate) for path in following]
            yield [future.result()[0] for future in current]
    finally:
        pool.shutdown(cancel_futures=True)  # after an error the rest need not be read
