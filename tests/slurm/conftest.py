"""A real SLURM on this machine, and a lab that submits to it. Without SLURM's programs these tests are skipped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("cluster.sh")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
PORTS = iter(range(21817 + os.getpid() % 500 * 20, 60000, 20))

# Cells of seconds: the quick preset with narrow nets, few steps and one draw. The same line everywhere, so that
# every scenario's records can be compared with those of one undisturbed local run.
LINE = [
    "run",
    "--preset",
    "quick",
    "--datasets",
    "sprites",
    *(
        word
        for setting in (
            "training.steps=150",
            "training.batch_size=4",
            "training.log_every=5",
            "training.validations=2",
            "method.width=4",
            "evaluation.draws=1",
        )
        for word in ("--set", setting)
    ),
]
PROFILE = """
[low]
partition = "low"
mem = "500M"
time = "30"
signal_seconds = {signal_seconds}
max_jobs = 2
"""
# What a record holds beside the numbers: when, where and how fast.
ACCIDENTAL = ("cost", "environment", "attempts", "finished", "code")

Record = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    reason = f"SLURM is not installed: no {', '.join(missing)} (apt-get install slurm-wlm munge)" if missing else ""
    if not reason and os.geteuid() != 0:
        reason = "the test cluster needs root"
    for item in items:
        if reason and item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.skip(reason=reason))


ENDING = threading.Event()  # set when the session ends before its scenarios do
LONGEST = 1200.0


def until(
    condition: Callable[[], Any], what: str, seconds: float = 300, *, moving: Callable[[], Any] = lambda: None
) -> Any:
    """Waits for a condition and returns what it gave.

    Args:
        condition: asked a few times a second.
        what: what is waited for, for the message.
        seconds: patience; it starts anew whenever `moving` gives something else, so that a slow machine that gets on
            is not mistaken for one that hangs. 20 minutes are the end in any case.
        moving: something that changes while there is progress.
    """
    began = changed = time.monotonic()
    last = moving()
    while time.monotonic() - changed < seconds and time.monotonic() - began < LONGEST:
        found = condition()
        if found:
            return found
        if ENDING.is_set():
            raise AssertionError(f"the session ended while waiting for {what}")
        time.sleep(0.2)
        if (now := moving()) != last:
            last, changed = now, time.monotonic()
    raise AssertionError(
        f"waited {time.monotonic() - began:.0f} s for {what}, the last {seconds:.0f} s without progress"
    )


class Cluster:
    """One throw-away cluster."""

    def __init__(self, **settings: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm.", dir="/tmp"))
        self.environment = {
            **os.environ,
            "SLURM_TEST_DIR": str(self.folder),
            "SLURM_TEST_PORT": str(next(PORTS)),
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            **{f"SLURM_TEST_{key.upper()}": str(value) for key, value in settings.items()},
        }
        self.control("start")

    def control(self, *command: str) -> None:
        """Runs cluster.sh."""
        subprocess.run(
            ["bash", str(SCRIPT), *command],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def ask(self, *command: str, check: bool = True) -> str:
        """Runs one of SLURM's commands."""
        return subprocess.run(
            command, env=self.environment, check=check, capture_output=True, text=True, timeout=120
        ).stdout

    def stop(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.control("stop")
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclasses.dataclass
class Lab:
    """An output folder and the cluster that its cells run on."""

    cluster: Cluster
    data: Path
    out: Path

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.path = os.environ["PATH"]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.cluster.environment,
            "SEQDIS_DATA": str(self.data),
            "SEQDIS_HEARTBEAT": "0.5",
            "SEQDIS_PROGRESS_SECONDS": "0.1",
            "XDG_CONFIG_HOME": str(self.out),
            "PATH": self.path,
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "seqdis.bench.cli", *arguments, "--out", str(self.out / "runs")]

    def bench(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Runs `bench`; checks its exit code unless `code` is None."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=600, cwd=self.out
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def profile(self, extra: str = "", signal_seconds: int = 60) -> str:
        """Writes the profile file, with more lines at its end. Returns its name for --profile."""
        path = self.out / "slurm.toml"
        path.write_text(PROFILE.format(signal_seconds=signal_seconds) + textwrap.dedent(extra))
        return str(path)

    def launch(
        self,
        *arguments: str,
        methods: str = "dsvae",
        seeds: int = 1,
        extra: str = "",
        signal_seconds: int = 60,
        code: int | None = 0,
    ) -> subprocess.CompletedProcess[str]:
        """`bench run` on the cluster."""
        return self.bench(
            *LINE,
            "--methods",
            methods,
            "--seeds",
            str(seeds),
            "--launcher",
            "slurm",
            "--profile",
            self.profile(extra, signal_seconds),
            *arguments,
            code=code,
        )

    @property
    def cells(self) -> list[Path]:
        return sorted((self.out / "runs" / "cells").iterdir())

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.bench("status", "--json", code=None).stdout)
        return found

    def states(self) -> dict[str, str]:
        return {cell["id"]: cell["state"] for cell in self.status()["cells"]}

    def step(self, cell: Path) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(json.loads((cell / "progress.json").read_text()).get("step") or 0)
        return 0

    def training(self, step: int = 10, cell: Path | None = None) -> Path:
        """Waits until a cell (the first, by default) trains at `step` or later, and returns it."""

        def found() -> Path | None:
            for one in [cell] if cell is not None else self.cells:
                lease = one / "lease.json"
                if lease.exists() and self.step(one) >= step and not (one / "record.json").exists():
                    return one
            return None

        return Path(until(found, f"a cell of {self.out} at step {step}", moving=self.moving))

    @contextlib.contextmanager
    def held_still(self, cell: Path) -> Iterator[None]:
        """Stops a cell's process inside the block, so that no machine is too fast for what the block does to it.

        Afterwards it goes on, once a signal waits for it (SLURM may wake it by itself).
        """
        pid = self.holder(cell)["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: _status(pid).get("State", "Z")[0] in "TZ", "the stop (or the end, if it was quicker)")
            yield
            until(lambda: _told(pid), f"a signal for {cell.name}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def moving(self) -> tuple[tuple[str, int, bool, bool], ...]:
        """Changes with each step that is seen, each start and each record."""
        return tuple(
            (cell.name, self.step(cell), (cell / "attempts.jsonl").exists(), (cell / "record.json").exists())
            for cell in self.cells
        )

    def holder(self, cell: Path) -> dict[str, Any]:
        """The process that holds a cell's lease."""
        found: dict[str, Any] = json.loads((cell / "lease.json").read_text())
        return found

    def attempts(self, cell: Path) -> list[dict[str, Any]]:
        lines = (cell / "attempts.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if "started" in line]

    def job_ids(self) -> list[str]:
        """Ids of the submissions that the scheduler took."""
        outcomes = sorted((self.out / "runs" / "submissions").glob("*/outcome.json"))
        found = [json.loads(path.read_text()) for path in outcomes]
        return [outcome["job_id"] for outcome in found if outcome["state"] == "submitted"]

    def release(self) -> None:
        """Releases what was submitted held."""
        for job in self.job_ids():
            self.cluster.ask("scontrol", "release", job)

    def queue(self) -> list[str]:
        """State and reason of every live job of this lab."""
        names = {f"bench-{path.name}" for path in (self.out / "runs" / "submissions").iterdir()}
        lines = self.cluster.ask("squeue", "-h", "-r", "-o", "%j|%T|%r|%i").splitlines()
        return [line.split("|", 1)[1] for line in lines if line.split("|")[0] in names]

    def finish(self, seconds: float = 240) -> None:
        """Waits until every cell is done and no job is left."""

        def ended() -> bool:
            return all((cell / "record.json").exists() for cell in self.cells) and not self.queue()

        self.wait(ended, "all records", seconds)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 300) -> None:
        """Waits while the cells get on; shows all there is to see when they don't."""
        try:
            until(condition, what, seconds, moving=self.moving)
        except AssertionError as error:
            seen = [
                self.bench("status", code=None).stdout,
                self.job_logs(),
                *(self.cluster.ask(*command, check=False) for command in (["squeue"], ["sinfo", "-R"], ["sinfo"])),
                *map(_end, sorted((self.cluster.folder / "log").glob("slurm*.log"))),
            ]
            raise AssertionError("\n".join([str(error), *seen])) from None

    def job_logs(self) -> str:
        return "\n".join(map(_end, sorted((self.out / "runs" / "submissions").glob("*/*_log.out"))))

    def record(self, cell: Path) -> Record:
        found: Record = json.loads((cell / "record.json").read_text())
        return found


def _end(path: Path) -> str:
    return f"{path}:\n{path.read_text(errors='replace')[-3000:]}"


def _status(pid: int) -> dict[str, str]:
    """What the kernel says of a process; nothing if it has ended."""
    try:
        return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return {}


def _told(pid: int) -> bool:
    """Whether SIGUSR2 or SIGTERM waits for a stopped process, or it is not stopped any more."""
    status = _status(pid)
    if not status.get("State", "").startswith("T"):
        return True
    pending = int(status["ShdPnd"], 16) | int(status["SigPnd"], 16)
    return any(pending >> number - 1 & 1 for number in (signal.SIGUSR2, signal.SIGTERM))


def numbers(record: Record) -> Record:
    """What must be equal however often the cell was disturbed."""
    return {key: value for key, value in record.items() if key not in ACCIDENTAL}


def _end_the_session(number: int, frame: FrameType | None) -> None:
    """A session that is told to end (a CI's time limit) ends its clusters too; told once is enough."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that scenarios share which don't hurt each other."""
    before = signal.signal(signal.SIGTERM, _end_the_session)
    made = Cluster(nodes=4, extra="MaxJobCount=20000")
    yield made
    made.stop()
    signal.signal(signal.SIGTERM, before)


PREPARE = """
import dataclasses, sys
from pathlib import Path
from seqdis.bench.plan import catalog
from seqdis.judges.settings import Recipe
from seqdis.judges.training import train_judge
root = Path(sys.argv[1])
sprites = catalog.load_dataset("sprites")
sprites.prepare(root, "synthetic", 32)
train_judge(sprites.open(root, "synthetic", 32), root=root, recipe=Recipe(steps=20, check_every=20))
"""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated Sprites and a judge, hardly trained: these tests compare numbers, not methods."""
    root = tmp_path_factory.mktemp("data")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-P", "-c", PREPARE, str(root)], env=environment, check=True, timeout=300)
    return root


@pytest.fixture(scope="session")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The records of a local run that nothing disturbed, by cell id."""
    out = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "seqdis.bench.cli",
            *LINE,
            "--methods",
            "dsvae,cdsvae",
            "--seeds",
            "2",
            "--launcher",
            "local",
            "--out",
            str(out),
            "--data-dir",
            str(data),
        ],
        check=True,
        timeout=900,
        capture_output=True,
        cwd=out,
    )
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("cells/*/record.json")}


