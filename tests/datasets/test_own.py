"""A folder of one's own clips as a data set: what is read, in which order, what is refused, and a whole run on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from seqdis.bench import cli
from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.plan import catalog
from seqdis.bench.records.record import read_record
from seqdis.datasets import own
from seqdis.datasets.video.clip_files import UnusableClip, read_clip
from seqdis.judges.settings import Recipe
from seqdis.judges.training import train_judge

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}
DIRECTIONS = {"left": -1, "right": 1}
KINDS = ("npy", "npz", "gif", "avi", "frames")


def clip(colour: str, direction: str, start: int, n: int = 16) -> np.ndarray:
    """A square (T, 40, 48, 3) that drifts."""
    frames = np.full((n, 40, 48, 3), 120, np.uint8)
    for t in range(n):
        left = 16 + start + DIRECTIONS[direction] * t
        frames[t, 14:26, left : left + 10] = COLOURS[colour]
    return frames


def write(path: Path, frames: np.ndarray, kind: str) -> str:
    """Writes a clip in a format and gives its name."""
    if kind == "npy":
        np.save(path.with_suffix(".npy"), frames)
    elif kind == "npz":
        np.savez(path.with_suffix(".npz"), x=frames, other=np.zeros(3))
    elif kind == "gif":
        first, *rest = (Image.fromarray(frame) for frame in frames)
        first.save(path.with_suffix(".gif"), save_all=True, append_images=rest, duration=50)
    elif kind == "avi":
        out = cv2.VideoWriter(str(path.with_suffix(".avi")), cv2.VideoWriter_fourcc(*"MJPG"), 10, (48, 40))
        for frame in frames:
            out.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        out.release()
    else:
        path.mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"frame{number}.png")  # frame10 comes after frame9, not after frame1
        return path.name
    return f"{path.name}.{kind}"


def folder(path: Path, n: int = 60, *, header: str = "clip,colour,direction:dynamic", tail: str = "") -> Path:
    path.mkdir()
    lines = [header]
    for number in range(n):
        colour, direction = list(COLOURS)[number % 2], list(DIRECTIONS)[number // 2 % 2]
        name = write(path / f"clip{number}", clip(colour, direction, number % 5), KINDS[number % 5])
        lines.append(f"{name},{colour},{direction}{tail}")
    (path / "labels.csv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("own") / "My clips")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_clip_gives_its_frames_in_order(tmp_path, kind):
    frames = clip("red", "right", 0)
    read = read_clip(tmp_path / write(tmp_path / "one", frames, kind))
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < (6 if kind in ("avi", "gif") else 1e-9)


def test_a_picture_that_is_shown_longer_stands_for_several_frames(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[50, 150, 50])
    assert read_clip(tmp_path / "a.gif")[:, 0, 0, 0].tolist() == [0, 100, 100, 100, 200]


def test_the_prepared_clips_are_those_of_the_folder(clips, tmp_path):
    kind = own.of(clips)
    assert kind.name == "own-my-clips"
    kind.prepare(tmp_path, "real", 32)
    dataset = kind.open(tmp_path, "real", 32)
    spec = dataset.spec
    assert [(factor.name, factor.role, factor.classes) for factor in spec.factors] == [
        ("colour", "static", ("blue", "red")),
        ("direction", "dynamic", ("left", "right")),
    ]
    assert spec.headline == ("fix_dynamic", "direction")
    assert not spec.may_show
    sizes = [len(split) for split in dataset.splits.values()]
    assert sizes == [42, 6, 12]
    for split in dataset.splits.values():
        x = split.clips(torch.arange(len(split)))
        assert x.shape[1:] == (16, 3, 32, 32)
        assert ((x[:, 0, 0].amax((1, 2)) > x[:, 0, 2].amax((1, 2))) == (split.labels["colour"] == 1)).all()
        moved = (x - 120 / 256).abs().sum(2).sum(2)  # (B, T, W): where the square is
        centre = (moved * torch.arange(32)).sum(2) / moved.sum(2)
        assert ((centre[:, -1] > centre[:, 0]) == (split.labels["direction"] == 1)).all()
    again = own.of(clips)
    assert again.prepare(tmp_path, "real", 32) == kind.folder(tmp_path, "real", 32)
    assert own.of(clips).describe("real", 32).revision == spec.revision
    assert kind.verify(tmp_path, "real", 32)


def test_splits_are_said_and_keep_identities_apart(tmp_path):
    said = folder(tmp_path / "said", 12, header="clip,colour,direction:dynamic,split,identity")
    text = (said / "labels.csv").read_text().splitlines()
    splits = ["train", "train", "validation", "validation", "test", "test"]
    lines = [f"{line},{splits[number % 6]},p{number % 6}" for number, line in enumerate(text[1:])]
    (said / "labels.csv").write_text("\n".join([text[0], *lines]))
    found = own.listing(said)
    assert "as labels.csv says" in found.rule
    assert found.identity_name == "identity"
    (said / "labels.csv").write_text("\n".join([text[0], *(line[:-1] + "0" for line in lines)]))
    with pytest.raises(UserError, match="p0 is in two splits"):
        own.listing(said)
    named = folder(tmp_path / "named", 60, header="clip,colour,direction:dynamic,identity")
    text = (named / "labels.csv").read_text().splitlines()
    (named / "labels.csv").write_text(
        "\n".join([text[0], *(f"{line},{number // 4}" for number, line in enumerate(text[1:]))])
    )
    found = own.listing(named)
    for one in set(found.identity):
        assert len(set(found.split[found.identity == one])) == 1


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (None, "labels.csv with a line for each"),
        ("", "needs clip and one factor"),
        ("clip\nclip0.npy\n", "needs clip and one factor"),
        ("clip,colour\nclip0.npy,red,more\n", "line 2, has not one value"),
        ("clip,colour\nclip0.npy,red\nclip1.npz\n", "line 3, has not one value"),
        ("clip,colour\nclip0.npy,red\nclip0.npy,blue\n", "names clip0.npy twice"),
        ("clip,colour\nclip0.npy,red\nnothing.npy,blue\n", "names nothing.npy, which is not in"),
        ("clip,colour\n../clip0.npy,red\nclip1.npz,blue\n", "by its path within the folder"),
        ("clip,colour\n/etc/passwd,red\nclip1.npz,blue\n", "by its path within the folder"),
        ("clip,colour\nclip0.npy,red\nclip1.npz,red\n", "one class only"),
        ("clip,a b\nclip0.npy,red\nclip1.npz,blue\n", "one word of letters"),
        ("clip,a,a:dynamic\nclip0.npy,red,x\nclip1.npz,blue,y\n", "one factor twice"),
        ("clip,colour,split\nclip0.npy,red,dev\nclip1.npz,blue,test\n", "not 'dev'"),
        ("clip,colour\nclip0.npy,red\nclip1.npz,blue\n", "fewer than two clips"),
        (b"clip,colour\n\xff,red\n", "not UTF-8"),
        ('clip,colour\n"clip0.npy,red\n', "no CSV"),
    ],
)
def test_labels_that_cannot_be_used_are_one_sentence(clips, tmp_path, labels, sentence):
    for name in ("clip0.npy", "clip1.npz"):
        (tmp_path / name).write_bytes((clips / name).read_bytes())
    if labels is not None:
        (tmp_path / "labels.csv").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    with pytest.raises(UserError, match=sentence):
        own.listing(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npy", b"not an array", "ValueError"),
        ("a.npz", b"PK\x03\x04", "BadZipFile"),
        ("a.gif", b"GIF89a", "Error"),
        ("a.mp4", b"\0" * 100, "no frame"),
        ("a.txt", b"text", "is no clip"),
    ],
)
def test_a_damaged_clip_is_one_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusableClip, match=reason):
        read_clip(tmp_path / name)


def test_arrays_are_never_unpickled_and_frames_without_order_are_refused(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UnusableClip, match="Python objects"):
        read_clip(tmp_path / "evil.npy")
    np.save(tmp_path / "float.npy", np.zeros((4, 8, 8)))
    with pytest.raises(UnusableClip, match="uint8"):
        read_clip(tmp_path / "float.npy")
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in ("first", "second"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(frames / f"{name}.png")
    with pytest.raises(UnusableClip, match="not numbered"):
        read_clip(frames)


def test_a_clip_that_cannot_be_read_stops_preparing_and_is_named(tmp_path):
    made = folder(tmp_path / "damaged", 20)
    (made / "clip5.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"clip5.npy cannot be used.*take its line out"):
        own.of(made).prepare(tmp_path / "data", "real", 32)
    with pytest.raises(MissingDataError, match=r"bench data prepare .*damaged"):
        own.of(made).open(tmp_path / "data", "real", 32)


def test_what_labels_do_not_name_is_reported(tmp_path):
    made = folder(tmp_path / "more", 20)
    write(made / "extra", clip("red", "left", 0), "npy")
    kind = own.of(made)
    kind.prepare(tmp_path / "data", "real", 32)
    dataset = kind.open(tmp_path / "data", "real", 32)
    assert dataset.cache.notes == ["extra.npy is a clip that labels.csv does not name"]


def test_a_path_is_a_data_set_wherever_a_name_is(clips, tmp_path):
    (name,) = catalog.parse_datasets(str(clips))
    assert catalog.load_dataset(name).name == "own-my-clips"
    with pytest.raises(UserError, match="is no folder"):
        catalog.parse_datasets(str(tmp_path / "nowhere"))
    adapter = tmp_path / "adapter.py"
    adapter.write_text("from seqdis.datasets.sprites import Sprites\n\n\nclass Mine(Sprites):\n    name = 'mine'\n")
    (name,) = catalog.parse_datasets(f"{adapter}:Mine")
    assert catalog.load_dataset(name).name == "mine"


@pytest.mark.slow
def test_a_run_on_a_folder_says_whose_data_they_are(clips, tmp_path, capsys):
    kind = own.of(clips)
    kind.prepare(tmp_path / "data", "real", 32)
    dataset = kind.open(tmp_path / "data", "real", 32)
    train_judge(dataset, root=tmp_path / "data", recipe=Recipe(steps=60, check_every=30))  # not the whole one: time
    line = ["run", "--methods", "dsvae", "--datasets", str(clips), "--preset", "quick", "--launcher", "local"]
    line += ["--set", "training.steps=4", "--set", "training.validations=1", "--set", "draws=1"]
    line += ["--out", str(tmp_path / "runs"), "--data-dir", str(tmp_path / "data"), "--workers", "1"]
    assert cli.main(line) == 0, capsys.readouterr()
    (path,) = (tmp_path / "runs" / "cells").glob("*/record.json")
    record = read_record(path)
    assert record.data.name == record.cell.dataset == "own-my-clips"
    assert record.judge.accuracy["colour"] > 0.9
    assert not record.data.may_show
    assert cli.main(["validate", str(tmp_path / "runs")]) == 0
