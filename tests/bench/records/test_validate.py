from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from seqdis.bench import cli
from seqdis.bench.records import validate
from seqdis.bench.records.importing import import_records
from seqdis.bench.records.record import MAX_BYTES

DRAW = "metrics.directions.fix_dynamic"


def _problems(path):
    (checked,) = validate.check_files([path])
    return checked.problems


@pytest.fixture(name="problems")
def _problems_of(tmp_path, make_record, store_record):
    """What is wrong with a record after changes: problems({"cell.seed": -1}, method=..., ...)."""

    def problems(changes, *args, **options):
        record = make_record(*args, **options)
        for key, value in changes.items():
            *path, last = key.split("/")
            node = record
            for part in path:
                node = node[int(part) if isinstance(node, list) else part]
            key = int(last) if isinstance(node, list) else last
            if value is KeyError:
                del node[key]
            else:
                node[key] = value
        return _problems(store_record(tmp_path, record))

    return problems


@pytest.mark.parametrize("method", ["cdsvae", "mocogan", "oracle", "s3vae"])
@pytest.mark.parametrize("dataset", ["sprites", "mug", "smmnist", "timit"])
def test_a_valid_record_has_no_problems(problems, method, dataset):
    assert problems({}, method, dataset) == ()


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"title": KeyError}, "title", "is missing"),
        ({"title": ""}, "title", "must not be empty"),
        ({"title": "x" * 101}, "title", "more than 100"),
        ({"title": "a\x1b[2Jb"}, "title", "control characters"),
        ({"notes": ["x" * 501]}, "notes[0]", "more than 500"),
        ({"schema": 2}, "schema", "must be one of 1"),
        ({"status": "fine"}, "status", "must be one of done"),
        ({"ranked": 1}, "ranked", "true or false"),
        ({"cell/seed": -1}, "cell.seed", "must be 0 or more, not -1"),
        ({"cell/seed": 1.5}, "cell.seed", "whole number"),
        ({"cell/seed": True}, "cell.seed", "whole number"),
        ({"cell/id": "../../evil"}, "cell.id", "not of the form"),
        ({"cell/dataset": "a/b"}, "cell.dataset", "not of the form"),
        ({"cell/source": "made-up"}, "cell.source", "must be one of real, synthetic"),
        ({"judge/sha256": "abc"}, "judge.sha256", "not of the form"),
        ({"protocol/name": "mine"}, "protocol.name", "must be one of encoder"),
        ({"data/splits/test": "many"}, "data.splits.test", "whole number"),
        ({"data/factors/0/role": "both"}, "data.factors[0].role", "must be one of static, dynamic"),
        ({"cost/parameters": -3}, "cost.parameters", "must be 0 or more, not -3"),
        ({"finished": "yesterday"}, "finished", "not of the form"),
        ({"attempts": 0}, "attempts", "outside"),
        (
            {"config/method": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": 1}}}}}}}}}}},
            "config.method",
            "nested too deeply",
        ),
    ],
)
def test_the_schema_is_held(problems, changes, where, what):
    found = problems(changes)
    assert any(problem.startswith(where) and what in problem for problem in found), found


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"metrics/directions/fix_dynamic/draws/1/action/is": 5.0}, f"{DRAW}.draws[1].action", "log IS"),
        (
            {"metrics/directions/fix_static/draws/0/skin/h_y": 1.5},
            "metrics.directions.fix_static.draws[0].skin",
            "log IS",
        ),
        ({"metrics/directions/fix_dynamic/draws/0/action/acc": 1.2}, f"{DRAW}.draws[0].action.acc", "outside [0, 1]"),
        (
            {"metrics/directions/fix_dynamic/draws/0/action/acc": 0.50001},
            f"{DRAW}.draws[0].action.acc",
            "no multiple of 1/2664",
        ),
        ({"metrics/directions/fix_dynamic/draws/0/action/acc": KeyError}, f"{DRAW}.draws[0].action.acc", "is missing"),
        ({"metrics/directions/fix_dynamic/draws/2/skin": KeyError}, f"{DRAW}.draws[2]", "lacks skin"),
        ({"metrics/directions/fix_dynamic/draws/2": KeyError}, f"{DRAW}.draws", "2 draws, but protocol.draws is 3"),
        ({"metrics/directions/fix_dynamic/n_clips": 5000}, f"{DRAW}.n_clips", "more than the 2664 test clips"),
        ({"metrics/directions/fix_static": KeyError}, "metrics.directions.fix_static", "is missing"),
        (
            {"metrics/directions/fix_dynamic/draws/0/skin/label_entropy": 1.8},
            f"{DRAW}.draws[0].skin.label_entropy",
            "above ln 6",
        ),
        ({"metrics/real/factors/tops/is": 2.0}, "metrics.real.factors.tops", "log IS"),
        ({"metrics/reconstruction/sse": 1.0}, "metrics.reconstruction", "not mse times"),
        ({"metrics": {}}, "metrics.directions", "is missing"),
        ({"judge": None}, "judge", "is null"),
        ({"training/steps": 2000}, "training.steps", "more than the 1500 planned"),
        ({"training/steps": 700, "training/selected_step": 600}, "training.complete", "only 700 of 1500"),
        ({"training/selected_step": 1501, "training/steps": 1500}, "training.selected_step", "after the last"),
        ({"training/validation": [{"step": 9}, {"step": 3}]}, "training.validation", "go backwards"),
        ({"data/name": "mug"}, "data.name", "cell.dataset is sprites"),
        ({"config/method/lr": 0.1}, "cell.id", "config or cell was changed"),
        ({"cell/seed": 1}, "cell.id", "config or cell was changed"),
        ({"status": "failed"}, "error.reason", "is missing"),
        ({"identities/right": "9 9"}, "identities.right", "counts 2 identities, but identities.clips 296"),
        ({"identities/clips": "1332 1332", "identities/right": "3 3"}, "identities.right", "add up to 6, but"),
        ({"identities/clips": "9 9", "identities/right": "3 3"}, "identities.clips", "add up to 18"),
        ({"identities/clips": "9 9", "identities/right": "3 28"}, "identities.right", "28 of 9 clips in 3 draws"),
        ({"identities/metric": "fix_dynamic/smile/acc"}, "identities.metric", "no accuracy that the record holds"),
        ({"identities/metric": "elsewhere/action/acc"}, "identities.metric", "no accuracy that the record holds"),
        ({"identities/right": "9 -9"}, "identities.right", "is not of the form"),
    ],
)
def test_what_numbers_say_about_each_other_is_checked(problems, changes, where, what):
    found = problems(changes)
    assert any(problem.startswith(where) and what in problem for problem in found), found


