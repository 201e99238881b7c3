"""The critical-difference diagram: which rows it joins, what it prints, and that it waits for six data sets."""

from __future__ import annotations

import pytest

from seqdis.bench.cli import main
from seqdis.bench.core.errors import UserError
from seqdis.bench.figures import diagrams
from seqdis.bench.records.collection import load
from seqdis.bench.tables import statistics
from seqdis.bench.tables.build import average_ranks

LEVELS = {"dsvae": 0.3, "rwae": 0.45, "s3vae": 0.6, "cdsvae": 0.9}


@pytest.fixture
def lab(tmp_path, make_record, store_record):
    """Records of four methods, three seeds, on so many made-up data sets."""

    def build(n_datasets, **options):
        for number in range(n_datasets):
            name = f"set{number}"
            for method, acc in LEVELS.items():
                for seed in range(3):
                    changes = {"cell.dataset": name, "data.name": name, **options}
                    store_record(tmp_path / "runs", make_record(method, seed=seed, acc=acc, changes=changes))
        return tmp_path / "runs"

    return build


def test_bars_join_what_lies_within_the_critical_difference():
    average = {"a": 1.0, "b": 1.8, "c": 2.5, "d": 3.9}
    assert diagrams.not_separated(average, 1.0) == [(1.0, 1.8), (1.8, 2.5)]
    assert diagrams.not_separated(average, 2.0) == [(1.0, 2.5), (2.5, 3.9)]
    assert diagrams.not_separated(average, 0.5) == []
    assert diagrams.not_separated(average, 9.0) == [(1.0, 3.9)]


def test_six_data_sets_have_a_diagram(lab):
    ((place, across),) = average_ranks(load([lab(6)])).items()
    assert place == ("synthetic", "quick")
    assert across.average["C-DSVAE"] == 1.0
    figure = diagrams.critical_difference(across, "synthetic, preset quick")
    texts = [text.get_text() for text in (*figure.axes[0].texts, *figure.texts)]
    assert any("C-DSVAE (1.00)" in text for text in texts)
    assert any(f"critical difference {across.critical_difference:.2f}" in text for text in texts)
    assert any("6 data sets" in text for text in texts)


def test_the_command_writes_it_or_says_that_there_are_too_few(lab, tmp_path, capsys):
    out = ["--out", str(lab(5)), "--out-dir", str(tmp_path / "figures"), "--format", "png,pdf"]
    assert main(["figure", "ranks", *out]) == 2
    assert "too few data sets" in capsys.readouterr().err
    lab(6)
    assert main(["figure", "ranks", *out]) == 0
    assert sorted(path.suffix for path in (tmp_path / "figures").iterdir()) == [".pdf", ".png"]
    assert main(["figure", "ranks", *out, "--method", "cdsvae"]) == 2
    assert main(["figure", "ranks", *out[:-1], "gif"]) == 2


def test_a_data_set_in_several_blocks_counts_once(lab):
    """Two judges of three data sets are not six data sets."""
    runs = lab(3)
    lab(3, **{"judge.sha256": "cd" * 32, "cell.id": ""})
    collection = load([runs])
    (across,) = average_ranks(collection).values()
    assert across.n_datasets == 3
    assert across.critical_difference is None


def test_no_diagram_without_a_critical_difference():
    across = statistics.across_datasets({"one": {"a": 1.0, "b": 2.0, "c": 3.0}})
    with pytest.raises(UserError, match="too few data sets"):
        diagrams.critical_difference(across, "real")
