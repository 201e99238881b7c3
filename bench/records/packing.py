"""Results of many cells in few files of a bounded size, to be carried from one machine to another. No torch.

    <name>-records-1.zip   cells/<id>/{record,config,error,progress}.json, attempts.jsonl, the end of log.txt
    <name>-clips-1.zip     cells/<id>/clips.npz: what figures and pages are made from
    <name>-state-1.zip     cells/<id>/config.json and parts of checkpoint.safetensors, of cells that are not done

Each file can be used without the others and is written aside and renamed; records come first. What does not fit is
named, never cut. Reading is `importing.import_packed`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from seqdis.bench.core.archive import new_member
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import digest, own_file, read_json, write_bytes
from seqdis.bench.core.lease import ATTEMPTS
from seqdis.bench.records.record import RECORD
from seqdis.bench.records.store import CHECKPOINT, CONFIG, ERROR, LOG, PROGRESS, Store

LIMIT = 15 << 20
"""Bytes of one file: a little below 16 MiB."""
FILES = 8
STATE_BYTES = 48 << 20
"""Most bytes of checkpoints in one pack."""
LOG_BYTES = 64 << 10
LEVEL = 6
MEMBER_BYTES = 256
"""More than what a zip file adds to a member of these names."""
KINDS = ("records", "clips", "state")
PART = re.compile(r"checkpoint\.safetensors\.(?P<sha256>[0-9a-f]{64})\.(?P<part>\d{1,3})of(?P<parts>\d{1,3})")


@dataclasses.dataclass(frozen=True)
class Member:
    """A file as it lies in a pack: deflated, or as it is where that would gain nothing."""

    name: str
    data: bytes
    size: int
    crc: int
    is_deflated: bool


Members = list[Member]


class Press:
    """Deflates files for packs; one that serves several packs deflates anew only what has changed in between."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, Member]] = {}

    def __call__(self, name: str, data: bytes) -> Member:
        if name.endswith(".npz") or CHECKPOINT in name:
            return Member(name, data, len(data), zlib.crc32(data), is_deflated=False)
        content = digest(data)
        kept, member = self._kept.get(name, ("", None))
        if member is None or kept != content:
            deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)  # negative: bare, as zip files have it
            deflated = deflate.compress(data) + deflate.flush()
            member = Member(name, deflated, len(data), zlib.crc32(data), is_deflated=True)
            self._kept[name] = (content, member)
        return member


@dataclasses.dataclass
class Packed:
    """What was written, and what was left out with the reasons."""

    files: list[Path] = dataclasses.field(default_factory=list)
    records: int = 0
    clips: int = 0
    states: int = 0
    left_out: list[str] = dataclasses.field(default_factory=list)

    def summary(self) -> str:
        """One line, and one for everything that was left out."""
        size = sum(path.stat().st_size for path in self.files)
        line = (
            f"packed {self.records} records, clips of {self.clips} cells and the state of {self.states} unfinished "
            f"ones in {len(self.files)} files, {size / 2**20:.1f} MiB"
        )
        return "\n".join([line, *(f"left out: {text}" for text in self.left_out)])


def pack(
    store: Store,
    folder: Path,
    *,
    name: str = "results",
    limit: int = LIMIT,
    files: int = FILES,
    press: Press | None = None,
) -> Packed:
    """Packs what a store holds. Files of an earlier pack of this name are replaced.

    Args:
        folder: where the files go; made if it is not there.
        limit: most bytes of one file.
        files: most files. Records come first, then state, then clips, seed 0 of every row before seed 1.
        press: of an earlier pack of this store, so that what has not changed since is not deflated again.

    Raises:
        UserError: nothing can be written there.
    """
    from seqdis.bench.records import clips  # brings numpy, which records need not

    press = press or Press()
    packed = Packed()
    cells = sorted(_cells(store, packed))
    groups: dict[str, list[Members]] = {"records": [], "clips": [], "state": []}
    state_bytes = 0
    for _, cell_id in cells:
        source = store.folder(cell_id)
        records = [*_small(source, packed)]
        if records:
            groups["records"].append([press(f"cells/{cell_id}/{file}", data) for file, data in records])
            packed.records += any(file == RECORD for file, _ in records)
        if store.is_done(cell_id):
            for data in _content(source / clips.NAME, packed):
                groups["clips"].append([press(f"cells/{cell_id}/{clips.NAME}", data)])
            continue
        with _named(source / CHECKPOINT, packed), own_file(source / CHECKPOINT) as checkpoint:
            size = os.fstat(checkpoint.fileno()).st_size
            if state_bytes + size > STATE_BYTES:
                packed.left_out.append(
                    f"the state of {cell_id}, {size / 2**20:.0f} MiB: only "
                    f"{STATE_BYTES >> 20} MiB of state are carried, so it begins anew elsewhere"
                )
                continue
            state = checkpoint.read()
            state_bytes += len(state)
            with own_file(source / CONFIG) as file:
                config = press(f"cells/{cell_id}/{CONFIG}", file.read())
            parts = _parts(state, limit - config.size - 8 * MEMBER_BYTES)
            groups["state"] += [[config, press(f"cells/{cell_id}/{part}", data)] for part, data in parts]
            packed.states += 1
    free = files
    for kind in ("records", "state", "clips"):
        shards = _shards(groups[kind], limit, packed)
        written = _write(shards[:free], folder, f"{name}-{kind}", packed)
        free -= written
        missing = sum(len(shard) for shard in shards[written:])
        if missing:
            packed.left_out.append(
                f"{kind} of {missing} cells, which do not fit in {files} files of {limit / 2**20:.0f} MiB"
            )
        if kind == "clips":
            packed.clips = sum(len(shard) for shard in shards[:written])
    return packed


