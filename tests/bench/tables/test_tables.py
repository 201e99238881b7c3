from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.plan.today import method_code, suite_code
from seqdis.bench.records.collection import Collection, load
from seqdis.bench.records.config import config_json
from seqdis.bench.tables.build import build as build_table
from seqdis.judges.cards import shipped_cards

LEVELS = {"dsvae": 0.4, "cdsvae": 0.9, "s3vae": 0.6, "rwae": 0.5}


def _only(document):
    (table,) = document.tables
    return table


def _row(table, label):
    (row,) = [row for row in table.rows if row.label == label]
    return row


def _grid(make_record, seeds=3, **options):
    return [
        make_record(method, seed=seed, acc=acc, **options) for method, acc in LEVELS.items() for seed in range(seeds)
    ]


def test_comparison_averages_draws_then_seeds(build, make_record):
    records = [make_record(seed=seed) for seed in range(3)]
    row = _row(_only(build("comparison", records)), "C-DSVAE")
    by_seed = [
        sum(draw["action"]["acc"] for draw in record["metrics"]["directions"]["fix_dynamic"]["draws"]) / 3
        for record in records
    ]
    mean = sum(by_seed) / 3
    assert row.cell("acc").values == pytest.approx(by_seed)
    assert row.cell("acc").mean == pytest.approx(mean)
    assert row.cell("acc").std == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in by_seed) / 2))
    assert row.cell("n").mean == 3


def test_leakage_is_scored_on_what_was_drawn_anew(build, make_record):
    record = make_record()
    row = _row(_only(build("comparison", [record])), "C-DSVAE")
    draws = record["metrics"]["directions"]["fix_dynamic"]["draws"]
    other = record["metrics"]["directions"]["fix_static"]["draws"]

    def mean(draws, factor, key="acc"):
        return sum(draw[factor][key] for draw in draws) / len(draws)

    assert row.cell("leak").mean == pytest.approx((mean(draws, "skin") + mean(draws, "tops")) / 2)
    assert row.cell("sampled_entropy").mean == pytest.approx(
        (mean(draws, "skin", "label_entropy") + mean(draws, "tops", "label_entropy")) / 2
    )
    assert row.cell("other_skin").mean == pytest.approx(mean(other, "skin"))
    assert row.cell("other_leak").mean == pytest.approx(mean(other, "action"))
    assert row.cell("rec_acc").mean == record["metrics"]["reconstruction"]["factors"]["action"]["acc"]
    assert row.cell("rec_skin").mean == record["metrics"]["reconstruction"]["factors"]["skin"]["acc"]


def test_one_seed_ranks_nothing_and_says_so(build, make_record):
    table = _only(build("comparison", _grid(make_record, seeds=1)))
    assert not any(cell.bold for row in table.rows for cell in row.cells.values())
    assert not any("rank" in row.cells for row in table.rows)
    assert all(row.cell("n").marks == ("°",) for row in table.rows)
    assert any(note.startswith("One seed ranks nothing") for note in table.notes)


def test_two_seeds_are_provisional(build, make_record):
    table = _only(build("comparison", _grid(make_record, seeds=2)))
    assert not any(cell.bold for row in table.rows for cell in row.cells.values())
    assert "provisional" in table.footnotes["°"]


def test_three_seeds_rank(build, make_record):
    table = _only(build("comparison", _grid(make_record)))
    assert _row(table, "C-DSVAE").cell("acc").bold
    assert _row(table, "C-DSVAE").cell("rank").text.startswith("1 ")
    assert not _row(table, "DSVAE").cell("acc").bold
    assert not table.footnotes.get("°")


def test_a_row_with_too_few_seeds_is_not_ranked_among_others(build, make_record):
    records = [*_grid(make_record), make_record("fhvae", acc=1.0)]
    table = _only(build("comparison", records))
    assert not _row(table, "FHVAE").cell("acc").bold
    assert "rank" not in _row(table, "FHVAE").cells
    assert _row(table, "C-DSVAE").cell("acc").bold


