"""The plain reference step computes what ours computes, with the released step's work. Counts, never times."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqdis.bench.core.errors import UserError
from seqdis.bench.perf import together
from seqdis.bench.perf.plain import PlainBed, plain_loss
from seqdis.bench.perf.testbed import Bed, Settings
from seqdis.bench.plan.catalog import MethodRef

CPU = torch.device("cpu")


def test_plain_step_has_our_losses_and_gradients() -> None:
    bed = Bed(
        MethodRef("cdsvae"),
        Settings(preset="quick", dataset="sprites", batch_size=6, device=CPU, overrides={"recon_frames": 0}),
    )
    method = bed.trainer.method.double()
    batch = bed.trainer.batch(bed.index)
    batch.x, batch.motion_view = batch.x.double(), batch.motion_view.double()  # type: ignore[union-attr]
    ctx = bed.trainer.context()
    results = []
    for loss in (lambda: method.loss(batch, "model", ctx), lambda: plain_loss(method, batch, ctx)):  # type: ignore[arg-type]
        ctx.generator.manual_seed(5)
        method.zero_grad()
        terms = loss()
        terms["total"].backward()
        results.append(
            (
                {name: float(value.detach()) for name, value in terms.items()},
                {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None},
            )
        )
    (ours, our_gradients), (plain, plain_gradients) = results
    for name, value in plain.items():
        assert ours[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    assert our_gradients.keys() == plain_gradients.keys()
    for name, gradient in plain_gradients.items():
        assert torch.allclose(our_gradients[name], gradient, rtol=1e-7, atol=1e-9), name


@pytest.mark.slow
def test_counted_work_of_both_steps_at_full_size() -> None:
    settings = Settings(preset="paper", dataset="sprites", batch_size=2, device=CPU)
    plain = PlainBed(settings).flops_per_frame() / 1e6
    ours = Bed(MethodRef("cdsvae"), settings).flops_per_frame() / 1e6
    assert plain == pytest.approx(2942, rel=0.03)
    assert ours == pytest.approx(1886, rel=0.05)


def test_command_reports_ratios_as_json() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "seqdis.bench.cli",
            "perf",
            "--methods",
            "dsvae",
            "--reference",
            "--batch",
            "2",
            "--rounds",
            "1",
            "--threads",
            "1",
            "--device",
            "cpu",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert report["methods"][0]["sequences_per_second"] > 0
    assert 0 < report["methods"][0]["share_of_matmul"] < 1.5
    assert report["methods"][0]["values_read_back"] == 0
    assert report["reference"]["plain"]["flops_per_frame"] > report["reference"]["ours"]["flops_per_frame"]
    assert report["information"]["batch_size"] == 128
    assert report["information"]["ratio"] > 0


def test_processes_side_by_side_are_each_counted_over_the_same_seconds() -> None:
    settings = Settings(preset="quick", dataset="sprites", batch_size=2, device=CPU)
    found = together.measure("dsvae", 2, 0.5, 1, settings)
    assert found.processes == len(found.each) == 2
    assert found.sequences_per_second == pytest.approx(sum(found.each))
    assert min(found.each) > 0
    assert found.gpu_busy is None
    with pytest.raises(UserError, match="ended early"):
        together.measure("dsvae", 1, 0.5, 1, dataclasses.replace(settings, preset="no such preset"))


MEASURE = """
import dataclasses, json, os, sys, torch
from seqdis.bench.perf import together
from seqdis.bench.perf.testbed import Settings
os.environ["PYTHONPATH"] = os.pathsep.join([sys.argv[1], os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
settings = Settings(preset="quick", dataset="sprites", batch_size=2, device=torch.device("cpu"))
print(json.dumps(dataclasses.asdict(together.measure("dsvae", 2, 0.3, 1, settings))))
"""


@pytest.mark.parametrize("ending", ["", "sys.stderr.write('no room left'); sys.stderr.flush(); os._exit(1)"])
def test_processes_that_warn_far_more_than_a_pipe_holds_neither_hang_nor_lose_their_reason(
    tmp_path: Path, ending: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nsys.stderr.write(2000 * ('w' * 99 + chr(10)))\nsys.stderr.flush()\n{ending}\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    if ending:
        assert "UserError: a process of the measurement ended early: no room left" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert min(json.loads(done.stdout)["each"]) > 0


@pytest.mark.parametrize("text", ["0", "1,x", "65", "-1"])
def test_numbers_of_processes_that_make_no_sense_are_refused(text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "seqdis.bench.cli", "perf", f"--together={text}"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "numbers from 1 to 64" in done.stderr
