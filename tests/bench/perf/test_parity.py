"""Parity with float64 sees what differs, and options that the machine has not are refused in one sentence."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
import torch

from seqdis.bench.cell.check.bed import ReadBacks
from seqdis.bench.core.errors import UserError
from seqdis.bench.perf import parity
from seqdis.bench.perf.testbed import Bed, Settings
from seqdis.bench.plan.catalog import MethodRef

SETTINGS = Settings(preset="quick", dataset="sprites", batch_size=4, device=torch.device("cpu"), n_clips=820)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_draws_are_the_same_in_both_precisions() -> None:
    single = torch.randn(5, generator=torch.Generator().manual_seed(3))
    with parity._double():
        double = torch.randn(5, generator=torch.Generator().manual_seed(3))
    assert double.dtype == torch.float64
    assert torch.equal(double, single.double())
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("method", ["cdsvae", "mocogan", "fhvae", "rwae"])
def test_float32_is_near_float64_and_bfloat16_is_further(method: str) -> None:
    single, half = parity.compare(MethodRef(method), ["float32", "bfloat16"], SETTINGS, steps=2)
    assert single.term_error < 1e-4
    assert single.gradient_error < 2e-3
    assert 10 * single.gradient_error < half.gradient_error < 0.5


def test_other_mathematics_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One percent more reconstruction error, in float32 alone, is no matter of rounding."""
    from seqdis.methods import estimators

    real = estimators.squared_error
    monkeypatch.setattr(
        estimators, "squared_error", lambda x, made: real(x, made) * (1.01 if x.dtype == torch.float32 else 1.0)
    )
    (found,) = parity.compare(MethodRef("dsvae"), ["float32"], SETTINGS, steps=0)
    assert found.term_error == pytest.approx(0.01, rel=0.05)
    assert found.gradient_error > 2e-3


def test_options_of_a_gpu_are_refused_on_the_cpu() -> None:
    cpu = torch.device("cpu")
    assert parity.checked_options("", cpu) == ["float32", "contiguous", "bfloat16"]
    assert parity.default_options(torch.device("cuda")) == ["float32", "contiguous", "tf32", "bfloat16"]
    for name in ("tf32", "graph"):
        with pytest.raises(UserError, match=f"{name} needs a GPU"):
            parity.checked_options(name, cpu)
    with pytest.raises(UserError, match="not one of"):
        parity.checked_options("float16", cpu)
    with pytest.raises(UserError, match="CUDA graphs need a GPU"):
        Bed(MethodRef("dsvae"), dataclasses.replace(SETTINGS, cuda_graph=True))


def test_command_prints_parity_and_refuses_graphs() -> None:
    line = [sys.executable, "-P", "-m", "seqdis.bench.cli", "perf", "--device", "cpu", "--threads", "1", "--batch", "4"]
    done = subprocess.run(
        [*line, "--parity", "float32", "--methods", "dsvae", "--json"], capture_output=True, text=True, check=True
    )
    (found,) = json.loads(done.stdout)["parity"]["dsvae"]
    assert found["option"] == "float32"
    assert 0 < found["gradient_error"] < 2e-3
    refused = subprocess.run([*line, "--graph"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "CUDA graphs need a GPU" in refused.stderr


@pytest.mark.parametrize("method", ["dsvae:mws", "cdsvae", "s3vae", "rwae:gan", "mocogan", "fhvae"])
def test_whole_steps_read_no_value_back(method: str) -> None:
    """Batch, views, loss, gradients and update: no operation that copies a value to the host."""
    name, _, variant = method.partition(":")
    bed = Bed(MethodRef(name, variant), SETTINGS)
    bed.step()
    assert bed.values_read_back() == 0
    with ReadBacks() as seen:
        float(next(bed.trainer.method.parameters()).detach().sum())
    assert len(seen.operations) == 1  # so that a zero means something