Scenario = Callable[[Lab], None]


class Campaign:
    """Runs the scenarios of the collected tests, a few at a time: each mostly waits for SLURM."""

    def __init__(self, scenarios: list[Scenario], lab: Callable[[str], Lab], at_once: int) -> None:
        self.pool = ThreadPoolExecutor(at_once)
        self.running: dict[Scenario, Future[Lab]] = {
            scenario: self.pool.submit(self._run, scenario, lab) for scenario in scenarios
        }

    @staticmethod
    def _run(scenario: Scenario, lab: Callable[[str], Lab]) -> Lab:
        made = lab(scenario.__name__)
        started = time.monotonic()
        try:
            scenario(made)
        finally:
            with open(made.out / "seconds", "w") as file:
                file.write(f"{time.monotonic() - started:.1f}")
        return made

    def result(self, scenario: Scenario) -> Lab:
        return self.running[scenario].result()


@pytest.fixture(scope="session")
def campaign(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    data: Path,
    undisturbed: dict[str, Record],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Campaign]:
    base = tmp_path_factory.mktemp("scenarios")
    chosen = list(
        dict.fromkeys(
            item.callspec.params["scenario"]
            for item in request.session.items
            if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "scenario" in item.callspec.params
        )
    )
    made = Campaign(chosen, lambda name: Lab(cluster, data, base / name), at_once=3)
    yield made
    ENDING.set()  # for those that still run: the session was interrupted, or stops at its first failure
    made.pool.shutdown(cancel_futures=True)
    ENDING.clear()


@pytest.fixture
def lab(cluster: Cluster, data: Path, tmp_path: Path) -> Lab:
    return Lab(cluster, data, tmp_path)