def test_controls_stand_below_the_rule_unranked(build, make_record):
    controls = [make_record("oracle", seed=seed, acc=1.0) for seed in range(3)]
    table = _only(build("comparison", [*_grid(make_record), *controls]))
    above, below = table.sections
    assert [row.label for row in below.rows] == ["Renderer of the true factors"]
    assert not any(cell.bold for row in below.rows for cell in row.cells.values())
    assert "rank" not in below.rows[0].cells
    assert _row(table, "C-DSVAE").cell("acc").bold
    assert len(above.rows) == len(LEVELS)


def test_supervised_rows_stand_below_the_rule_unranked(build, make_record):
    supervised = [
        make_record(
            "rwae", seed=seed, variant="weak", acc=1.0, changes={"ranked": False, "supervision": "motion labels"}
        )
        for seed in range(3)
    ]
    table = _only(build("comparison", [*_grid(make_record), *supervised]))
    row = _row(table, "R-WAE (weak)")
    assert row in table.sections[1].rows
    assert not row.cell("acc").bold
    assert "motion labels" in table.footnotes[row.marks[0]]


def test_recorded_notes_are_footnotes_and_name_their_seeds(build, make_record):
    whole, single = "not trained at this scale", "resumed from a checkpoint"
    records = [
        make_record("cdsvae", seed=seed, changes={"notes": [whole, *([single] if seed == 1 else [])]})
        for seed in range(3)
    ]
    table = _only(build("comparison", [*records, make_record("dsvae")]))
    texts = [table.footnotes[mark] for mark in _row(table, "C-DSVAE").marks]
    assert texts == [whole, f"seed 1: {single}"]
    assert not _row(table, "DSVAE").marks


def test_a_signal_has_one_footnote(build, make_record):
    """The method's own note says "external signal"; that the data's generator gave it is known to the record only."""
    record = make_record("s3vae", changes={"supervision": "privileged signal", "notes": ["external signal"]})
    table = _only(build("comparison", [record]))
    (mark,) = _row(table, "S3VAE").marks
    assert "only the data's generator knows" in table.footnotes[mark]


def test_marks_of_methods_come_before_those_of_numbers(build, make_record):
    table = _only(build("comparison", [make_record(method) for method in ("mocogan", "rwae", "s3vae", "cdsvae")]))
    numbers = [int(mark) for row in table.rows for mark in row.marks]
    assert numbers == list(range(1, len(numbers) + 1))
    assert list(table.footnotes) == sorted(
        table.footnotes, key=lambda mark: (mark.isdigit(), int(mark) if mark.isdigit() else 0)
    )


def test_external_signals_are_footnoted(build, make_record):
    table = _only(build("comparison", _grid(make_record)))
    (mark,) = _row(table, "S3VAE").marks
    assert "external signal" in table.footnotes[mark]
    assert "optical flow" in table.footnotes[mark]


def test_generated_clips_are_marked_and_never_ranked_with_encoded_ones(build, make_record):
    mocogan = [make_record("mocogan", seed=seed, acc=1.0) for seed in range(3)]
    table = _only(build("comparison", [*_grid(make_record), *mocogan]))
    row = _row(table, "MoCoGAN")
    assert row.cell("acc").marks == ("†",)
    assert "no encoder" in table.footnotes["†"]
    assert "rank" not in row.cells
    assert not row.cell("acc").bold
    assert _row(table, "C-DSVAE").cell("acc").bold
    assert row.cell("leak").mean is None
    assert row.cell("other_leak").mean is None
    assert row.cell("is").mean is not None


def test_a_consistency_is_marked_as_no_accuracy(build, make_record):
    row = _row(_only(build("comparison", [make_record("mocogan", "smmnist")])), "MoCoGAN")
    assert row.cell("acc").marks == ("‡",)
    assert row.cell("is").mean is None
    assert row.cell("h_y").mean == pytest.approx(2.2)


def test_joint_headlines_print_the_mean_entropy_of_their_heads(build, make_record):
    record = make_record("dsvae", "smmnist", draws=1)
    row = _row(_only(build("comparison", [record])), "DSVAE")
    scores = record["metrics"]["directions"]["fix_static"]["draws"][0]
    assert row.cell("acc").mean == pytest.approx(scores["digits"]["acc"])
    assert row.cell("h_y").mean == pytest.approx((scores["digit_low"]["h_y"] + scores["digit_high"]["h_y"]) / 2)
    assert row.cell("joint_h_y").mean == pytest.approx(scores["digits"]["h_y"])


