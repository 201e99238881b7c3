"""Cards of judges: what they are called, where they lie, and what is written down of each. No torch here.

A judge belongs to (data set, source, frame size, data revision). It is two files: weights (safetensors) and a card
(JSON) that says how it was made, how well it does on clips it never saw, and the SHA-256 of its weights. Judges that
may be given away are shipped in `judges/weights/`; the others are trained by the user into `<data root>/judges/`.
"""

from __future__ import annotations

import dataclasses
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.files import read_json
from seqdis.bench.core.places import data_root
from seqdis.bench.core.rules import LONGEST_TEXT, Length, Range, Text
from seqdis.bench.core.schema import Open, from_json
from seqdis.judges.settings import Architecture, Factors

if TYPE_CHECKING:
    from seqdis.datasets.base import Spec

FOLDER = "judges"
REINSTALL = "It came with the suite: install that again."

Accuracies = Annotated[dict[str, Annotated[float, Range(0.0, 1.0)]], "fractions of test clips, by factor"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardData(Open):
    """What a judge was trained on."""

    revision: str
    digest: Annotated[str, "SHA-256 of the content of all splits"]
    clips: Annotated[int, "training clips"]
    split_rule: Annotated[str, Text(LONGEST_TEXT)]
    identity: Annotated[str, "what does not straddle splits"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card(Open):
    """All that is known of a judge."""

    schema: Literal[1] = 1
    name: Annotated[str, "of the file, without the revision of the data"]
    judge: Annotated[str, "default, second, ..."]
    dataset: str
    title: str
    source: str
    size: Annotated[int, "side of the frames in pixels; 0 for audio"]
    frame: tuple[int, ...]
    n_frames: int
    factors: Annotated[dict[str, Annotated[tuple[Any, ...], Length(2, 2)]], "(number of classes, role) by factor"]
    architecture: Architecture
    recipe: Annotated[dict[str, Any], "`settings.Recipe` as it was when the judge was trained"]
    seed: int
    data: CardData
    accuracy: Accuracies
    joint: Annotated[Accuracies, "of test clips on which every part is right, by joint"]
    accuracy_blurred: Annotated[Accuracies, "the same of blurred test clips"]
    n_test: Annotated[int, "test clips"]
    parameters: int
    steps: Annotated[int, "of training, until it was good enough"]
    torch: Annotated[str, "its version"]
    weights: Annotated[str, "name of the file beside the card; empty before it is saved"] = ""
    bytes: Annotated[int, "of the weights"] = 0
    sha256: Annotated[str, "of the weights"] = ""

    @property
    def heads(self) -> Factors:
        """`factors` as a network takes them.

        Raises:
            ValueError: a number of classes is none.
        """
        return {factor: (int(classes), str(role)) for factor, (classes, role) in self.factors.items()}

    @property
    def options(self) -> dict[str, str]:
        """What opening its data needs beyond source and size."""
        return {"split": "subject"} if self.data.identity == "subject" else {}

    @property
    def command(self) -> str:
        """The command that trains this judge in the default data folder."""
        return _command(self.dataset, self.source, self.size, self.judge, self.data.identity)


def side(spec: Spec) -> int:
    """Side of the frames in pixels; 0 for audio."""
    return spec.frame[-1] if spec.modality == "video" else 0


def stem(spec: Spec, name: str = "default") -> str:
    """File name of a judge without its ending: `sprites-real-64`, `sprites-real-64-second`."""
    parts = [spec.name, spec.source, *([str(side(spec))] if side(spec) else []), *([name] if name != "default" else [])]
    return "-".join(parts)


def train_command(spec: Spec, root: Path | None = None, name: str = "default") -> str:
    """The command that trains this judge, as the user would type it."""
    elsewhere = root is not None and root.expanduser().resolve() != data_root().expanduser().resolve()
    command = _command(spec.name, spec.source, side(spec), name, spec.identity)
    return f"{command} --data-dir {root}" if elsewhere else command


def _command(dataset: str, source: str, size: int, name: str, identity: str) -> str:
    words = ["bench judge train", dataset, f"--source {source}"]
    words += [f"--size {size}"] if size else []
    words += [f"--name {name}"] if name != "default" else []
    words += ["--split subject"] if identity == "subject" else []
    return " ".join(words)


def trained_stem(spec: Spec, name: str = "default") -> str:
    """File name of a user's judge: with the revision of its data, so that judges of two revisions live together."""
    return f"{stem(spec, name)}@{re.sub(r'[^A-Za-z0-9._-]', '_', spec.revision)}"


def shipped_folder() -> Path:
    """The folder of the judges that come with the suite."""
    return Path(str(files("seqdis.judges.weights")))


def shipped_cards() -> dict[str, Card]:
    """The cards of the judges that come with the suite, by name."""
    cards = [read_card(path, "") for path in sorted(shipped_folder().glob("*.json"))]
    return {card.name: card for card in cards}


def trained_folder(root: Path | None = None) -> Path:
    """The folder of the judges that the user trained."""
    return (data_root() if root is None else root) / FOLDER


def find_card(spec: Spec, root: Path | None = None, name: str = "default") -> tuple[Path, Card]:
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
        if card.data.revision == spec.revision and card.frame == tuple(spec.frame):
            return path, card
        outdated = f" ({path} was trained on revision {card.data.revision!r} of the data, these are {spec.revision!r})"
    raise MissingDataError(f"No judge {stem(spec, name)}{outdated}.", command)


def remedy(folder: Path, command: str) -> str:
    """What a user can do about a damaged judge in `folder`: the end of error messages."""
    return REINSTALL if folder == shipped_folder() else f"Train it again with: {command}"


def read_card(path: Path, command: str) -> Card:
    """A judge's card.

    Args:
        command: what trains the judge, for messages.

    Raises:
        UserError: it is not a card; the message says what to do.
    """
    try:
        card = from_json(Card, read_json(path, max_bytes=1 << 20))
        if not (card.weights and card.sha256 and Path(card.weights).name == card.weights):
            raise ValueError("it names no weights beside it")
    except ValueError as error:
        raise UserError(f"{path} is not a judge's card ({error}). {remedy(path.parent, command)}") from None
    return card
