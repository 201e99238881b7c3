from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.datasets.mug import Mug, Videos, assign
from seqdis.datasets.synthetic import mug as drawn
from seqdis.datasets.video import mug_files

SIDE = 96


def make_video(folder: Path, number: int, n_frames: int = 34, side: int = SIDE) -> None:
    """A video of JPEGs: a coloured square that moves by one pixel a frame, different for each `number`."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(number)
    background, colour = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    for t in range(n_frames):
        frame = np.full((side, side, 3), background, np.uint8)
        frame[20:50, t : t + 30] = colour
        Image.fromarray(frame).save(folder / f"img_{t:04d}.jpg", quality=95)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two subjects without sessions and one with; two takes each of two expressions, and neutral."""
    root = tmp_path / "mug"
    number = 0
    for place in ("001", "002", "046/session0", "046/session1"):
        for expression in ("anger", "happiness"):
            for take in range(2):
                make_video(root / place / expression / f"take{take:03d}", number)
                number += 1
        make_video(root / place / "neutral" / "take000", 1000 + number)
    return root


def prepare(database: Path, **options: str) -> Mug:
    root = database.parent / "data"
    Mug.prepare(root, "real", 32, from_dir=database, **options)
    return Mug.open(root, "real", 32, **options)


def test_layout_with_and_without_sessions_is_read(database: Path) -> None:
    dataset = prepare(database)
    meta = dataset.cache.meta
    assert meta["videos"] == 16  # neutral is left out
    assert dataset.spec.factor("subject").classes == ("001", "002", "046")
    total = len(dataset.train) + len(dataset.validation) + len(dataset.test)
    assert total == 16  # 34 frames, every second one: 17, so one window each
    assert len(dataset.test) == 4
    assert dataset.test.labels["expression"].bincount(minlength=6).tolist() == [2, 0, 0, 2, 0, 0]
    assert not dataset.spec.may_show
    assert meta["skipped"] == {"videos without a found face (centre square used)": 16}


def test_what_a_mac_leaves_is_stepped_over_and_counted(database: Path) -> None:
    (database.parent / "archive").mkdir()
    (database.parent / "archive" / "__MACOSX").mkdir()
    database.rename(database.parent / "archive" / "mug")
    (database.parent / "archive" / "mug" / "001" / "anger" / "take000" / "._img_0003.jpg").write_bytes(b"Mac OS X")
    dataset = prepare(database.parent / "archive")
    assert dataset.cache.meta["videos"] == 16
    assert dataset.cache.skipped["hidden files and folders"] == 2


def test_a_linked_subject_is_read_and_a_broken_link_named(database: Path) -> None:
    (database / "002").rename(database.parent / "away")
    (database / "002").symlink_to("../away")
    assert prepare(database).cache.meta["subjects"] == ["001", "002", "046"]
    (database / "002").unlink()
    (database / "002").symlink_to("../gone")
    with pytest.raises(UserError, match=r"002 is a link that leads nowhere"):
        mug_files.find_videos(database, mug_files.Report())


def test_windows_are_every_second_frame_over_the_middle(tmp_path: Path) -> None:
    make_video(tmp_path / "take", 3, n_frames=64)
    clips = mug_files.read_video(mug_files.Video(tmp_path / "take", "001", 0))
    assert clips.windows is not None
    assert clips.windows.shape == (2, 15, 3, 64, 64)
    # 64 frames: 32 sampled, 30 used, so the first sampled frame and the last are left out: raw frames 2, 4, ... 60.
    paths = [tmp_path / "take" / f"img_{t:04d}.jpg" for t in range(2, 62, 2)]
    used = [mug_files._cropped(Image.open(path), (0, 0, SIDE, SIDE)) for path in paths]
    assert (clips.windows.reshape(30, 3, 64, 64) == np.stack(used).transpose(0, 3, 1, 2)).all()


def test_long_videos_give_segments_and_short_ones_none(database: Path) -> None:
    with pytest.raises(UserError, match=r"long enough"):
        prepare(database).segmented()
    shutil.rmtree(database.parent / "data")
    for number, take in enumerate(range(10, 16)):
        make_video(database / "001" / "anger" / f"take{take:03d}", 500 + number, n_frames=70)
    cut = prepare(database).segmented()
    assert (cut.n_segments == 2).all()
    assert len(cut) % 2 == 0


