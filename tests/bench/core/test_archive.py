"""Archives: what they hold comes out whole; what could do harm, or is damaged, is refused and leaves nothing behind."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seqdis.bench.core import archive
from seqdis.bench.core.errors import UserError
from seqdis.datasets.speech import Speech

FILES = {"a/one.bin": b"1" * 5000, "a/b/two.bin": os.urandom(3_000_000), "empty": b""}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            with zipped.open(info, "w") as file:
                file.write(content)
    return path


def make_tar(path: Path, files: dict[str, bytes], extra: tarfile.TarInfo | None = None) -> Path:
    mode = {"gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz", "tgz": "w:gz"}.get(path.name.rpartition(".")[2], "w")
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if extra is not None:
            tar.addfile(extra)
    return path


@pytest.mark.parametrize("name", ["c.zip", "c.tar", "c.tar.gz", "c.tgz", "c.tar.bz2", "c.tar.xz", "C.ZIP"])
def test_everything_comes_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (make_zip if name.lower().endswith("zip") else make_tar)(path, FILES)
    with archive.opened(path, tmp_path / "work") as folder:
        assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == FILES
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    make = make_zip if kind == "zip" else make_tar
    path = make(tmp_path / f"c.{kind}", {"good.txt": b"x", name: b"y"})
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(UserError, match="leads out"):
        archive.unpack(path, target)
    assert list(target.iterdir()) == []  # not even the good one
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("name", [".", "./.", "", "./"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_of_nothing_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    path = (make_zip if kind == "zip" else make_tar)(tmp_path / f"c.{kind}", {"good.txt": b"x", name: b"y"})
    if name != "./" or kind == "tar":  # which zip calls a folder
        with pytest.raises(UserError, match="names no file"):
            archive.unpack(path, target)
        assert list(target.iterdir()) == []


def test_a_name_that_is_not_what_it_says_is_damage(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {"ü.txt": b"x"})
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xff\xfe"))
    with pytest.raises(UserError, match="damaged"):
        archive.unpack(path, tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_member_with_a_flipped_byte_is_damage(tmp_path: Path, method: int) -> None:
    path = tmp_path / "c.zip"
    content = os.urandom(300)
    with zipfile.ZipFile(path, "w", method) as zipped:
        zipped.writestr("a", content)
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        target = tmp_path / f"t{place}"
        target.mkdir()
        try:
            archive.unpack(path, target)
        except UserError:
            continue
        assert all(file.read_bytes() == content for file in target.rglob("*") if file.is_file())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("evil")
    info.type = kind
    info.linkname = "/etc/passwd"
    path = make_tar(tmp_path / "c.tar", {"good": b"x"}, info)
    with pytest.raises(UserError, match="'evil', a link or device"):
        archive.unpack(path, tmp_path)
    assert not (tmp_path / "good").exists()


def test_links_in_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as zipped:
        info = zipfile.ZipInfo("evil")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match="a link or device"):
        archive.unpack(tmp_path / "c.zip", tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_files_and_too_many_bytes_are_refused(tmp_path: Path, kind: str) -> None:
    make = make_zip if kind == "zip" else make_tar
    path = make(tmp_path / f"c.{kind}", {f"f{i}": bytes(1000) for i in range(20)})
    with pytest.raises(UserError, match="more than 10 files"):
        archive.unpack(path, tmp_path, max_files=10)
    with pytest.raises(UserError, match="unpacks to more than"):
        archive.unpack(path, tmp_path, max_bytes=19_999)
    assert archive.unpack(path, tmp_path, max_files=20, max_bytes=20_000) == 20


def test_a_member_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {"big": bytes(100_000)})
    data = path.read_bytes()
    size = (100_000).to_bytes(4, "little")
    path.write_bytes(data.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"c\.zip"):
        archive.unpack(path, tmp_path)


@pytest.mark.parametrize("name", ["c.zip", "c.tar.gz"])
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    path = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, FILES)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        archive.unpack(path, tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus.rar").write_bytes(b"Rar!")
    with (
        pytest.raises(UserError, match="neither a folder nor an archive"),
        archive.opened(tmp_path / "corpus.rar", tmp_path),
    ):
        pass


def test_a_corpus_is_prepared_from_its_archive(tmp_path: Path) -> None:
    files = {}
    for number in range(16):
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((np.random.default_rng(number).normal(size=6000) * 900).astype("<i2").tobytes())
        files[f"corpus/s{number // 2}/{number % 2}.wav"] = buffer.getvalue()
    Speech.prepare(tmp_path / "caches", "real", from_dir=make_tar(tmp_path / "corpus.tar.gz", files))
    assert len(Speech.open(tmp_path / "caches", "real").spec.factor("speaker").classes) == 8
    assert [path.name for path in (tmp_path / "caches").iterdir() if path.is_dir()] == ["speech-real"]
