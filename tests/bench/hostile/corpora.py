"""Archives, packs, audio, pictures and corpora that are not what they say."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import wave
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from .cases import ESCAPE, EVIL, HUGE, TAKEN, TURNED, Case, short, written

PREPARE = "data prepare {data} --data-dir {{root}}/out --from {{root}}/{path}"


def zipped(members: Mapping[str, bytes], *, mode: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file, also with names that `zipfile` would not write."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type, info.external_attr = name, method, mode << 16
            with archive.open(info, "w") as file:
                file.write(content)
    return buffer.getvalue()


def tarred(members: Mapping[str, bytes], *, kind: bytes = tarfile.REGTYPE, mode: str = "w") -> bytes:
    """A tar file whose members are of a kind."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            info.linkname = "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


NAMES = (
    *("../owned", "/tmp/owned", "a/../../owned", "..\\owned", "C:/owned", "~/../owned/..", "./../owned", "..", "."),
    *("", "./.", "a/..", "\0owned", "//owned", "a//../../owned"),
)


def archives() -> Iterator[Case]:
    """Archives of a corpus; each is refused whole, and nothing of it is left."""
    contents = [(f"name-{short(repr(name))}.zip", zipped({"good": b"x", name: b"y"})) for name in NAMES]
    contents += [(f"name-{short(repr(name))}.tar", tarred({"good": b"x", name: b"y"})) for name in NAMES]
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
    contents += [(f"kind-{kind.decode()}.tar", tarred({"owned": b""}, kind=kind)) for kind in kinds]
    modes = (0o120777, 0o010666, 0o020666, 0o060666, 0o140777)
    contents += [(f"mode-{mode:o}.zip", zipped({"owned": b"/etc/passwd"}, mode=mode)) for mode in modes]
    good = zipped({"s/1.wav": b"RIFF" * 1000})
    deep = zipped({"/".join(["a"] * 3000): b"x"})
    for name, content in (
        ("empty.zip", b""),
        ("empty.tar", b""),
        ("text.zip", b"no archive"),
        ("text.tar.gz", b"no archive"),
        ("cut.zip", good[: len(good) // 2]),
        ("headless.zip", good[20:]),
        ("cut.tar.gz", tarred({"a": b"x" * 9999}, mode="w:gz")[:-20]),
        ("cut.tar.xz", tarred({"a": bytes(range(256)) * 99}, mode="w:xz")[:-40]),
        ("cut.tar.bz2", tarred({"a": bytes(range(256)) * 99}, mode="w:bz2")[:-40]),
        ("flip.zip", good[:40] + bytes([good[40] ^ 255]) + good[41:]),
        ("twice.tar", tarred({"a": b"1"}) [:-10240] + tarred({"a": b"2"})),
        ("both.zip", zipped({"a": b"1", "a/b": b"2"})),
        ("utf8.zip", zipped({"ü": b"1"}).replace("ü".encode(), b"\xff\xfe")),
        ("long.zip", zipped({"x" * 300: b"1"})),
        ("deep.zip", deep),
        ("size.zip", good.replace(struct.pack("<I", 4000), struct.pack("<I", 10))),
        ("huge.zip", good.replace(struct.pack("<I", 4000), struct.pack("<I", 0xFFFFFFF0))),
        ("crypt.zip", good.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")),
        ("method.zip", good.replace(b"\x08\x00", b"\x63\x00")),
        ("lzma.zip", zipped({"a": bytes(999)}, method=zipfile.ZIP_LZMA).replace(b"\x5d\x00", b"\xff\xff", 1)),
        (f"{'evil' + TURNED}.zip", zipped({f"..{ESCAPE}": b""})),
        ("evil.zip", zipped({f"../{ESCAPE}{TURNED}": b""})),
        ("nothing.zip", zipped({})),
    ):  # fmt: skip
        contents.append((name, content))
    for name, content in contents:
        words = tuple(PREPARE.format(data="speech", path=name).split(" "))
        answer = r"not unpacked|damaged|cannot be unpacked|says|holds no|leads out|neither"
        yield Case("archive", short(name), words, answer, written(name, content))


def sphere(fields: Mapping[str, object], samples: bytes = bytes(8000)) -> bytes:
    """A SPHERE file with some fields changed; None leaves one out."""
    given = {"channel_count": 1, "sample_count": 4000, "sample_rate": 16000, "sample_n_bytes": 2, **fields}
    size = given.pop("size", 1024)
    lines = [f"{name} -i {value}" for name, value in given.items() if value is not None]
    return "\n".join(["NIST_1A", f"   {size}", *lines, "end_head", ""]).encode().ljust(1024) + samples


def wav(samples: np.ndarray, *, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


def corpus(bad: bytes, name: str = "1.wav") -> Callable[[Path], None]:
    """Lays eight speakers with two utterances, one of which is bad."""

    def lay(root: Path) -> None:
        for speaker in range(8):
            for number in range(2):
                path = root / "corpus" / f"s{speaker}" / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                with wave.open(str(path), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(16_000)
                    rng = np.random.default_rng(10 * speaker + number)
                    file.writeframes((rng.normal(size=6000) * 2000).astype("<i2").tobytes())
        (root / "corpus" / "s5" / name).write_bytes(bad)

    return lay


def audio() -> Iterator[Case]:
    """One bad file in a corpus: the corpus is refused, and the file named."""
    ramp = np.linspace(-0.5, 0.5, 6000, dtype=np.float32)
    good = wav(ramp)
    flac = io.BytesIO()
    soundfile.write(flac, ramp, 16_000, format="FLAC")
    contents: list[tuple[str, bytes]] = [
        ("empty", b""),
        ("text", b"no audio"),
        ("riff", b"RIFF"),
        ("cut", good[:-1000]),
        ("two-gib", good.replace(struct.pack("<I", 12_000), struct.pack("<I", 1 << 31))),
        ("stream", good.replace(struct.pack("<I", 12_000), b"\xff" * 4)),
        ("no-data", wav(ramp[:0])),
        ("one-hertz", wav(ramp, rate=1)),
        ("other-rate", wav(ramp, rate=8000)),
        ("3e38", wav(np.full(6000, 3e38, np.float32), subtype="FLOAT")),
        ("one-3e38", wav(np.append(ramp[1:], np.float32(3e38)), subtype="FLOAT")),
        ("nan", wav(np.append(ramp[1:], np.float32("nan")), subtype="FLOAT")),
        ("inf", wav(np.append(ramp[1:], np.float32("inf")), subtype="FLOAT")),
        ("doubles", wav(np.full(6000, 1e300), subtype="DOUBLE")),
        ("flac-cut", flac.getvalue()[:-2000]),
        ("flac-flip", flac.getvalue()[:400] + b"\xff\xff\xff" + flac.getvalue()[403:]),
        ("zip", zipped({"a": b"x"})),
        ("json", json.dumps({"a": HUGE}).encode()),
    ]
    contents += [(f"sphere-{key}={short(value)}", sphere({key: value})) for key, value in (
        ("channel_count", -1), ("channel_count", 0), ("channel_count", 2), ("channel_count", HUGE), ("channel_count", "x"),
        ("sample_count", -1), ("sample_count", 0), ("sample_count", 4001), ("sample_count", HUGE * 2),
        ("sample_rate", 0), ("sample_rate", -16000), ("sample_rate", 1), ("sample_rate", HUGE), ("sample_rate", None),
        ("sample_n_bytes", 1), ("sample_n_bytes", 0), ("size", -1024), ("size", 0), ("size", HUGE), ("size", 10**9),
        ("sample_byte_format", "77"), ("sample_coding", "pcm,embedded-shorten-v2.00"), ("sample_coding", EVIL),
    )]  # fmt: skip
    for name, content in contents:
        words = tuple(PREPARE.format(data="speech", path="corpus").split(" "))
        yield Case("audio", name, words, r"s5/1\.wav", corpus(content))
    for name in ("._1.wav", ".hidden.wav", "notes.txt", "1 (1).wav"):
        words = tuple(PREPARE.format(data="speech", path="corpus").split(" "))
        yield Case("audio", f"beside-{short(name)}", words, TAKEN, corpus(b"no audio", name))


def picture(size: tuple[int, int] = (64, 64), kind: str = "PNG", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def images() -> Iterator[Case]:
    """Pictures and IDX files of data sets."""
    good = picture()
    bomb = good.replace(struct.pack(">II", 64, 64), struct.pack(">II", 60_000, 60_000), 1)
    frames = {
        "empty": b"",
        "text": b"no picture",
        "cut": good[:60],
        "bomb": bomb,
        "tiny": picture((1, 1)),
        "flat": picture((60_000, 1)),
        "tiff": picture(kind="TIFF")[:100],
        "script": b"<svg onload=alert(1)>",
        "postscript": b"%!PS\n(owned) (w) file",
    }
    for name, content in frames.items():
        for data, path in (("mug", "mug/001/anger/take001/img_0001.jpg"), ("sprites", "lpc/body/male/light.png")):
            words = tuple(PREPARE.format(data=data, path=path.split("/")[0]).split(" "))
            yield Case("image", f"{data}-{name}", words, "mug|lpc|sprites|sheet|subject", written(path, content))
    head = struct.pack(">IIII", 0x803, 10, 28, 28)
    for name, content in {
        "empty": b"",
        "magic": b"\xff" * 16,
        "cut": head + bytes(100),
        "huge": struct.pack(">IIII", 0x803, 1 << 31, 1 << 15, 1 << 15),
        "negative": struct.pack(">iiii", 0x803, -1, -1, -1),
        "type": struct.pack(">IIII", 0xE03, 10, 28, 28),
        "gzip": b"\x1f\x8b" + bytes(50),
        "gzip-cut": b"\x1f\x8b\x08\x00",
        "bomb": b"\x1f\x8b\x08" + bytes(7) + b"\xed\xc1" * 500,
    }.items():
        words = tuple(PREPARE.format(data="smmnist", path="mnist").split(" "))
        file = "mnist/train-images-idx3-ubyte"
        yield Case("idx", name, words, "train-images-idx3-ubyte|mnist", written(file, content))
