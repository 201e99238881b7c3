"""Where a cell's losses, validations and final scores go as they come: its log, a CSV, and the user's experiment tracker.

A tracker is told; it never decides a number, and one that fails does not end a cell. Those of the extras are opened where the
user asks for them ('bench run --track tensorboard'): each writes where its own environment variables say, else into the cell's
folder, and nothing is sent anywhere unless they say so.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from seqdis.bench.cell.checkpoint import State
from seqdis.bench.core.environment import TRACK
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import writing
from seqdis.bench.records.config import RunConfig
from seqdis.bench.records.store import CURVES

LINES = 20
"""Lines that a cell's training leaves in its log, beside one a validation."""
Line = Mapping[str, float | str]
"""A step, and losses of a player or scores of a validation by name."""


class Tracker(Protocol):
    """What is told of a cell."""

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step. `kind` is `train` (or `train/<player>`), `validation` or `test`."""
        ...

    def close(self) -> None:
        """The cell ends, or is stopped and goes on later."""
        ...


class Curves:
    """curves.csv: kind, step, name, value; a line a number. After a stop it goes on after what the checkpoint holds."""

    def __init__(self, path: Path, state: State) -> None:
        with writing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("kind", "step", "name", "value"))
            for kind, step, values in told(state):
                writer.writerows((kind, step, name, value) for name, value in values.items())
        self.path = path

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows((kind, step, name, value) for name, value in values.items())
        # Opened for each: a training that nobody closes (a trial of a search) leaves no file open.
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())

    def close(self) -> None:
        pass


class Log:
    """Lines in the cell's log: each validation, the test, and now and then the losses."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps, self.every = n_steps, max(1, n_steps // LINES)
        self.next: dict[str, int] = {}

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        if kind.startswith("train"):
            if step < self.next.get(kind, 0):
                return
            self.next[kind] = step + self.every
        if kind == "test":
            values = {name: value for name, value in values.items() if name.endswith(("/acc", "mse"))}
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"{kind} at step {step} of {self.n_steps}: {shown}", flush=True)

    def close(self) -> None:
        pass


class TensorBoard:
    """Event files in `tensorboard/`."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / "tensorboard"))
        self.writer.add_text("config", str(config.to_json()))

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self.writer.close()


class WandB:
    """A run of Weights & Biases, offline in `wandb/` unless WANDB_MODE says otherwise; the same run after a stop."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self.run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "seqdis"),
            dir=str(folder),
            id=config.id[-80:],
            name=config.id,
            resume="allow",
            mode=mode,
            config=config.to_json(),
        )

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        self.run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """A run of MLflow, in `mlruns/` of the cell unless MLFLOW_TRACKING_URI says otherwise."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        import mlflow

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        self.client: Any = mlflow.MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "seqdis")
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known is not None else self.client.create_experiment(name)
        self.run: str = self.client.create_run(experiment, run_name=config.id).info.run_id
        for key, value in config.to_json()["cell"].items():
            self.client.log_param(self.run, key, value)

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, f"{kind}/{name}", value, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.run)


EXTRAS: dict[str, tuple[str, type[Any]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "wandb": ("wandb", WandB),
    "mlflow": ("mlflow", MLflow),
}
"""Trackers that the user may ask for: name -> package, class."""


def wanted(text: str) -> tuple[str, ...]:
    """The trackers named by a comma-separated list, each installed.

    Raises:
        UserError: an unknown one, or its package is not installed.
    """
    names = tuple(filter(None, (part.strip() for part in text.split(","))))
    for name in names:
        if name not in EXTRAS:
            raise UserError(f"unknown tracker {name[:40]!r}: it is one of {', '.join(EXTRAS)}.")
        if importlib.util.find_spec(EXTRAS[name][0]) is None:
            raise UserError(f"{name} is not installed: pip install 'seqdis-bench[{name}]'.")
    return names


class Trackers:
    """All trackers of a cell as one. One that fails is left out from then on, with a line in the log."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = list(trackers)

    def losses(self, line: Line, players: int) -> None:
        """Losses as the state keeps them."""
        self._tell(*_loss(line, players))

    def validation(self, line: Line) -> None:
        """Scores of a validation as the state keeps them."""
        self._tell(*_scores(line))

    def test(self, step: int, values: Mapping[str, float]) -> None:
        """The final scores."""
        self._tell("test", step, values)

    def _tell(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        for tracker in list(self.trackers):
            try:
                tracker.numbers(kind, step, values)
            except Exception as error:  # another's server or a full disk: the cell's own numbers are in its record
                print(f"{type(tracker).__name__} is left out from here: {type(error).__name__}: {error}", flush=True)
                self.trackers.remove(tracker)

    def close(self) -> None:
        for tracker in self.trackers:
            with contextlib.suppress(Exception):
                tracker.close()


def opened(folder: Path, config: RunConfig, state: State, n_steps: int) -> Trackers:
    """The log, curves.csv, and what $SEQDIS_TRACK asks for; a tracker of another's that cannot be opened is left out."""
    found: list[Tracker] = [Log(n_steps)]
    try:
        found.append(Curves(folder / CURVES, state))
    except (OSError, UserError) as error:
        print(f"{CURVES} is not written: {error}", flush=True)
    for name in wanted(os.environ.get(TRACK, "")):
        try:
            found.append(EXTRAS[name][1](folder, config))
        except Exception as error:  # whatever another's package raises
            print(f"{name} is left out: {type(error).__name__}: {error}", flush=True)
    return Trackers(found)


def told(state: State) -> Iterator[tuple[str, int, dict[str, float]]]:
    """What trackers were told up to a state, in the order of steps."""
    players = len({line["player"] for line in state.losses})
    lines: Iterable[tuple[str, int, dict[str, float]]] = [
        *(_loss(line, players) for line in state.losses),
        *(_scores(line) for line in state.validation),
    ]
    yield from sorted(lines, key=lambda line: line[1])


def _loss(line: Line, players: int) -> tuple[str, int, dict[str, float]]:
    kind = "train" if players == 1 else f"train/{line['player']}"
    return (
        kind,
        int(line["step"]),
        {name: float(value) for name, value in line.items() if name not in ("step", "player")},
    )


def _scores(line: Line) -> tuple[str, int, dict[str, float]]:
    return "validation", int(line["step"]), {name: float(value) for name, value in line.items() if name != "step"}
