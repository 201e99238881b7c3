"""Energy of a run, where the machine tells it: NVML's counter on a GPU, RAPL on a Linux CPU. Else None."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import torch

_RAPL = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules between entering and leaving the block: of the GPU, or of all CPU packages (other jobs included)."""

    joules: float | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before: float | None = None

    def __enter__(self) -> EnergyMeter:
        self._before = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        after = self._read()
        # A counter that wrapped around would give a negative difference: then nothing is known.
        if self._before is not None and after is not None and after >= self._before:
            self.joules = after - self._before

    def _read(self) -> float | None:
        return _gpu_joules(self.device) if self.device.type == "cuda" else _cpu_joules()


def _gpu_joules(device: torch.device) -> float | None:
    try:
        import pynvml

        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(nvml_handle(device))) / 1000
    except Exception:  # no NVML, or a card without the counter: the energy is not known, which the record says
        return None


def nvml_handle(device: torch.device) -> Any:
    """NVML's handle of a GPU.

    NVML counts all cards, torch those that CUDA_VISIBLE_DEVICES leaves: only the UUID means the same to both.

    Raises:
        Exception: there is no NVML, or it does not answer; of what kind hangs on the driver.
    """
    import pynvml

    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode())


def _cpu_joules() -> float | None:
    try:
        counters = [path for path in _RAPL.glob("intel-rapl:*") if path.name.count(":") == 1]
        return sum(int((path / "energy_uj").read_text()) for path in counters) / 1e6 if counters else None
    except (OSError, ValueError):
        return None
