"""Exit codes: what processes of the suite tell each other and the user. Said here and nowhere else."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from types import FrameType

from seqdis.bench.core.files import refusal
from seqdis.bench.core.rules import printable

DONE, FAILED, USER = 0, 1, 2
"""All that could be done is done; something failed; something is the user's to put right."""
WAITING = 3
"""A cell: its data or its judge is missing."""
INTERRUPTED = 75
"""EX_TEMPFAIL: the state is saved, start me again. Of a SLURM task: put me back in the queue."""
STOPPED = 130
"""Ended by Ctrl-C, as a shell counts it: 128 and SIGINT."""
ENDED = 143
"""A SLURM task that was told to end, not to go on later: 128 and SIGTERM."""

UNREAD = 141
"""Cut short because the reader of its output (head, less) went away: 128 and SIGPIPE."""
LONGEST_MESSAGE = 4000


def refuse(error: Exception, code: int = USER) -> int:
    """Says on stderr, in one sentence, why a process does not do what was asked. Returns its exit code.

    Of an error of the system it is what the user can do (see `files.refusal`).
    """
    say((refusal(error) if isinstance(error, OSError) else None) or error)
    return code


def say(message: object) -> None:
    """Says one sentence on stderr, if that is still open: what is said last never changes an exit code.

    What it quotes of files and plug-ins may be long and hold control characters; the terminal gets neither.
    """
    lines = str(message)[:LONGEST_MESSAGE].split("\n")
    cut = "..." if len(str(message)) > LONGEST_MESSAGE else ""
    with contextlib.suppress(OSError):
        print("bench:", "\n".join(map(printable, lines)) + cut, file=sys.stderr, flush=True)


def interrupt_on_signals() -> None:
    """SIGTERM, and SIGHUP when the terminal closes, interrupt this process as Ctrl-C does; what nohup ignores stays so."""
    heard = (signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in heard:  # a closing terminal and its shell both say it: what is being saved is not interrupted
            signal.signal(other, signal.SIG_IGN)
        if number == signal.SIGHUP:
            silence_closed_terminal()
        raise KeyboardInterrupt

    for one in heard:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, interrupt)


def silence_closed_terminal() -> None:
    """What is still said on a terminal that has closed goes nowhere, instead of ending in an error."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                discard(descriptor)


def discard(descriptor: int) -> None:
    """From now on, what is written there goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
