"""A data set against its contract: what it says of itself, its splits, its clips, and how it is opened."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqdis.bench.cell.check.findings import Check, Failure, Finding, Skipped, checks_of, examined, require
from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.datasets import augment
from seqdis.datasets.base import DataSet, Source, Spec, Split

PAGE = "docs/data.md"
LOOKED_AT = 64
"""Clips of each split that are looked at: reading them all would take as long as preparing them."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A prepared data set, opened, and how it was asked for."""

    kind: type[DataSet]
    source: Source
    size: int
    root: Path
    dataset: DataSet

    @property
    def where(self) -> str:
        return f"{self.kind.name} ({self.source})"

    @property
    def files(self) -> tuple[str, ...]:
        return (inspect.getfile(self.kind),)

    @property
    def spec(self) -> Spec:
        return self.dataset.spec

    def again(self) -> DataSet:
        return self.kind.open(self.root, self.source, self.size)

    def looked_at(self) -> Iterator[tuple[str, Split, Tensor]]:
        """Each split by name, with the positions (B,) that are looked at."""
        for name, split in self.dataset.splits.items():
            yield name, split, torch.linspace(0, len(split) - 1, min(LOOKED_AT, len(split))).long()


CHECKS: list[Check[Opened]] = []
check = checks_of(PAGE, CHECKS)


def open_to_check(kind: type[DataSet], source: Source, size: int, root: Path) -> Opened:
    """The data set as it lies in `root`; a stand-in that is missing is prepared there first.

    Raises:
        UserError: no such source.
        MissingDataError: real data that are not prepared.
    """
    if source not in kind.sources:
        raise UserError(f"{kind.name} has no source {source!r}; it has {' and '.join(kind.sources)}.")
    try:
        opened = kind.open(root, source, size)
    except MissingDataError:
        if source == "real":
            raise
        kind.prepare(root, source, size)
        opened = kind.open(root, source, size)
    return Opened(kind, source, size, root, opened)


def check_dataset(opened: Opened) -> Iterator[Finding]:
    """Every check of the contract, one finding at a time."""
    yield from examined(CHECKS, [opened])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@check("spec")
def its_spec_is_consistent(opened: Opened) -> None:
    """The Spec names its source, shape, factors, headline, licence and revision, and they fit together.

    Records, judges and tables read what the data are from it, and never look at a name.
    """
    spec, kind = opened.spec, opened.kind
    require(spec.name == kind.name, f"Spec.name is {spec.name!r} and the class says {kind.name!r}")
    require(spec.source == opened.source, f"Spec.source is {spec.source!r}, asked for was {opened.source!r}")
    for name in ("title", "split_rule", "revision", "licence", "citation", "identity"):
        require(getattr(spec, name), f"Spec.{name} is empty")
    dims = 3 if spec.modality == "video" else 1
    require(len(spec.frame) == dims and min(spec.frame) > 0, f"Spec.frame is {spec.frame} for {spec.modality}")
    require(spec.n_frames > 1, f"Spec.n_frames is {spec.n_frames}: a sequence has two or more")
    names = [factor.name for factor in (*spec.factors, *spec.frame_factors)]
    require(len(names) == len(set(names)), f"two factors of {', '.join(names)} have one name")
    for factor in (*spec.factors, *spec.frame_factors):
        require(factor.role in ("static", "dynamic"), f"the role of factor {factor.name} is {factor.role!r}")
        require(len(set(factor.classes)) == factor.n_classes, f"factor {factor.name} has two classes of one name")
    for joint in spec.joints:
        require(set(joint.factors) <= set(names), f"joint {joint.name} names a factor that there is not")
    known = {*names, *(joint.name for joint in spec.joints)}
    way, what = spec.headline
    require(way in ("fix_dynamic", "fix_static", "verification"), f"Spec.headline scores {way!r}")
    require(what in known, f"Spec.headline scores {what!r}, which is no factor or joint")


@check("spec")
def it_is_described_as_it_opens(opened: Opened) -> None:
    """`describe`, which opens nothing, gives the shape, length and revision that the opened data have.

    Cells are planned, and their ids made, from `describe` alone.
    """
    described = opened.kind.describe(opened.source, opened.size)
    for name in (
        "name",
        "source",
        "modality",
        "frame",
        "n_frames",
        "revision",
        "headline",
        "identity",
        "segment_frames",
    ):
        said, found = getattr(described, name), getattr(opened.spec, name)
        require(said == found, f"describe says {name} {said!r} and the opened data have {found!r}")


