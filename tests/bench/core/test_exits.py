"""How processes are told to end."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqdis.bench.core.exits import DONE, UNREAD, USER

SAVES = """
import signal, sys, time
from seqdis.bench.core.exits import interrupt_on_signals
interrupt_on_signals()
try:
    print("ready", flush=True)
    while True:
        time.sleep(0.05)
except KeyboardInterrupt:
    time.sleep(0.5)
    print("interrupted", flush=True)
    open(sys.argv[1], "w").close()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_being_saved_is_not_interrupted_again(number: signal.Signals, tmp_path: Path) -> None:
    saved = str(tmp_path / "saved")
    before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup, which a child inherits
    with subprocess.Popen([sys.executable, "-c", SAVES, saved], stdout=subprocess.PIPE, text=True) as process:
        signal.signal(number, before)
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(number)
            time.sleep(0.001)
        process.kill()
        assert (process.returncode, process.stdout.read()) == (0, "interrupted\n")
    assert os.path.exists(saved)


def test_nohup_is_heeded(tmp_path: Path) -> None:
    line = ["nohup", sys.executable, "-c", SAVES, str(tmp_path / "saved")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)


def test_a_closed_terminal_breaks_nothing_that_is_said_at_the_end(tmp_path: Path) -> None:
    saved = str(tmp_path / "saved")
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", SAVES, saved])
    while b"ready" not in os.read(terminal, 100):
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.path.exists(saved)


@pytest.mark.parametrize(
    ("environment", "code"), [({"PYTHONUNBUFFERED": "1"}, UNREAD), ({"PYTHONUNBUFFERED": ""}, DONE)]
)
@pytest.mark.parametrize("both", [False, True])
def test_output_that_nobody_reads_is_told_by_the_exit_code(environment: dict[str, str], code: int, both: bool) -> None:
    """A command that is cut short is not done; one that had come to its end, and only could not say so, is."""
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "seqdis.bench.cli", "list", "datasets"]
    errors = subprocess.STDOUT if both else subprocess.PIPE
    done = subprocess.run(line, stdout=write, stderr=errors, env={**os.environ, **environment}, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr or b"") == (code, b"")


def test_mistake_that_nobody_reads_keeps_its_exit_code() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "seqdis.bench.cli", "rum"], stdout=write, stderr=write, timeout=60)
    os.close(write)
    assert done.returncode == USER