def test_verification_has_errors_gap_intervals_and_probes(build, make_record):
    records = [make_record("fhvae", "timit", seed=seed) for seed in range(2)]
    row = _row(_only(build("comparison", records)), "FHVAE")
    parts = [record["metrics"]["verification"]["utterance"] for record in records]
    assert row.cell("eer_static").mean == pytest.approx(sum(part["eer_static"] for part in parts) / 2)
    assert row.cell("gap_ci").interval == pytest.approx(
        [sum(part["gap_ci"][end] for part in parts) / 2 for end in (0, 1)]
    )
    assert row.cell("probe_phone_dynamic").mean > row.cell("probe_phone_static").mean


def test_an_inapplicable_cell_is_a_dash_with_its_reason(build, make_record):
    blank = {
        "status": "n/a",
        "metrics": {},
        "judge": None,
        "ranked": False,
        "title": "mocogan",
        "data": {"name": "timit", "source": "synthetic"},
        "error": {"reason": "it has no encoder"},
        "protocol": {"name": "none", "version": 1, "draws": 0, "sample": ""},
    }
    table = _only(build("comparison", [make_record("fhvae", "timit"), make_record("mocogan", "timit", changes=blank)]))
    row = _row(table, "MoCoGAN")
    assert row in table.sections[0].rows
    assert row.cell("gap").mean is None
    assert table.footnotes[row.marks[0]] == "n/a: it has no encoder"


def test_a_failed_seed_is_footnoted_and_the_others_stand(build, make_record):
    failed = make_record(
        "dsvae", seed=2, changes={"status": "failed", "metrics": {}, "error": {"reason": "not finite"}}
    )
    table = _only(build("comparison", [make_record("dsvae", seed=0), make_record("dsvae", seed=1), failed]))
    (row,) = table.rows
    assert row.cell("acc").n == 2
    assert table.footnotes[row.marks[0]] == "seed 2 failed: not finite"


def test_overridden_records_have_a_table_of_their_own_without_ranks(build, make_record):
    changed = {"cell.overrides": {"method.lr": 0.01}}
    records = [make_record("cdsvae", seed=seed) for seed in range(3)]
    assert build("overrides", records).notes == ["No record fits the table 'overrides'."]
    records += [make_record("cdsvae", seed=seed, changes=changed) for seed in range(3)]
    document = build("overrides", records)
    (row,) = document.tables[0].rows
    assert [document.tables[0].footnotes[mark] for mark in row.marks] == ["changed with --set: method.lr=0.01"]
    assert row.cell("acc").n == 3
    assert "rank" not in row.cells
    assert not row.cell("acc").bold
    assert "bench table overrides" in build("comparison", records).excluded[0]


def test_overridden_and_unfinished_records_stay_out_of_the_row(build, make_record):
    records = [
        make_record(seed=0),
        make_record(seed=1, changes={"cell.overrides": {"training.steps": 5}}),
        make_record(seed=2, changes={"training.complete": False, "training.steps": 700}),
    ]
    document = build("comparison", records)
    assert _only(document).rows[0].cell("acc").n == 1
    assert len(document.excluded) == 2
    assert any("training.steps=5" in text for text in document.excluded)
    assert any("700 of 1500" in text for text in document.excluded)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("judge.sha256", "ef" * 32, "judge"),
        ("protocol.version", 2, "protocol version"),
        ("protocol.draws", 9, "prior draws"),
        ("data.revision", "2", "data revision"),
        ("data.digest", "12" * 32, "data digest"),
        ("code.version", "0.2.0", "version of this suite"),
        ("protocol.sample", "means", "how codes are drawn"),
    ],
)
def test_what_differs_in_its_measure_is_never_in_one_block(build, make_record, key, value, word):
    document = build(
        "comparison", [make_record(seed=0), make_record(seed=1), make_record(seed=2, changes={key: value})]
    )
    assert sorted(table.rows[0].cell("acc").n for table in document.tables) == [1, 2]
    assert any(word in note and "not comparable" in note for note in document.notes)


