"""Whose data stand behind the numbers, and what may be shown of them: the page of licences, and credits beside clips."""

from __future__ import annotations

import dataclasses

from seqdis.bench.figures.cells import is_showable
from seqdis.bench.plan.catalog import data_facts
from seqdis.bench.records.collection import Collection
from seqdis.bench.records.record import Json
from seqdis.bench.site import cell_page


@dataclasses.dataclass(frozen=True)
class DataSetView:
    """A data set on the page of licences."""

    title: str
    source: str
    facts: tuple[tuple[str, str], ...]
    showing: str


def data_sets(collection: Collection) -> list[DataSetView]:
    """The data sets behind the numbers."""
    found: dict[tuple[str, str, str], DataSetView] = {}
    for setting, about in collection.about.items():
        data, key = about.data, (setting.dataset, setting.source, setting.revision)
        if data is None or key in found:
            continue
        found[key] = DataSetView(
            title=cell_page.text(data.title) or setting.dataset,
            source=setting.source,
            facts=cell_page.pairs(
                ("Licence", data.licence),
                ("Revision", setting.revision),
                ("Split", data.split_rule),
                ("Factors", ", ".join(cell_page.text(factor.name) for factor in data.factors)),
                ("Attribution", data.attribution),
            ),
            showing="Clips of this data set are shown on the pages of its cells."
            if is_showable(setting.dataset, setting.source, data.may_show)
            else "Its licence does not allow frames or audio to be shown, decoded or not; none is on this site.",
        )
    return [found[key] for key in sorted(found)]


def credit(record: Json) -> str:
    """Whose pictures these are, if their licence asks for it to be said."""
    cell, data = record["cell"], record["data"]
    stated = cell_page.text(data.get("attribution"), 600)
    facts = data_facts(str(cell["dataset"])) if cell["source"] == "real" and not stated else None
    return facts.attribution if facts is not None else stated