def test_frames_are_ordered_by_their_number(tmp_path: Path) -> None:
    folder = tmp_path / "take"
    make_video(folder, 0, n_frames=31)
    for t in range(31):
        (folder / f"img_{t:04d}.jpg").rename(folder / f"frame{t}.jpg")
    names = [path.name for path in mug_files.frame_files(mug_files.Video(folder, "001", 0), mug_files.Report())]
    assert names == [f"frame{t}.jpg" for t in range(31)]


@pytest.mark.parametrize(
    "name",
    [
        "img_{:04d} (1).jpg",
        "IMG_{:04d}(2).JPG",
        "img_{:04d} - Copy.jpg",
        "img_{:04d} - Copy (3).jpg",
        "img_{:04d} copy 2.jpg",
        "Copy of img_{:04d}.jpg",
        "img_{:04d} (Ann's conflicted copy 2024-05-01).jpg",
        "img_{:04d}.sync-conflict-20240501-101010-ABCDEFG.jpg",
    ],
)
def test_numbered_copies_are_stepped_over_and_counted(tmp_path: Path, name: str) -> None:
    video = mug_files.Video(tmp_path / "take", "001", 0)
    make_video(video.folder, 0)
    clean = mug_files.read_video(video)
    for t in (5, 10, 20):
        shutil.copy(video.folder / f"img_{t:04d}.jpg", video.folder / name.format(t))
    found = mug_files.read_video(video)
    assert found.fingerprint == clean.fingerprint
    assert found.report.counts["numbered copies beside their originals"] == 3
    assert str(video.folder / name.format(5)) in "".join(found.report.notes)


@pytest.mark.parametrize(
    "name", ["img ({}).jpg", "img_{} (1).jpg", "001_an_take2_{}.jpg", "frame{}_fps19.jpg", "f{}_{:06d}.jpg", "{}.jpg"]
)
def test_the_number_that_tells_frames_apart_orders_them(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "take"
    make_video(folder, 0, n_frames=31)
    for t in range(31):
        (folder / f"img_{t:04d}.jpg").rename(folder / name.format(t, 40 * t))
    (folder / "cover.jpg").write_bytes(b"no frame")
    report = mug_files.Report()
    names = [path.name for path in mug_files.frame_files(mug_files.Video(folder, "001", 0), report)]
    assert names == [name.format(t, 40 * t) for t in range(31)]
    assert report.counts == {"images without a number": 1}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("img_0010.png", "the same number"),
        ("img_0010 2.jpg", "named in different ways"),
        ("img_0010_marks.jpg", "named in different ways"),
    ],
)
def test_a_video_whose_frames_have_no_clear_order_is_left_out(database: Path, name: str, reason: str) -> None:
    take = database / "001" / "anger" / "take000"
    shutil.copy(take / "img_0010.jpg", take / name)
    cache = prepare(database).cache
    assert cache.meta["videos"] == 15
    assert cache.skipped["videos whose frames have no clear order"] == 1
    assert any(str(take) in note and reason in note for note in cache.notes)


def test_numbers_that_contradict_one_another_order_nothing(tmp_path: Path) -> None:
    for t in range(31):
        (tmp_path / f"{t}_{31 - t}.jpg").write_bytes(b"frame")
    with pytest.raises(mug_files.UnorderedFrames, match="contradict"):
        mug_files.frame_files(mug_files.Video(tmp_path, "001", 0), mug_files.Report())


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("not an image")


def _other_size(path: Path) -> None:
    Image.new("RGB", (SIDE, SIDE + 20)).save(path)


def _missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_truncate, "damaged images"),
        (_empty, "empty files"),
        (_text, "damaged images"),
        (_other_size, "damaged images"),
        (_missing, None),
    ],
)
def test_a_damaged_frame_is_stepped_over_and_counted(tmp_path: Path, damage: object, reason: str | None) -> None:
    make_video(tmp_path / "take", 1)
    broken = tmp_path / "take" / "img_0010.jpg"
    damage(broken)  # type: ignore[operator]
    clips = mug_files.read_video(mug_files.Video(tmp_path / "take", "001", 0))
    assert clips.windows is not None
    assert clips.windows.shape == (1, 15, 3, 64, 64)
    if reason is not None:
        assert clips.report.counts[reason] == 1
        assert any(str(broken) in note for note in clips.report.notes)


