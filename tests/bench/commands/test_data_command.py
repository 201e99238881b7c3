from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seqdis.bench.cli import main
from seqdis.datasets.base import Factor, Spec, Split
from seqdis.datasets.preview import contact_sheet


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def test_prepare_verify_and_preview_of_a_stand_in(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sprites", "--source", "synthetic", "--size", "32", "--data-dir", str(root)]
    assert main(["data", "prepare", *words]) == 0
    shown = capsys.readouterr()
    assert "2700 training, 297 validation, 882 test clips of 8 frames" in shown.out
    assert "(3879/3879)" in shown.err
    assert main(["data", "prepare", *words]) == 0
    assert "(was there)" in capsys.readouterr().out
    assert main(["data", "verify", *words]) == 0
    assert "every digest matches" in capsys.readouterr().out
    assert main(["data", "preview", *words, "--out", str(root / "sheet.png")]) == 0
    with Image.open(root / "sheet.png") as sheet:
        assert sheet.size == (2 * 8 * 64 + 2, 9 * 64 + 8 * 2)
        colours = sheet.convert("RGB").getcolors(1 << 20)
        assert colours is not None
        assert len(colours) > 20


@pytest.mark.slow
def test_benchmark_of_preparing_compares_the_same_digits() -> None:
    script = Path(__file__).resolve().parents[3] / "examples" / "prepare_benchmark.py"
    done = subprocess.run(
        [sys.executable, "-P", str(script), "--digits", "2000"], capture_output=True, text=True, check=True
    )
    assert re.match(
        r"digits, 2000 and 10000 to test, 8 MiB: .* peak \d+ MiB, of which \d+ MiB are imports", done.stdout
    )


def test_verify_of_damaged_data_fails_with_the_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sprites", "--source", "synthetic", "--size", "32", "--data-dir", str(root)]
    assert main(["data", "prepare", *words]) == 0
    path = root / "sprites-synthetic-32" / "test_x.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 255]))
    assert main(["data", "verify", *words]) == 2
    assert "bench data prepare sprites --source synthetic --size 32" in capsys.readouterr().err
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "sprits"], "did you mean 'sprites'"),
        (["prepare", "sprites", "--size", "48"], "64 or 32 pixels, not 48"),
        (["prepare", "mug"], "bench data prepare mug --from DIR"),
        (["prepare", "sprites", "--from", "/nonexistent"], "is not there"),
        (["prepare", "sprites", "--split", "subject"], "sprites has one split"),
        (["verify", "mug"], "bench data prepare mug --from DIR"),
        (["preview", "mug", "--source", "synthetic"], "bench data prepare mug --source synthetic"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["data", *words, "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("bench: ")
    assert error.count("\n") == 1


def test_preview_writes_png_files_only(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sprites", "--source", "synthetic", "--size", "32", "--data-dir", str(root)]
    assert main(["data", "prepare", *words]) == 0
    assert main(["data", "preview", *words, "--out", str(root / "sheet.jpg")]) == 2
    assert "ends with .png" in capsys.readouterr().err


def test_spectrogram_sheet_puts_low_frequencies_below_and_time_to_the_right() -> None:
    x = torch.zeros(4, 20, 80, dtype=torch.float16)
    x[:, 10:, :40] = 1  # loud in the second half, below the middle of the axis
    spec = Spec(
        name="toy",
        title="Toy",
        source="synthetic",
        modality="audio",
        frame=(80,),
        n_frames=20,
        factors=(Factor(name="speaker", role="static", classes=("a", "b")),),
        headline=("verification", "speaker"),
        split_rule="",
        revision="1",
        licence="",
        citation="",
    )
    png = contact_sheet(Split(x, {"speaker": torch.tensor([0, 0, 1, 1])}, torch.arange(4)), spec)
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    assert pixels.shape == (2 * 160 + 2, 2 * 120 + 2)
    assert pixels[120, 90] > pixels[40, 90] + 100
    assert pixels[120, 90] > pixels[120, 30] + 100


def real_files(name: str, tmp_path: Path) -> Path:
    """A folder of files that a data set is made from: real ones where they are at hand, generated ones else."""
    if name in ("mug", "speech"):
        folder = tmp_path / "files"
        make = make_video if name == "mug" else make_voice
        places = (
            [
                f"{subject:03d}/{expression}/take{take:03d}"
                for subject in (1, 2)
                for expression in ("anger", "fear")
                for take in range(2)
            ]
            if name == "mug"
            else [f"speaker{speaker}/{number}.wav" for speaker in range(6) for number in range(2)]
        )
        for number, place in enumerate(places):
            make(folder / place, number)
        return folder
    configured = os.environ.get("SEQDIS_TEST_DATA")
    if not configured:
        pytest.skip("SEQDIS_TEST_DATA is not set")
    below = {
        "sprites": "lpc-sprites",
        "smmnist-10k": "mnist",
        "fsdd-mini": "speech/fsdd-mini",
        "librispeech-mini": "speech/librispeech-mini",
    }
    return Path(configured) / below[name]


def make_video(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    for t in range(30):
        frame = np.full((80, 80, 3), 20 * number, np.uint8)
        frame[20:50, t : t + 30] = 255 - 25 * number
        Image.fromarray(frame).save(folder / f"img_{t:04d}.jpg")


def make_voice(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.random.default_rng(number).integers(-3000, 3000, 16_000, dtype=np.int16).tobytes())


def packed(files: Path, target: Path, *, evil: bool = False) -> Path:
    """A zip or tar of a folder, as people make them: with the folder itself. `evil` adds a file that leads out."""
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as zipped:
            for path in sorted(files.rglob("*")):
                zipped.write(path, str(Path("copy") / path.relative_to(files)))
            if evil:
                zipped.writestr("../evil", b"x")
        return target
    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        tar.add(files, "copy")
        if evil:
            link = tarfile.TarInfo("copy/evil")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    return target


FROM_ARCHIVES = [
    ("sprites", "zip"),
    ("mug", "zip"),
    ("mug", "tar.gz"),
    ("smmnist-10k", "tar.gz"),
    ("speech", "zip"),
    ("fsdd-mini", "zip"),
    ("librispeech-mini", "tar.gz"),
]


@pytest.mark.parametrize(("name", "kind"), FROM_ARCHIVES)
def test_every_data_set_is_prepared_from_an_archive_of_its_folder(
    tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = real_files(name, tmp_path)
    size = ["--size", "32"] if name == "sprites" else []  # both sizes of the others: unpacked once
    root = tmp_path / "data"
    words = ["data", "prepare", name, *size, "--data-dir", str(root)]
    assert main([*words, "--from", str(packed(files, tmp_path / f"mine.{kind}"))]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("unpacking") == 1
    assert not list(root.glob(".unpacked-*"))
    assert main([*words, "--from", str(tmp_path / f"mine.{kind}")]) == 0
    again = capsys.readouterr()
    assert "unpacking" not in again.err
    assert "(was there)" in again.out
    if name != "sprites":  # the same data as from the folder
        other = tmp_path / "other"
        assert main(["data", "prepare", name, *size, "--data-dir", str(other), "--from", str(files)]) == 0
        for meta in root.glob("*/meta.json"):
            twin = other / meta.relative_to(root)
            assert json.loads(twin.read_text())["arrays"] == json.loads(meta.read_text())["arrays"]


@pytest.mark.parametrize(("name", "kind"), FROM_ARCHIVES)
def test_a_hostile_archive_is_refused_whole(
    tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = packed(real_files(name, tmp_path), tmp_path / f"mine.{kind}", evil=True)
    root = tmp_path / "below" / "data"
    assert main(["data", "prepare", name, "--data-dir", str(root), "--from", str(archive)]) == 2
    error = capsys.readouterr().err
    assert "evil" in error
    assert "not unpacked" in error
    assert list(root.iterdir()) == []
    assert not list(tmp_path.rglob("evil"))


def test_a_file_that_is_no_archive_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mug.rar"
    path.write_bytes(b"Rar!")
    assert main(["data", "prepare", "mug", "--from", str(path), "--data-dir", str(tmp_path)]) == 2
    assert "not an archive (.zip, .tar" in capsys.readouterr().err
    path = tmp_path / "mug.zip"
    path.write_bytes(b"PK but no zip")
    assert main(["data", "prepare", "mug", "--from", str(path), "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{path} is damaged" in error
