"""MNIST's IDX files: fetched, found in the folders people keep them in, read with every length checked."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import digest
from seqdis.datasets.folders import entries, subfolders

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
OFFICIAL = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FIRST_10K = {
    **OFFICIAL,
    "train-images-idx3-ubyte": "2889698e6bc3614913e76901316712919d1998fc2b44512451bfe65bc1e668b1",
    "train-labels-idx1-ubyte": "651e38e2ac0632f5113ec18f1df4977117f953197819034009971a6675a0df78",
}
SIDE = 28
FOLDERS = ("", "MNIST/raw")  # the second is torchvision's
MAX_BYTES = 64 << 20
GZIP = b"\x1f\x8b"


def find(folder: Path, name: str) -> list[Path]:
    """The files that may be `name`: in the user's folder, where torchvision puts them, or in a folder directly below.

    Names are compared by their letters and digits, because programs that unpack write `train-images.idx3-ubyte`, and
    browsers number their copies; what a file is, its digest says. The plain name comes first.

    Raises:
        UserError: there is none.
    """
    below = subfolders(folder) if folder.is_dir() else []
    found: dict[Path, None] = {}
    for place in [*(folder / known for known in FOLDERS), *below]:
        files = [Path(entry) for entry in entries(place) if entry.is_file()] if place.is_dir() else []
        likely = [path for path in files if _letters(path.name).startswith(_letters(name))]
        likely.sort(key=lambda path: (path.name != name, path.name != f"{name}.gz"))
        found.update(dict.fromkeys(likely))
    if not found:
        raise UserError(f"{folder} holds no {name} (or {name}.gz); name the folder of MNIST's IDX files with --from.")
    return list(found)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def download(folder: Path, *, command: str) -> Path:
    """MNIST as torchvision fetches it into `folder`; its checksums are checked, and ours when the files are read.

    Args:
        command: what a user types to prepare from files got elsewhere.

    Raises:
        UserError: it could not be fetched.
    """
    from torchvision.datasets import MNIST

    try:
        MNIST(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"MNIST could not be downloaded ({error}); get its four IDX files elsewhere and run {command}."
        ) from error
    return folder


def read_bytes(path: Path) -> bytes:
    """The unpacked bytes of an IDX file, plain or gzip.

    Raises:
        UserError: unreadable, damaged, or far larger than MNIST.
    """
    try:
        with open(path, "rb") as file:
            is_packed = file.read(len(GZIP)) == GZIP  # some browsers unpack and leave the name
            file.seek(0)
            opened = gzip.GzipFile(fileobj=file) if is_packed else file
            data = opened.read(MAX_BYTES + 1)  # a small archive may unpack to anything
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged or unreadable ({error}); fetch it again.") from error
    if len(data) > MAX_BYTES:
        verb = "unpacks to" if is_packed else "has"
        raise UserError(f"{path} {verb} more than {MAX_BYTES >> 20} MiB: not a file of MNIST.")
    return data


def read_digits(
    folder: Path, names: tuple[str, str], digests: dict[str, str]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 28, 28) uint8 and labels (N,) of one part.

    Args:
        folder: the user's folder.
        names: of the image file and of the label file.
        digests: SHA-256 of the unpacked bytes, by file name.

    Raises:
        UserError: a file is missing, damaged, or not the one it should be.
    """
    images, labels = (_array(_expected(find(folder, name), digests[name])) for name in names)
    if images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
        raise UserError(f"{folder}: {names[0]} {images.shape} and {names[1]} {labels.shape} do not belong together.")
    return images, labels.astype(np.int64)


def _expected(paths: list[Path], expected: str) -> bytes:
    """The unpacked bytes of the first of these files that is the expected one; else what is wrong with the first."""
    wrong: list[UserError] = []
    for path in paths:
        try:
            data = read_bytes(path)
        except UserError as error:
            wrong.append(error)
            continue
        found = digest(data)
        if found == expected:
            return data
        wrong.append(
            UserError(
                f"{path} is not the expected file (SHA-256 of its {len(data)} unpacked bytes begins "
                f"{found[:12]}, expected {expected[:12]}); fetch it again."
            )
        )
    raise wrong[0]


def _array(data: bytes) -> NDArray[np.uint8]:
    n_dims = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(n_dims))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_dims).reshape(shape).copy()
