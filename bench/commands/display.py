"""What `bench run` shows: the grid of cells, live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from seqdis.bench.core.exits import interrupt_on_signals, say
from seqdis.bench.core.rules import printable
from seqdis.bench.core.times import clock

if TYPE_CHECKING:
    from rich.table import Table

    from seqdis.bench.launch.pool import Pool, Run

PLAIN_EVERY = 15.0


def show(pool: Pool) -> None:
    """Runs the pool to its end and shows it. When it is told to end, or nobody reads what it shows, its cells save first.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM, or SIGHUP of a terminal that closes.
        BrokenPipeError: the reader of the output went away.
    """
    interrupt_on_signals()
    try:
        if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            _live(pool)
        else:
            _plain(pool)
    except BrokenPipeError:
        say("nobody reads the output any more: the cells were saved and stopped; run the same line again to go on.")
        raise


def _live(pool: Pool) -> None:
    from rich.console import Console
    from rich.live import Live

    started = time.monotonic()
    console = Console()
    with (
        Live(console=console, refresh_per_second=2, transient=False) as live,
        contextlib.closing(pool.run()) as ticks,
    ):
        for _ in ticks:
            live.update(_grid(pool, time.monotonic() - started, console.height))
        live.update(_grid(pool, time.monotonic() - started, console.height))


def _grid(pool: Pool, seconds: float, height: int) -> Table:
    from rich.markup import escape
    from rich.table import Table

    counts: dict[str, int] = {}
    for run in pool.runs:
        counts[run.state] = counts.get(run.state, 0) + 1
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    table = Table(title=f"{summary}  ({clock(seconds)}{_left(pool)})", title_justify="left", expand=False)
    for name in ("cell", "phase", "step", "loss", "seq/s", "left"):
        table.add_column(name, justify="left" if name in ("cell", "phase") else "right", no_wrap=name != "cell")
    # On a long grid what runs and what went wrong is worth the lines that a terminal has.
    interesting = sorted(pool.runs, key=lambda run: ("running", "failed", "waiting", "queued", "done").index(run.state))
    for run in interesting[: max(3, height - 6)]:
        table.add_row(escape(run.title), *map(escape, _columns(run, pool)))
    if len(pool.runs) > height - 6:
        table.add_row(f"... and {len(pool.runs) - max(3, height - 6)} more", "", "", "", "", "")
    return table


def _left(pool: Pool) -> str:
    seconds = pool.seconds_left()
    return f"; about {clock(seconds)} left" if seconds else ""


def _columns(run: Run, pool: Pool) -> tuple[str, str, str, str, str]:
    if run.state != "running":
        return run.state, "", "", "", ""
    at = run.progress(pool.store)
    if at.phase != "train":
        return at.phase or "starting", "", "", "", ""
    return (
        f"train, epoch {at.epoch + 1}" + (f"; {printable(at.warning)[:60]}" if at.warning else ""),
        f"{at.step}/{at.steps}",
        "" if at.loss is None else f"{at.loss:.4g}",
        f"{at.sequences_per_second:.0f}",
        clock(at.seconds_left or 0.0),
    )


def _plain(pool: Pool) -> None:
    """One line when a cell changes its state, and one a cell every quarter of a minute while it runs."""
    states: dict[int, str] = {}
    last: dict[int, float] = {}
    with contextlib.closing(pool.run()) as ticks:
        for _ in ticks:
            _report(pool, states, last)
    _report(pool, states, last)


def _report(pool: Pool, states: dict[int, str], last: dict[int, float]) -> None:
    """The states and times are kept by the runs' places in the pool: a trial of a search runs more than once."""
    for place, run in enumerate(pool.runs):
        if states.get(place, "queued") != run.state:
            states[place] = run.state
            done = sum(other.state not in ("queued", "running") for other in pool.runs)
            reason = f": {run.reason}" if run.reason else ""
            left = _left(pool) if run.state == "done" else ""
            print(f"[{done}/{len(pool.runs)}] {run.state}: {run.title}{reason}{left}", flush=True)
            last[place] = time.monotonic()
        elif run.state == "running" and time.monotonic() - last[place] > PLAIN_EVERY:
            last[place] = time.monotonic()
            phase, step, loss, rate, left = _columns(run, pool)
            if step:
                print(f"  {run.title}: {phase}, step {step}, loss {loss}, {rate} seq/s, {left} left", flush=True)
