"""The suite of ratios: what it measures is what was committed, and it shows what it finds without failing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from seqdis.bench.perf import suite
from seqdis.bench.perf.plain import TORCHS, TorchsBed
from seqdis.bench.perf.testbed import Bed, Settings
from seqdis.bench.perf.throughput import Ratio
from seqdis.bench.plan.catalog import MethodRef

CPU = torch.device("cpu")


def ratio(value: float) -> Ratio:
    return Ratio(ratio=value, ratio_range=(value, value), rounds=1, seconds=(value, 1.0), disturbed=False)


def test_committed_ratios_are_those_that_are_measured() -> None:
    assert [*suite.committed()] == [*suite.works(CPU, "full")]
    assert {*suite.works(CPU, "short")} < {*suite.works(CPU, "full")}


def test_a_ratio_notably_below_the_committed_one_is_pointed_at() -> None:
    name, (was, _, _) = next(iter(suite.committed().items()))
    assert not suite.compared(name, ratio(was)).lower
    assert "LOWER" not in suite.row(suite.compared(name, ratio(was * 0.95)))
    assert "LOWER" in suite.row(suite.compared(name, ratio(was * 0.85)))
    assert suite.row(suite.compared("another", ratio(1.5))).endswith("new")


@pytest.mark.parametrize("method", suite.METHODS)
def test_a_step_with_torchs_layers_has_the_same_numbers(method: str) -> None:
    settings = Settings(preset="quick", dataset="sprites", batch_size=4, device=CPU)
    found = []
    for bed in (TorchsBed(MethodRef(method), settings), Bed(MethodRef(method), settings)):
        kinds = {type(module) for module in bed.trainer.method.modules()}
        assert bool(kinds & {*TORCHS}) == (type(bed) is Bed)
        bed.trainer.method.double()
        batch = bed.trainer.batch(bed.index)
        batch.x = batch.x.double()
        batch.motion_view = None if batch.motion_view is None else batch.motion_view.double()
        batch.signal = None if batch.signal is None else batch.signal.double()
        torch.set_default_dtype(torch.float64)
        try:
            for player in bed.trainer.method.players:
                bed.trainer.generator.manual_seed(0)
                terms = bed.trainer.losses(batch, player, bed.trainer.context())
                bed.trainer.backward(player, terms["total"])
                found.append({name: value.detach() for name, value in terms.items()})
                found.append({name: p.grad for name, p in bed.trainer.method.named_parameters() if p.grad is not None})
        finally:
            torch.set_default_dtype(torch.float32)
    half = len(found) // 2
    torch.testing.assert_close(found[:half], found[half:], rtol=1e-7, atol=1e-9)


def test_one_ratio_is_measured_by_the_clock_of_its_thread() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = suite.works(CPU, "short")["torch's layers / ours, fhvae, quick"]()
    finally:
        torch.set_num_threads(threads)
    assert found.rounds == suite.ROUNDS["short"]
    assert found.ratio_range[0] <= found.ratio <= found.ratio_range[1]
    assert min(found.seconds) > 0


@pytest.mark.slow
def test_short_form_shows_every_ratio_beside_the_committed_one() -> None:
    command = [sys.executable, "-P", "-m", "seqdis.bench.cli", "perf", "--suite", "short", "--device", "cpu"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(shown) == len(suite.works(CPU, "short"))
    assert all("committed" in line for line in shown)