@pytest.mark.parametrize(("key", "value"), [("preset", "demo"), ("source", "real"), ("size", 64)])
def test_presets_sources_and_sizes_are_blocks_of_their_own(build, make_record, key, value):
    document = build("comparison", [make_record(seed=0), make_record(seed=1, **{key: value})])
    assert len(document.tables) == 2


def test_another_config_is_another_row(build, make_record):
    changed = make_record(seed=1, changes={"config.method": {"lr": 0.1}})
    table = _only(build("comparison", [make_record(seed=0), changed]))
    assert [row.cell("acc").n for row in table.rows] == [1, 1]
    assert len({row.label for row in table.rows}) == 2
    assert "different settings" in table.footnotes[table.rows[0].marks[-1]]


def test_the_same_row_and_seed_twice_counts_once(build, make_record):
    twin = make_record(seed=0, changes={"cell.id": "another-id"})
    document = build("comparison", [make_record(seed=0), twin])
    assert _only(document).rows[0].cell("acc").n == 1
    assert "same row and seed" in document.excluded[0]


def test_published_numbers_stand_beside_without_a_difference_at_another_scale(build, make_record):
    table = _only(build("comparison", [make_record(source="real")]))
    row = _row(table, "C-DSVAE")
    assert row.cell("acc_published").mean == pytest.approx(0.9999)
    assert row.cell("acc_difference").mean is None
    assert any("not comparable with this block" in note for note in table.notes)


def test_the_papers_scale_has_a_difference(build, make_record):
    table = _only(build("comparison", [make_record(preset="paper", source="real", size=64)]))
    cell = _row(table, "C-DSVAE").cell("acc_difference")
    assert cell.mean == pytest.approx(_row(table, "C-DSVAE").cell("acc").mean - 0.9999)


def test_published_numbers_never_stand_beside_generated_data(build, make_record):
    table = _only(build("comparison", [make_record()]))
    assert not any(column.is_literature and table.used(column.key) for column in table.columns)
    assert not any("Paper" in note for note in table.notes)


def test_misprints_keep_their_footnote(build, make_record):
    table = _only(build("comparison", [make_record("mocogan", "smmnist", source="real")]))
    (mark,) = _row(table, "MoCoGAN").cell("h_y_published").marks
    assert "imply about 1.600" in table.footnotes[mark]


def test_synthetic_data_are_called_synthetic(build, make_record):
    table = _only(build("comparison", [make_record()]))
    assert "synthetic" in table.title
    assert any("SYNTHETIC" in note and "not the field's data" in note for note in table.notes)
    document = build("comparison", [make_record(source="real")])
    assert not any("SYNTHETIC" in note for note in document.tables[0].notes)


def test_the_footer_names_what_the_numbers_hang_on(build, make_record):
    footer = " ".join(_only(build("comparison", [make_record()])).notes)
    for words in (
        "preset",
        "1500 steps",
        "sprites-32 (abababab)",
        "99.9 %",
        "Protocol 1",
        "3 prior draws",
        "revision 1",
        "split by character",
        "2664 test",
        "2.197",
        "IS 9",
        "97.0 %",
        "0.1.0",
    ):
        assert words.lower() in footer.lower()


def test_augmentation_shows_its_rows_only(build, make_record):
    records = [
        make_record(),
        make_record("dsvae"),
        make_record("s3vae"),
        make_record(variant="no-content-aug"),
        make_record(variant="no-motion-aug"),
        make_record(variant="gamma0"),
    ]
    assert [row.about["variant"] for row in _only(build("augmentation", records)).rows] == [
        "",
        "no-content-aug",
        "no-motion-aug",
        "",
    ]


def test_an_ablation_without_its_rows_is_left_out_and_says_how_to_get_them(build, make_record):
    document = build("augmentation", [make_record("dsvae"), make_record("cdsvae")])
    assert not document.tables
    assert any("bench run --table augmentation --datasets sprites" in note for note in document.notes)
    assert not build_table("batch-size", load([])).tables


