"""Audio files: headers and samples, read with clear errors; many files are read ahead in threads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError

Waveform = NDArray[np.float32]

SUFFIXES = (".wav", ".flac", ".sph")
MAX_SECONDS = 3600
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
