"""What stands under a table: where the numbers come from, what they can show, and a footnote for each exception."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from seqdis.bench.plan.outdated import REMEDY, code_words, other_code
from seqdis.bench.plan.studies import varies_batch
from seqdis.bench.records.collection import Collection, Entry, Setting
from seqdis.bench.tables import published, statistics
from seqdis.bench.tables.columns import Source, View, way_of
from seqdis.bench.tables.grouping import Block, Group
from seqdis.bench.tables.layout import Cell
from seqdis.bench.tables.settings import settings_notes

_SUPERVISION = {
    "external signal": "trained with an external signal that the others do not see",
    "privileged signal": "trained with a signal that only the data's generator knows",
    "motion labels": "trained with motion labels; not an unsupervised row",
}
_OUTSIDE = "outside the suite: its code is not ours to check, and its name and supervision are what its author says"
_TROUBLES = {
    "collapse_static": "its static code collapsed: a KL term near zero, every clip has the same one",
    "collapse_dynamic": "its dynamic code collapsed: a KL term near zero, every clip has the same one",
    "discriminator": "its discriminator won: right on nearly every clip for long, so that the generator learnt little from it",
    "divergence": "its training diverged: it rebuilds clips worse than at its first logged steps",
}
_SPREAD = (
    "± is one standard deviation over seeds; 95 % intervals (on the page, in JSON and parquet) are Student's, cut at the "
    "metric's limits."
)
_NAMES = {
    "comparison": "Comparison",
    "augmentation": "Augmentation ablation",
    "estimators": "MWS against contrastive estimation",
    "published-weights": "Published weights",
    "batch-size": "Batch size",
    "cost": "Training cost",
    "seeds": "Intervals over seeds",
}


def is_comparable(setting: Setting) -> bool:
    """Whether a difference from a published number means anything: real data of that name at the papers' scale."""
    return (
        setting.source == "real"
        and setting.preset.startswith("paper")
        and any(number.dataset == setting.dataset for number in published.load())
    )


class Footnotes:
    """Marks and their texts, in the order in which they are first needed."""

    def __init__(self, block: Block) -> None:
        self.texts: dict[str, str] = {}
        self._threads = _threads(block.entries)
        self._numbers: dict[str, str] = {}

    @property
    def ordered(self) -> dict[str, str]:
        """Symbols before numbers, and what explains the table's parts last."""
        return dict(sorted(self.texts.items(), key=lambda item: (len(item[0]) > 3, item[0].isdigit())))

    def number(self, text: str) -> str:
        """The mark of a footnote; the same text has one mark."""
        if text not in self._numbers:
            self._numbers[text] = str(len(self._numbers) + 1)
            self.texts[self._numbers[text]] = text
        return self._numbers[text]

    def provisional(self, group: Group) -> bool:
        """Whether the row has too few seeds; notes what ° means."""
        if not group.entries or len(group.entries) >= statistics.MIN_SEEDS:
            return False
        self.texts["°"] = f"provisional: fewer than {statistics.MIN_SEEDS} seeds"
        return True

    def shared_device(self, group: Group) -> tuple[str, ...]:
        """The mark of a row whose costs were measured with other cells on the same GPU."""
        beside = max((entry.get("cost/cells_on_gpu") or 1.0 for entry in group.entries), default=1.0)
        if beside <= 1:
            return ()
        return (self.number(f"up to {beside:.0f} cells ran on its GPU at once: alone it would be faster"),)

    def mark_way(self, group: Group, view: View, cell: Cell) -> None:
        """† at a headline that was scored on generated clips, ‡ at one that is a consistency."""
        if group.entries and cell.mean is not None:
            way = way_of(group.entries[0], view.factor)
            if way.mark:
                cell.marks += (way.mark,)
                self.texts[way.mark] = way.footnote

    def for_group(self, group: Group, headline: Source | None) -> tuple[str, ...]:
        """Marks of a row's label: supervision, notes, other configs, failed and inapplicable cells."""
        texts = [_OUTSIDE] if group.is_outside else []
        for entry in group.entries[:1]:
            if entry.supervision in _SUPERVISION:
                signal = f" ({entry.signal})" if entry.signal else ""
                texts.append(_SUPERVISION[entry.supervision] + signal)
        texts += [f"changed with --set: {', '.join(entry.overrides)}" for entry in group.entries[:1] if entry.overrides]
        if len(self._threads) > 1 and (own := _threads(group.entries)):
            counts = " or ".join(map(str, sorted(own)))
            texts.append(f"computed with {counts} CPU threads: with another number the last digits are others")
        texts += _recorded_notes(group)
        texts += _other_code(group)
        if group.has_twin:
            texts.append("rows of one name with different settings: the digits after the name are of their config")
        if headline is not None and group.entries and any(headline(entry) is None for entry in group.entries):
            texts.append("not every record has the headline metric")
        for entry in group.missing:
            kind = "n/a" if entry.status == "n/a" else f"seed {entry.seed} failed"
            texts.append(f"{kind}: {entry.reason or 'no reason recorded'}")
        return tuple(dict.fromkeys(self.number(text) for text in texts))