@check("prepare-and-open")
def what_is_not_prepared_is_named_with_the_command_that_prepares_it(opened: Opened) -> None:
    """Opening data that are not there raises MissingDataError with a `bench data prepare` line for just these.

    Whoever reads the message can type the line; `bench run` types it by itself.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            opened.kind.open(Path(folder), opened.source, opened.size)
        except MissingDataError as error:
            words = shlex.split(error.command)
        else:
            raise Failure("open gives data where none were prepared")
        require(
            words[:4] == ["bench", "data", "prepare", opened.kind.name],
            f"the command is {' '.join(words)!r}, not 'bench data prepare {opened.kind.name} ...'",
        )
        given = dict(itertools.pairwise(words))
        source, where = given.get("--source", "real"), given.get("--data-dir", "")
        require(source == opened.source, f"the command prepares the {source} data, asked for were the {opened.source}")
        require(Path(where) == Path(folder), f"the command prepares into {where or 'the default folder'}, not {folder}")


@check("digest")
def its_digest_is_stable(opened: Opened) -> None:
    """The digest is a SHA-256, the same whenever the data are opened, and `verify` finds what it was made from.

    A record holds it: two records with one digest were made from the same data.
    """
    digest = opened.dataset.digest
    require(re.fullmatch("[0-9a-f]{64}", digest), f"digest is {digest!r}, not a SHA-256")
    require(opened.again().digest == digest, "digest is another one when the data are opened again")
    require(opened.kind.verify(opened.root, opened.source, opened.size), "verify checks nothing")


@check("splits")
def splits_do_not_share_what_must_not_straddle_them(opened: Opened) -> None:
    """No character, video or speaker (what `Spec.identity` names) is in two splits.

    A judge or method that has seen who is tested would be scored for remembering.
    """
    if opened.spec.identity == "clip":
        raise Skipped("each clip is an identity of its own")
    seen: dict[int, str] = {}
    for name, split in opened.dataset.splits.items():
        own = set(split.identity.tolist())
        for one in sorted(own & seen.keys()):
            raise Failure(f"{opened.spec.identity} {one} is in {seen[one]} and in {name}")
        seen |= dict.fromkeys(own, name)


@check("splits")
def every_clip_has_labels_an_identity_and_a_sequence(opened: Opened) -> None:
    """Labels are int64 in the range of their factor; every sequence of a split has clips, counted in `n_segments`.

    A label out of range ends training a judge on a GPU with an error that names neither clip nor factor.
    """
    for name, split in opened.dataset.splits.items():
        require(len(split) > 1, f"{name} has {len(split)} clips")
        missing = [factor.name for factor in opened.spec.factors if factor.name not in split.labels]
        require(not missing, f"{name} has no labels of {', '.join(missing)}")
        columns = {f"labels[{key!r}]": value for key, value in split.labels.items()}
        for what, values in (columns | {"identity": split.identity, "sequence": split.sequence}).items():
            require(values.dtype == torch.int64, f"{what} of {name} is {values.dtype}, not int64")
            require(values.shape == (len(split),), f"{what} of {name} has shape {tuple(values.shape)}")
        for factor in opened.spec.factors:
            values, top = split.labels[factor.name], factor.n_classes - 1
            low, high = int(values.min()), int(values.max())
            require(low >= 0 and high <= top, f"{factor.name} of {name} is {low} to {high}, its classes are 0 to {top}")
        counts = torch.bincount(split.sequence, minlength=split.n_sequences)
        require(len(counts) == split.n_sequences and counts.min() > 0, f"a sequence of {name} has no clip")
        require(torch.equal(counts[split.sequence], split.n_segments), f"n_segments of {name} miscounts its sequences")
        for key, values in split.frame_labels.items():
            require(values.shape == (len(split), opened.spec.n_frames), f"frame_labels[{key!r}] of {name} do not fit")


@check("clips")
def clips_are_as_declared(opened: Opened) -> None:
    """Clips are float32 of the declared shape: video (B, T, C, H, W) in [0, 1), audio (B, T, F), all finite.

    Nets are built for the declared shape, and judges and decoders for this range.
    """
    spec = opened.spec
    for name, split, index in opened.looked_at():
        clips = split.clips(index, generator())
        expected = (len(index), spec.n_frames, *spec.frame)
        require(tuple(clips.shape) == expected, f"clips of {name} have shape {tuple(clips.shape)}, not {expected}")
        require(clips.dtype == torch.float32, f"clips of {name} are {clips.dtype}, not float32")
        require(torch.isfinite(clips).all(), f"clips of {name} are not finite")
        low, high = clips.min().item(), clips.max().item()
        require(spec.modality != "video" or (low >= 0 and high < 1), f"clips of {name} are {low:.3g} to {high:.3g}")
        require(high > low, f"clips of {name} are one single value")


@check("clips")
def the_same_draw_gives_the_same_clips(opened: Opened) -> None:
    """Clips of one generator state are the same to the last bit; those of `fixed`, validation and test always are.

    A resumed run sees the clips that the run saw, and every method is tested on the same ones.
    """
    for name, split, index in opened.looked_at():
        first, second = (split.clips(index, generator(1)) for _ in range(2))
        require(torch.equal(first, second), f"one generator state gives two versions of the clips of {name}")
        if name != "train":
            other = split.clips(index, generator(2))
            require(torch.equal(first, other), f"the clips of {name} hang on the generator")
    fixed, few = opened.dataset.train.fixed(), torch.arange(min(8, len(opened.dataset.train)))
    require(torch.equal(fixed.clips(few), fixed.clips(few)), "the clips of train.fixed() change")


@check("clips")
def a_subset_is_the_same_clips(opened: Opened) -> None:
    """`subset` gives the clips and labels at the positions, and numbers their sequences anew.

    Smaller evaluations look at subsets, and must look at the clips that they name.
    """
    for name, split, index in opened.looked_at():
        if name == "train":
            continue
        part = split.subset(index)
        require(torch.equal(part.clips(torch.arange(len(index))), split.clips(index)), f"a subset of {name} differs")
        for factor, values in split.labels.items():
            require(torch.equal(part.labels[factor], values[index]), f"{factor} of a subset of {name} differs")
        require(int(part.sequence.max()) == part.n_sequences - 1, f"sequences of a subset of {name} keep their numbers")


@check("views-and-signals")
def views_keep_the_shape_and_the_range(opened: Opened) -> None:
    """The motion view of drawn clips has their shape and range, and is repeated by the same generator state.

    Methods feed views through the nets that they feed clips through.
    """
    train = opened.dataset.train
    index = torch.arange(min(LOOKED_AT, len(train)))
    views = []
    for _ in range(2):
        draws = generator(3)
        drawn = train.draw(index, draws)
        own = drawn.motion_view(draws)
        views.append(augment.motion_view(drawn.x, opened.spec.augment, draws) if own is None else own)
        require(views[-1].shape == drawn.x.shape, f"the view has shape {tuple(views[-1].shape)}")
    view = views[0]
    require(torch.equal(*views), "one generator state gives two views")
    require(torch.isfinite(view).all(), "the view is not finite")
    low, high = view.min().item(), view.max().item()
    require(opened.spec.modality != "video" or (low >= 0 and high <= 1), f"the view is {low:.3g} to {high:.3g}")


@check("views-and-signals")
def its_signal_is_as_declared(opened: Opened) -> None:
    """If the Spec has a signal, `load_signal` gives each drawn clip one of (T, dim): 0 or 1, or finite numbers.

    Methods that are supervised by it build a head of that size.
    """
    signal = opened.spec.signal
    if signal is None:
        raise Skipped("it has no signal")
    dataset = opened.again()
    dataset.load_signal()
    for name, split in dataset.splits.items():
        index = torch.arange(min(LOOKED_AT, len(split)))
        found = split.draw(index, generator()).signal()
        require(found is not None, f"clips of {name} have no signal after load_signal")
        assert found is not None
        expected = (len(index), opened.spec.n_frames, signal.dim)
        require(tuple(found.shape) == expected, f"the signal of {name} has shape {tuple(found.shape)}, not {expected}")
        require(torch.isfinite(found).all(), f"the signal of {name} is not finite")
        binary = bool(((found == 0) | (found == 1)).all())
        require(signal.kind != "multilabel" or binary, f"the signal of {name} is not 0 or 1")


@check("segments")
def segments_are_several_of_each_sequence(opened: Opened) -> None:
    """`segmented` gives training clips of `Spec.segment_frames` frames, two or more of each sequence, or refuses.

    Methods that learn one code a sequence compare its segments.
    """
    try:
        split = opened.dataset.segmented()
    except UserError as refusal:
        raise Skipped(str(refusal)) from refusal
    few = int(split.n_segments.min())
    require(few > 1, f"a sequence has {few} segment")
    clips = split.clips(torch.arange(2), generator())
    expected = (2, opened.spec.segment_frames or opened.spec.n_frames, *opened.spec.frame)
    require(tuple(clips.shape) == expected, f"segments have shape {tuple(clips.shape)}, not {expected}")


@check("options")
def each_option_can_be_described(opened: Opened) -> None:
    """Every option has a text and a default that it admits, and `describe` takes every value of it.

    Options are part of the config, the record and the id of a cell; what changes the data changes the revision.
    """
    for name, option in opened.kind.options.items():
        require(option.text, f"data.{name} has no text")
        require(option.admits(option.default), f"data.{name} does not admit its default {option.default!r}")
        plain = opened.kind.describe(opened.source, opened.size)
        for value in option.choices:
            chosen: dict[str, Any] = {name: value}
            spec = opened.kind.describe(opened.source, opened.size, **chosen)
            require(spec.name == plain.name, f"data.{name}={value} changes the name of the data")
            same = value == option.default
            require(not same or spec == plain, f"data.{name}={value} is the default and changes what is described")
    if not opened.kind.options:
        raise Skipped("it has no options")
