"""SM-MNIST: the generator against a literal one, rendering against slicing, splits, caches, damaged files."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.datasets.smmnist import N_TRAIN_LEAST, SmMnist, SmMnist10k
from seqdis.datasets.synthetic.digits import digit_images
from seqdis.datasets.video import mnist_files, moving
from seqdis.datasets.video.digits import MovingDigits


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("caches")
    SmMnist.prepare(folder, "synthetic")
    return folder


@pytest.fixture(scope="module")
def real_digits() -> Path:
    configured = os.environ.get("SEQDIS_TEST_DATA")
    if not configured:
        pytest.skip("SEQDIS_TEST_DATA is not set")
    return Path(configured) / "mnist"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_motion_obeys_the_generator_frame_by_frame() -> None:
    motion = moving.draw_motion(400, 60, generator())
    position, velocity = motion.position.numpy(), motion.velocity.numpy()
    assert position.min() == 0
    assert position.max() == 31
    assert np.abs(velocity).max() == 4
    bounces = 0
    for clip, k in np.ndindex(400, 2):
        for t in range(1, 60):
            (sx, sy), (dx, dy) = position[clip, t - 1, k], velocity[clip, t - 1, k]
            wanted = np.array([sx + dx, sy + dy])
            found, new = position[clip, t, k], velocity[clip, t, k]
            assert (found == wanted.clip(0, 31)).all()
            hit = (wanted < 0) | (wanted > 31)
            if not hit.any():
                assert (new == (dx, dy)).all()
                continue
            bounces += 1
            # The horizontal check comes last, so only its axis is sure to point away; the vertical one is free
            # again when both edges are hit at once.
            axis = 0 if hit[0] else 1
            assert new[axis] > 0 if wanted[axis] < 0 else new[axis] < 0
    assert bounces > 1000


def test_motion_is_uniform_where_it_is_drawn() -> None:
    motion = moving.draw_motion(40_000, 2, generator(1))
    starts = torch.bincount(motion.position[:, 0].flatten(), minlength=32) / motion.position[:, 0].numel()
    assert (starts - 1 / 32).abs().max() < 0.003
    speeds = torch.bincount(motion.velocity[:, 0].flatten() + 4, minlength=9) / motion.velocity[:, 0].numel()
    assert (speeds - 1 / 9).abs().max() < 0.005


def test_velocity_after_a_bounce_is_redrawn_not_reflected() -> None:
    motion = moving.draw_motion(20_000, 12, generator(2))
    before, after = motion.velocity[:, :-1], motion.velocity[:, 1:]
    left = (motion.position[:, :-1] + before)[..., 0] < 0
    hit_speed = after[left][:, 0]
    assert set(hit_speed.tolist()) == {1, 2, 3, 4}
    shares = torch.bincount(hit_speed)[1:] / len(hit_speed)
    assert (shares - 0.25).abs().max() < 0.03
    assert (after[left][:, 1] != before[left][:, 1]).float().mean() > 0.8


@pytest.mark.parametrize("size", [64, 32])
def test_render_equals_pasting_each_digit(size: int) -> None:
    rng = np.random.default_rng(0)
    digits = torch.from_numpy(rng.integers(0, 256, (5, 2, 32, 32), dtype=np.uint8))
    position = torch.from_numpy(rng.integers(0, 32, (5, 3, 2, 2)))
    found = moving.render(digits, position, size)
    for b, t in np.ndindex(5, 3):
        canvas = np.zeros((64, 64))
        for k in range(2):
            x, y = position[b, t, k].tolist()
            canvas[y : y + 32, x : x + 32] += digits[b, k].numpy()
        canvas = canvas.clip(0, 255)
        if size == 32:
            canvas = np.floor(canvas.reshape(32, 2, 32, 2).mean((1, 3)) + 0.5)
        np.testing.assert_array_equal(found[b, t, 0].numpy(), canvas)


def test_signal_marks_the_cells_where_a_moving_digit_is() -> None:
    digits = torch.zeros(1, 2, 32, 32, dtype=torch.uint8)
    digits[:, :, :20, :20] = 200
    position = torch.tensor([[[[0, 0], [31, 31]]]])  # left upper and right lower corner
    velocity = torch.tensor([[[[0, 0], [3, 4]]]])  # only the second moves
    cells = moving.moving_cells(digits, moving.Motion(position, velocity))[0, 0].reshape(3, 3)
    assert cells[0].sum() == 0  # the first digit is bright but still
    assert cells[1, 1] == 1
    assert cells.sum() == 3
    still = moving.moving_cells(digits, moving.Motion(position, torch.zeros_like(velocity)))
    assert still.sum() == 0


def test_signal_equals_the_slow_sum() -> None:
    digits = torch.randint(0, 256, (3, 2, 32, 32), dtype=torch.uint8, generator=generator())
    motion = moving.draw_motion(3, 4, generator())
    found = moving.moving_cells(digits, motion)
    cell = np.arange(64) * 3 // 64
    for b, t in np.ndindex(3, 4):
        moved = np.zeros((3, 3))
        for k, y, x in np.ndindex(2, 32, 32):
            (px, py), speed = motion.position[b, t, k].tolist(), motion.velocity[b, t, k].float().norm().item()
            moved[cell[py + y], cell[px + x]] += int(digits[b, k, y, x]) * speed
        top = np.argsort(-moved.ravel(), kind="stable")[:3]
        assert set(np.flatnonzero(found[b, t].numpy())) == {i for i in top if moved.ravel()[i] > 0}


def test_stand_in_digits_are_whole_and_bright() -> None:
    images, labels = digit_images()
    assert images.shape == (1797, 32, 32)
    assert sorted(np.unique(labels)) == list(range(10))
    assert images.max() == 255
    assert images[:, :3].max() == 0
    assert images[:, :, -3:].max() == 0
    assert (images > 128).mean((1, 2)).min() > 0.02


def test_splits_share_no_digit_image(root: Path) -> None:
    data = SmMnist.open(root, "synthetic", 32)
    images = [{image.numpy().tobytes() for image in split.digits} for split in (data.train, data.validation, data.test)]
    assert not (images[0] & images[1]) | (images[0] & images[2]) | (images[1] & images[2])
    assert sum(map(len, images)) > 1700


def test_labels_are_sorted_and_true(root: Path) -> None:
    split = SmMnist.open(root, "synthetic", 32).train
    assert len(split) >= N_TRAIN_LEAST
    low, high = split.labels["digit_low"], split.labels["digit_high"]
    assert (low <= high).all()
    pair = split.digit_labels[split.pairs]
    assert (torch.stack([low, high], 1) == pair.sort(1).values).all()
    assert (split.pairs[:, 0] != split.pairs[:, 1]).all()
    assert len(torch.unique(split.pairs)) == len(split.digits)


def test_training_clips_are_fresh_and_reproducible_and_test_clips_are_fixed(root: Path) -> None:
    data = SmMnist.open(root, "synthetic", 64)
    index = torch.tensor([3, 1, 3])
    clips = data.train.clips(index, generator(0))
    assert clips.shape == (3, 15, 1, 64, 64)
    assert 0.5 < clips.max() < 1
    assert clips.min() == 0
    assert torch.equal(clips, data.train.clips(index, generator(0)))
    assert not torch.equal(clips, data.train.clips(index, generator(1)))
    assert not torch.equal(clips[0], clips[2])  # same pair, other motion
    assert torch.equal(data.test.clips(index, generator(0)), data.test.clips(index, generator(1)))
    small = SmMnist.open(root, "synthetic", 32)
    assert len(small.test) == 1000
    half = data.test.clips(index).reshape(3, 15, 1, 32, 2, 32, 2).mean((4, 6))
    assert (small.test.clips(index) - half).abs().max() <= 0.5 / 256 + 1e-6


def test_signal_belongs_to_the_clips_that_were_drawn(root: Path) -> None:
    split = SmMnist.open(root, "synthetic", 32).train
    index = torch.arange(4)
    drawn, others = split.draw(index, generator(5)), split.draw(index, generator(6))
    assert torch.equal(drawn.x, split.clips(index, generator(5)))
    signal = drawn.signal()
    motion = moving.draw_motion(4, 15, generator(5))
    assert torch.equal(signal, moving.moving_cells(split.digits[split.pairs[index]], motion))
    assert split.signal is None
    assert not torch.equal(signal, others.signal())


def test_segments_continue_one_another(root: Path) -> None:
    data = SmMnist.open(root, "synthetic", 32)
    split = data.segmented()
    assert split.n_sequences * 3 == len(split)
    assert (split.n_segments == 3).all()
    assert split.sequence[:6].tolist() == [0, 0, 0, 1, 1, 1]
    assert split.position is not None
    assert split.velocity is not None
    step = split.position[0, -1].long() + split.velocity[0, -1].long()
    assert torch.equal(step.clamp(0, 31), split.position[1, 0].long())
    assert torch.equal(split.labels["digit_low"][0::3], split.labels["digit_low"][1::3])
    part = split.subset(torch.tensor([4, 5, 0]))
    assert part.sequence.tolist() == [1, 1, 0]
    assert torch.equal(part.clips(torch.tensor([2])), split.clips(torch.tensor([0])))


def test_whole_split_equals_its_clips(root: Path) -> None:
    split = SmMnist.open(root, "synthetic", 32, n_test=20).test
    assert split.x.dtype == torch.uint8
    assert torch.equal(split.x.float() / 256, split.clips(torch.arange(20)))
    assert split.signal is not None
    assert split.signal.shape == (20, 15, 9)


def test_split_moves_as_a_whole(root: Path) -> None:
    split = SmMnist.open(root, "synthetic", 32, n_test=4).test.to("cpu")
    assert isinstance(split, MovingDigits)
    assert len(split) == 4


def test_preparing_again_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    SmMnist.prepare(tmp_path, "synthetic")
    assert SmMnist.verify(tmp_path, "synthetic") == SmMnist.verify(root, "synthetic")


def test_two_processes_preparing_at_once_make_one_good_cache(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from seqdis.datasets.smmnist import SmMnist; "
        "SmMnist.prepare(pathlib.Path(sys.argv[1]), 'synthetic')"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(600) for process in both] == [0, 0]
    SmMnist.verify(tmp_path, "synthetic")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["smmnist-synthetic"]


def test_missing_cache_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="bench data prepare smmnist --source synthetic"):
        SmMnist.open(tmp_path, "synthetic", 32)
    with pytest.raises(MissingDataError, match="smmnist-10k --from"):
        SmMnist10k.open(tmp_path, "real", 32)


@pytest.mark.parametrize(
    ("options", "text"), [({"n_test": 10_001}, "10000 test clips"), ({"n_validation": -1}, "not -1")]
)
def test_wrong_counts_are_refused(root: Path, options: dict[str, int], text: str) -> None:
    with pytest.raises(UserError, match=text):
        SmMnist.open(root, "synthetic", 32, **options)
    with pytest.raises(UserError, match="not 48"):
        SmMnist.open(root, "synthetic", 48)


def test_ten_thousand_digits_are_read_and_kept_apart(real_digits: Path, tmp_path: Path) -> None:
    SmMnist10k.prepare(tmp_path, "real", from_dir=real_digits)
    data = SmMnist10k.open(tmp_path, "real", 64)
    assert len(data.train) == 9000
    assert len(data.test) == 10_000
    assert len(data.test.digits) == 10_000
    counts = torch.bincount(torch.cat([data.train.digit_labels, data.validation.digit_labels]))
    assert counts.tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    joint = torch.bincount(data.test.labels["digit_low"] * 10 + data.test.labels["digit_high"], minlength=100)
    assert (joint > 0).sum() == 55
    p = torch.bincount(data.test.labels["digit_low"], minlength=10) / 10_000
    assert -(p * p.log()).sum().item() == pytest.approx(2.113, abs=0.02)  # the sorted convention's ceiling


def test_the_subset_is_refused_under_the_full_name(real_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.* is not the expected file"):
        SmMnist.prepare(tmp_path, "real", from_dir=real_digits)
    assert not list(tmp_path.glob("smmnist-real"))


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "plain"])
def test_damaged_files_are_named(real_digits: Path, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "files"
    shutil.copytree(real_digits, copy)
    file = copy / "t10k-labels-idx1-ubyte.gz"
    file.chmod(0o644)
    copy.chmod(0o755)
    data = file.read_bytes()
    if damage == "cut":
        file.write_bytes(data[:200])
    elif damage == "flip":
        file.write_bytes(data[:300] + bytes([data[300] ^ 255]) + data[301:])
    elif damage == "missing":
        file.unlink()
    else:
        file.write_bytes(gzip.compress(gzip.decompress(data)[:-1] + b"\x0b"))
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte"):
        SmMnist10k.prepare(tmp_path / "caches", "real", from_dir=copy)
    assert not list((tmp_path / "caches").glob("smmnist*"))


def test_an_archive_that_unpacks_to_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(mnist_files.MAX_BYTES + 10)))
    with pytest.raises(UserError, match="unpacks to more than 64 MiB"):
        mnist_files.read_bytes(tmp_path / "bomb.gz")


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


@pytest.mark.parametrize(
    ("names", "packed"),
    [
        (("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"), (True, False)),
        (("train-images.idx3-ubyte", "raw/train-labels.idx1-ubyte"), (False, False)),
        (("train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte (1).gz"), (True, True)),
        (("train-images-idx3-ubyte.gz", "MNIST/raw/TRAIN_LABELS_IDX1_UBYTE"), (False, True)),  # the suffix is wrong
    ],
)
def test_a_file_is_found_by_its_letters_and_known_by_its_digest(
    tmp_path: Path, names: tuple[str, str], packed: tuple[bool, bool]
) -> None:
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    contents = idx(images), idx(np.array([7, 4], np.uint8))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in zip(mnist_files.TRAIN, contents, strict=True)}
    for name, data, is_packed in zip(names, contents, packed, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(data) if is_packed else data)
    (tmp_path / "train-images.idx3-ubyte (2)").write_bytes(b"")
    found, labels = mnist_files.read_digits(tmp_path, mnist_files.TRAIN, digests)
    assert (found == images).all()
    assert labels.tolist() == [7, 4]
    with pytest.raises(UserError, match=r"train-images.* is not the expected file"):
        mnist_files.read_digits(tmp_path, mnist_files.TRAIN, mnist_files.OFFICIAL)