def _threads(entries: Sequence[Entry]) -> set[int]:
    """Threads that entries were computed with, where numbers hang on them: on CPUs."""
    return {entry.threads for entry in entries if entry.device.startswith("cpu") and entry.threads}


def _recorded_notes(group: Group) -> list[str]:
    """What the records of a row say about themselves; what only some seeds say names them."""
    seeds: dict[str, list[int]] = {}
    for entry in group.entries:
        troubles = [_TROUBLES[kind] for kind in entry.troubles if kind in _TROUBLES]
        for note in dict.fromkeys((*entry.notes, *troubles)):
            if note not in _SUPERVISION:
                seeds.setdefault(note, []).append(entry.seed)
    return [f"{_seeds_of(group, found)}{note}" for note, found in seeds.items()]


def _other_code(group: Group) -> list[str]:
    """That a row was made by code that is not today's, where its records say by which."""
    found: dict[str, list[int]] = {}
    for entry in group.entries:
        if words := code_words(other_code(entry.method, entry.setting.dataset, entry.codes)):
            found.setdefault(words, []).append(entry.seed)
    return [f"{_seeds_of(group, seeds)}{words}; {REMEDY}" for words, seeds in found.items()]


def _seeds_of(group: Group, seeds: list[int]) -> str:
    """Which seeds a note is about; empty for all."""
    if len(seeds) == len(group.entries):
        return ""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}: "


def title(name: str, block: Block) -> str:
    """The caption of a block."""
    data, setting = block.about.data, block.setting
    size = f", {setting.size}x{setting.size}" if setting.size and data is not None and len(data.frame) == 3 else ""
    dataset = (data.title if data is not None else "") or setting.dataset
    return f"{_NAMES.get(name, name)}: {dataset} ({setting.source}{size}), preset {setting.preset}"


def notes(name: str, block: Block, view: View, collection: Collection, is_ranked: bool) -> list[str]:
    """The footer of a block of scores."""
    return [
        text
        for text in (
            _seeds(block, view, is_ranked),
            _data(block),
            _preset(block, collection),
            *settings_notes(block, collection),
            _judge(block),
            _protocol(block, view),
            _ceilings(block, view),
            _literature(name, block, view),
            *code_notes(block),
        )
        if text
    ]


def _seeds(block: Block, view: View, is_ranked: bool) -> str:
    counts = [len(group.entries) for group in block.groups if group.entries and group.is_ranked]
    if not counts:
        return ""
    if is_ranked:
        return (
            "Ranks: intervals from Welch tests over seeds on the headline metric, Holm-corrected over all pairs, at "
            f"5 %; rows that share a letter are not separable. Bold or *: best mean of ranked rows. {_SPREAD}"
        )
    if max(counts) == 1:
        return "One seed ranks nothing: no row is ranked or bold. Run again with --seeds 3 or more."
    return f"No row is ranked or bold: a ranking takes at least two rows of {statistics.MIN_SEEDS} seeds. {_SPREAD}"


def _data(block: Block) -> str:
    data, setting = block.about.data, block.setting
    if data is None:
        return ""
    source = (
        "real data"
        if setting.source == "real"
        else (
            "SYNTHETIC stand-in, generated by this suite with the same factors, shapes and splits: not the field's data"
        )
    )
    splits = data.splits
    return (
        f"Data: {data.title or setting.dataset}, {source}; revision {setting.revision or 'unknown'} "
        f"({setting.digest[:8] or 'no digest'}); {data.n_frames} frames; {data.split_rule}; "
        f"clips: {splits.train} train, {splits.validation} validation, {splits.test} test."
    )


def _preset(block: Block, collection: Collection) -> str:
    trained = [entry for entry in block.entries if entry.planned_steps]
    if not trained:
        return ""
    steps = _span([entry.planned_steps for entry in trained])
    batches = _span([entry.batch_size for entry in trained])
    text = f"Preset {block.setting.preset}: {steps} steps of batch {batches}"
    configs = dict.fromkeys(entry.config for entry in trained)
    weights = _weights([collection.configs.get(config) or {} for config in configs])
    if weights and not block.setting.preset.startswith("paper"):
        text += f"; weights (not the published ones; where a row has them): {weights}"
    return text + "."


