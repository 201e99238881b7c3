"""Judges: classifiers of every factor, trained once on real clips and frozen, the same for every method.

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

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.files import digest, read_json, write_bytes, write_json
from seqdis.bench.core.places import data_root
from seqdis.datasets.base import DataSet, Spec
from seqdis.judges.nets import Architecture, build

CARD_SCHEMA = 1
FOLDER = "judges"
CHUNK = 256
"""Clips judged at once: bounds memory. The judge is in evaluation mode, so results do not depend on it."""

REINSTALL = "It came with the suite: install that again."

Factors = dict[str, tuple[int, str]]


class Judge(nn.Module):
    """A network with one head a factor, and its card.

    Attributes:
        card: what the module docstring lists; empty while it is being trained.
        factors: name -> (number of classes, role).
    """

    def __init__(
        self, frame: tuple[int, ...], factors: Factors, architecture: Architecture, card: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.frame = tuple(frame)
        self.factors = factors
        self.architecture = architecture
        self.card = card or {}
        self.net = build(self.frame, factors, architecture)
        if len(self.frame) == 3:  # channels last: a third faster on a CPU, the same numbers to rounding
            self.net = self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits (B, K) of each factor for clips (B, T, C, H, W) in [0, 1] or (B, T, F), with gradients."""
        logits: dict[str, Tensor] = self.net(x)
        return logits

    @torch.inference_mode()
    def classify(self, x: Tensor) -> dict[str, Tensor]:
        """Float32 logits (B, K) of each factor. The judge must be in evaluation mode, as `load_judge` leaves it.

        Raises:
            ValueError: clips of another shape than it was trained on, or a judge in training mode.
        """
        if self.training:
            raise ValueError("a judge classifies in evaluation mode only: call judge.eval() first")
        if tuple(x.shape[2:]) != self.frame:
            raise ValueError(f"this judge takes frames {self.frame}, not {tuple(x.shape[2:])}")
        with torch.autocast(x.device.type, enabled=False):
            parts = [self(part.float()) for part in torch.split(x, CHUNK)]
        return {factor: torch.cat([part[factor] for part in parts]) for factor in self.factors}


def judged_factors(dataset: DataSet) -> Factors:
    """What a judge of these data has heads for: every factor with test classes that training clips show.

    Where data are split by people, who it is cannot be judged on test clips, and nothing is scored on it.
    """
    found: Factors = {}
    for factor in dataset.spec.factors:
        seen, asked = (set(split.labels[factor.name].tolist()) for split in (dataset.train, dataset.test))
        if seen & asked:
            found[factor.name] = (factor.n_classes, factor.role)
    return found


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


def load_judge(spec: Spec, root: Path | None = None, name: str = "default") -> Judge:
    """The frozen judge for a data set, in evaluation mode on the CPU.

    Args:
        root: the data root (default: the configured one), searched after the shipped judges.
        name: "default", or "second" for the cross-check of another architecture.

    Raises:
        MissingDataError: there is none for this revision of the data; it holds the command that trains one.
        UserError: damaged, or weights that are not the ones its card names.
    """
    path, card = find_card(spec, root, name)
    return load_card(path, card, train_command(spec, root, name))


def load_card(path: Path, card: dict[str, Any], command: str) -> Judge:
    """The judge of a card. The weights are read once, so what is checked is what is loaded.

    Args:
        command: what trains it, for messages.

    Raises:
        UserError: the weights are missing or do not match the card.
    """
    weights = path.parent / card["weights"]
    try:
        data = weights.read_bytes()
    except OSError:
        raise UserError(f"{weights} is missing. {remedy(path.parent, command)}") from None
    found = digest(data)
    if found != card["sha256"]:
        raise UserError(
            f"{weights} is not what its card says (SHA-256 {found[:12]}... instead of {card['sha256'][:12]}...): "
            f"it was changed or cut. {remedy(path.parent, command)}"
        )
    try:
        factors = {factor: (int(classes), str(role)) for factor, (classes, role) in card["factors"].items()}
        judge = Judge(tuple(card["frame"]), factors, Architecture(**card["architecture"]), card)
        judge.load_state_dict(safetensors.torch.load(data))
    except (RuntimeError, TypeError, ValueError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} and its weights do not fit together ({reason}). {remedy(path.parent, command)}"
        ) from None
    return judge.eval().requires_grad_(False)


def train_judge(
    dataset: DataSet,
    *,
    root: Path | None = None,
    name: str = "default",
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
    again: bool = False,
    **options: Any,
) -> Judge:
    """The judge of a data set, trained and saved in `<root>/judges` unless it is there already.

    Of several processes that ask at once, one trains and the others wait for its judge (where the file system has
    locks; else each trains, and one's files win whole).

    Args:
        again: train even if there is one.
        progress: called with (step, steps, text).
        options: `recipe` and `architecture` of `train.fit_judge`.

    Raises:
        UserError: no space or permission, or no labelled factor.
    """
    from seqdis.judges.train import fit_judge

    folder = trained_folder(root)
    with _alone(folder / f".{trained_stem(dataset.spec, name)}.lock"):
        if not again:
            try:
                return load_judge(dataset.spec, root, name)
            except MissingDataError:
                pass
            except UserError:
                # A damaged judge of the user's is trained anew; one of the suite's would still be found first.
                if (shipped_folder() / f"{stem(dataset.spec, name)}.json").is_file():
                    raise
        judge = fit_judge(dataset, name=name, seed=seed, device=device, progress=progress, **options)
        save_judge(judge, folder, trained_stem(dataset.spec, name))
    return judge


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds a lock file while the block runs."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "ab")  # noqa: SIM115 - held over the yield
    except OSError as error:
        raise UserError(
            f"cannot write {path.parent}: {error.strerror}. Choose another folder with --data-dir."
        ) from error
    with lock:
        # Without locks (Windows, some file systems) both train, and the files of one win whole.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def save_judge(judge: Judge, folder: Path, file_stem: str) -> Path:
    """Writes weights and card into `folder` and returns the card's path. The card is replaced last, atomically.

    Outside the package the weights' file is named after their digest, so that two processes that train the same
    judge at once can never leave one's card with the other's weights.

    Raises:
        UserError: no space or no permission.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in judge.state_dict().items()}
    data = safetensors.torch.save(state)
    sha256 = digest(data)
    shipped = folder.resolve() == shipped_folder().resolve()
    weights = f"{file_stem}.safetensors" if shipped else f"{file_stem}.{sha256[:12]}.safetensors"
    judge.card |= {"weights": weights, "bytes": len(data), "sha256": sha256}
    write_bytes(folder / weights, data)
    write_json(folder / f"{file_stem}.json", judge.card)
    return folder / f"{file_stem}.json"


def architecture_card(architecture: Architecture) -> dict[str, Any]:
    """An architecture as a card holds it."""
    return dataclasses.asdict(architecture)
