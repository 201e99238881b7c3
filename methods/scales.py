"""What the methods' rules have in common: names of scales and data, and sentences that several rows share."""

from __future__ import annotations

SMALL = ("quick", "compact")
"""Presets of narrow nets and 32x32 frames."""
PAPER = ("paper", "paper-long")
"""Presets of the papers' nets and sizes."""
MOVING_DIGITS = ("smmnist", "smmnist-10k")

BLURRED_DIGITS = (
    "at this scale digits are put where they are, too blurred to be told apart: pairs are judged right hardly more often "
    "than by a constant guess, in reconstructions as in swaps"
)
