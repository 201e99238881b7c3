"""Throughput of several training processes side by side on one device, which is how a launcher runs cells.

Each process builds its trainer, warms up and says that it is ready; when all are, all step for the same seconds. So
the sum of their rates is what the device does in all, and its ratio to one process alone is what sharing is worth.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from seqdis.bench.core.environment import worker_environment
from seqdis.bench.core.errors import UserError

if TYPE_CHECKING:
    from seqdis.bench.perf.testbed import Settings

WARM_UP = 5
SYNCHRONISED = 10
"""Steps between two looks at the clock."""
TAIL = 4096
"""Bytes of what a failed process wrote last in which the reason is looked for."""


@dataclasses.dataclass(frozen=True)
class Together:
    """What several processes did at once.

    Attributes:
        sequences_per_second: of all together; `each` has those of every process.
        peak_memory_bytes: of the process that held most, on a GPU as torch allocated it.
        gpu_busy: share of the time that a kernel ran; None where NVML doesn't tell.
    """

    method: str
    processes: int
    sequences_per_second: float
    each: list[float]
    peak_memory_bytes: int
    gpu_busy: float | None


def measure(method: str, count: int, seconds: float, threads: int, settings: Settings) -> Together:
    """Runs `count` processes that train `method` at once.

    Args:
        method: as typed after --methods.
        count: processes.
        seconds: how long they are timed.
        threads: CPU threads of each.

    Raises:
        UserError: a process ended early; its last line.
    """
    asked = {**dataclasses.asdict(settings), "device": str(settings.device)}
    request = json.dumps({"method": method, "seconds": seconds, "settings": asked})
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_started(threads)) for _ in range(count)]
        for worker in workers:
            worker.say(request)
        for worker in workers:
            worker.line("ready")
        for worker in workers:
            worker.say("go")
        busy = _busy(seconds) if settings.device.type == "cuda" else None
        found = [json.loads(worker.line()) for worker in workers]
    each = [one["steps"] * settings.batch_size / one["seconds"] for one in found]
    return Together(
        method=method,
        processes=count,
        sequences_per_second=sum(each),
        each=each,
        peak_memory_bytes=max(one["peak_memory_bytes"] for one in found),
        gpu_busy=busy,
    )


@contextlib.contextmanager
def _started(threads: int) -> Iterator[_Worker]:
    """A process that waits for its request; it is ended with the block."""
    # A file takes all the warnings there are; a pipe that nobody reads stops its writer after 64 kB.
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "seqdis.bench.perf.together"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=worker_environment(threads),
        ) as process,
    ):
        try:
            yield _Worker(process, errors)
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):  # what it no longer read
                _pipe(process.stdin).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@dataclasses.dataclass
class _Worker:
    """A measured process, and the file that its stderr goes to."""

    process: subprocess.Popen[str]
    errors: IO[bytes]

    def say(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it ended: `line` tells why
            _pipe(self.process.stdin).write(line + "\n")
            _pipe(self.process.stdin).flush()

    def line(self, expected: str = "") -> str:
        """The next line of its stdout.

        Raises:
            UserError: there is none, or another than expected.
        """
        line = _pipe(self.process.stdout).readline().strip()
        if not line or (expected and line != expected):
            self.process.kill()
            self.process.wait()
            self.errors.seek(max(0, self.errors.seek(0, os.SEEK_END) - TAIL))
            last = self.errors.read().decode(errors="replace").strip().splitlines()[-1:] or ["nothing was said"]
            raise UserError(f"a process of the measurement ended early: {last[0][:300]}")
        return line


def _busy(seconds: float) -> float | None:
    """Mean share of the time in which a kernel ran, over the next seconds, of the first visible GPU."""
    with contextlib.suppress(Exception):  # no NVML, or a machine that doesn't let it tell
        import pynvml
        import torch

        from seqdis.bench.cell.energy import nvml_handle

        handle = nvml_handle(torch.device("cuda", 0))
        samples = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.2)
            samples.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        return sum(samples) / len(samples)
    return None


def main() -> int:
    """One process: request on stdin, "ready" on stdout, "go" on stdin, the counts on stdout."""
    import torch

    from seqdis.bench.cell.device import set_precision, set_repeatable
    from seqdis.bench.perf.testbed import Bed, Settings, now, peak_memory_bytes
    from seqdis.bench.plan import catalog

    request = json.loads(sys.stdin.readline())
    asked = request["settings"]
    device = torch.device(asked["device"])
    torch.set_num_threads(int(os.environ["SEQDIS_THREADS"]))
    set_precision(asked["precision"])
    set_repeatable(False)
    bed = Bed(catalog.parse_methods(request["method"])[0], Settings(**{**asked, "device": device}))
    for _ in range(WARM_UP):
        bed.step()
    now(device)
    print("ready", flush=True)
    sys.stdin.readline()
    steps, started = 0, now(device)
    while now(device) - started < request["seconds"]:
        for _ in range(SYNCHRONISED if device.type == "cuda" else 1):
            bed.step()
            steps += 1
    counts = {"steps": steps, "seconds": now(device) - started, "peak_memory_bytes": peak_memory_bytes(device)}
    print(json.dumps(counts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
