"""Cards of judges: what they are called, where they lie, and what is written down of each. No torch here.

A judge belongs to (data set, source, frame size, data revision). It is two files: weights (safetensors) and a card
(JSON) that says how it was made, how well it does on clips it never saw, and the SHA-256 of its weights. Judges that
may be given away are shipped in `judges/weights/`; the others are trained by the user into `<data root>/judges/`.

Card, version 1: schema, name (of the file), judge (default, second, ...), dataset, title, source, size, frame,
n_frames, factors ({name: [classes, role]}), architecture, recipe, seed, data {revision, digest, clips, split_rule,
identity}, accuracy and accuracy_blurred ({factor: fraction}, on the test clips as they are and blurred), joint
({joint: fraction of test clips on which every part is right}), n_test, parameters, steps, torch, weights (file name),
bytes, sha256.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.files import read_json
from seqdis.bench.core.places import data_root

if TYPE_CHECKING:
    from seqdis.datasets.base import Spec

CARD_SCHEMA = 1
FOLDER = "judges"
REINSTALL = "It came with the suite: install that again."


def side(spec: Spec) -> int:
    """Side of the frames in pixels; 0 for audio."""
    return spec.frame[-1] if spec.modality == "video" else 0


def stem(spec: Spec, name: str = "default") -> str:
    """File name of a judge without its ending: `sprites-real-64`, `sprites-real-64-second`."""
    parts = [spec.name, spec.source, *([str(side(spec))] if side(spec) else []), *([name] if name != "default" else [])]
    return "-".join(parts)


def train_command(spec: Spec, root: Path | None = None, name: str = "default") -> str:
    """The command that trains this judge, as the user would type it."""
    words = ["bench judge train", spec.name, f"--source {spec.source}"]
    words += [f"--size {side(spec)}"] if side(spec) else []
    words += [f"--name {name}"] if name != "default" else []
    words += ["--split subject"] if spec.identity == "subject" else []
    if root is not None and root.expanduser().resolve() != data_root().expanduser().resolve():
        words.append(f"--data-dir {root}")
    return " ".join(words)


def trained_stem(spec: Spec, name: str = "default") -> str:
    """File name of a user's judge: with the revision of its data, so that judges of two revisions live together."""
    return f"{stem(spec, name)}@{re.sub(r'[^A-Za-z0-9._-]', '_', spec.revision)}"


def shipped_folder() -> Path:
    """The folder of the judges that come with the suite."""
    return Path(str(files("seqdis.judges.weights")))


def trained_folder(root: Path | None = None) -> Path:
    """The folder of the judges that the user trained."""
    return (data_root() if root is None else root) / FOLDER


def find_card(spec: Spec, root: Path | None = None, name: str = "default") -> tuple[Path, dict[str, Any]]:
    """The card of the judge for these data, the shipped one first, and where it lies.

    Raises:
        MissingDataError: there is none for this revision of the data; it holds the command that trains one.
        UserError: what is there is not a card.
    """
    command = train_command(spec, root, name)
    outdated = ""
    shipped = shipped_folder() / f"{stem(spec, name)}.json"
    for path in (shipped, *sorted(trained_folder(root).glob(f"{stem(spec, name)}@*.json"))):
        if not path.is_file():
            continue
        card = read_card(path, command)
        if card["data"]["revision"] == spec.revision and tuple(card["frame"]) == tuple(spec.frame):
            return path, card
        outdated = (
            f" ({path} was trained on revision {card['data']['revision']!r} of the data, these are {spec.revision!r})"
        )
    raise MissingDataError(f"No judge {stem(spec, name)}{outdated}.", command)


def remedy(folder: Path, command: str) -> str:
    """What a user can do about a damaged judge in `folder`: the end of error messages."""
    return REINSTALL if folder == shipped_folder() else f"Train it again with: {command}"


def read_card(path: Path, command: str) -> dict[str, Any]:
    """A judge's card, checked for the keys that loading needs.

    Raises:
        UserError: it is not a card; the message says what to do (`command` trains the judge).
    """
    card = read_json(path, max_bytes=1 << 20)
    if not isinstance(card, dict) or card.get("schema") != CARD_SCHEMA:
        raise UserError(f"{path} is not a judge's card of schema {CARD_SCHEMA}. {remedy(path.parent, command)}")
    try:
        strings = [card["name"], card["sha256"], card["weights"], card["data"]["revision"]]
        well_formed = all(isinstance(value, str) for value in strings) and Path(card["weights"]).name == card["weights"]
        card["frame"], card["factors"].items(), card["architecture"].items(), card["accuracy"].items()
    except (KeyError, TypeError, AttributeError):
        well_formed = False
    if not well_formed:
        raise UserError(f"{path} is incomplete. {remedy(path.parent, command)}")
    return card
