"""Made-up records for tests of everything that reads records.

Nothing here was measured: `make_record` draws numbers that are valid by the schema (identities, ranges and counts
hold) from a seeded generator, so that tables, statistics and validation can be tested without training anything.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from seqdis.bench.records.collection import load
from seqdis.bench.records.config import CONFIG_SCHEMA, cell_id
from seqdis.bench.tables.build import build as build_table
from seqdis.bench.tables.layout import Document

Record = dict[str, Any]

DATA: dict[str, dict[str, Any]] = {
    "sprites": {
        "title": "Sprites",
        "frame": [3, 32, 32],
        "n_frames": 8,
        "split_rule": "split by character",
        "splits": {"train": 8100, "validation": 900, "test": 2664},
        "headline": ["fix_dynamic", "action"],
        "factors": [
            {"name": "action", "role": "dynamic", "classes": 9},
            {"name": "skin", "role": "static", "classes": 6},
            {"name": "tops", "role": "static", "classes": 6},
        ],
    },
    "mug": {
        "title": "MUG",
        "frame": [3, 32, 32],
        "n_frames": 15,
        "split_rule": "split by video",
        "splits": {"train": 2000, "validation": 250, "test": 750},
        "headline": ["fix_dynamic", "expression"],
        "factors": [
            {"name": "expression", "role": "dynamic", "classes": 6},
            {"name": "subject", "role": "static", "classes": 52},
        ],
    },
    "smmnist": {
        "title": "SM-MNIST",
        "frame": [1, 32, 32],
        "n_frames": 15,
        "split_rule": "no digit image in two splits",
        "splits": {"train": 9000, "validation": 500, "test": 1000},
        "headline": ["fix_static", "digits"],
        "factors": [
            {"name": "digit_low", "role": "static", "classes": 10},
            {"name": "digit_high", "role": "static", "classes": 10},
        ],
    },
    "timit": {
        "title": "TIMIT",
        "frame": [80],
        "n_frames": 20,
        "split_rule": "split by speaker",
        "splits": {"train": 30000, "validation": 5000, "test": 3000},
        "headline": ["verification", "speaker"],
        "factors": [{"name": "speaker", "role": "static", "classes": 24}],
    },
}
TITLES = {
    "dsvae": "DSVAE",
    "cdsvae": "C-DSVAE",
    "s3vae": "S3VAE",
    "rwae": "R-WAE",
    "mocogan": "MoCoGAN",
    "fhvae": "FHVAE",
    "autoencoder": "Autoencoder",
    "oracle": "Renderer of the true factors",
}


def make_scores(rng: random.Random, classes: int, acc: float) -> dict[str, float]:
    """Scores that keep log IS = H(y) - H(y|x)."""
    ceiling = math.log(classes)
    h_y = ceiling * (1 - 0.02 * rng.random())
    h_y_given_x = h_y * (1 - acc) * (0.5 + 0.4 * rng.random())
    return {
        "acc": acc,
        "is": math.exp(h_y - h_y_given_x),
        "h_y_given_x": h_y_given_x,
        "h_y": h_y,
        "label_entropy": ceiling * (0.9 + 0.1 * rng.random()),
    }


def _rounded(acc: float, n_clips: int) -> float:
    """An accuracy that some number of right clips gives."""
    return round(min(1.0, max(0.0, acc)) * n_clips) / n_clips


def _directions(rng: random.Random, data: dict[str, Any], acc: float, draws: int) -> dict[str, Any]:
    n_clips = data["splits"]["test"]

    def one(kept: str) -> dict[str, Any]:
        values = {}
        for factor in data["factors"]:
            level = acc if factor["role"] == kept else 1 / len(factor["classes"])
            jitter = 0.01 * (rng.random() - 0.5)
            values[factor["name"]] = make_scores(rng, len(factor["classes"]), _rounded(level + jitter, n_clips))
        if data["headline"][1] == "digits":
            values["digits"] = make_scores(rng, 55, _rounded(acc if kept == "static" else 0.04, n_clips))
        return values

    return {
        direction: {"n_clips": n_clips, "draws": [one(kept) for _ in range(draws)]}
        for direction, kept in (("fix_dynamic", "dynamic"), ("fix_static", "static"))
    }


def _metrics(rng: random.Random, data: dict[str, Any], acc: float, draws: int, protocol: str) -> dict[str, Any]:
    heads = {factor["name"]: make_scores(rng, len(factor["classes"]), 0.97) for factor in data["factors"]}
    if protocol == "verification":
        level = {
            "eer_static": 0.5 - acc / 2,
            "eer_dynamic": 0.3 + acc / 10,
            "gap": acc * 0.6 - 0.2,
            "n_trials": 18336,
            "n_target": 672,
            "n_speakers": 24,
            "eer_static_ci": [0.0, 0.5],
            "eer_dynamic_ci": [0.2, 0.5],
            "gap_ci": [acc * 0.6 - 0.25, acc * 0.6 - 0.15],
            "options": {"pool": "mean"},
        }
        return {
            "verification": {"utterance": level},
            "probes": {"phone": {"dynamic": 0.4 + acc / 10, "static": 0.12, "chance": 0.1}},
        }
    if protocol == "generator":
        kept = data["headline"][1]
        classes = next((len(f["classes"]) for f in data["factors"] if f["name"] == kept), 0)
        if not classes:
            heads = {factor["name"]: {"acc_consistency": acc, "h_y": 2.2} for factor in data["factors"]}
            return {"generator": {"consistency": {"fix_static": {**heads, kept: {"acc_consistency": acc, "h_y": 3.5}}}}}
        return {
            "generator": {
                "matched": {
                    "n_clips": data["splits"]["test"],
                    "draws": [
                        {kept: make_scores(rng, classes, _rounded(acc, data["splits"]["test"]))} for _ in range(draws)
                    ],
                },
                "consistency": {"fix_dynamic": {kept: {"acc_consistency": acc, "h_y": 1.7}}},
            }
        }
    mse = 0.002 + 0.002 * rng.random()
    return {
        "directions": _directions(rng, data, acc, draws),
        "reconstruction": {"mse": mse, "sse": mse * data["n_frames"] * math.prod(data["frame"]), "factors": heads},
        "real": {"factors": heads},
        "shuffle": 0.01 * rng.random(),
    }


def make_identities(record: Record, size: int = 9) -> dict[str, str]:
    """Counts by test identity, of `size` clips each, that add up to the headline's accuracy."""
    direction, factor = record["data"]["headline"]
    part = record["metrics"]["directions"][direction]
    n_clips, draws = part["n_clips"], len(part["draws"])
    n_right = round(sum(draw[factor]["acc"] for draw in part["draws"]) * n_clips)
    rng = random.Random(f"identities {n_right}")
    clips = [size] * (n_clips // size) + [n_clips % size] * bool(n_clips % size)
    right = [0] * len(clips)
    for answer in rng.sample(range(n_clips * draws), n_right):
        right[answer // draws // size] += 1
    unit = {"sprites": "character", "mug": "video"}.get(record["cell"]["dataset"], "clip")
    return {
        "unit": unit,
        "metric": f"{direction}/{factor}/acc",
        "clips": " ".join(map(str, clips)),
        "right": " ".join(map(str, right)),
    }


def make_record(
    method: str = "cdsvae",
    dataset: str = "sprites",
    seed: int = 0,
    *,
    variant: str = "",
    acc: float = 0.8,
    preset: str = "quick",
    source: str = "synthetic",
    size: int = 32,
    draws: int = 3,
    protocol: str = "",
    batch: int = 0,
    changes: dict[str, Any] | None = None,
) -> Record:
    """A record valid by the schema, with numbers drawn around `acc`. `changes` maps dotted keys to values."""
    rng = random.Random(f"{method} {variant} {dataset} {seed}")
    data = copy.deepcopy(DATA[dataset])
    for factor in data["factors"]:
        factor["classes"] = [f"{factor['name']} {number}" for number in range(factor["classes"])]
    protocol = protocol or ("verification" if dataset == "timit" else "generator" if method == "mocogan" else "encoder")
    control = method in ("autoencoder", "oracle")
    level = min(1.0, max(0.0, acc + 0.03 * (rng.random() - 0.5)))
    judge = {
        "name": f"{dataset}-{size}",
        "sha256": "ab" * 32,
        "accuracy": {factor["name"]: 0.999 for factor in data["factors"]},
    }
    record: Record = {
        "schema": 1,
        "status": "done",
        "cell": {
            "id": "",
            "method": method,
            "variant": variant,
            "dataset": dataset,
            "source": source,
            "preset": preset,
            "seed": seed,
            "size": 0 if dataset == "timit" else size,
            "batch": batch,
            "overrides": {},
        },
        "title": TITLES.get(method, method) + (f" ({variant})" if variant else ""),
        "paper": "A paper, a year",
        "supervision": "external signal" if method == "s3vae" else "none",
        "ranked": not control,
        "notes": [],
        "config": {
            "method": {} if method == "oracle" else {"lr": 0.005, "recon_weight": 10.0},
            "training": {"steps": 1500, "batch_size": batch or 16},
            "evaluation": {"draws": draws, "sample": "draw"},
            "data": {},
            "versions": {"protocol": 1, "data": "1"},
            "plugin_digest": "",
        },
        "data": {
            "name": dataset,
            "source": source,
            "revision": "1",
            "digest": "cd" * 32,
            "licence": "made up",
            "may_show": True,
            **data,
        },
        "judge": None if protocol == "verification" else judge,
        "protocol": {"name": protocol, "version": 1, "draws": draws, "sample": "draw"},
        "metrics": _metrics(rng, data, level, draws, protocol),
        "training": {
            "steps": 1500,
            "planned_steps": 1500,
            "complete": True,
            "epochs": 3,
            "selected_step": 1200,
            "selection": "validation score",
            "validation": [{"step": 300, "score": 0.4}, {"step": 1200, "score": level}],
            "losses": [{"step": step, "player": "model", "total": 100.0 - step / 50} for step in (0, 750, 1500)],
        },
        "cost": {
            "train_seconds": 80.0 + seed,
            "evaluation_seconds": 4.0,
            "sequences_per_second": 1500 * (batch or 16) / (80.0 + seed),
            "peak_memory_bytes": 600 << 20,
            "gpu_memory_bytes": None,
            "parameters": 1_234_567,
            "energy_joules": None,
        },
        "environment": {
            "python": "3.11.9",
            "torch": "2.11.0",
            "platform": "Linux",
            "device": "cpu",
            "threads": 1,
            "precision": "float32",
        },
        "code": {"version": "0.1.0", "commit": "0" * 40, "dirty": False},
        "attempts": 1,
        "finished": "2026-01-02T03:04:05Z",
    }
    if protocol == "encoder":
        record["identities"] = make_identities(record)
    if method == "s3vae":
        record["signal"] = "gridded optical flow"
    for key, value in (changes or {}).items():
        *path, last = key.split(".")
        node = record
        for part in path:
            node = node[part]
        node[last] = value
    if not record["cell"]["id"]:
        record["cell"]["id"] = _cell_id(record)
    return record


def _cell_id(record: Record) -> str:
    """What `plan` calls the cell of this config."""
    return cell_id(
        {
            "schema": CONFIG_SCHEMA,
            "cell": {key: value for key, value in record["cell"].items() if key != "id"},
            **record["config"],
            "plugin": "",
        }
    )


def store_record(out: Path, record: Record) -> Path:
    """Writes a record where `bench run` would, and returns its path."""
    folder = out / "cells" / record["cell"]["id"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "record.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


@pytest.fixture(name="make_record")
def _make_record() -> Callable[..., Record]:
    return make_record


@pytest.fixture(name="store_record")
def _store_record() -> Callable[[Path, Record], Path]:
    return store_record


@pytest.fixture(name="build")
def _build(tmp_path: Path) -> Callable[..., Document]:
    """Builds a table from records: build(name, records, **options)."""

    def build(name: str, records: Iterable[Record], **options: Any) -> Document:
        for record in records:
            store_record(tmp_path, record)
        return build_table(name, load([tmp_path]), **options)

    return build


def undescribed(value: Any, where: str = "") -> list[str]:
    """Keys in a typed value that its definition does not name."""
    if isinstance(value, dict):
        return [one for key, item in value.items() for one in undescribed(item, f"{where}.{key}")]
    if isinstance(value, tuple):
        return [one for item in value for one in undescribed(item, where)]
    if not dataclasses.is_dataclass(value):
        return []
    found = [f"{where}.{key}" for key in getattr(value, "others", {})]
    for field in dataclasses.fields(value):
        if field.name != "others":
            found += undescribed(getattr(value, field.name), f"{where}.{field.name}")
    return found


@pytest.fixture(name="undescribed")
def _undescribed() -> Callable[[Any], list[str]]:
    return undescribed
