"""A device or a precision that is asked for is the one that computes, or is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from seqdis.bench.cell.device import check_precision, pick_device
from seqdis.bench.core.errors import UserError


@pytest.mark.parametrize("name", ["mps", "xpu", "meta", "cpu:1", "cuda:", "cuda:x", "gpu", "", "CPU"])
def test_other_devices_are_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match="unknown device"):
        pick_device(name)


def test_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [pick_device(name) for name in ("cuda", "cuda:1")] == [torch.device("cuda"), torch.device("cuda:1")]
    with pytest.raises(UserError, match="sees 2 GPUs here"):
        pick_device("cuda:2")


def test_tf32_is_refused_where_nothing_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("float32", "bfloat16"):
        check_precision(precision, torch.device("cpu"))
    with pytest.raises(UserError, match=r"precision tf32 needs .* and cpu \(.*\) computes in float32 instead"):
        check_precision("tf32", torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    for capability in ((7, 5), (8, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, is_of=capability: is_of)
        if capability < (8, 0):
            with pytest.raises(UserError, match="Tesla T4"):
                check_precision("tf32", torch.device("cuda"))
        else:
            check_precision("tf32", torch.device("cuda"))


def test_perf_refuses_tf32_on_a_cpu() -> None:
    line = [sys.executable, "-P", "-m", "seqdis.bench.cli", "perf", "--device", "cpu", "--precision", "tf32"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("bench: precision tf32 needs an NVIDIA GPU")
