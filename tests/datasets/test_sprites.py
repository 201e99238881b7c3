from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from seqdis.bench.cli import main
from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.datasets.sprites import MOTIONS, Sprites, attributes, character_order, plan
from seqdis.datasets.video import lpc
from seqdis.datasets.video.frames import halve

DIGESTS = {
    0: "6b29bea11bde0ca9e921407998f788589d364f38d2b75118371f3280a05d286f",
    310: "1fb63b7b9e46c35e513498e60cabf4600715b293a14fada1e33ae3d518c54e20",
    710: "61e9b52e6a39eb538aaab27ef84b72a0a38ae7717912c0f4ec530658db9bc85d",
    1295: "cf7531aa88f37343affdf16a4bea25101c957999834a1112dddddb58e0c150a1",
}


@pytest.fixture(scope="module")
def sheets() -> Path:
    given = os.environ.get("SEQDIS_TEST_DATA")
    if not given:
        pytest.skip("SEQDIS_TEST_DATA names no folder with the LPC sheets")
    return lpc.find_sheets(Path(given))


@pytest.fixture(scope="module")
def prepared(sheets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real clips at 32 x 32; composing them checks the digest of all 1296 characters."""
    root = tmp_path_factory.mktemp("data")
    with open(root / "said", "w") as said, contextlib.redirect_stderr(said):
        assert main(["data", "prepare", "sprites", "--size", "32", "--from", str(sheets), "--data-dir", str(root)]) == 0
    return root


def with_pillow(sheets: Path, character: int) -> np.ndarray:
    """Another composition of one character, (9, 8, 64, 64, 3): whole sheets by Pillow, then tiles by their index."""
    from PIL import Image

    canvas = Image.new("RGBA", (832, 1344), (0, 0, 0, 255))
    digits = [character // 216, character // 36 % 6, character // 6 % 6, character % 6]
    names = [
        f"{folder}/{digit}" for folder, digit in zip(("body", "bottomwear", "topwear", "hair"), digits, strict=True)
    ]
    for name in [*names, "shoes/1"]:
        canvas = Image.alpha_composite(canvas, Image.open(sheets / f"{name}.png").convert("RGBA"))

    def tile(index: int) -> np.ndarray:
        x, y = 64 * (index % 13), 64 * (index // 13)
        return np.asarray(canvas.crop((x, y, x + 64, y + 64)).convert("RGB"))

    # The first tile of each row: walk 130, 117, 143 (front, left, right), spell 26, 13, 39, slash 182, 169, 195.
    walk, spell, slash = [8, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 4, 6], [0, 1, 2, 3, 4, 5, 4, 0]
    rows = [
        (130, walk),
        (117, walk),
        (143, walk),
        (26, spell),
        (13, spell),
        (39, spell),
        (182, slash),
        (169, slash),
        (195, slash),
    ]
    return np.stack([np.stack([tile(first + column) for column in columns]) for first, columns in rows])


def test_composed_characters_equal_pillow_and_the_reference_digests(sheets: Path) -> None:
    # 18, 21, 239, 667 and 1099 wear topwear 3, the sheet with partial alpha.
    wanted = {*DIGESTS, 18, 21, 239, 667, 1099}
    for number, clips in lpc.characters(lpc.read_sheets(sheets)):
        if number not in wanted:
            continue
        wanted.remove(number)
        published = np.ascontiguousarray(clips.transpose(0, 1, 3, 4, 2))
        assert (published == with_pillow(sheets, number)).all()
        if number in DIGESTS:
            assert hashlib.sha256(published.tobytes()).hexdigest() == DIGESTS[number]
    assert not wanted


def test_over_rounds_to_nearest_for_every_alpha() -> None:
    rng = np.random.default_rng(0)
    layer = rng.integers(0, 256, (4, 40, 50), dtype=np.uint8)
    canvas = rng.integers(0, 256, (3, 40, 50), dtype=np.uint8)
    alpha = layer[3] / 255
    expected = np.floor(layer[:3] * alpha + canvas * (1 - alpha) + 0.5)
    assert np.abs(lpc.over(layer, canvas) - expected).max() == 0


def test_split_is_the_published_one() -> None:
    order = character_order()
    assert order[:10].tolist() == [1116, 1135, 17, 469, 1293, 491, 869, 961, 91, 793]
    assert order[-5:].tolist() == [1144, 623, 26, 56, 1262]
    rows = plan("real")
    assert [len(characters) for characters, _ in rows.values()] == [8100, 900, 2664]
    assert rows["train"][0][::9].tolist() == order[:900].tolist()
    assert rows["validation"][0][::9].tolist() == order[900:1000].tolist()
    assert rows["test"][0][::9].tolist() == order[1000:].tolist()


def test_attributes_spell_the_character_number() -> None:
    numbers = np.arange(1296)
    digits = attributes(numbers)
    assert (digits @ np.array([216, 36, 6, 1]) == numbers).all()
    assert digits.min() == 0
    assert digits.max() == 5
    assert attributes(np.array([310])).tolist() == [[1, 2, 3, 4]]


def test_every_clip_lies_where_its_labels_say(prepared: Path, sheets: Path) -> None:
    dataset = Sprites.open(prepared, "real", 32)
    for split in (dataset.train, dataset.validation, dataset.test):
        digits = torch.stack([split.labels[name] for name in ("skin", "pants", "tops", "hair")], dim=1)
        assert (digits @ torch.tensor([216, 36, 6, 1]) == split.identity).all()
        for index in (0, len(split) // 2 + 1, len(split) - 1):
            expected = with_pillow(sheets, int(split.identity[index]))[int(split.labels["motion"][index])]
            blocks = expected.reshape(8, 32, 2, 32, 2, 3).astype(float).mean(axis=(2, 4))
            assert (split.x[index].permute(0, 2, 3, 1).numpy() == np.floor(blocks + 0.5)).all()


def test_preparing_says_how_far_it_is_when_it_is_not_on_a_terminal(prepared: Path) -> None:
    counts = re.findall(r"^Sprites 32x32: composing clips \((\d+)/11664\)$", (prepared / "said").read_text(), re.M)
    assert [int(count) for count in counts] == [9, 2916, 5832, 8748, 11664]


def test_splits_share_no_character_and_hold_every_motion_equally(prepared: Path) -> None:
    dataset = Sprites.open(prepared, "real", 32)
    train, validation, test = (
        set(split.identity.tolist()) for split in (dataset.train, dataset.validation, dataset.test)
    )
    assert (len(train), len(validation), len(test)) == (900, 100, 296)
    assert len(train | validation | test) == 1296
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.labels["motion"].bincount().tolist() == [len(split) // 9] * 9


def test_opening_takes_well_under_a_second_and_floats_are_bytes_over_256(prepared: Path) -> None:
    started = time.perf_counter()
    dataset = Sprites.open(prepared, "real", 32)
    assert time.perf_counter() - started < 1
    clips = dataset.test.clips(torch.tensor([5, 9]))
    assert (clips * 256 == dataset.test.x[[5, 9]]).all()
    assert clips.max() < 1
    assert dataset.spec.frame == (3, 32, 32)
    assert dataset.digest == Sprites.verify(prepared, "real", 32)["digest"]


def test_segments_are_halves_of_their_clip(prepared: Path) -> None:
    dataset = Sprites.open(prepared, "real", 32)
    cut = dataset.segmented()
    assert cut.x.shape[:2] == (16200, 4)
    assert (cut.n_segments == 2).all()
    assert (cut.x[100] == dataset.train.x[50, :4]).all()
    assert (cut.x[101] == dataset.train.x[50, 4:]).all()
    assert cut.sequence[100:102].tolist() == [50, 50]
    assert cut.labels["hair"][101] == dataset.train.labels["hair"][50]


@pytest.mark.slow
def test_small_frames_are_derived_from_the_native_cache_without_sheets(
    tmp_path: Path, prepared: Path, sheets: Path
) -> None:
    folder = Sprites.prepare(tmp_path, "real", 64, from_dir=sheets)
    try:
        Sprites.prepare(tmp_path, "real", 32)
        assert Sprites.open(tmp_path, "real", 32).digest == Sprites.open(prepared, "real", 32).digest
        checked = Sprites.verify(tmp_path, "real", 64)
        assert checked["all characters, as published"] == lpc.ALL_DIGEST
    finally:
        shutil.rmtree(folder)


def test_halving_rounds_half_up() -> None:
    frame = np.array([[0, 1, 255, 255], [0, 1, 255, 254], [1, 0, 3, 0], [0, 0, 0, 0]], np.uint8)
    assert halve(frame).tolist() == [[1, 255], [0, 1]]


@pytest.fixture
def copy(sheets: Path, tmp_path: Path) -> Path:
    for part in (*lpc.LAYERS, "shoes"):
        shutil.copytree(sheets / part, tmp_path / "copy" / part)
    return tmp_path / "copy"


def test_truncated_sheet_is_named(copy: Path, tmp_path: Path) -> None:
    path = copy / "topwear" / "3.png"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"topwear/3\.png is damaged"):
        Sprites.prepare(tmp_path / "data", "real", 32, from_dir=copy)
    assert not (tmp_path / "data" / "sprites-real-32").exists()


def test_tampered_sheet_is_named(copy: Path, tmp_path: Path) -> None:
    from PIL import Image

    path = copy / "hair" / "0.png"
    image = Image.open(path).convert("RGBA")
    image.putpixel((400, 700), (1, 2, 3, 255))
    image.save(path)
    with pytest.raises(UserError, match=r"hair/0\.png is damaged or not the published one"):
        Sprites.prepare(tmp_path / "data", "real", 32, from_dir=copy)


def test_missing_sheet_is_named(copy: Path, tmp_path: Path) -> None:
    (copy / "shoes" / "1.png").unlink()
    with pytest.raises(UserError, match=r"shoes/1\.png cannot be read"):
        Sprites.prepare(tmp_path / "data", "real", 32, from_dir=copy)


def test_folder_without_sheets_is_refused_and_the_parent_is_accepted(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold the Sprites sheets"):
        lpc.find_sheets(tmp_path / "nothing")
    assert lpc.find_sheets(copy) == copy
    assert lpc.find_sheets(copy.parent) == copy


def test_failed_download_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpc, "UPSTREAM", "http://127.0.0.1:9/")  # nothing listens on the discard port
    with pytest.raises(UserError, match=r"cannot download http://127.0.0.1:9/body/0.png .*--from DIR") as caught:
        Sprites.prepare(tmp_path, "real", 32)
    assert "\n" not in str(caught.value)


def test_download_takes_the_sheets_and_refuses_other_files(
    sheets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import functools
    import http.server
    import threading

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    served = tmp_path / "served"
    shutil.copytree(sheets, served)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setattr(lpc, "UPSTREAM", f"http://127.0.0.1:{server.server_address[1]}/")
        lpc.read_sheets(lpc.download_sheets(tmp_path / "good"))
        (served / "body" / "2.png").write_bytes(b"something else")
        with pytest.raises(UserError, match=r"body/2\.png \(what came is not the published file\)"):
            lpc.download_sheets(tmp_path / "bad")
    finally:
        server.shutdown()
        server.server_close()


def test_unprepared_data_names_the_exact_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQDIS_DATA", str(tmp_path))
    with pytest.raises(MissingDataError) as caught:
        Sprites.open(tmp_path, "synthetic", 32)
    assert caught.value.command == "bench data prepare sprites --source synthetic --size 32"
    with pytest.raises(UserError, match="64 or 32 pixels, not 48"):
        Sprites.open(tmp_path, "real", 48)


def test_spec_says_what_the_clips_are() -> None:
    spec = Sprites.describe("real", 64)
    assert spec.headline == ("fix_dynamic", "motion")
    assert spec.factor("motion").classes == MOTIONS
    assert MOTIONS[:4] == ("walk front", "walk left", "walk right", "spell front")
    assert [factor.name for factor in spec.by_role("static")] == ["skin", "pants", "tops", "hair"]
    assert "CC BY-SA 3.0" in spec.licence
    assert "GPL 3.0" in spec.attribution
    assert spec.revision != Sprites.describe("synthetic", 64).revision
