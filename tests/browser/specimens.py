"""Made-up cells for tests of figures and the page: records of `tests/bench/conftest.py` with drawn clips.

Nothing here was measured or learned. The clips are small drawn figures whose colours are their static factor
and whose walk is their dynamic factor, so that a swap can be told by eye from what it was made of.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from seqdis.bench.records.clips import save_clips

SIZE, FRAMES = 32, 8
DATASETS = ("sprites", "mug", "smmnist", "timit")
SHOWN = ("sprites", "timit")
COLOURS = np.array([(226, 86, 73), (80, 160, 226), (120, 200, 90), (240, 190, 70), (180, 110, 220), (240, 240, 240)])


def records() -> ModuleType:
    """The generator of made-up records that all tests of tables share."""
    path = Path(__file__).parent.parent / "bench" / "conftest.py"
    spec = importlib.util.spec_from_file_location("seqdis_test_records", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figure(static: float, dynamic: float, noise: float, rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """One clip (T, size, size, 3): a walker of colour `static` in [0, 1) with gait `dynamic` in [0, 1)."""
    y, x = np.mgrid[:size, :size] / size
    top, legs, skin = COLOURS[int(static * 6) % 6], COLOURS[int(static * 17) % 6], (236, 188, 150)
    frames = np.zeros((FRAMES, size, size, 3))
    for t in range(FRAMES):
        phase = 2 * np.pi * (t / FRAMES + dynamic)
        centre = 0.5 + 0.18 * np.sin(phase) * (1 if dynamic < 0.5 else -1)
        swing = 0.09 * np.cos(phase * (1 + int(dynamic * 3)))
        for mask, colour in (
            ((x - centre) ** 2 + (y - 0.25) ** 2 < 0.012, skin),
            ((abs(x - centre) < 0.1) & (y > 0.35) & (y < 0.65), top),
            ((abs(x - centre - swing) < 0.04) & (y >= 0.65) & (y < 0.9), legs),
            ((abs(x - centre + swing) < 0.04) & (y >= 0.65) & (y < 0.9), legs),
            ((abs(x - centre - 2 * swing) < 0.035) & (y > 0.4) & (y < 0.55), skin),
        ):
            frames[t][mask] = colour
    return (frames + rng.normal(0, noise, frames.shape)).clip(0, 255).astype(np.uint8)


def spectrogram(static: float, dynamic: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """One clip (20, 80): harmonics whose spacing is the speaker and whose glide is the utterance."""
    t, f = np.mgrid[:20, :80]
    pitch = 6 + 8 * static
    glide = 3 * np.sin(2 * np.pi * (t / 20 * (1 + int(dynamic * 3)) + dynamic))
    shape = np.cos(2 * np.pi * (f + glide) / pitch) * np.exp(-f / 50) * 2 - f / 40
    return (shape + rng.normal(0, noise / 40, shape.shape)).astype(np.float16)


def make(
    draw: Callable[..., np.ndarray], *, noise: float = 6, encodes: bool = True, seed: int = 0, n: int = 6
) -> dict[str, np.ndarray]:
    """Clips of a cell as `make_clips` lays them out; the originals do not depend on noise or seed."""
    rng = np.random.default_rng(seed)
    clean = np.random.default_rng(0)
    codes = [(i / n + 0.02, (i * 0.37 + 0.1) % 1) for i in range(n)]
    drawn = [(rng.random(), rng.random()) for _ in range(3 * n)]

    def block(pairs: list[list[tuple[float, float]]]) -> np.ndarray:
        return np.stack([np.stack([draw(s, z, noise, rng) for s, z in row]) for row in pairs])

    rows = codes if encodes else drawn[:n]
    clips = {
        "fixed_static": block([[(s, z) for _, z in drawn[:n]] for s, _ in rows]),
        "fixed_dynamic": block([[(s, z) for s, _ in drawn[:n]] for _, z in rows]),
        "samples": block([drawn])[0],
        "interpolation": block(
            [
                [(rows[i][0] + w * (rows[i + 1][0] - rows[i][0]), rows[i][1]) for w in np.linspace(0, 1, 7)]
                for i in range(min(3, n - 1))
            ]
        ),
    }
    if encodes:
        clips |= {
            "originals": np.stack([draw(s, z, 0, clean) for s, z in codes]),
            "labels": np.arange(n)[:, None] % 3,
            "reconstructions": block([codes])[0],
            "swaps": block([[(s, z) for _, z in codes] for s, _ in codes]),
        }
    return clips


def add_curves(record: dict[str, Any], seed: int, acc: float) -> None:
    """Logged losses with mutual information, as a contrastive method leaves them."""
    rng = np.random.default_rng([seed, int(acc * 100)])
    pace = 0.5 + acc
    terms = []
    for step in range(0, 1501, 30):
        grown = 1 - np.exp(-step * pace / 400)
        jitter = float(rng.normal(0, 0.02))
        terms.append(
            {
                "step": step,
                "player": "model",
                "total": 900 * float(np.exp(-step * pace / 300)) + 60 + 9 * jitter,
                "recon": 850 * float(np.exp(-step * pace / 300)) + 40,
                "kl_static": 6 * float(grown) + jitter,
                "kl_dynamic": 9 * float(grown),
                "mi_static": 4.5 * float(grown) + jitter,
                "mi_dynamic": 3.2 * float(grown) + jitter,
                "mi_cross": 1.5 * float(grown * np.exp(-step * pace / 700)) + abs(jitter),
            }
        )
    record["training"]["losses"] = terms
    record["training"]["validation"] = [
        {"step": step, "score": acc * (1 - float(np.exp(-step / 350)))} for step in range(100, 1501, 100)
    ]


def store(
    out: Path, *, clips: bool = True, seeds: int = 3, datasets: Sequence[str] = DATASETS, **options: Any
) -> list[Path]:
    """A quick grid of made-up cells below `out`, with curves and configs; returns the cells' folders.

    Clips go to the first seed of three methods on Sprites and TIMIT: enough for every kind of sheet.
    """
    build = records()
    folders = []
    levels = {"dsvae": 0.55, "s3vae": 0.86, "rwae": 0.74, "mocogan": 0.48, "fhvae": 0.58, "cdsvae": 0.93}
    for dataset in datasets:
        draw = spectrogram if dataset == "timit" else figure
        for method, acc in levels.items():
            if dataset == "timit" and method == "mocogan":
                continue
            for seed in range(seeds):
                record = build.make_record(method, dataset, seed, acc=acc, **options)
                add_curves(record, seed, acc)
                folder = build.store_record(out, record).parent
                (folder / "config.json").write_text(json.dumps({"cell": record["cell"], **record["config"]}))
                if clips and seed == 0 and dataset in SHOWN and method in ("dsvae", "mocogan", "cdsvae"):
                    save_clips(folder, make(draw, noise=30 * (1 - acc), encodes=method != "mocogan", seed=seed))
                folders.append(folder)
    return folders
