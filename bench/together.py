"""Throughput of several training processes side by side on one device, which is how a launcher runs cells.

Each process builds its trainer, warms up and says that it is ready; when all are, all step for the same seconds. So
the sum of their rates is what the device does in all, and its ratio to one process alone is what sharing is worth.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from typing import IO, Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.launch.environment import worker_environment

WARM_UP = 5
SYNCHRONISED = 10
"""Steps between two looks at the clock."""


def measure(method: str, count: int, seconds: float, threads: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Runs `count` processes that train `method` at once.

    Args:
        method: as typed after --methods.
        count: processes.
        seconds: how long they are timed.
        threads: CPU threads of each.
        settings: preset, dataset, batch_size, device, precision, compile, channels_last: as `perf.Bed` takes them.

    Returns:
        method, processes, sequences_per_second (of all together), each (a list), peak_memory_bytes (of one, on a GPU
        as torch allocated it), gpu_busy (share of the time that a kernel ran; None where NVML doesn't tell).

    Raises:
        UserError: a process ended early; its last line.
    """
    request = json.dumps({"method": method, "seconds": seconds, **settings, "device": str(settings["device"])})
    processes = [_start(threads) for _ in range(count)]
    try:
        for process in processes:
            _pipe(process.stdin).write(request + "\n")
            _pipe(process.stdin).flush()
        for process in processes:
            _line(process, "ready")
        for process in processes:
            _pipe(process.stdin).write("go\n")
            _pipe(process.stdin).flush()
        busy = _busy(seconds) if str(settings["device"]).startswith("cuda") else None
        found = [json.loads(_line(process)) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                _pipe(pipe).close()
    each = [one["steps"] * settings["batch_size"] / one["seconds"] for one in found]
    return {"method": method, "processes": count, "sequences_per_second": sum(each), "each": each,
            "peak_memory_bytes": max(one["peak_memory_bytes"] for one in found), "gpu_busy": busy}


def _start(threads: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-P", "-m", "seqdis.bench.together"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=worker_environment(threads))


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _line(process: subprocess.Popen[str], expected: str = "") -> str:
    line = _pipe(process.stdout).readline().strip()
    if not line or (expected and line != expected):
        process.kill()
        last = _pipe(process.stderr).read().strip().splitlines()[-1:] or ["nothing was said"]
        raise UserError(f"a process of the measurement ended early: {last[0][:300]}")
    return line


def _busy(seconds: float) -> float | None:
    """Mean share of the time in which a kernel ran, over the next seconds, of the first visible GPU."""
    with contextlib.suppress(Exception):  # no NVML, or a machine that doesn't let it tell
        import pynvml
        import torch

        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid.encode())
        samples = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.2)
            samples.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        return sum(samples) / len(samples)
    return None


def main() -> int:
    """One process: request on stdin, "ready" on stdout, "go" on stdin, the counts on stdout."""
    import os
    import resource

    import torch

    from seqdis.bench import catalog, perf
    from seqdis.bench.experiment import set_precision, set_repeatable

    request = json.loads(sys.stdin.readline())
    torch.set_num_threads(int(os.environ["SEQDIS_THREADS"]))
    set_precision(request["precision"])
    set_repeatable(False)
    device = torch.device(request.pop("device"))
    seconds, method = request.pop("seconds"), request.pop("method")
    bed = perf.Bed(catalog.parse_methods(method)[0], device=device, **request)
    for _ in range(WARM_UP):
        bed.step()
    perf.now(device)
    print("ready", flush=True)
    sys.stdin.readline()
    steps, started = 0, perf.now(device)
    while perf.now(device) - started < seconds:
        for _ in range(SYNCHRONISED if device.type == "cuda" else 1):
            bed.step()
            steps += 1
    took = perf.now(device) - started
    peak = (torch.cuda.max_memory_allocated(device) if device.type == "cuda"
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    print(json.dumps({"steps": steps, "seconds": took, "peak_memory_bytes": peak}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
