"""What a cell's training costs is counted on the clips that its data set says it has, whatever its name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seqdis.bench.perf.estimate import operations
from seqdis.bench.perf.testbed import Bed, Settings
from seqdis.bench.plan import catalog
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import grid, plan
from seqdis.methods.base import Batch, Context, Shape

CLIPS = 4
PLUGIN = """
from seqdis.datasets.base import DataSet, Factor, Spec


class Waves(DataSet):
    name = "waves"
    sources = ("synthetic",)

    @classmethod
    def describe(cls, source, size, **options):
        return Spec(
            name="waves", title="Waves", source=source, modality="video", frame=(2, size, size), n_frames=6,
            segment_frames=3, factors=(Factor(name="phase", classes=("a", "b"), role="dynamic"),),
            headline=("fix_dynamic", "phase"), split_rule="none", revision="1", licence="none", citation="none",
        )
"""
ROWS = [
    # data set, options, frame, frames a clip, frames a segment
    ("sprites", {}, (3, 32, 32), 8, 4),
    ("mug", {}, (3, 32, 32), 15, 15),
    ("smmnist", {}, (1, 32, 32), 15, 15),
    ("timit", {}, (80,), 20, 20),
    ("timit", {"data.features": "spec200"}, (200,), 20, 20),
    ("fsdd-mini", {}, (80,), 20, 20),
    ("librispeech-mini", {}, (80,), 20, 20),
    ("waves", {}, (2, 32, 32), 6, 3),
]


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed data set from outside: a module, and the entry point that names it."""
    (tmp_path / "waves_of_a_plugin.py").write_text(PLUGIN)
    info = tmp_path / "waves-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: waves\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[seqdis.datasets]\nwaves = waves_of_a_plugin:Waves\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("waves_of_a_plugin", None)


def config_of(method: str, dataset: str, overrides: dict[str, Any]) -> Any:
    source = catalog.load_dataset(dataset).sources[0]
    cells = grid([MethodRef(method)], [dataset], source=source, preset="quick", seeds=[0], overrides=overrides)
    return plan(cells)[0].config


def counted(dataset: str, frame: tuple[int, ...], n_frames: int) -> float:
    """Operations of a step of DSVAE on CLIPS clips of this shape, built by hand."""
    kind = catalog.load_method(MethodRef("dsvae"))
    config = kind.Config(**config_of("dsvae", dataset, {}).method)
    method = kind(config, Shape(frame=frame, n_frames=n_frames, n_train=100, n_sequences=50))
    number = torch.arange(CLIPS)
    batch = Batch(x=torch.rand(CLIPS, n_frames, *frame), index=number, sequence=number, n_segments=torch.ones(CLIPS))
    context = Context(n_train=100, step=0, epoch=0, n_steps=10, generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        method.loss(batch, "model", context)["total"].backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(("dataset", "overrides", "frame", "n_frames", "segment"), ROWS)
def test_operations_are_counted_on_the_clips_that_the_data_set_has(
    dataset: str, overrides: dict[str, Any], frame: tuple[int, ...], n_frames: int, segment: int
) -> None:
    config = config_of("dsvae", dataset, overrides)
    per_step, _ = operations(config, 1000)
    assert per_step == pytest.approx(counted(dataset, frame, n_frames) * config.training.batch_size / CLIPS)


@pytest.mark.parametrize(("dataset", "overrides", "frame", "n_frames", "segment"), ROWS)
def test_a_method_that_needs_segments_is_counted_on_segments(
    dataset: str, overrides: dict[str, Any], frame: tuple[int, ...], n_frames: int, segment: int
) -> None:
    data = {key.removeprefix("data."): value for key, value in overrides.items()}
    settings = Settings(preset="quick", dataset=dataset, batch_size=CLIPS, device=torch.device("cpu"), data=data)
    bed = Bed(MethodRef("fhvae"), settings)
    assert bed.trainer.batch(bed.index).x.shape == (CLIPS, segment, *frame)
    config = config_of("fhvae", dataset, {**overrides, "training.steps": 0, "training.epochs": 2})
    _, steps = operations(config, 320)
    assert steps == 2 * (320 * (n_frames // segment) // config.training.batch_size)


def test_what_cannot_be_scored_on_the_data_trains_nothing() -> None:
    assert operations(config_of("mocogan", "timit", {}), 1000) == (0.0, 0)  # no codes to verify speakers by
    assert operations(config_of("s3vae", "waves", {}), 1000) == (0.0, 0)  # no signal