def test_a_tampered_entropy_is_found_also_where_the_identity_still_holds(problems):
    import math

    found = problems(
        {
            "metrics/directions/fix_dynamic/draws/0/action/h_y": 2.5,
            "metrics/directions/fix_dynamic/draws/0/action/h_y_given_x": 0.0,
            "metrics/directions/fix_dynamic/draws/0/action/is": math.exp(2.5),
        }
    )
    assert [problem for problem in found if "above ln 9" in problem]


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"gap": 0.5}, "gap", "not motion EER - content EER"),
        ({"n_target": 20_000}, "n_target", "more than the 18336 trials"),
        ({"eer_static_ci": [0.4, 0.1]}, "eer_static_ci", "ends below"),
        ({"eer_dynamic": 1.4}, "eer_dynamic", "outside [0, 1]"),
        ({"gap_ci": [0.1]}, "gap_ci", "1 items"),
    ],
)
def test_verification_is_checked(problems, changes, where, what):
    found = problems(
        {f"metrics/verification/utterance/{key}": value for key, value in changes.items()}, "fhvae", "timit"
    )
    assert any(problem.startswith(f"metrics.verification.utterance.{where}") and what in problem for problem in found)


def test_generated_scores_are_checked(problems):
    found = problems({"metrics/generator/matched/draws/0/action/is": 2.0}, "mocogan")
    assert any("metrics.generator.matched.draws[0].action: log IS" in problem for problem in found)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is not JSON"),
        (b"[1]", "not an object"),
        (b"{" * 50_000, "is not JSON"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b"\xff", "is not JSON"),
        (b'{"a": 1e999}', "is missing"),
    ],
)
def test_what_is_no_record_is_named(tmp_path, content, what):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    assert what in " ".join(_problems(path))


def test_problems_never_carry_control_characters(problems):
    found = problems({"cell/dataset": "\x1b[31m", "metrics": {"\x1b[2J": 1}})
    assert found
    assert all(problem.isprintable() for problem in found)


def test_problems_of_one_record_are_limited(problems):
    found = problems({"notes": [1] * 45})
    assert len(found) == validate.MOST_PROBLEMS + 1
    assert "15 more" in found[-1]


def test_a_moved_record_is_found(tmp_path, make_record, store_record):
    path = store_record(tmp_path, make_record())
    moved = path.parent.parent / "another-name"
    path.parent.rename(moved)
    assert "but the folder is another-name" in _problems(moved / "record.json")[0]


def test_duplicates_and_contradictions_between_records_are_found(tmp_path, make_record, store_record):
    first = store_record(tmp_path / "a", make_record())
    same = store_record(tmp_path / "b", make_record())
    changed = store_record(tmp_path / "c", make_record(changes={"cost.train_seconds": 1.0}))
    other_data = store_record(tmp_path / "d", make_record(seed=1, changes={"data.digest": "ee" * 32}))
    found = {checked.path: checked.problems for checked in validate.check_files([first, same, changed, other_data])}
    assert found[first] == ()
    assert "the same record is also in" in found[same][0]
    assert "holds another record of the cell" in found[changed][0]
    assert "for the same revision 1" in found[other_data][0]