def test_a_replaced_frame_is_its_neighbour_in_time(tmp_path: Path) -> None:
    make_video(tmp_path / "take", 1)
    good = mug_files.read_video(mug_files.Video(tmp_path / "take", "001", 0)).windows
    neighbour = mug_files._cropped(Image.open(tmp_path / "take" / "img_0013.jpg"), (0, 0, SIDE, SIDE))
    _truncate(tmp_path / "take" / "img_0012.jpg")
    mended = mug_files.read_video(mug_files.Video(tmp_path / "take", "001", 0)).windows
    assert good is not None
    assert mended is not None
    changed = [t for t in range(15) if (good[0, t] != mended[0, t]).any()]
    assert changed == [5]  # 17 sampled frames, 15 used from the second on: raw frame 12 is number 5
    assert (mended[0, 5] == neighbour.transpose(2, 0, 1)).all()


def test_a_video_with_neighbouring_damaged_frames_is_left_out(tmp_path: Path) -> None:
    make_video(tmp_path / "take", 1)
    for t in (11, 12, 13):
        _truncate(tmp_path / "take" / f"img_{t:04d}.jpg")
    clips = mug_files.read_video(mug_files.Video(tmp_path / "take", "001", 0))
    assert clips.windows is None
    assert clips.report.counts["videos with too many damaged frames"] == 1


@pytest.mark.parametrize("n_frames", [0, 1, 29])
def test_short_videos_are_left_out_and_counted(database: Path, n_frames: int) -> None:
    make_video(database / "002" / "anger" / "take009", 77, n_frames=n_frames)
    dataset = prepare(database)
    assert dataset.cache.meta["videos"] == 16
    assert dataset.cache.meta["skipped"]["videos with fewer than 30 frames"] == 1
    assert any("take009" in note for note in dataset.cache.meta["notes"])


def test_repeated_videos_are_left_out_so_that_none_straddles_a_split(database: Path) -> None:
    shutil.copytree(database / "001" / "anger" / "take000", database / "002" / "anger" / "take007")
    meta = prepare(database).cache.meta
    assert meta["videos"] == 16
    assert meta["skipped"]["videos that repeat another"] == 1
    assert any("take007" in note and "take000" in note for note in meta["notes"])


def test_other_folders_and_files_are_counted(database: Path) -> None:
    make_video(database / "001 copy" / "anger" / "take000", 5)
    make_video(database / "001" / "mixed" / "take000", 6)
    (database / "001" / "anger" / "take000" / "Thumbs.db").write_bytes(b"x")
    meta = prepare(database).cache.meta
    assert meta["videos"] == 16
    assert meta["skipped"]["folders that are no subject"] == 1
    assert meta["skipped"]["folders that are no expression"] == 1
    assert meta["skipped"]["files that are no image"] == 1


def test_wrong_or_missing_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "wrong" / "pictures").mkdir(parents=True)
    with pytest.raises(UserError, match=r"does not look like the MUG database"):
        Mug.prepare(tmp_path / "data", "real", 64, from_dir=tmp_path / "wrong")
    with pytest.raises(UserError, match=r"cannot be read"):
        Mug.prepare(tmp_path / "data", "real", 64, from_dir=tmp_path / "nothing")
    with pytest.raises(UserError, match=r"licensed.*--from DIR"):
        Mug.prepare(tmp_path / "data", "real", 64)
    assert not (tmp_path / "data" / "mug-real-64").exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX ones")
def test_unreadable_folder_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        locked = root / "001" / "anger"
        make_video(locked / "take000", 1)
        locked.chmod(0o000)
        was_root = os.geteuid() == 0
        if was_root:  # root reads everything
            os.seteuid(65534)
        try:
            with pytest.raises(UserError, match=r"001/anger cannot be read"):
                mug_files.find_videos(root, mug_files.Report())
        finally:
            if was_root:
                os.seteuid(0)
            locked.chmod(0o755)


def test_too_few_videos_to_split_is_said(tmp_path: Path) -> None:
    for take in range(3):
        make_video(tmp_path / "mug" / "001" / "fear" / f"take{take:03d}", take)
    with pytest.raises(UserError, match=r"only 3 usable videos of fear"):
        Mug.prepare(tmp_path / "data", "real", 64, from_dir=tmp_path / "mug")
    assert [path for path in (tmp_path / "data").iterdir() if path.is_dir()] == []


def test_split_is_by_video_a_quarter_and_stratified() -> None:
    rng = np.random.default_rng(0)
    videos = Videos(rng.integers(0, 52, 1254), rng.integers(0, 6, 1254), rng.integers(1, 6, 1254), [None] * 1254)
    splits = assign(videos, "video")
    for expression in range(6):
        part = splits[videos.expression == expression]
        assert (part == 2).mean() == pytest.approx(0.25, abs=0.005)
        assert (part == 1).mean() == pytest.approx(0.075, abs=0.005)
    assert (assign(videos, "video") == splits).all()


