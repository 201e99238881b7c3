"""One clip of a user's from disk: a video, an animated image, an array, or a folder of numbered frames."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqdis.datasets.folders import NUMBER, UnorderedFrames, copies, entries, ordered

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
PICTURES = (".gif", ".webp", ".apng", ".tif", ".tiff")
ARRAYS = (".npy", ".npz")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
SUFFIXES = (*VIDEOS, *PICTURES, *ARRAYS)
MOST_FRAMES = 20_000
MAX_SIDE = 8192
MOST_BYTES = 2 << 30
"""Of an array in an archive, when it is unpacked."""

Frames = NDArray[np.uint8]
"""(T, H, W, 3)"""


class UnusableClip(Exception):
    """A clip cannot be read; the message is the reason."""


def is_clip(path: Path) -> bool:
    """Whether it is one by its name: a file of a known kind, or a folder that holds images."""
    if path.is_dir():
        return any(entry.name.lower().endswith(IMAGES) for entry in entries(path))
    return path.suffix.lower() in SUFFIXES


def read_clip(path: Path) -> Frames:
    """All frames of a clip, in colour.

    Raises:
        UnusableClip: it is damaged, too large, of an unknown kind, or its frames have no order.
    """
    try:
        if path.is_dir():
            frames = _numbered(path)
        else:
            kind = path.suffix.lower()
            if kind not in SUFFIXES:
                raise UnusableClip(f"{kind or 'a file without a suffix'} is no clip: {', '.join(SUFFIXES)} or a folder")
            frames = _array(path) if kind in ARRAYS else _video(path) if kind in VIDEOS else _picture(path)
    except (
        *(OSError, ValueError, SyntaxError, EOFError, NotImplementedError, RuntimeError, MemoryError),
        *(zipfile.BadZipFile, zlib.error, UnorderedFrames),
    ) as error:
        raise UnusableClip(f"{type(error).__name__}: {str(error)[:120]}") from None
    if not len(frames):
        raise UnusableClip("it has no frame")
    return frames


def _checked(shape: tuple[int, ...]) -> None:
    if len(shape) < 2 or max(shape[:2]) > MAX_SIDE or min(shape[:2]) < 2:
        raise UnusableClip(f"a frame of {' x '.join(map(str, shape[:2]))} pixels")


def _joined(frames: list[Frames]) -> Frames:
    if len({frame.shape for frame in frames}) > 1:
        raise UnusableClip("its frames differ in size")
    return np.stack(frames) if frames else np.zeros((0, 2, 2, 3), np.uint8)


def _numbered(folder: Path) -> Frames:
    found = entries(folder)
    copied = copies(entry.name for entry in found)
    images = [Path(entry) for entry in found if entry.name.lower().endswith(IMAGES) and entry.name not in copied]
    if any(not NUMBER.search(path.stem) for path in images):
        raise UnusableClip("its frames are not numbered")
    return _joined([_picture(path)[0] for path in ordered(images)])


def _picture(path: Path) -> Frames:
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        _checked(image.size)
        if getattr(image, "n_frames", 1) > MOST_FRAMES:
            raise UnusableClip(f"more than {MOST_FRAMES} frames")
        frames, shown = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB")))
            shown.append(float(frame.info.get("duration", 0)) or 100.0)
    # Programs that write such files join frames that are alike and show them longer: time is given back.
    times = np.round(np.array(shown) / min(shown, default=1.0)).astype(int)
    if times.sum() > MOST_FRAMES:
        raise UnusableClip(f"more than {MOST_FRAMES} frames")
    return np.repeat(_joined(frames), times, axis=0) if frames else _joined(frames)


def _video(path: Path) -> Frames:
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        frames: list[Frames] = []
        while len(frames) <= MOST_FRAMES:
            found, frame = capture.read()
            if not found:
                return _joined(frames)
            _checked(frame.shape)
            frames.append(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8))
        raise UnusableClip(f"more than {MOST_FRAMES} frames")
    finally:
        capture.release()


def _array(path: Path) -> Frames:
    """(T, H, W) or (T, H, W, 1 or 3) bytes; of an archive its only array, or the one called `x`."""
    if path.suffix.lower() == ".npy":
        loaded = np.load(
            path, mmap_mode="r", allow_pickle=False
        )  # a header that claims too much is refused by its size
    else:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            name = "x.npy" if "x.npy" in names else names[0] if len(names) == 1 else None
            if name is None:
                raise UnusableClip(f"{len(names)} arrays and none is called x")
            if archive.getinfo(name).file_size > MOST_BYTES:
                raise UnusableClip(f"more than {MOST_BYTES >> 20} MiB")
            loaded = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
    if loaded.dtype != np.uint8 or loaded.ndim not in (3, 4) or (loaded.ndim == 4 and loaded.shape[-1] not in (1, 3)):
        raise UnusableClip(f"an array {loaded.dtype} {loaded.shape}: uint8 (T, H, W) or (T, H, W, 1 or 3) is read")
    _checked(loaded.shape[1:3])
    frames = loaded if loaded.ndim == 4 else loaded[..., None]
    return np.broadcast_to(frames, (*frames.shape[:3], 3))