def test_batch_sizes_are_rows_of_their_own_table_only(build, make_record):
    records = [make_record(), make_record(batch=8), make_record(batch=32)]
    rows = _only(build("batch-size", records)).rows
    assert [row.label for row in rows] == [f"C-DSVAE, batch {n}" for n in (8, 16, 32)]
    assert [row.about["batch"] for row in rows] == [8, 16, 32]
    assert [row.about["batch"] for row in _only(build("comparison", [])).rows] == [16]


def test_cost_keeps_devices_apart(build, make_record):
    records = [
        make_record(seed=0),
        make_record(seed=1, changes={"environment.device": "a GPU", "cost.gpu_memory_bytes": 3 << 30}),
    ]
    table = _only(build("cost", records))
    assert sorted(row.cell("device").text for row in table.rows) == ["a GPU", "cpu"]
    by_device = {row.cell("device").text: row for row in table.rows}
    assert by_device["cpu"].cell("gpu_memory_bytes").mean is None
    assert by_device["a GPU"].cell("gpu_memory_bytes").mean == 3 << 30
    assert by_device["cpu"].cell("train_seconds").mean == 80


def test_cost_of_a_shared_gpu_is_marked(build, make_record):
    records = [make_record("dsvae"), make_record("cdsvae", changes={"cost.cells_on_gpu": 4})]
    table = _only(build("cost", records))
    (mark,) = _row(table, "C-DSVAE").marks
    assert "4 cells ran on its GPU" in table.footnotes[mark]
    assert not _row(table, "DSVAE").marks


def test_rows_of_other_numbers_of_threads_say_so(build, make_record):
    two = {"environment.threads": 2}
    records = [make_record("dsvae"), make_record("cdsvae", changes=two), make_record("cdsvae", seed=1)]
    table = _only(build("comparison", records))
    texts = {row.label: [table.footnotes[mark] for mark in row.marks] for row in table.rows}
    assert any("computed with 1 CPU threads" in text for text in texts["DSVAE"])
    assert any("computed with 1 or 2 CPU threads" in text for text in texts["C-DSVAE"])
    for same in ({"environment.device": "a GPU", **two}, {}):
        table = _only(build("comparison", [make_record("dsvae"), make_record("cdsvae", changes=same)]))
        assert not any("threads" in text for text in table.footnotes.values())


def test_ranks_average_over_data_sets_and_say_too_few(build, make_record):
    records = [
        make_record(method, dataset, seed=seed, acc=acc)
        for method, acc in LEVELS.items()
        for dataset in ("sprites", "mug")
        for seed in range(3)
    ]
    table = _only(build("ranks", records))
    assert [row.label for row in table.rows] == ["C-DSVAE", "S3VAE", "R-WAE", "DSVAE"]
    assert table.rows[0].cell("average").mean == 1.0
    assert any("too few data sets" in note for note in table.notes)


def test_filters_choose_blocks(build, make_record):
    records = [make_record(dataset="sprites"), make_record(dataset="mug"), make_record(dataset="mug", preset="demo")]
    assert len(build("comparison", records, datasets=("mug",)).tables) == 2
    assert len(build("comparison", [], datasets=("mug",), presets=("demo",)).tables) == 1
    empty = build("comparison", [], sources=("real",))
    assert not empty.tables
    assert "No record fits" in empty.notes[0]


def test_the_literature_needs_no_records():
    document = build_table("published", Collection())
    assert [table.about["dataset"] for table in document.tables] == ["sprites", "mug", "smmnist", "timit"]
    assert not any("SKD" in row.label for table in document.tables for row in table.rows)
    everything = build_table("published", Collection(), unverified=True)
    skd = [row for table in everything.tables for row in table.rows if row.label == "SKD"]
    assert skd
    assert all(row.marks for row in skd)
    audit = build_table("audit", Collection())
    assert "averaged over splits" in audit.notes[1]


def test_an_unknown_table_is_named_with_the_nearest():
    with pytest.raises(UserError, match="comparison"):
        build_table("comparsion", Collection())


