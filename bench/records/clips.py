"""A few decoded test clips of a finished cell, kept beside its record for figures and the page.

Shape legend: n test clips, m prior draws, T frames; `frame` is (H, W, C) uint8 for video and (F,) float16 for
audio.

The file is `clips.npz`: plain arrays, compressed, the same bytes for the same numbers, read without pickle
and without torch.

Arrays (a method without an encoder has only those marked *, its rows are prior draws instead of test clips):

    originals        (n, T, frame)       test clips, the same for every method on a data set
    labels           (n, n_factors)      their labels, in the order of `data.factors` of the record
    reconstructions  (n, T, frame)
    swaps            (n, n, T, frame)    [i, j]: static code of clip i, dynamic code of clip j
    fixed_static*    (n, m, T, frame)    [i]: static code of clip i, dynamic codes drawn from the prior
    fixed_dynamic*   (n, m, T, frame)    [i]: dynamic code of clip i, static codes drawn from the prior
    samples*         (n * m / 2, T, frame)  both codes drawn
    interpolation*   (p, q, T, frame)    static code from clip i to clip i + 1, dynamic code of clip i
"""

from __future__ import annotations

import io
import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.archive import new_member
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import write_bytes
from seqdis.bench.records.store import CLIPS

NAME = CLIPS
MAX_BYTES = 256 << 20
MAX_ARRAYS = 16
KINDS = (
    "originals",
    "labels",
    "reconstructions",
    "swaps",
    "fixed_static",
    "fixed_dynamic",
    "samples",
    "interpolation",
)
_DIMS = {
    "originals": 1,
    "reconstructions": 1,
    "swaps": 2,
    "fixed_static": 2,
    "fixed_dynamic": 2,
    "samples": 1,
    "interpolation": 2,
}

_DAMAGED = (
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    EOFError,
    MemoryError,  # also what Python's parser calls too many brackets
    SyntaxError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What zipfile and numpy raise for files that are damaged, or made to be."""

Clips = dict[str, NDArray[Any]]


def save_clips(folder: Path, clips: Mapping[str, NDArray[Any]]) -> Path:
    """Writes `clips.npz` into a cell's folder, whole or not at all, and returns its path.

    Args:
        folder: the cell's folder.
        clips: arrays by name, as above.

    Raises:
        ValueError: an array is not one of ours, or has another type or shape than it should.
    """
    for name, array in clips.items():
        problem = _problem(name, array)
        if problem:
            raise ValueError(problem)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(clips):
            member = new_member(f"{name}.npy")
            member.compress_type = zipfile.ZIP_DEFLATED
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(clips[name]), allow_pickle=False)
            archive.writestr(member, content.getvalue())
    write_bytes(folder / NAME, buffer.getvalue())
    return folder / NAME


def load_clips(folder: Path) -> Clips:
    """The clips of a cell's folder; {} if it has none.

    Raises:
        UserError: the file is damaged, too large, or holds something that is not ours.
    """
    path = folder / NAME
    if not os.path.isfile(path):
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > MAX_BYTES:
                raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB unpacked: not one of ours.")
            clips = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    if _header_bytes(file) > member.file_size:
                        raise UserError(f"{path}: {name!r} says that it is larger than it is; remove it.")
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                problem = _problem(name, array)
                if problem:
                    raise UserError(f"{path}: {problem}; remove it.")
                clips[name] = array
            return clips
    except _DAMAGED as error:
        what = str(error)[:200] or type(error).__name__
        raise UserError(f"{path} cannot be read ({what}); remove it and run the cell again.") from None


def _header_bytes(file: IO[bytes]) -> int:
    """How large an array is by its header. One that claims more than there is would be allocated before it is read."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return math.prod(shape) * dtype.itemsize


def _problem(name: str, array: NDArray[Any]) -> str:
    """What is wrong with an array, or nothing."""
    if name not in KINDS:
        return f"{name!r} is not one of {', '.join(KINDS)}"
    if array.size == 0 and name != "labels":
        return f"{name} is empty"
    if name == "labels":
        return "" if array.ndim == 2 and np.issubdtype(array.dtype, np.integer) else "labels are not integers (n, k)"
    frame = array.ndim - _DIMS[name] - 1
    if array.dtype == np.uint8 and frame == 3 and array.shape[-1] in (1, 3):
        return ""
    if array.dtype == np.float16 and frame == 1 and bool(np.isfinite(array).all()):
        return ""
    return f"{name} has type {array.dtype} and shape {array.shape}: neither uint8 video nor finite float16 audio"


def is_audio(clips: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the clips are spectrograms (n, T, F) rather than frames."""
    return clips["samples"].dtype == np.float16
