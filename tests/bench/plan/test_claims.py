"""Forged records, each made from a published one that is valid: what the gate of a leaderboard says to it."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqdis.bench import cli
from seqdis.bench.plan.claims import claims
from seqdis.bench.records.config import cell_id, config_json
from seqdis.bench.records.validate import Checked, check_files

PUBLISHED = Path(__file__).parents[3] / "results" / "records" / "cells"
DRAWS = "metrics/directions/fix_dynamic/draws"
UNTOLD = "that training took place as recorded: only running it again can show that"

Record = dict[str, Any]


def published(row: str = "cdsvae-quick-s0") -> Record:
    (path,) = PUBLISHED.glob(f"sprites-real-{row}-*/record.json")
    record: Record = json.loads(path.read_text())
    return record


def seal(record: Record) -> None:
    """Gives a record the id of what it says: what a forger who knows the rule does."""
    record["cell"]["id"] = cell_id(config_json(record["cell"], record["config"]))


def change(record: Record, changes: Record) -> None:
    for key, value in changes.items():
        *path, last = key.split("/")
        node: Any = record
        for part in path:
            node = node[int(part) if isinstance(node, list) else part]
        if value is KeyError:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = value


def written(folder: Path, record: Record) -> Path:
    path = folder / "cells" / record["cell"]["id"] / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record, indent=1))
    return path


def checked(folder: Path, *records: Record) -> list[Checked]:
    return list(check_files([written(folder / str(number), one) for number, one in enumerate(records)], claims))


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*/record.json")), ids=lambda path: path.parent.name)
def test_what_is_published_keeps_its_claims(path: Path) -> None:
    (found,) = check_files([path], claims)
    assert found.problems == ()
    assert found.unchecked[-1:] == (UNTOLD,)


FORGED: list[tuple[str, Record, str]] = [
    # of the method
    ("s3vae-quick-s0", {"supervision": "none"}, "supervision: is none, but s3vae with these settings has external"),
    ("s3vae-quick-s0", {"supervision": "privileged signal"}, "supervision: is privileged signal, but s3vae"),
    ("s3vae-quick-s0", {"signal": "nothing at all"}, "signal: is 'nothing at all', but these data have"),
    ("s3vae-quick-s0", {"signal": KeyError}, "signal: is None, but these data have"),
    ("s3vae-quick-s0", {"title": "Ours"}, "title: is 'Ours', but s3vae is called 'S3VAE'"),
    ("dsvae-quick-s0", {"title": "C-DSVAE"}, "title: is 'C-DSVAE', but dsvae is called 'DSVAE'"),
    ("dsvae-quick-s0", {"cell/method": "cdsvae"}, "config.method.mi_dynamic_weight: "),
    ("cdsvae-quick-s0", {"cell/method": "rwae"}, "config.method.kl_static_weight: "),
    ("cdsvae-quick-s0", {"cell/variant": "no-motion-aug"}, "title: is 'C-DSVAE', but cdsvae is called"),
    ("cdsvae-quick-s0", {"cell/variant": "mine"}, "cell.variant: 'mine' is no variant of cdsvae"),
    ("cdsvae-quick-s0", {"ranked": False}, "ranked: is false, but cdsvae with these settings is ranked"),
    ("cdsvae-quick-s0", {"cell/method": "oracle"}, "ranked: is true, but oracle with these settings is not ranked"),
    ("cdsvae-quick-s0", {"config/method/magic": 1}, "config.method.magic: "),
    ("cdsvae-quick-s0", {"config/method/lr": "fast"}, "config.method.lr: "),
    ("cdsvae-quick-s0", {"config/training/tricks": True}, "config.training.tricks: "),
    ("cdsvae-quick-s0", {"config/evaluation/draws": -5}, "config.evaluation.draws: "),
    ("cdsvae-quick-s0", {"protocol/name": "generator"}, "protocol.name: is generator, but cdsvae is scored by encoder"),
    ("mocogan-quick-s0", {"protocol/name": "encoder"}, "protocol.name: is encoder, but mocogan is scored by generator"),
    # of the data
    ("cdsvae-quick-s0", {"data/headline": ["nope", "motion"]}, "data.headline: "),
    ("cdsvae-quick-s0", {"data/headline": ["fix_dynamic", "nope"]}, "data.headline: 'fix_dynamic/nope' is no score"),
    (
        "cdsvae-quick-s0",
        {"data/headline": ["fix_static", "hair"]},
        "data.headline: is ('fix_static', 'hair'), but sprites",
    ),
    ("cdsvae-quick-s0", {"data/headline": ["verification", "speaker"]}, "but the protocol is encoder"),
    ("mocogan-quick-s0", {"data/headline": ["nope", "motion"]}, "data.headline: 'nope' is neither fix_dynamic nor"),
    (
        "cdsvae-quick-s0",
        {"data/title": "Sprites, the hard ones"},
        "data.title: is 'Sprites, the hard ones', but sprites",
    ),
    ("cdsvae-quick-s0", {"data/n_frames": 16}, "data.n_frames: is 16, but sprites of this revision has 8"),
    ("cdsvae-quick-s0", {"data/may_show": False}, "data.may_show: is False, but sprites of this revision has True"),
    ("cdsvae-quick-s0", {"data/factors/4/classes": ["a", "b"]}, "data.factors: "),
    ("cdsvae-quick-s0", {"data/factors/0/role": "dynamic"}, "data.factors: "),
    ("cdsvae-quick-s0", {"data/splits/test": 5000}, "data.splits.test: is 5000, but data of this digest have 2664"),
    ("cdsvae-quick-s0", {"data/revision": "2"}, "data.revision: is '2', but config.versions.data is 'sprites-lpc-1'"),
    ("cdsvae-quick-s0", {"cell/size": 64}, "data.frame: is (3, 32, 32), but sprites of this revision has (3, 64, 64)"),
    ("cdsvae-quick-s0", {"cell/source": "synthetic"}, "data.source: is 'real', but cell.source is synthetic"),
    # of the judge
    ("cdsvae-quick-s0", {"judge/sha256": "0" * 64}, "judge.sha256: is 000000000000..., but the judge sprites-real-32"),
    (
        "cdsvae-quick-s0",
        {"judge/sha256": "0" * 64, "code/version": "0.0.9"},
        "judge.sha256: is 000000000000..., but the judge sprites-real-32",
    ),
    ("cdsvae-quick-s0", {"judge/name": "a-judge-of-mine"}, "judge.name: is 'a-judge-of-mine', but these weights are"),
    ("cdsvae-quick-s0", {"judge/name": "sprites-real-64"}, "judge.name: is 'sprites-real-64', but these weights are"),
    ("cdsvae-quick-s0", {"judge/accuracy/motion": 0.5}, "judge.accuracy: differs from the card of sprites-real-32"),
    ("cdsvae-quick-s0", {"judge": None}, "judge: is null, but protocol encoder has one"),
    (
        "cdsvae-quick-s0",
        {"metrics/real/factors/motion/acc": 0.5},
        "metrics.real.factors.motion.acc: is 0.5000, but sprites-real-32 is right on 1.0000",
    ),
    # of the code and the clock
    ("cdsvae-quick-s0", {"code/version": "0.0.9"}, "code.version: '0.0.9' is no version that this suite knows"),
    ("cdsvae-quick-s0", {"code/version": "9.9.9"}, "update the suite if it is a newer one"),
    ("cdsvae-quick-s0", {"finished": "9999-12-31T23:59:59Z"}, "finished: '9999-12-31T23:59:59Z' lies in the future"),
    ("cdsvae-quick-s0", {"finished": "9999-99-99T99:99:99Z"}, "finished: '9999-99-99T99:99:99Z' is no date"),
    ("cdsvae-quick-s0", {"finished": "1999-12-31T23:59:59Z"}, "is before this suite existed"),
    # of settings that are said twice
    ("cdsvae-quick-s0", {"cell/batch": 17}, "cell.batch: is 17, but config.training.batch_size is 16"),
    (
        "cdsvae-quick-s0",
        {"config/training/batch_size": 17},
        "training.batch_size: is 16, but config.training.batch_size is 17",
    ),
    (
        "cdsvae-quick-s0",
        {"config/training/steps": 100},
        "training.planned_steps: is 1500, but config.training.steps is 100",
    ),
    ("cdsvae-quick-s0", {"training/planned_steps": 100, "training/steps": 100}, "but config.training.steps is 1500"),
    ("cdsvae-quick-s0", {"config/training/steps": 0}, "but 100 epochs of 8100 clips in batches of 16 are 50600"),
    ("cdsvae-quick-s0", {"training/planned_steps": 0, "training/steps": 0}, "training.planned_steps: is 0, but cdsvae"),
    (
        "cdsvae-quick-s0",
        {"config/evaluation/sample": "means"},
        "protocol.sample: is 'draw', but config.evaluation.sample",
    ),
    ("cdsvae-quick-s0", {"config/evaluation/draws": 50}, "protocol.draws: is 5, but config.evaluation.draws is 50"),
    ("cdsvae-quick-s0", {"config/training/precision": "bfloat16"}, "environment.precision: is 'float32', but"),
    ("cdsvae-quick-s0", {"config/versions/protocol": 2}, "protocol.version: is 1, but config.versions.protocol is 2"),
    (
        "cdsvae-quick-s0",
        {"cell/overrides": {"method.lr": 0.1}},
        "cell.overrides.method.lr: is 0.1, but config.method.lr",
    ),
    (
        "cdsvae-quick-s0",
        {"cell/overrides": {"luck": 1}},
        "cell.overrides.luck: overrides a setting that config does not",
    ),
    ("cdsvae-quick-s0", {"training/selected_step": 7}, "training.selected_step: is 7, where no validation was"),
    ("cdsvae-quick-s0", {"training/validation/0/score": 1.0}, "but the validation at 300 has the best score"),
    ("cdsvae-quick-s0", {"cost/train_seconds": 1.0}, "cost.sequences_per_second: "),
]


@pytest.mark.parametrize(("row", "changes", "sentence"), FORGED, ids=[f"{one[0]}: {[*one[1]]}" for one in FORGED])
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "as it was"])
def test_a_forgery_is_named(tmp_path: Path, row: str, changes: Record, sentence: str, sealed: bool) -> None:
    record = published(row)
    change(record, copy.deepcopy(changes))
    if sealed:
        seal(record)
    (found,) = checked(tmp_path, record)
    assert any(sentence in problem for problem in found.problems), found.problems


@pytest.mark.parametrize("key", ["data", "versions", "plugin_digest"])
def test_an_id_cannot_be_made_uncheckable(tmp_path: Path, key: str) -> None:
    record = published()
    del record["config"][key]
    (found,) = checked(tmp_path, record)
    assert any(problem.startswith("config: lacks data, versions or plugin_digest") for problem in found.problems)


@pytest.mark.parametrize(
    "changes",
    [
        {"cell/seed": 3},
        {"config/method/lr": 0.001},
        {"config/training/batch_size": 17, "training/batch_size": 17, "code/version": "0.0.9"},
        {"cell/preset": "paper"},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_an_id_is_checked_whatever_the_version(tmp_path: Path, changes: Record) -> None:
    record = published()
    change(record, changes)
    (found,) = checked(tmp_path, record)
    assert any("config or cell was changed" in problem for problem in found.problems)


def test_a_consistency_keeps_the_identity_of_entropies_too(tmp_path: Path) -> None:
    record = published("mocogan-quick-s0")
    record["metrics"]["generator"]["consistency"]["fix_static"]["hair"]["is"] *= 2
    (found,) = checked(tmp_path, record)
    assert any("consistency.fix_static.hair: log IS" in problem for problem in found.problems)


def test_a_copied_record_under_another_seed_is_found(tmp_path: Path) -> None:
    first, second = published(), published()
    second["cell"]["seed"] = 7
    seal(second)
    found = checked(tmp_path, first, second)
    assert found[0].problems == ()
    assert any("no second training does" in problem for problem in found[1].problems)


def test_utf_16_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, published())
    path.write_bytes(path.read_text().encode("utf-16"))
    (found,) = check_files([path], claims)
    assert found.problems == ("is not JSON in UTF-8",)


def test_a_better_headline_needs_all_its_numbers(tmp_path: Path) -> None:
    """An accuracy that is raised in every draw, with entropies to fit, still disagrees with the counts by identity."""
    record = published()
    for draw in record["metrics"]["directions"]["fix_dynamic"]["draws"]:
        draw["motion"] |= {"acc": 1.0, "is": 9.0, "h_y": math.log(9), "h_y_given_x": 0.0}
    (found,) = checked(tmp_path, record)
    assert [problem for problem in found.problems if problem.startswith("identities.right: add up to")]


UNKNOWN: list[tuple[Record, str]] = [
    ({"cell/method": "ours", "title": "Ours"}, "method ours: its code is outside of this suite; title, supervision"),
    ({"config/plugin_digest": "ab" * 32, "title": "Ours"}, "method fhvae: its code is outside of this suite"),
    ({"judge/name": "mine", "judge/sha256": "ab" * 32}, "judge mine (abababababab): it is none that this suite ships"),
    (
        {"data/revision": "old", "config/versions/data": "old"},
        "data of sprites (real): revision 'old' is not 'sprites-lpc-1', which this version has",
    ),
    (
        {"data/revision": "old", "config/versions/data": "old", "judge/sha256": "ab" * 32},
        "judge sprites-real-32 (abababababab): it is none that this suite ships for these data",
    ),
    (
        {"data/digest": "ab" * 32},
        "they were prepared from other files than those that judge sprites-real-32 learnt from",
    ),
    (
        {"cell/dataset": "robots", "data/name": "robots", "judge/name": "r", "judge/sha256": "ab" * 32},
        "data set robots: ",
    ),
    ({"cell/preset": "mine"}, "preset mine, fhvae on sprites: this version cannot plan it"),
    ({"config/method/lr": 0.001}, "preset quick, fhvae on sprites: this version sets method.lr otherwise"),
    (
        {"config/training/steps": 3000, "training/planned_steps": 3000, "training/steps": 3000}
        | {"cost/sequences_per_second": 1.0, "cost/train_seconds": 48000.0},
        "this version sets training.steps otherwise",
    ),
]


def test_a_preset_that_has_a_schedule_now_is_told(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, published("rwae-demo-s0"))
    assert any(
        "preset demo, rwae on sprites: this version cannot plan it (the preset demo" in one for one in found.unchecked
    )
    record = published("dsvae-quick-s0")
    record["config"]["method"] |= {"kl_static_weight": 1.0, "kl_dynamic_weight": 5.0}
    record["cell"]["preset"] = "compact"
    seal(record)
    (found,) = checked(tmp_path / "late", record)
    assert any(
        "sets training.steps, training.validations, training.capacity otherwise" in one for one in found.unchecked
    ), found.unchecked


@pytest.mark.parametrize(("changes", "sentence"), UNKNOWN, ids=[" ".join(one[0]) for one in UNKNOWN])
def test_what_cannot_be_told_is_said(tmp_path: Path, changes: Record, sentence: str) -> None:
    record = published("fhvae-quick-s0")  # whose settings are still those of version 0.1.0
    change(record, changes)
    seal(record)
    (found,) = checked(tmp_path, record)
    assert found.problems == ()
    assert any(sentence in what for what in found.unchecked), found.unchecked
    assert UNTOLD in found.unchecked


def test_the_command_says_once_what_it_cannot_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, record in enumerate((published("fhvae-quick-s0"), published("rwae-quick-s0"))):
        written(tmp_path / str(number), record)
    assert cli.main(["validate", str(tmp_path)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"not checked in 2 records: {UNTOLD}", "2 valid, 0 with problems"]
    assert cli.main(["validate", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unchecked"] == {UNTOLD: 2}


def test_without_torch_it_says_so_and_checks_the_rest(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from seqdis.bench.cli import main\n"
        f"sys.exit(main(['validate', {str(tmp_path)!r}]))"
    )
    forged = published()
    forged["judge"]["sha256"] = "0" * 64
    written(tmp_path, forged)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "judge.sha256: is 0000" in done.stdout
    assert "methods and data sets: torch is not installed here" in done.stderr


def test_import_refuses_a_forgery_and_says_what_it_cannot_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forged, outside = published("s3vae-quick-s0"), published()
    forged["supervision"] = "none"
    outside["cell"]["method"] = outside["title"] = "ours"
    seal(outside)
    written(tmp_path / "theirs", forged)
    written(tmp_path / "theirs", outside)
    assert cli.main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours")]) == 1
    said = capsys.readouterr()
    assert "supervision: is none" in said.out
    assert "not checked in 1 record: method ours" in said.err
    assert [path.name for path in (tmp_path / "ours" / "cells").iterdir()] == [outside["cell"]["id"]]