def packs(path: Path) -> list[Path]:
    """The packed files that a path names: itself, or those in the folder. Empty where it is neither."""
    if path.is_file():
        return [path] if zipfile.is_zipfile(path) else []
    found = (file for kind in KINDS for file in path.glob(f"*-{kind}-*.zip")) if path.is_dir() else ()
    return sorted(file for file in found if file.is_file())


def _cells(store: Store, packed: Packed) -> Iterator[tuple[int, str]]:
    """(seed, id) of every cell that was begun; one whose folder cannot be read is left out."""
    for cell_id in store.ids():
        if not os.access(store.folder(cell_id), os.R_OK | os.X_OK):
            packed.left_out.append(f"{cell_id}: its folder cannot be read")
            continue
        with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
            yield int(read_json(store.folder(cell_id) / CONFIG)["cell"]["seed"]), cell_id


def _small(folder: Path, packed: Packed) -> Iterator[tuple[str, bytes]]:
    """A cell's small files, its record first; nothing for a cell that has not begun."""
    if not any((folder / name).exists() for name in (RECORD, LOG, ERROR)):
        return
    for name in (RECORD, CONFIG, ERROR, PROGRESS, ATTEMPTS, LOG):
        for data in _content(folder / name, packed, last=LOG_BYTES if name == LOG else 0):
            yield name, data


def _content(path: Path, packed: Packed, *, last: int = 0) -> Iterator[bytes]:
    """What a file of a cell holds, or its `last` bytes, if it can be read. What lies behind a link is not the cell's."""
    with _named(path, packed), own_file(path) as file:
        if last:
            file.seek(max(0, os.fstat(file.fileno()).st_size - last))
        yield file.read()


@contextlib.contextmanager
def _named(path: Path, packed: Packed) -> Iterator[None]:
    """What of a cell's files is there and cannot be read in the block is left out, and named."""
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as error:
        reason = "a link" if path.is_symlink() else error.strerror
        packed.left_out.append(f"{path.parent.name}/{path.name}: {reason}")


def _parts(state: bytes, room: int) -> Iterator[tuple[str, bytes]]:
    """A checkpoint in parts of at most `room` bytes; the name of each has the digest of the whole."""
    sha256 = digest(state)
    pieces = [state[start : start + room] for start in range(0, len(state), room)]
    for number, piece in enumerate(pieces, start=1):
        yield f"{CHECKPOINT}.{sha256}.{number}of{len(pieces)}", piece


def joined(folder: Path) -> bytes | None:
    """The checkpoint whose parts lie in a folder, if all are there and it is what they say."""
    parts: dict[tuple[str, int], dict[int, Path]] = {}
    for path in folder.iterdir():
        match = PART.fullmatch(path.name)
        if match and path.is_file():
            parts.setdefault((match["sha256"], int(match["parts"])), {})[int(match["part"])] = path
    for (sha256, count), found in parts.items():
        if sorted(found) == list(range(1, count + 1)):
            state = b"".join(found[number].read_bytes() for number in sorted(found))
            if digest(state) == sha256:
                return state
    return None


def _shards(groups: Iterable[Members], limit: int, packed: Packed) -> list[list[Members]]:
    """Cells' members, in order, in as many files as they need."""
    shards: list[list[Members]] = []
    used = limit
    for members in groups:
        size = sum(len(member.data) + MEMBER_BYTES + 2 * len(member.name) for member in members)
        if size > limit - MEMBER_BYTES:
            packed.left_out.append(f"{members[0].name}: more than {limit / 2**20:.0f} MiB")
            continue
        if used + size > limit - MEMBER_BYTES:
            shards.append([])
            used = 0
        shards[-1].append(members)
        used += size
    return shards


def _write(shards: list[list[Members]], folder: Path, stem: str, packed: Packed) -> int:
    """Writes the files, takes away those of an earlier pack that are left over, and gives their number."""
    for number, shard in enumerate(shards, start=1):
        members = {member.name: member for group in shard for member in group}
        path = folder / f"{stem}-{number}.zip"
        write_bytes(path, _zip(members.values()))
        packed.files.append(path)
    number = len(shards) + 1
    while (left := folder / f"{stem}-{number}.zip").exists():
        left.unlink()
        number += 1
    return len(shards)


def _zip(members: Iterable[Member]) -> bytes:
    """A zip file of members that are deflated already, which zipfile has no call for."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member in members:
            info = new_member(member.name)
            info.compress_type = zipfile.ZIP_DEFLATED if member.is_deflated else zipfile.ZIP_STORED
            info.CRC, info.file_size, info.compress_size = member.crc, member.size, len(member.data)
            info.external_attr = 0o600 << 16
            info.header_offset = buffer.tell()
            buffer.write(info.FileHeader())
            buffer.write(member.data)
            archive.filelist.append(info)
        archive.start_dir = buffer.tell()
    return buffer.getvalue()
