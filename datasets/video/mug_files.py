"""Reading the MUG database as it is licensed: finding the videos, decoding frames, and one face box a video.

    root/<subject, 3 digits>/[session<k>/]<expression>/take<NNN>/<name with the frame's number>.jpg

The session level may be missing. Neutral videos are left out, and videos whose frames their names do not put in order.
Numbered copies (`img_0010 (1).jpg`) are stepped over. Damaged files are stepped over and counted: a sampled
frame that cannot be used is replaced by its neighbour in time (the frames between are not sampled), and a video where
that fails too is left out.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.datasets.folders import COPIES, NUMBER, UnorderedFrames, copies, entries, ordered, subfolders
from seqdis.datasets.video.signals import opening_distances

if TYPE_CHECKING:
    from PIL import Image

EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SIZE = 64
WINDOW = 15
STRIDE = 2
MIN_FRAMES = 30
MAX_SIDE = 8192
IMAGES = (".jpg", ".jpeg", ".png")
MAX_NOTES = 50
Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Video:
    """A folder of frames of one subject with one expression (a label)."""

    folder: Path
    subject: str
    expression: int


@dataclasses.dataclass
class Report:
    """What was left out, by reason, and the first sentences that say where."""

    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    notes: list[str] = dataclasses.field(default_factory=list)

    def skip(self, reason: str, sentence: str) -> None:
        self.counts[reason] += 1
        if len(self.notes) < MAX_NOTES:
            self.notes.append(sentence)

    def merge(self, other: Report) -> None:
        self.counts.update(other.counts)
        self.notes = (self.notes + other.notes)[:MAX_NOTES]


@dataclasses.dataclass
class Clips:
    """What became of a video: its 15-frame windows (n, 15, 3, 64, 64), a fingerprint of its frames, and the report."""

    windows: NDArray[np.uint8] | None
    fingerprint: str
    landmarks: NDArray[np.float32] | None
    report: Report


class UnusableFile(Exception):
    """A file that is not a whole image of the right size; the message is the reason."""


def find_videos(root: Path, report: Report) -> list[Video]:
    """Every video of the six expressions below `root`, sorted by subject, session, expression and take.

    Where `root` holds one folder and no subject, as an archive often does, that folder is searched instead.

    Raises:
        UserError: `root` is not a folder of subjects, or a folder cannot be read.
    """
    folders = subfolders(root, report.counts)
    if len(folders) == 1 and not _is_subject(folders[0]):
        folders = subfolders(folders[0], report.counts)
    subjects = [path for path in folders if _is_subject(path)]
    for path in folders:
        if path not in subjects:
            report.skip("folders that are no subject", f"{path} was left out: a subject's folder has three digits.")
    videos = [video for subject in subjects for video in _videos_of(subject, report)]
    if not videos:
        raise UserError(
            f"{root} does not look like the MUG database: no folder <subject, 3 digits>/[session<k>/]"
            f"<expression>/take<NNN> with images below it (expressions: {', '.join(EXPRESSIONS)})."
        )
    return videos


def _is_subject(path: Path) -> bool:
    return re.fullmatch(r"\d{3}", path.name) is not None


def _videos_of(subject: Path, report: Report) -> Iterator[Video]:
    folders = subfolders(subject, report.counts)
    sessions = [path for path in folders if re.fullmatch(r"session\d*", path.name, re.IGNORECASE)]
    for parent in [subject, *sessions]:
        for expression in subfolders(parent):
            name = expression.name.lower()
            if name == "neutral" or expression in sessions:
                continue
            if name not in EXPRESSIONS:
                report.skip(
                    "folders that are no expression", f"{expression} was left out: not one of the six expressions."
                )
                continue
            takes = subfolders(expression) or [expression]
            yield from (Video(take, subject.name, EXPRESSIONS.index(name)) for take in takes)


def frame_files(video: Video, report: Report) -> list[Path]:
    """The image files of a video in the order of the numbers in their names; copies, empty files and others are
    counted.

    Raises:
        UnorderedFrames: the names do not say the order.
    """
    files = []
    found = entries(video.folder, report.counts)
    copied = copies(entry.name for entry in found)
    for entry in found:
        if not entry.name.lower().endswith(IMAGES):
            report.skip("files that are no image", f"{entry.path} was stepped over: not an image by its name.")
        elif entry.name in copied:
            report.skip(COPIES, f"{entry.path} was stepped over: a copy by its name.")
        elif not NUMBER.search(Path(entry).stem):
            report.skip("images without a number", f"{entry.path} was stepped over: no number in its name.")
        elif entry.stat().st_size == 0:
            report.skip("empty files", f"{entry.path} was stepped over: it is empty.")
        else:
            files.append(Path(entry))
    return ordered(files)


def read_videos(videos: list[Video]) -> Iterator[tuple[Video, Clips]]:
    """Reads the videos in order, a few at a time in threads (decoding needs no lock); memory stays flat."""
    import cv2.data  # noqa: F401 - here once: an import by several threads at a time may show a half-made module

    workers = max(1, min(8, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        pending: collections.deque[tuple[Video, Future[Clips]]] = collections.deque()
        for video in videos:
            pending.append((video, pool.submit(read_video, video)))
            if len(pending) > 2 * workers:
                first, result = pending.popleft()
                yield first, result.result()
        for first, result in pending:
            yield first, result.result()


def read_video(video: Video) -> Clips:
    """Cuts the windows of a video: every second frame, one face box, consecutive windows over its middle."""
    report = Report()
    try:
        files = frame_files(video, report)
    except UnorderedFrames as error:
        report.skip("videos whose frames have no clear order", f"{video.folder} was left out: {error}.")
        return Clips(None, "", None, report)
    if len(files) < MIN_FRAMES:
        report.skip(
            "videos with fewer than 30 frames",
            f"{video.folder} was left out: {len(files)} usable frames, {MIN_FRAMES} are needed.",
        )
        return Clips(None, "", None, report)
    middle = _first_usable(files, _near(len(files) // 2, len(files)), None, report)
    if middle is None:
        return _left_out(video, report)
    image = middle[1]
    size = image.size
    box = face_box(np.asarray(image.convert("L")))
    if box is None:
        report.counts["videos without a found face (centre square used)"] += 1
        box = _centre_square(size)
    n_sampled = len(range(0, len(files), STRIDE))
    n_windows = n_sampled // WINDOW
    first = (n_sampled - n_windows * WINDOW) // 2
    frames, distances, sha = [], [], hashlib.sha256()
    for position in range(first, first + n_windows * WINDOW):
        centre = position * STRIDE
        neighbours = [i for i in (centre, centre + 1, centre - 1) if 0 <= i < len(files)]
        found = _first_usable(files, neighbours, size, report)
        if found is None:
            return _left_out(video, report)
        path, image = found
        frames.append(_cropped(image, box))
        sha.update(frames[-1].tobytes())
        distances.append(_landmarks(path))
    windows = np.stack(frames).reshape(n_windows, WINDOW, SIZE, SIZE, 3).transpose(0, 1, 4, 2, 3)
    landmarks = None if any(d is None for d in distances) else np.array(distances, np.float32)
    return Clips(
        np.ascontiguousarray(windows),
        sha.hexdigest(),
        None if landmarks is None else landmarks.reshape(n_windows, WINDOW, 3),
        report,
    )


def _left_out(video: Video, report: Report) -> Clips:
    report.skip(
        "videos with too many damaged frames", f"{video.folder} was left out: too many of its frames are damaged."
    )
    return Clips(None, "", None, report)


def _near(centre: int, n: int) -> list[int]:
    return sorted(range(n), key=lambda i: abs(i - centre))[:5]


def _first_usable(
    files: list[Path], positions: list[int], size: tuple[int, int] | None, report: Report
) -> tuple[Path, Image.Image] | None:
    for position in positions:
        try:
            return files[position], _decoded(files[position], size)
        except UnusableFile as error:
            report.skip("damaged images", f"{files[position]} was stepped over: {error}.")
    return None


def _decoded(path: Path, size: tuple[int, int] | None) -> Image.Image:
    """The image in RGB, whole and of `size` (if given). Large JPEGs are decoded at half their size, which is faster."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if max(image.size) > MAX_SIDE:
                raise UnusableFile(f"it is {image.size[0]} x {image.size[1]} pixels large")
            if min(image.size) >= 10 * SIZE:
                image.draft("RGB", (image.size[0] // 2, image.size[1] // 2))
            loaded = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusableFile(f"it is no whole image ({type(error).__name__}: {str(error)[:80]})") from None
    if size is not None and loaded.size != size:
        raise UnusableFile(f"it is {loaded.size[0]} x {loaded.size[1]} pixels, its video has {size[0]} x {size[1]}")
    if min(loaded.size) < SIZE:
        raise UnusableFile(f"it is {loaded.size[0]} x {loaded.size[1]} pixels, {SIZE} x {SIZE} are needed")
    return loaded


_local = threading.local()


def face_box(grey: NDArray[np.uint8]) -> Box | None:
    """The largest frontal face in a grey image (H, W) by OpenCV's Haar cascade: (left, top, right, bottom), or None."""
    import cv2
    import cv2.data

    if not hasattr(_local, "cascade"):
        _local.cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    smallest = max(SIZE // 2, int(0.15 * min(grey.shape)))
    faces = _local.cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(smallest, smallest))
    if len(faces) == 0:
        return None
    x, y, width, height = (float(value) for value in max(faces, key=lambda face: int(face[2]) * int(face[3])))
    return x, y, x + width, y + height


def _centre_square(size: tuple[int, int]) -> Box:
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return left, top, left + side, top + side


def _cropped(image: Image.Image, box: Box) -> NDArray[np.uint8]:
    from PIL import Image

    small = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)  # averages over the area when it shrinks
    pixels: NDArray[np.uint8] = np.asarray(small)
    return pixels


def _landmarks(image: Path) -> list[float] | None:
    """The three opening distances from the frame's 68 landmarks (<frame>.pts, iBUG format), if it has them."""
    try:
        text = image.with_suffix(".pts").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    numbers = re.findall(r"-?\d+\.?\d*(?:[eE][+-]?\d+)?", text.partition("{")[2].partition("}")[0])
    if len(numbers) != 2 * 68:
        return None
    return [float(value) for value in opening_distances(np.array(numbers, float).reshape(68, 2))]
