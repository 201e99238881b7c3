"""Checks: small functions with a name, a sentence and a page, and what running one found."""

from __future__ import annotations

import dataclasses
import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Literal, Protocol, TypeVar

State = Literal["holds", "fails", "skipped"]


class Failure(Exception):
    """What is checked does not hold. The message says what was found instead."""


class Skipped(Exception):
    """There is nothing to check. The message says why."""


class Subject(Protocol):
    """What is examined: named by `where`; `files` are the user's, to name the line where something was raised."""

    @property
    def where(self) -> str: ...

    @property
    def files(self) -> tuple[str, ...]: ...


S = TypeVar("S", bound=Subject)


@dataclasses.dataclass(frozen=True)
class Check(Generic[S]):
    """One thing that must hold.

    Attributes:
        name: as printed, words joined by hyphens.
        sentence: what holds.
        why: why it matters.
        page: where the documentation says so, `docs/PAGE.md#SECTION`.
        examine: raises `Failure` or `Skipped`; may return a remark.
    """

    name: str
    sentence: str
    why: str
    page: str
    examine: Callable[[S], str | None]

    def on(self, subject: S) -> Case:
        """What examining `subject` found. Whatever the user's code raises is a failure with its line."""
        try:
            return Case(subject.where, "holds", self.examine(subject) or "")
        except Skipped as reason:
            return Case(subject.where, "skipped", str(reason))
        except Failure as failure:
            return Case(subject.where, "fails", str(failure))
        except Exception as error:  # the examined code is the user's and may raise anything: that is a finding
            return Case(subject.where, "fails", raised(error, subject.files))


@dataclasses.dataclass(frozen=True)
class Case:
    """What a check found at one place, such as a variant on a kind of data."""

    where: str
    state: State
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A check and what it found everywhere."""

    name: str
    sentence: str
    why: str
    page: str
    cases: tuple[Case, ...]

    @property
    def state(self) -> State:
        """It fails if it fails anywhere; it is skipped if it is skipped everywhere."""
        states = {case.state for case in self.cases}
        return "fails" if "fails" in states else "holds" if "holds" in states else "skipped"

    @property
    def failures(self) -> list[Case]:
        return [case for case in self.cases if case.state == "fails"]


def checks_of(page: str, into: list[Check[S]]) -> Callable[[str], Callable[[Callable[[S], str | None]], Check[S]]]:
    """A decorator that makes checks of functions and puts them `into` a list; it takes a section of `page`."""

    def section(anchor: str) -> Callable[[Callable[[S], str | None]], Check[S]]:
        def register(examine: Callable[[S], str | None]) -> Check[S]:
            sentence, _, why = (inspect.getdoc(examine) or "").partition("\n\n")
            name = examine.__name__.replace("_", "-")
            check = Check(name, sentence, " ".join(why.split()), f"{page}#{anchor}", examine)
            into.append(check)
            return check

        return register

    return section


def examined(checks: Iterable[Check[S]], subjects: list[S]) -> Iterator[Finding]:
    """Each check on each subject, one finding at a time; none if there are no subjects."""
    for check in checks if subjects else ():
        cases = tuple(check.on(subject) for subject in subjects)
        yield Finding(check.name, check.sentence, check.why, check.page, cases)


def require(condition: object, text: str) -> None:
    """Raises `Failure` with the text unless the condition holds."""
    if not condition:
        raise Failure(text)


def raised(error: Exception, files: tuple[str, ...]) -> str:
    """An exception in one line, with the last line of the user's that it passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename in files] or frames
    first, *_ = str(error).splitlines() or [""]
    if isinstance(error, NotImplementedError) and not first:
        return f"{frames[-1].name} is not written"
    where = f"{own[-1].filename.rpartition('/')[2]}:{own[-1].lineno}, in {own[-1].name}" if own else "unknown line"
    return f"it raised {type(error).__name__}: {first} ({where})"
