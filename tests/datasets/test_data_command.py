from __future__ import annotations

import io
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


def test_verify_of_damaged_data_fails_with_the_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sprites", "--source", "synthetic", "--size", "32", "--data-dir", str(root)]
    assert main(["data", "prepare", *words]) == 0
    path = root / "sprites-synthetic-32" / "test_x.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 255]))
    assert main(["data", "verify", *words]) == 2
    assert "bench data prepare sprites --source synthetic --size 32" in capsys.readouterr().err
    path.write_bytes(content)


@pytest.mark.parametrize(("words", "message"), [
    (["prepare", "sprits"], "did you mean 'sprites'"),
    (["prepare", "sprites", "--size", "48"], "64 or 32 pixels, not 48"),
    (["prepare", "mug"], "bench data prepare mug --from DIR"),
    (["prepare", "sprites", "--from", "/nonexistent"], "is not a folder"),
    (["prepare", "sprites", "--split", "subject"], "sprites has one split"),
    (["verify", "mug"], "bench data prepare mug --from DIR"),
    (["preview", "mug", "--source", "synthetic"], "bench data prepare mug --source synthetic"),
])
def test_mistakes_are_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                   words: list[str], message: str) -> None:
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
    spec = Spec(name="toy", title="Toy", source="synthetic", modality="audio", frame=(80,), n_frames=20,
                factors=(Factor(name="speaker", role="static", classes=("a", "b")),),
                headline=("verification", "speaker"), split_rule="", revision="1", licence="", citation="")
    png = contact_sheet(Split(x, {"speaker": torch.tensor([0, 0, 1, 1])}, torch.arange(4)), spec)
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    assert pixels.shape == (2 * 160 + 2, 2 * 120 + 2)
    assert pixels[120, 90] > pixels[40, 90] + 100
    assert pixels[120, 90] > pixels[120, 30] + 100
