"""What cells need before they can start: data and judges. Each is made once, atomically, by whoever comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqdis.bench import catalog
from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.experiment import open_dataset, pick_device


def wanted(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One config for each different data set that the cells read."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for config in configs:
        cell = config["cell"]
        found.setdefault((cell["dataset"], cell["source"], cell["size"], str(config["data"])), config)
    return list(found.values())


def make(configs: list[dict[str, Any]], root: Path, device: str = "auto", *, quiet: bool = False) -> None:
    """Prepares generated data and trains judges that are not there. Real data are never fetched unasked.

    Raises:
        MissingDataError: a real data set is not prepared.
    """
    for config in wanted(configs):
        cell = config["cell"]
        try:
            dataset = open_dataset(cell, root, config["data"])
        except MissingDataError:
            if cell["source"] == "real":
                raise
            _say(quiet, f"preparing {cell['dataset']} (synthetic, {cell['size']} pixels) in {root}")
            catalog.load_dataset(cell["dataset"]).prepare(root, cell["source"], cell["size"], **config["data"])
            dataset = open_dataset(cell, root, config["data"])
        if dataset.spec.headline[0] != "verification":
            _judge(dataset, root, device, quiet)


def _judge(dataset: Any, root: Path, device: str, quiet: bool) -> None:
    from seqdis.judges.judge import load_judge, train_judge

    spec = dataset.spec
    try:
        judge = load_judge(spec, root)
    except MissingDataError:
        _say(quiet, f"training the judge of {spec.name} ({spec.source}, {spec.frame[-1]} pixels); later runs share it")
        judge = train_judge(dataset, root=root, device=pick_device(device))
    accuracy = ", ".join(f"{name} {value:.1%}" for name, value in judge.card["accuracy"].items())
    _say(quiet, f"judge of {spec.name} ({spec.source}): {judge.card['name']} {judge.card['sha256'][:8]}, "
                f"on real held-out clips: {accuracy}" if spec.source == "real" else
                f"judge of {spec.name} ({spec.source}): {judge.card['name']} {judge.card['sha256'][:8]}, "
                f"on held-out clips: {accuracy}")


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        print(text, flush=True)


__all__ = ["UserError", "make", "wanted"]
