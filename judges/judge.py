"""Judges: classifiers of every factor, trained once on real clips and frozen, the same for every method.

How one is made: `training.py`. What its two files hold: `cards.py`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import digest, write_bytes, write_json
from seqdis.bench.core.schema import to_json
from seqdis.datasets.base import Spec
from seqdis.judges.architectures import build
from seqdis.judges.cards import Card, find_card, remedy, shipped_folder, train_command
from seqdis.judges.settings import Architecture, Factors

CHUNK = 256
"""Clips judged at once: bounds memory. The judge is in evaluation mode, so results do not depend on it."""


class Judge(nn.Module):
    """A network with one head a factor, and its card.

    Attributes:
        factors: name -> (number of classes, role).
    """

    def __init__(
        self, frame: tuple[int, ...], factors: Factors, architecture: Architecture, card: Card | None = None
    ) -> None:
        super().__init__()
        self.frame = tuple(frame)
        self.factors = factors
        self.architecture = architecture
        self._card = card
        self.net = build(self.frame, factors, architecture)
        if len(self.frame) == 3:  # channels last: a third faster on a CPU, the same numbers to rounding
            self.net = self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def card(self) -> Card:
        """How it was made and how well it does.

        Raises:
            ValueError: it is still being trained.
        """
        if self._card is None:
            raise ValueError("a judge has no card before it is trained")
        return self._card

    @card.setter
    def card(self, card: Card) -> None:
        self._card = card

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


def load_card(path: Path, card: Card, command: str) -> Judge:
    """The judge of a card. The weights are read once, so what is checked is what is loaded.

    Args:
        command: what trains it, for messages.

    Raises:
        UserError: the weights are missing or do not match the card.
    """
    weights = path.parent / card.weights
    try:
        data = weights.read_bytes()
    except OSError:
        raise UserError(f"{weights} is missing. {remedy(path.parent, command)}") from None
    found = digest(data)
    if found != card.sha256:
        raise UserError(
            f"{weights} is not what its card says (SHA-256 {found[:12]}... instead of {card.sha256[:12]}...): "
            f"it was changed or cut. {remedy(path.parent, command)}"
        )
    try:
        judge = Judge(card.frame, card.heads, card.architecture, card)
        judge.load_state_dict(safetensors.torch.load(data))
    except (RuntimeError, TypeError, ValueError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} and its weights do not fit together ({reason}). {remedy(path.parent, command)}"
        ) from None
    return judge.eval().requires_grad_(False)


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
    judge.card = dataclasses.replace(judge.card, weights=weights, bytes=len(data), sha256=sha256)
    write_bytes(folder / weights, data)
    write_json(folder / f"{file_stem}.json", to_json(judge.card))
    return folder / f"{file_stem}.json"