def test_data_are_compared_with_what_is_prepared_here(problems, tmp_path, monkeypatch):
    folder = tmp_path / "data" / "sprites-synthetic-32"
    folder.mkdir(parents=True)
    monkeypatch.setenv("SEQDIS_DATA", str(tmp_path / "data"))
    (folder / "meta.json").write_text(json.dumps({"revision": "1", "digest": "99" * 32}))
    assert any("the data differ" in problem for problem in problems({}))
    (folder / "meta.json").write_text(json.dumps({"revision": "0", "digest": "99" * 32}))
    assert problems({}) == ()
    (folder / "meta.json").write_text(json.dumps({"revision": "1", "digest": "cd" * 32}))
    assert problems({}) == ()


def test_the_command_says_what_is_wrong_and_fails(tmp_path, make_record, store_record, capsys):
    store_record(tmp_path, make_record(seed=0))
    assert cli.main(["validate", str(tmp_path)]) == 0
    assert "1 valid, 0 with problems" in capsys.readouterr().err
    bad = store_record(tmp_path, make_record(seed=1, changes={"title": ""}))
    assert cli.main(["validate", str(tmp_path)]) == 1
    assert f"{bad}: title: must not be empty" in capsys.readouterr().out
    assert cli.main(["validate", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["valid"] == 1


def test_a_path_without_records_is_the_users_to_put_right(tmp_path, capsys):
    assert cli.main(["validate", str(tmp_path / "nowhere")]) == 2
    assert cli.main(["validate", str(tmp_path)]) == 2
    assert "no record below" in capsys.readouterr().err


def test_import_takes_valid_records_byte_for_byte(tmp_path, make_record, store_record, capsys):
    source = store_record(tmp_path / "theirs", make_record())
    assert cli.main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours")]) == 0
    target = tmp_path / "ours" / "cells" / source.parent.name / "record.json"
    assert target.read_bytes() == source.read_bytes()
    assert "1 imported" in capsys.readouterr().err
    assert cli.main(["validate", str(tmp_path / "ours")]) == 0
    assert cli.main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours")]) == 0
    assert "0 imported" in capsys.readouterr().err.splitlines()[-1]


def test_an_imported_cell_has_the_config_of_its_plan(tmp_path, make_record, store_record):
    from seqdis.bench.records.config import cell_id

    store_record(tmp_path / "theirs", make_record())
    (cell,) = import_records(tmp_path / "theirs", tmp_path / "ours").taken
    config = json.loads((tmp_path / "ours" / "cells" / cell / "config.json").read_text())
    assert cell_id(config) == cell


def test_import_refuses_what_is_wrong_and_keeps_what_is_there(tmp_path, make_record, store_record):
    ours = store_record(tmp_path / "ours", make_record(changes={"cost.train_seconds": 1.0}))
    before = ours.read_bytes()
    store_record(tmp_path / "theirs", make_record())
    store_record(tmp_path / "theirs", make_record(seed=1, changes={"title": ""}))
    result = import_records(tmp_path / "theirs", tmp_path / "ours")
    assert not result.taken
    assert len(result.refused) == 2
    assert any("it stays" in text for _, texts in result.refused for text in texts)
    assert ours.read_bytes() == before


@pytest.mark.parametrize("cell", ["../../../escaped", "/etc/x", "..", ".hidden", "a/b", "x" * 300, "", "nul\x00"])
def test_import_never_leaves_the_store(tmp_path, make_record, cell):
    folder = tmp_path / "theirs" / "x"
    folder.mkdir(parents=True)
    record = make_record()
    record["cell"]["id"] = cell
    (folder / "record.json").write_text(json.dumps(record))
    result = import_records(tmp_path / "theirs", tmp_path / "out" / "ours")
    assert result.refused
    assert not result.taken
    assert list(tmp_path.rglob("record.json")) == [folder / "record.json"]


def test_import_follows_no_links_and_reads_no_giants(tmp_path, make_record, store_record):
    secret = store_record(tmp_path / "secret", make_record())
    theirs = tmp_path / "theirs" / "cells"
    (theirs / "a").mkdir(parents=True)
    (theirs / "a" / "record.json").symlink_to(secret)
    (theirs / "b").symlink_to(secret.parent)
    (theirs / "c").mkdir()
    with open(theirs / "c" / "record.json", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    result = import_records(tmp_path / "theirs", tmp_path / "ours")
    assert not result.taken
    assert len(result.refused) == 2
    assert not (tmp_path / "ours" / "cells").exists() or not os.listdir(tmp_path / "ours" / "cells")


def test_import_copies_nothing_but_records(tmp_path, make_record, store_record):
    path = store_record(tmp_path / "theirs", make_record())
    (path.parent / "log.txt").write_text("secret")
    (path.parent / "checkpoint.safetensors").write_bytes(b"x")
    import_records(tmp_path / "theirs", tmp_path / "ours")
    found = {Path(path).name for path in (tmp_path / "ours").rglob("*") if path.is_file()}
    assert found == {"record.json", "config.json"}
