from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from seqdis.datasets.base import DataSet, Split
from seqdis.datasets.mug import Mug
from seqdis.datasets.sprites import Sprites
from seqdis.datasets.synthetic import mug as faces
from seqdis.datasets.synthetic import sprites as characters

DYNAMIC = {"sprites": "motion", "mug": "expression"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for kind in (Sprites, Mug):
        kind.prepare(folder, "synthetic", 32)
    return folder


@pytest.fixture(params=[Sprites, Mug], ids=["sprites", "mug"])
def dataset(request: pytest.FixtureRequest, root: Path) -> DataSet:
    opened: DataSet = request.param.open(root, "synthetic", 32)
    return opened


def features(split: Split, n: int, factor: str) -> tuple[np.ndarray, np.ndarray]:
    """`n` clips at 16 x 16, (n, T, D), and their labels."""
    index = torch.from_numpy(np.random.default_rng(0).permutation(len(split))[:n])
    x = split.clips(index)
    small = torch.nn.functional.avg_pool2d(x.flatten(0, 1), 2).reshape(*x.shape[:2], -1)
    return small.numpy(), split.labels[factor][index].numpy()


def nearest(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Accuracy of the nearest neighbour."""
    distances = (test**2).sum(1)[:, None] - 2 * test @ train.T + (train**2).sum(1)
    return float((train_labels[distances.argmin(1)] == test_labels).mean())


def linear(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, ridge: float
) -> float:
    """Accuracy of a ridge regression onto the classes."""
    targets = np.eye(train_labels.max() + 1)[train_labels]
    design = np.concatenate([train, np.ones((len(train), 1))], axis=1)
    # The dual form: there are fewer clips than pixels.
    dual = np.linalg.solve(design @ design.T + ridge * np.eye(len(design)), targets)
    scores = np.concatenate([test, np.ones((len(test), 1))], axis=1) @ (design.T @ dual)
    return float((scores.argmax(1) == test_labels).mean())


def test_no_frame_tells_the_action_but_the_clip_does(dataset: DataSet) -> None:
    factor = DYNAMIC[dataset.spec.name]
    train, train_labels = features(dataset.train, 1500, factor)
    test, test_labels = features(dataset.test, 400, factor)
    n_frames = train.shape[1]
    # Movement: what a clip adds to its own mean frame, so that who is seen does not matter.
    train_moves, test_moves = (x - x.mean(axis=1, keepdims=True) for x in (train, test))
    flat = train_moves.reshape(len(train), -1), train_labels, test_moves.reshape(len(test), -1), test_labels
    clip = max(nearest(*flat), linear(*flat, ridge=10.0))
    single = [nearest(train[:, t], train_labels, test[:, t], test_labels) for t in range(n_frames)]
    assert clip > 0.9
    assert max(single) < 0.55


def test_a_linear_probe_of_one_frame_stays_far_below_the_clip(dataset: DataSet) -> None:
    factor = DYNAMIC[dataset.spec.name]
    train, train_labels = features(dataset.train, 1500, factor)
    test, test_labels = features(dataset.test, 400, factor)
    for t in range(0, train.shape[1], 2):
        guessed = linear(train[:, t], train_labels, test[:, t], test_labels, ridge=1.0)
        # Where a sprite faces is one of three parts of its motion and shows; what it does may not.
        assert guessed < 0.7


def test_static_factors_show_in_every_frame(root: Path) -> None:
    dataset = Mug.open(root, "synthetic", 32)
    train, train_labels = features(dataset.train, 1500, "subject")
    test, test_labels = features(dataset.test, 300, "subject")
    for t in (0, 7, 14):
        assert nearest(train[:, t], train_labels, test[:, t], test_labels) > 0.9


def test_factors_are_independent(dataset: DataSet) -> None:
    factor = DYNAMIC[dataset.spec.name]
    for split in (dataset.train, dataset.test):
        for static in dataset.spec.by_role("static"):
            table = np.zeros((static.n_classes, dataset.spec.factor(factor).n_classes))
            np.add.at(table, (split.labels[static.name].numpy(), split.labels[factor].numpy()), 1)
            if dataset.spec.name == "sprites":
                assert stats.chi2_contingency(table).pvalue > 0.001
            assert np.bincount(split.labels[factor].numpy()).min() > 0.9 * len(split) / table.shape[1]


def test_attributes_cannot_be_read_from_the_movement(root: Path) -> None:
    """A clip's poses are drawn without its attributes: the same motion and seed pose any character alike."""
    for motion in range(9):
        pair = characters.draw(np.array([[0, 1, 2, 3], [5, 4, 0, 3]]), np.array([motion, motion]), np.array([7, 7]))
        silhouettes = pair.max(axis=2) > 0
        assert (silhouettes[0] == silhouettes[1]).all()


@pytest.mark.parametrize("kind", [Sprites, Mug])
def test_generation_is_deterministic(kind: Any, root: Path, tmp_path: Path) -> None:
    kind.prepare(tmp_path, "synthetic", 32)
    assert kind.open(tmp_path, "synthetic", 32).digest == kind.open(root, "synthetic", 32).digest


def test_slash_is_a_spell_backwards_and_walking_poses_are_among_theirs() -> None:
    spells = {tuple(map(tuple, characters.timing(1, seed))) for seed in range(300)}
    slashes = {tuple(map(tuple, characters.timing(2, seed))) for seed in range(300)}
    assert {spell[::-1] for spell in spells} == slashes
    assert not spells & slashes
    walking = {pose for seed in range(50) for pose in map(tuple, characters.timing(0, seed))}
    assert walking <= {pose for spell in spells for pose in spell}


def test_every_character_has_three_motions_and_splits_share_nobody(root: Path) -> None:
    dataset = Sprites.open(root, "synthetic", 32)
    people = [set(split.identity.tolist()) for split in (dataset.train, dataset.validation, dataset.test)]
    assert [len(group) for group in people] == [900, 33, 98]
    assert len(set.union(*people)) == 1031
    for split in (dataset.validation, dataset.test):
        assert (split.labels["motion"].view(-1, 9) == torch.arange(9)).all()
    motions = dataset.train.labels["motion"].view(900, 3)
    assert (motions.diff(dim=1) > 0).all()
    assert dataset.train.labels["motion"].bincount().tolist() == [300] * 9


def test_large_plain_areas_belong_to_each_attribute() -> None:
    """Changing one attribute changes a clip's pixels at least as much as the easy attributes of the real data."""
    base = np.zeros((1, 4), np.int64)
    for attribute, value in itertools.product(range(4), range(1, 6)):
        other = base.copy()
        other[0, attribute] = value
        clips = [characters.draw(a, np.array([1]), np.array([3])).astype(float) / 256 for a in (base, other)]
        assert ((clips[0] - clips[1]) ** 2).mean() > 0.004


def test_each_movement_of_the_face_belongs_to_two_expressions() -> None:
    assert len(set(faces.MOVEMENTS)) == 6
    uses = [part for parts in faces.MOVEMENTS for part in parts]
    assert sorted(uses) == sorted(2 * list(range(6)))
    assert all(upper < 3 <= lower for upper, lower in faces.MOVEMENTS)


def test_faces_start_and_end_neutral_and_pass_through_two_apexes() -> None:
    for seed, expression in itertools.product(range(20), range(6)):
        strength = faces.performance(expression, np.random.default_rng(seed))
        assert strength[[0, -1]].max() < 0.2
        for part in range(6):
            assert (strength[:, part].max() >= 0.7) == (part in faces.MOVEMENTS[expression])
        upper, lower = faces.MOVEMENTS[expression]
        assert np.minimum(strength[:, upper], strength[:, lower]).max() < 0.1


def test_videos_do_not_straddle_splits_and_subjects_are_shared(root: Path) -> None:
    dataset = Mug.open(root, "synthetic", 32)
    videos = [set(split.identity.tolist()) for split in (dataset.train, dataset.validation, dataset.test)]
    assert len(set.union(*videos)) == sum(map(len, videos)) == 52 * 6 * faces.TAKES
    assert len(videos[2]) == 52 * 6 * faces.TAKES // 4
    assert len(dataset.train.labels["subject"].unique()) == 52
    assert (dataset.train.n_segments == 2).all()
    assert len(dataset.segmented()) == len(dataset.train)


def test_split_by_subject_keeps_people_apart(tmp_path: Path) -> None:
    Mug.prepare(tmp_path, "synthetic", 32, split="subject")
    dataset = Mug.open(tmp_path, "synthetic", 32, split="subject")
    people = [set(split.labels["subject"].tolist()) for split in (dataset.train, dataset.validation, dataset.test)]
    assert [len(group) for group in people] == [35, 4, 13]
    assert len(set.union(*people)) == 52
    assert (dataset.test.identity == dataset.test.labels["subject"]).all()
    assert dataset.spec.revision != Mug.describe("synthetic", 32).revision


@pytest.mark.parametrize("size", [32, 64])
def test_native_sizes_agree(size: int) -> None:
    clip = faces.draw_videos(np.array([5]), np.array([3]), np.array([0]), size)
    assert clip.shape == (1, 2, 15, 3, size, size)
    coarse = [faces.draw_videos(np.array([5]), np.array([3]), np.array([0]), s).reshape(30, 3, s, s) for s in (32, 64)]
    mean = coarse[1].reshape(30, 3, 32, 2, 32, 2).mean(axis=(3, 5))
    assert np.abs(mean - coarse[0]).mean() < 6