def test_split_by_subject_keeps_subjects_whole() -> None:
    rng = np.random.default_rng(0)
    videos = Videos(rng.integers(0, 52, 600), rng.integers(0, 6, 600), np.ones(600, int), [None] * 600)
    splits = assign(videos, "subject")
    for subject in range(52):
        assert len(np.unique(splits[videos.subject == subject])) == 1
    assert len(np.unique(videos.subject[splits == 2])) == 13


def test_sizes_agree_and_the_small_one_needs_no_database(database: Path) -> None:
    root = database.parent / "data"
    Mug.prepare(root, "real", 64, from_dir=database)
    Mug.prepare(root, "real", 32)
    derived = Mug.open(root, "real", 32).digest
    direct = prepare(database).digest
    assert derived == direct
    other = database.parent / "other"
    Mug.prepare(other, "real", 32, from_dir=database)
    assert Mug.open(other, "real", 32).digest == derived


def test_unprepared_names_the_exact_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQDIS_DATA", str(tmp_path))
    with pytest.raises(MissingDataError) as caught:
        Mug.open(tmp_path, "real", 64)
    assert caught.value.command == "bench data prepare mug --from DIR --size 64"
    with pytest.raises(MissingDataError) as caught:
        Mug.open(tmp_path, "real", 64, split="subject")
    assert caught.value.command == "bench data prepare mug --from DIR --split subject --size 64"
    with pytest.raises(UserError, match=r"not by 'take'"):
        Mug.open(tmp_path, "real", 64, split="take")


def test_face_box_is_one_box_around_a_drawn_face(tmp_path: Path) -> None:
    """A drawn face in a large frame: where the cascade finds it, the box lies on it; else the centre is used."""
    face = drawn.draw_frames(np.array([1]), np.zeros((1, 6), np.float32), 256)[0].astype(np.uint8)
    scene = np.full((640, 640, 3), 128, np.uint8)
    scene[200:456, 150:406] = face
    box = mug_files.face_box(np.asarray(Image.fromarray(scene).convert("L")))
    assert box is not None, "the cascade finds this face"
    left, top, right, bottom = box
    assert 130 <= left < right <= 430
    assert 180 <= top < bottom <= 480
    assert mug_files.face_box(np.full((640, 640), 128, np.uint8)) is None


def test_face_clips_are_cropped_by_the_box_of_the_middle_frame(tmp_path: Path) -> None:
    strength = drawn.performance(5, np.random.default_rng(0)).repeat(3, axis=0)[:34]
    frames = drawn.draw_frames(np.full(34, 1), strength, 256).astype(np.uint8)
    (tmp_path / "take").mkdir()
    for t, frame in enumerate(frames):
        scene = np.full((640, 640, 3), 128, np.uint8)
        scene[200:456, 150:406] = frame
        Image.fromarray(scene).save(tmp_path / "take" / f"{t:03d}.png")
    clips = mug_files.read_video(mug_files.Video(tmp_path / "take", "001", 5))
    assert clips.windows is not None
    assert clips.report.counts == {}
    grey_share = (np.abs(clips.windows.astype(int) - 128).max(axis=2) < 3).mean()
    assert grey_share < 0.2  # nearly all of the crop is face


def test_landmarks_beside_the_frames_are_kept_as_distances(database: Path) -> None:
    take = database / "001" / "anger" / "take000"
    points = np.random.default_rng(0).uniform(20, 80, (68, 2))
    for image in take.glob("*.jpg"):
        lines = "\n".join(f"{x:.4f} {y:.4f}" for x, y in points)
        image.with_suffix(".pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    dataset = prepare(database)
    stored = np.concatenate([dataset.cache.array(f"{split}_landmarks") for split in ("train", "validation", "test")])
    assert np.isfinite(stored).all(axis=(1, 2)).sum() == 1
    lips = np.hypot(*(points[62] - points[66]))
    between = np.hypot(*(points[36:42].mean(0) - points[42:48].mean(0)))
    assert stored[np.isfinite(stored)].reshape(15, 3)[:, 2] == pytest.approx(np.full(15, lips / between), abs=1e-3)


def test_meta_lists_what_was_left_out(database: Path) -> None:
    dataset = prepare(database)
    written = json.loads((dataset.cache.folder / "meta.json").read_text())
    assert written["skipped"] == dataset.cache.meta["skipped"]
    assert not (dataset.cache.folder / "scratch").exists()
