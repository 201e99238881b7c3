"""The note under a table that says which schedule and which settings its rows were trained with."""

from __future__ import annotations

import pytest

from seqdis.bench.formats.render import render
from seqdis.bench.tables.settings import schedule_words

LATE = {"kl_static": [[0.3, 20.0], [0.6, 1.0]], "kl_dynamic": [[0.3, 0.1], [0.6, 1.0]]}
WORDS = (
    "weight of kl static times 20 until 30 % of training and 1 from 60 %, "
    "weight of kl dynamic times 0.1 until 30 % of training and 1 from 60 %"
)


def scheduled(make_record, method, capacity, seed=0, preset="compact", **method_settings):
    settings = {"lr": 0.005, "recon_weight": 10.0, **method_settings}
    changes = {"config.training.capacity": capacity} if capacity is not None else {}
    return make_record(method, seed=seed, preset=preset, changes={**changes, "config.method": settings})


def test_rows_with_different_schedules_and_settings_say_so_each(build, make_record):
    records = [
        scheduled(make_record, "cdsvae", LATE, kl_dynamic_weight=6.0),
        scheduled(make_record, "cdsvae", LATE, seed=1, kl_dynamic_weight=6.0),
        scheduled(make_record, "s3vae", LATE, lr=0.003, kl_dynamic_weight=3.0),
        scheduled(make_record, "rwae", {"noise_static": [[0.0, 2.0], [0.3, 1.0], [0.6, 0.0]]}),
        scheduled(make_record, "mocogan", None),
        scheduled(make_record, "dsvae", {"kl_static": [[0.5, 2.0]]}),
    ]
    document = build("comparison", records)
    (table,) = document.tables
    assert [note for note in table.notes if note.startswith(("Capacity", "Settings"))] == [
        "Capacity schedule: DSVAE: weight of kl static times 2 throughout; R-WAE: noise on the static code of deviation 2 at "
        "the start of training, 1 at 30 % and 0 from 60 %; "
        f"S3VAE, C-DSVAE: {WORDS}; none: MoCoGAN.",
        "Settings where rows differ, not the published ones: MoCoGAN: lr 0.005; DSVAE: lr 0.005; R-WAE: lr 0.005; "
        "S3VAE: lr 0.003, kl dynamic 3; C-DSVAE: lr 0.005, kl dynamic 6.",
    ]
    for kind in ("terminal", "markdown", "latex"):
        text = " ".join(
            render(document, kind, width=100, everything=True, color=False).decode().replace("\\", "").split()
        )
        assert "weight of kl static times 20 until 30 % of training and 1 from 60 %" in text, kind
        assert "none: MoCoGAN." in text, kind


def test_paper_has_no_schedule_and_says_so(build, make_record):
    (table,) = build("comparison", [scheduled(make_record, "cdsvae", None, preset="paper", lr=0.001)]).tables
    assert "No capacity schedule." in table.notes
    assert not any(note.startswith("Settings where") for note in table.notes)


def test_many_long_rows_are_several_notes_and_none_is_cut(build, make_record):
    records = [
        scheduled(
            make_record, method, {f"term_{n}": [[0.1, n], [0.2 + place / 9, 1]] for n in range(2, 7)}, lr=place + 1
        )
        for place, method in enumerate(("dsvae", "cdsvae", "s3vae", "rwae", "mocogan"))
    ]
    (table,) = build("comparison", records).tables
    notes = [note for note in table.notes if note.startswith("Capacity schedule: ")]
    assert len(notes) == 5
    assert all(len(note) < 800 for note in notes)


def test_plateaus_are_said_once():
    points = [[0.0, 1], [0.15, 1], [0.16, 4], [0.22, 4], [0.3, 30], [0.5, 120], [0.505, 1]]
    assert schedule_words({"training": {"capacity": {"kl_dynamic": points}}}) == (
        "weight of kl dynamic times 1 until 15 % of training, 4 from 16 to 22 %, 30 at 30 %, 120 at 50 % and 1 from 50.5 %"
    )
    level = {"training": {"capacity": {"kl_static": [[0.1, 2], [0.9, 2]]}}}
    assert schedule_words(level) == "weight of kl static times 2 throughout"


@pytest.mark.parametrize("capacity", [None, {}, [], "late", {"kl_static": 3}, {"kl_static": [[2, 1]]}, {"": [[0, 1]]}])
def test_what_is_no_schedule_is_said_to_be_none(capacity):
    assert schedule_words({"training": {"capacity": capacity}}) == ""
