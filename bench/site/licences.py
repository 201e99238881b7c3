"""Whose data stand behind the numbers, and what may be shown of them: the page of licences, and credits beside clips."""

from __future__ import annotations

from typing import Any

from seqdis.bench.figures.cells import is_showable
from seqdis.bench.plan.catalog import data_facts
from seqdis.bench.records.collection import Collection
from seqdis.bench.records.record import Json
from seqdis.bench.site import cell_page


def data_sets(collection: Collection) -> list[dict[str, Any]]:
    """The data sets behind the numbers."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for setting, about in collection.about.items():
        data = about.get("data") or {}
        key = (setting.dataset, setting.source, setting.revision)
        if not data or key in found:
            continue
        shows = is_showable(setting.dataset, setting.source, data)
        factors = ", ".join(
            cell_page.text(each.get("name")) for each in cell_page.listed(data.get("factors")) if isinstance(each, dict)
        )
        found[key] = {
            "title": cell_page.text(data.get("title")) or setting.dataset,
            "source": setting.source,
            "facts": cell_page.pairs(
                ("Licence", data.get("licence")),
                ("Revision", setting.revision),
                ("Split", data.get("split_rule")),
                ("Factors", factors),
                ("Attribution", data.get("attribution")),
            ),
            "showing": "Clips of this data set are shown on the pages of its cells."
            if shows
            else "Its licence does not allow frames or audio to be shown, decoded or not; none is on this site.",
        }
    return [found[key] for key in sorted(found)]


def credit(record: Json) -> str:
    """Whose pictures these are, if their licence asks for it to be said."""
    cell, data = record["cell"], record["data"]
    stated = cell_page.text(data.get("attribution"), 600)
    facts = data_facts(str(cell["dataset"])) if cell["source"] == "real" and not stated else None
    return facts.attribution if facts is not None else stated
