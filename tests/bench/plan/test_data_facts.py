"""What the files of the data sets say of their real data is what their specs say."""

from __future__ import annotations

import pytest

from seqdis.bench.plan import catalog


@pytest.mark.parametrize("name", sorted(catalog.dataset_modules()))
def test_facts_are_those_of_the_spec(name):
    facts, kind = catalog.data_facts(name), catalog.load_dataset(name)
    spec = kind.describe("real", 64)
    assert facts is not None
    assert (facts.title, facts.may_show) == (spec.title, spec.may_show)
    assert facts.attribution in ("", spec.attribution)


def test_other_peoples_data_have_none_and_an_addition_changes_nothing():
    assert catalog.data_facts("somebodys") is None
    assert catalog.data_facts("mug-at-home") == catalog.data_facts("mug")