def test_seeds_have_intervals_and_pairs(build, make_record):
    intervals, pairs = build("seeds", _grid(make_record)).tables
    row = _row(intervals, "C-DSVAE")
    low, high = row.cell("t_low").mean, row.cell("t_high").mean
    assert low < row.cell("acc").mean < high
    assert low < row.cell("bootstrap_low").mean <= row.cell("bootstrap_high").mean < high
    assert len(pairs.rows) == 6
    assert all(row.cell("separable").text == "yes" for row in pairs.rows)
    assert _row(pairs, "DSVAE - C-DSVAE").cell("difference").mean == pytest.approx(
        _row(intervals, "DSVAE").cell("acc").mean - row.cell("acc").mean
    )


def test_one_seed_has_no_interval_and_no_pairs(build, make_record):
    (intervals,) = build("seeds", _grid(make_record, seeds=1)).tables
    assert not any("t_low" in row.cells for row in intervals.rows)
    assert not any("p" in row.cells for row in intervals.rows)
    # Other test identities are another matter: they can be drawn anew for one model too.
    assert all(row.cell("identities_low").marks for row in intervals.rows)


def test_seeds_and_identities_are_drawn_anew_together(build, make_record):
    intervals, pairs = build("seeds", _grid(make_record)).tables
    for row in intervals.rows:
        low, high = row.cell("identities_low").mean, row.cell("identities_high").mean
        assert low < row.cell("acc").mean < high
        # Wider than what the seeds alone say, since there is another source of chance.
        assert high - low > row.cell("bootstrap_high").mean - row.cell("bootstrap_low").mean
    pair = _row(pairs, "DSVAE - C-DSVAE")
    assert pair.cell("identities_low").mean < pair.cell("difference").mean < pair.cell("identities_high").mean
    assert any("296 test characters" in note for note in intervals.notes)


@pytest.mark.parametrize("spoilt", ["missing", "other clips", "other metric"])
def test_a_row_without_counts_by_identity_has_a_dash(build, make_record, spoilt):
    records = _grid(make_record)
    damaged = records[0]
    if spoilt == "missing":
        del damaged["identities"]
    elif spoilt == "other clips":
        damaged["identities"] |= {"clips": "2663 1", "right": "7 1"}
    else:
        damaged["identities"]["metric"] = "fix_dynamic/skin/acc"
    intervals, pairs = build("seeds", records).tables
    without = {row.label for row in intervals.rows if row.cell("identities_low").mean is None}
    assert without == {"DSVAE"}
    assert _row(pairs, "DSVAE - C-DSVAE").cell("identities_low").mean is None
    assert _row(pairs, "R-WAE - C-DSVAE").cell("identities_low").mean is not None


def test_records_of_earlier_versions_say_that_only_seeds_are_drawn(build, make_record):
    records = _grid(make_record)
    for record in records:
        del record["identities"]
    intervals, _ = build("seeds", records).tables
    assert not any("identities_low" in row.cells for row in intervals.rows)
    assert any("only seeds are drawn anew" in note for note in intervals.notes)


def test_two_plug_ins_of_one_file_keep_their_titles(build, make_record):
    records = [
        make_record("mine", changes={"title": title, "config.plugin_digest": code * 64})
        for title, code in (("Mine", "1"), ("Yours", "2"))
    ]
    assert {row.label[:-9] for row in _only(build("comparison", records)).rows} == {"Mine", "Yours"}


def test_a_failed_plug_in_is_a_row_of_its_own_beside_another_of_its_name(tmp_path, make_record, store_record):
    store_record(tmp_path, make_record("mine", changes={"title": "Mine", "config.plugin_digest": "1" * 64}))
    for code, seed in (("1", 1), ("2", 0)):
        record = make_record("mine", seed=seed, changes={"config.plugin_digest": code * 64})
        folder = tmp_path / "cells" / record["cell"]["id"]
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config_json(record["cell"], record["config"])))
        (folder / "error.json").write_text(json.dumps({"reason": f"broken {code}"}))
    table = _only(build_table("comparison", load([tmp_path])))
    assert [(row.label, row.about["seeds"]) for row in table.rows] == [("Mine", "0"), ("mine", "")]
    notes = [" ".join(table.footnotes[mark] for mark in row.marks) for row in table.rows]
    assert ["broken 2" in note for note in notes] == [False, True]
    assert ["broken 1" in note for note in notes] == [True, False]


