"""What goes wrong while a method trains, told from numbers that are there anyway: logged losses and validations.

Nothing is computed on a device for it, and nothing is stopped: a warning is shown, logged and recorded.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from seqdis.bench.records.record import Trouble, Warned

COLLAPSED = 0.1
"""Nats of a code's KL term over a clip: less than a seventh of a bit does not tell two clips apart."""
EARLY = 0.1
"""Share of the steps in which a code that holds nothing may be one that has learnt nothing yet."""
LEAKED = 0.1
"""Share of the way from chance to certainty that motion may survive with s alone: on 256 clips of nine motions chance
itself strays by 0.02."""
WON = 0.95
"""Mean accuracy of a discriminator on real and generated clips: where hardly any is taken for another, the generator's
gradient no longer says which way is better."""
SATURATED = 0.95
"""Share of ln(batch size): no estimate by minibatch-weighted sampling exceeds it, so that one so near to it says
nothing of what lies beyond."""
LOGS = 5
"""Logged steps in a row that a loss term must show it: one batch is noise."""
LONG = 10
"""The same for a discriminator, which may be ahead for a while."""

WORDS: dict[Trouble, str] = {
    "collapse_static": "s collapsed",
    "collapse_dynamic": "z collapsed",
    "motion_in_static": "motion in s",
    "discriminator": "a discriminator wins",
    "estimate": "I(s; z) at its ceiling",
    "divergence": "reconstruction worse than at first",
}
"""In a line of status."""


class Alarms:
    """Watches one training. Fed with the same lines again, after a resume, it says the same.

    Args:
        batch_size: clips a step.
        frames: what a term I(s; z) is a sum over; 1 where it is a mean.
        has_motion: whether the data label what moves.
        is_open: whether a code that holds nothing at a step is wrong: not while the capacity schedule keeps it shut, and
            not before it can have learnt (`EARLY`).
    """

    def __init__(
        self,
        *,
        batch_size: int,
        frames: int = 1,
        has_motion: bool = True,
        is_open: Callable[[int], bool] = lambda step: True,
    ) -> None:
        self.batch_size, self.frames, self.has_motion, self.is_open = batch_size, frames, has_motion, is_open
        self.found: dict[Trouble, Warned] = {}
        self._now: dict[tuple[Trouble, str], bool] = {}
        self._terms: dict[tuple[str, str], deque[float]] = {}
        self._first: dict[str, float] = {}

    def logged(self, step: int, player: str, values: Mapping[str, Any]) -> list[Warned]:
        """Takes a player's logged terms; gives the warnings that are new."""
        new: list[Warned | None] = []
        for code, name in (("static", "s"), ("dynamic", "z")):
            value = values.get(f"kl_{code}")
            if value is not None:
                recent = self._recent(player, f"kl_{code}", value if self.is_open(step) else math.inf, LOGS)
                trouble: Trouble = "collapse_static" if code == "static" else "collapse_dynamic"
                is_so = len(recent) == LOGS and max(recent) < COLLAPSED
                new.append(
                    self._say(trouble, player, step, is_so, f"{name} collapsed: its KL term is {value:.3g} nats")
                )
        if "accuracy_real" in values and "accuracy_fake" in values:
            right = (values["accuracy_real"] + values["accuracy_fake"]) / 2
            recent = self._recent(player, "accuracy", right, LONG)
            mean = sum(recent) / len(recent)
            text = f"the {player.replace('_', ' ')} wins: right on {100 * mean:.1f} % of clips, real and generated"
            new.append(self._say("discriminator", player, step, len(recent) == LONG and mean >= WON, text))
        if "mi_cross" in values and self.batch_size > 1:
            recent = self._recent(player, "mi_cross", values["mi_cross"] / self.frames, LOGS)
            mean, most = sum(recent) / len(recent), math.log(self.batch_size)
            text = f"the estimate of I(s; z), {mean:.2f} nats, is at its ceiling ln {self.batch_size} = {most:.2f}"
            new.append(self._say("estimate", player, step, len(recent) == LOGS and mean >= SATURATED * most, text))
        if "recon" in values:
            first = self._first.setdefault(player, values["recon"])
            recent = self._recent(player, "recon", values["recon"], LOGS)
            text = f"the reconstruction term is {values['recon']:.4g}, more than the {first:.4g} that it began with"
            new.append(self._say("divergence", player, step, len(recent) == LOGS and min(recent) > first, text))
        return [one for one in new if one is not None]

    def validated(self, step: int, scores: Mapping[str, Any]) -> list[Warned]:
        """Takes the scores of a validation; gives the warnings that are new."""
        leaked = scores.get("fix_static/leaked")
        if leaked is None or not self.has_motion:
            return []
        text = f"s carries motion: {100 * leaked:.0f} % of the way from chance to certainty survives with z drawn anew"
        found = self._say("motion_in_static", "", step, leaked > LEAKED, text)
        return [] if found is None else [found]

    @property
    def now(self) -> str:
        """What is wrong at present, for a line of status; empty if nothing is."""
        return ", ".join(words for trouble, words in WORDS.items() if self._holds(trouble))

    def _holds(self, trouble: Trouble) -> bool:
        return any(is_so for (kind, _), is_so in self._now.items() if kind == trouble)

    def _recent(self, player: str, term: str, value: float, most: int) -> deque[float]:
        recent = self._terms.setdefault((player, term), deque(maxlen=most))
        recent.append(value)
        return recent

    def _say(self, trouble: Trouble, player: str, step: int, is_so: bool, text: str) -> Warned | None:
        self._now[trouble, player] = is_so
        if not is_so:
            return None
        known = self.found.get(trouble)
        if known is None:
            self.found[trouble] = Warned(kind=trouble, step=step, until=step, text=text)
            return self.found[trouble]
        self.found[trouble] = dataclasses.replace(known, until=step)
        return None
