"""Exit codes: what processes of the suite tell each other and the user. Said here and nowhere else."""

from __future__ import annotations

import sys

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


def refuse(error: Exception, code: int = USER) -> int:
    """Says on stderr, in one sentence, why a process does not do what was asked. Returns its exit code."""
    print(f"bench: {error}", file=sys.stderr, flush=True)
    return code