def _span(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _weights(configs: list[dict[str, Any]]) -> str:
    """Loss weights that every row which has them shares."""
    found: dict[str, set[Any]] = {}
    for config in configs:
        for key, value in (config.get("method") or {}).items():
            if key.endswith("_weight") and isinstance(value, (int, float)) and value:
                found.setdefault(key.removesuffix("_weight"), set()).add(value)
    shared = {key: values.pop() for key, values in sorted(found.items()) if len(values) == 1}
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in shared.items())


def _judge(block: Block) -> str:
    judge = block.about.judge
    if judge is None:
        return "" if block.setting.judge == "" else f"Judge: SHA-256 {block.setting.judge[:8]}."
    known = {factor: value for factor, value in judge.accuracy.items() if isinstance(value, int | float)}
    right = ", ".join(f"{factor} {100 * value:.1f} %" for factor, value in known.items())
    whose = "" if block.about.is_shipped_judge else ", which does not come with this suite"
    return (
        f"Judge: {judge.name} ({block.setting.judge[:8]}){whose}, right on held-out clips: {right or 'not recorded'}."
    )


def _protocol(block: Block, view: View) -> str:
    setting = block.setting
    if view.direction == "verification":
        trials = {entry.get(f"{view.factor}/n_trials") for entry in block.entries} - {None}
        speakers = {entry.get(f"{view.factor}/n_speakers") for entry in block.entries} - {None}
        count = " to ".join(f"{value:.0f}" for value in sorted(trials, key=lambda value: value or 0.0))
        people = " to ".join(f"{value:.0f}" for value in sorted(speakers, key=lambda value: value or 0.0))
        return f"Protocol {setting.protocol}: posterior means, cosine over {count} trials of {people} speakers."
    clips = sorted({value for entry in block.entries if (value := entry.get(f"{view.direction}/n_clips")) is not None})
    test = block.about.data.splits.test if block.about.data is not None else 0
    over = " to ".join(f"{value:.0f}" for value in clips)
    share = f" of {test}" if clips and test and clips != [test] else ""
    how = _DRAWS.get(setting.sample, "prior draws")
    return (
        f"Protocol {setting.protocol}: the kept code is the posterior mean; {setting.draws} {how} a test clip, "
        f"averaged within a seed; judged against the true label" + (f" on {over}{share} test clips." if over else ".")
    )


_DRAWS = {"means": "prior rolls, decoded as step means", "training codes": "codes of random training clips (no prior)"}


def _ceilings(block: Block, view: View) -> str:
    if not view.classes:
        return ""
    log = math.log(view.classes)
    per = f" for each of {', '.join(view.heads)} (their mean is printed)" if len(view.heads) > 1 else ""
    text = f"Ceilings: H(y) {log:.3f} nats and IS {view.classes}{per}; chance Acc {100 / view.classes:.1f} %"
    if len(view.heads) > 1:
        text = text.replace(f"chance Acc {100 / view.classes:.1f} %", f"Acc: all of {', '.join(view.heads)} right")
    real = sorted({value for entry in block.entries if (value := entry.get(f"real/{view.factor}/acc")) is not None})
    if real:
        text += f"; the judge on the test clips themselves: {100 * real[-1]:.1f} %"
    return text + "."


def published_number(name: str, group: Group, block: Block, key: str) -> published.Number | None:
    """The literature's number for a row of the table `name`: on real data, and not for what only borrows a published name."""
    variant = f"batch {group.batch_size}" if varies_batch(name) else group.variant
    if group.is_outside or block.setting.source != "real":
        return None
    return published.find(group.method, variant, block.setting.dataset, key)


def _literature(name: str, block: Block, view: View) -> str:
    found = {
        number.source
        for group in block.groups
        for key in view.published
        if (number := published_number(name, group, block, key))
    }
    if not found:
        return ""
    if is_comparable(block.setting):
        return (
            f"'Paper' columns: {'; '.join(sorted(found))}; other judges and other code, so a difference is an "
            "indication only."
        )
    return (
        f"'Paper' columns ({'; '.join(sorted(found))}) were measured on the real data at full scale: they are context, "
        "not comparable with this block, and no difference is printed."
    )


def code_notes(block: Block) -> list[str]:
    """Which code made the numbers."""
    commits = sorted(
        {entry.commit[:7] + (" with changes" if entry.dirty else "") for entry in block.entries if entry.commit}
    )
    if not block.setting.version and not commits:
        return []
    where = f", commit {', '.join(commits[:4])}{' and others' if len(commits) > 4 else ''}" if commits else ""
    return [f"Code: version {block.setting.version or 'unknown'}{where}."]
