from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import DataSet
from seqdis.datasets.cache import writing_cache
from seqdis.datasets.mug import SIGNAL, Mug
from seqdis.datasets.sprites import Sprites
from seqdis.datasets.synthetic import mug as faces
from seqdis.datasets.synthetic import sprites as characters
from seqdis.datasets.video.signals import (
    BOXES,
    STILL,
    grid_flow,
    load_signals,
    moving_cells,
    opening,
    opening_distances,
    steadied,
)
from seqdis.datasets.video.stored import load_split, save_labels


def texture(size: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture, so that its motion can be seen everywhere."""
    noise = np.random.default_rng(seed).uniform(0, 255, (3, size, size))
    for _ in range(3):
        noise = (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2) + np.roll(noise, (1, 1), (1, 2))) / 4
    low, high = noise.min(), noise.max()
    return ((noise - low) / (high - low) * 255).astype(np.uint8)


@pytest.mark.parametrize("size", [32, 64])
def test_flow_marks_the_cell_in_which_something_moves(size: int) -> None:
    third = size // 3
    for cell in range(9):
        clip = np.zeros((1, 4, 3, size, size), np.uint8)
        row, column = divmod(cell, 3)
        patch = texture(third - 4)
        for t in range(4):
            shift = t * size // 32 if t < 3 else 2 * size // 32
            y, x = row * third + 1, column * third + 1
            clip[0, t, :, y : y + third - 4, x + min(shift, 3) : x + min(shift, 3) + third - 4] = patch
        flow = grid_flow(clip)
        assert flow.shape == (1, 4, 9)
        assert flow[0, 0].argmax() == cell
        assert flow[0, 2].max() < STILL  # nothing moves from frame 2 to 3
        assert (flow[0, 3] == flow[0, 2]).all()  # the last frame has that of the one before


@pytest.mark.parametrize("size", [32, 64])
def test_flow_length_is_in_pixels_of_a_64_frame_whatever_the_size(size: int) -> None:
    wide = texture(size + 8)
    step = size // 32
    clip = np.stack([wide[:, 4:-4, t * step : t * step + size] for t in range(3)])[None]
    assert grid_flow(clip)[0, :2, 4] == pytest.approx([2, 2], abs=0.4)


def test_flow_equals_opencv_on_one_pair_of_frames() -> None:
    import cv2

    clips = characters.draw(np.array([[0, 1, 2, 3]]), np.array([4]), np.array([1]))[..., ::2, ::2]
    grey = np.round(np.tensordot(clips[0].astype(np.float32), np.array([0.299, 0.587, 0.114], np.float32), (1, 0)))
    pair = grey[1].astype(np.uint8), grey[2].astype(np.uint8)
    flow = cv2.calcOpticalFlowFarneback(*pair, None, 0.5, 1, 7, 3, 5, 1.1, 0)
    length = 2 * np.sqrt((flow.astype(float) ** 2).sum(-1))
    expected = [
        np.mean([length[y, x] for y in range(a, b) for x in range(c, d)])
        for a, b in ((0, 11), (11, 21), (21, 32))
        for c, d in ((0, 11), (11, 21), (21, 32))
    ]
    assert grid_flow(clips)[0, 1] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_moving_cells_marks_the_top_k_and_never_still_ones() -> None:
    flow = np.array([[[9, 1, 8, 2, 7, 3, 6, 4, 5], [0] * 9, [5, 0, 0, 0, 0, 0, 0, 0, 0.001]]], np.float32)
    cells = moving_cells(flow, 3)[0]
    assert cells[0].nonzero()[0].tolist() == [0, 2, 4]
    assert cells[1].sum() == 0
    assert cells[2].nonzero()[0].tolist() == [0]
    assert moving_cells(flow, 1)[0, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("size", [32, 64])
def test_openings_of_drawn_faces_follow_eyes_and_lips(size: int) -> None:
    identities, expressions, takes = (
        grid.ravel() for grid in np.meshgrid(np.arange(0, 52, 3), np.array([2, 3]), np.arange(1), indexing="ij")
    )
    videos = faces.draw_videos(identities, expressions, takes, size)
    measured = opening(videos.reshape(-1, *videos.shape[2:]), BOXES["synthetic"]).reshape(len(videos), 2, 15, 3)
    found: dict[str, list[float]] = {"eyes": [], "lips": []}
    for video, distances in enumerate(measured):
        generator = np.random.default_rng(derive(faces.REVISION, int(identities[video]), int(expressions[video]), 0))
        for clip in range(2):
            strength = faces.performance(int(expressions[video]), generator)
            eyes = strength[:, faces.RAISED] - strength[:, faces.NARROWED]
            found["eyes"] += [np.corrcoef(distances[clip, :, eye], eyes)[0, 1] for eye in (0, 1)]
            found["lips"].append(np.corrcoef(distances[clip, :, 2], strength[:, faces.WIDE])[0, 1])
    for values in found.values():
        assert np.median(values) > 0.95
        assert np.percentile(values, 10) > 0.7


def test_opening_of_a_plain_rectangle_is_its_height() -> None:
    left, top, right, bottom = (round(value * 64) for value in BOXES["real"][2][0])
    clip = np.full((1, 1, 3, 64, 64), 200, np.uint8)
    clip[:, :, :, top + 5 : top + 12, left + 1 : right - 1] = 60
    measured = opening(clip, BOXES["real"])[0, 0]
    width = right - left
    assert measured[2] == pytest.approx(7 * (width - 2) / width / 64)
    assert measured[:2].tolist() == [0, 0]
    assert bottom > top + 12


def test_distances_from_68_landmarks() -> None:
    points = np.zeros((68, 2))
    points[36:42] = [(0, 0), (1, -1), (2, -1), (3, 0), (2, 1), (1, 1)]
    points[42:48] = [(10, 0), (11, -2), (12, -2), (13, 0), (12, 2), (11, 2)]
    points[62], points[66] = (6, 10), (6, 13)
    assert opening_distances(points) == pytest.approx([0.2, 0.4, 0.3])


@pytest.fixture
def sprites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """A small cache in the layout of Sprites: the suite's code paths without thousands of clips."""
    folder = Sprites.folder(tmp_path, "synthetic", 32)
    rng = np.random.default_rng(0)
    with writing_cache(folder, {"revision": Sprites.describe("synthetic", 32).revision}) as writer:
        for split, n in (("train", 40), ("validation", 8), ("test", 8)):
            labels = np.column_stack([rng.integers(0, 6, (n, 4)), rng.integers(0, 9, n)])
            clips = characters.draw(labels[:, :4], labels[:, 4], np.arange(n))
            writer.save(f"{split}_x", np.ascontiguousarray(clips[..., ::2, ::2]))
            save_labels(writer, split, labels, np.arange(n))
    return Sprites.open(tmp_path, "synthetic", 32)


def test_signal_is_measured_only_when_asked_cached_and_read_again(sprites: DataSet, tmp_path: Path) -> None:
    assert sprites.train.signal is None
    folder = tmp_path / "sprites-synthetic-32-signal"
    assert not folder.exists()
    sprites.load_signal()
    written = (folder / "train.npy").stat().st_mtime_ns
    assert sprites.train.signal is not None
    assert sprites.train.signal.shape == (40, 8, 9)
    assert set(sprites.train.signal.unique().tolist()) == {0.0, 1.0}
    assert sprites.train.signal.sum(-1).max() == 3
    assert sprites.segmented().signal.shape == (80, 4, 9)  # type: ignore[union-attr]
    again = Sprites.open(tmp_path, "synthetic", 32)
    again.load_signal()
    assert torch.equal(again.train.signal, sprites.train.signal)  # type: ignore[arg-type]
    assert (folder / "train.npy").stat().st_mtime_ns == written


def test_damaged_signal_is_measured_again(sprites: DataSet, tmp_path: Path) -> None:
    sprites.load_signal()
    (tmp_path / "sprites-synthetic-32-signal" / "test.npy").write_bytes(b"half")
    again = Sprites.open(tmp_path, "synthetic", 32)
    again.load_signal()
    assert torch.equal(again.test.signal, sprites.test.signal)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_signal_is_measured_in_memory_where_its_place_cannot_be_written(
    sprites: DataSet, tmp_path: Path, is_damaged: bool
) -> None:
    sprites.load_signal()
    folder = tmp_path / "sprites-synthetic-32-signal"
    if is_damaged:
        (folder / "test.npy").write_bytes(b"half")
    else:
        shutil.rmtree(folder)
    lock = tmp_path / ".sprites-synthetic-32-signal.lock"
    lock.unlink()
    lock.mkdir()  # no file can be opened here, by root neither
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = Sprites.open(tmp_path, "synthetic", 32)
    again.load_signal()
    for name in ("train", "validation", "test"):
        assert torch.equal(again.splits[name].signal, sprites.splits[name].signal)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_full_disk_costs_no_second_measurement(
    sprites: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def full(folder: Path, meta: dict[str, object]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "meta.json"))

    def counted(clips: np.ndarray) -> np.ndarray:
        measured.append(len(clips))
        return grid_flow(clips)

    monkeypatch.setattr("seqdis.datasets.cache.write_json", full)
    monkeypatch.setattr("seqdis.datasets.video.signals.grid_flow", counted)
    sprites.load_signal()
    assert sum(measured) == 56
    assert sprites.train.signal is not None
    assert not (tmp_path / "sprites-synthetic-32-signal").exists()


def test_signal_knows_no_label(sprites: DataSet, tmp_path: Path) -> None:
    """The same pixels with other labels give the same signal."""
    folder = Sprites.folder(tmp_path / "other", "synthetic", 32)
    with writing_cache(folder, {"revision": sprites.spec.revision}) as writer:
        for name in ("train", "validation", "test"):
            split = getattr(sprites, name)
            writer.save(f"{name}_x", split.x.numpy())
            save_labels(writer, name, np.zeros((len(split), 5), np.int64), np.zeros(len(split), np.int64))
    other = Sprites.open(tmp_path / "other", "synthetic", 32)
    other.load_signal()
    sprites.load_signal()
    assert torch.equal(other.train.signal, sprites.train.signal)  # type: ignore[arg-type]


def test_face_signal_is_standardised_on_training_and_takes_landmarks_where_there_are_any(tmp_path: Path) -> None:
    folder = Mug.folder(tmp_path, "synthetic", 32)
    rng = np.random.default_rng(0)
    given = np.full((12, 15, 3), np.nan, np.float32)
    given[:4] = rng.normal(5, 2, (4, 15, 3))
    with writing_cache(folder, {"revision": Mug.describe("synthetic", 32).revision}) as writer:
        for split in ("train", "validation", "test"):
            videos = faces.draw_videos(np.arange(6), np.arange(6), np.zeros(6, np.int64), 32)
            writer.save(f"{split}_x", videos.reshape(12, *videos.shape[2:]))
            save_labels(writer, split, np.zeros((12, 2), np.int64), np.arange(12))
            writer.save(f"{split}_landmarks", given)
    dataset = Mug.open(tmp_path, "synthetic", 32)
    signal = load_signals(dataset.cache, dataset.spec)["train"]
    assert signal.shape == (12, 15, 3)
    assert torch.isfinite(signal).all()
    expected = (given[:4] - given[:4].mean(axis=(0, 1))) / given[:4].std(axis=(0, 1))
    assert signal[:4].numpy() == pytest.approx(expected, abs=1e-4)
    pixels = opening(load_split(dataset.cache, "train", dataset.spec).x.numpy(), BOXES["synthetic"])
    by_hand = (pixels - pixels.mean(axis=(0, 1))) / pixels.std(axis=(0, 1))
    assert signal[4:].numpy() == pytest.approx(by_hand[4:], abs=1e-4)
    assert SIGNAL.kind == "regression"
    assert not SIGNAL.privileged


def test_steadied_frames_undo_whole_pixel_moves_of_a_head() -> None:
    face = faces.draw_frames(np.array([8]), np.zeros((1, 6), np.float32), 64)[0].astype(np.uint8).transpose(2, 0, 1)
    moves = [(0, 0), (3, -5), (-7, 2), (11, 0), (0, -11)]
    wide = np.pad(face, ((0, 0), (12, 12), (12, 12)), mode="edge")
    clip = np.stack([wide[:, 12 - down : 76 - down, 12 - right : 76 - right] for down, right in moves])[None]
    steady = steadied(clip)
    inner = steady[0, :, :, 12:-12, 12:-12]
    assert (inner == inner[:1]).all()
