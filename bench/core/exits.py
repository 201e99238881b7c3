"""Exit codes that processes of the suite tell each other and the user."""

DONE, FAILED, USER = 0, 1, 2
"""All that could be done is done; something failed; something is the user's to put right."""
WAITING = 3
"""A cell: its data or its judge is missing."""
INTERRUPTED = 75
"""EX_TEMPFAIL: the state is saved, start me again."""