def test_methods_outside_of_the_suite_are_marked_and_get_no_published_numbers(build, make_record):
    """Also one that calls itself by a published method's name."""
    records = [
        make_record("cdsvae", source="real"),
        make_record("ours", source="real"),
        make_record("cdsvae", seed=1, source="real", changes={"title": "Sheep", "config.plugin_digest": "1" * 64}),
    ]
    table = _only(build("comparison", records))
    for row in table.rows:
        is_ours = row.label.startswith("C-DSVAE")
        said = [table.footnotes[mark] for mark in row.marks]
        assert any(text.startswith("outside the suite") for text in said) is not is_ours
        assert (row.cell("acc_published").mean is not None) is is_ours


def test_judges_that_do_not_come_with_the_suite_are_said_and_stand_apart(build, make_record):
    shipped = shipped_cards()["sprites-real-32"]
    ours = {"name": shipped.name, "sha256": shipped.sha256, "accuracy": shipped.accuracy}
    theirs = {**ours, "sha256": "0" * 64}
    document = build(
        "comparison", [make_record(changes={"judge": ours}), make_record(seed=1, changes={"judge": theirs})]
    )
    said = [note for table in document.tables for note in table.notes if note.startswith("Judge:")]
    assert len(said) == 2
    assert sum("which does not come with this suite" in note for note in said) == 1


def test_a_judge_under_another_name_is_left_out_and_named(build, make_record):
    shipped = shipped_cards()["sprites-real-32"]
    judge = {"name": "mine", "sha256": shipped.sha256, "accuracy": shipped.accuracy}
    document = build("comparison", [make_record(), make_record(seed=1, changes={"judge": judge})])
    assert _row(_only(document), "C-DSVAE").cell("n").mean == 1
    assert any(
        "judge.name is 'mine', but these weights are those of sprites-real-32" in note for note in document.notes
    )


def test_rows_of_other_code_have_a_footnote_and_those_of_today_s_none(build, make_record):
    def made_by(method, seed, code=""):
        digests = {"method": code or method_code(method), "suite": suite_code("sprites")}
        return make_record(method, seed=seed, changes={"code.digests": digests})

    records = [made_by("cdsvae", 0), made_by("cdsvae", 1, "0" * 64), made_by("dsvae", 0), made_by("s3vae", 0, "0" * 64)]
    table = _only(build("comparison", records))
    told = {_row(table, label).marks: label for label in ("C-DSVAE", "S3VAE", "DSVAE")}
    notes = {label: [table.footnotes[mark] for mark in marks] for marks, label in told.items()}
    words = "made by other code (the method's); 'bench run --again' repeats it"
    assert (notes["C-DSVAE"], notes["DSVAE"]) == ([f"seed 1: {words}"], [])
    assert words in notes["S3VAE"]


def test_records_of_the_preset_that_is_gone_stand_under_its_name() -> None:
    published = load([Path(__file__).parents[3] / "results" / "records"])
    tables = build_table("comparison", published, presets=("demo",)).tables
    assert ["preset demo" in table.title for table in tables] == [True]
    assert {row.label for row in tables[0].rows} >= {"C-DSVAE", "DSVAE", "S3VAE"}


def test_rows_that_collapsed_or_whose_discriminator_won_say_so(build, make_record):
    def warned(kind, step, until):
        return {"warnings": [{"kind": kind, "step": step, "until": until, "text": "so it was"}]}

    records = [
        make_record("dsvae", seed=0, changes=warned("collapse_static", 300, 1500)),
        make_record("dsvae", seed=1, changes={"warnings": []}),
        make_record("mocogan", changes=warned("discriminator", 20, 1500)),
        make_record("cdsvae", changes=warned("collapse_dynamic", 20, 90)),  # and not when its weights were judged
        make_record("rwae", changes=warned("estimate", 20, 1500)),  # says nothing of the row
    ]
    table = _only(build("comparison", records))
    said = {row.label: " ".join(table.footnotes[mark] for mark in row.marks) for row in table.rows}
    assert "seed 0: its static code collapsed" in said["DSVAE"]
    assert "its discriminator won" in said["MoCoGAN"]
    assert not any(word in said[row] for row in ("C-DSVAE", "R-WAE") for word in ("collapsed", "won", "ceiling"))
