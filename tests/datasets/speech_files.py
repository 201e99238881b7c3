"""Files of speech for tests: SPHERE and WAV, with noise in them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np


def sphere(samples: np.ndarray, rate: int = 16_000) -> bytes:
    header = (
        f"NIST_1A\n   1024\nchannel_count -i 1\nsample_count -i {len(samples)}\nsample_rate -i {rate}\n"
        "sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_coding -s3 pcm\nend_head\n"
    )
    return header.encode().ljust(1024) + samples.astype("<i2").tobytes()


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def noise(n: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=n) * 2000).astype(np.int16)
