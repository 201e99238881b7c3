"""The file of a cell's clips: read without torch, and a hostile one is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.records import clips
from seqdis.bench.records.clips import load_clips, save_clips


def test_audio_clips_are_stored_as_half_floats(tmp_path):
    spectrogram = np.linspace(-3, 3, 2 * 20 * 80, dtype=np.float16).reshape(2, 20, 80)
    save_clips(tmp_path, {"samples": spectrogram})
    assert clips.is_audio(load_clips(tmp_path))


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object),
        np.zeros((2, 8, 4, 4, 3), np.float64),
        np.full((2, 20, 80), np.nan, np.float16),
    ],
)
def test_save_clips_refuses_what_is_not_a_clip(array, tmp_path):
    with pytest.raises(ValueError, match="samples"):
        save_clips(tmp_path, {"samples": array})
    assert not list(tmp_path.iterdir())


def write_archive(folder: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / "clips.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_load_clips_refuses_pickled_bombs_and_strangers(tmp_path, monkeypatch):
    pickled = tmp_path / "pickled.npy"
    np.save(pickled, np.array([print], dtype=object), allow_pickle=True)
    for members in ({"samples.npy": pickled.read_bytes()}, {"../evil.npy": b"x"}, {"samples.npy": b"short"}):
        write_archive(tmp_path, members)
        with pytest.raises(UserError):
            load_clips(tmp_path)
    (tmp_path / "clips.npz").write_bytes(b"not a zip")
    with pytest.raises(UserError, match="cannot be read"):
        load_clips(tmp_path)
    monkeypatch.setattr(clips, "MAX_BYTES", 1000)
    save_clips(tmp_path, {"samples": np.zeros((2, 8, 16, 16, 3), np.uint8)})
    with pytest.raises(UserError, match="larger than"):
        load_clips(tmp_path)
