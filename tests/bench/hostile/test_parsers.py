"""No bytes and no text make a parser end in anything but its own sentence, or write outside of its folder."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqdis.bench.cell.progress import Progress, read_progress
from seqdis.bench.core import archive
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json
from seqdis.bench.core.lease import is_gone, read_lease
from seqdis.bench.launch.request import JobWishes
from seqdis.bench.launch.slurm.profile import Options
from seqdis.bench.plan.settings import merged, parse_overrides
from seqdis.bench.records.config import EvaluationConfig, TrainingConfig
from seqdis.bench.records.validate import check_file
from seqdis.datasets.audio.files import read_audio
from seqdis.datasets.video.mnist_files import read_bytes

from .corpora import sphere, tarred, zipped

MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 1 << 63])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "token",
        "host",
        "pid",
        "process",
        "interval",
        "started",
        "job",
        "submission",
        "restarts",
        "phase",
        "epoch",
        "step",
        "steps",
        "loss",
        "seconds_left",
    ]
)


@pytest.fixture(scope="module")
def folder() -> Any:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def answered(call: Callable[..., Any], *given: object) -> tuple[Any, str]:
    """What a call gives, and the sentence that refuses it; any other error is the test's."""
    try:
        return call(*given), ""
    except UserError as error:
        return None, str(error)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some bytes changed, and perhaps cut."""
    changed = bytearray(whole)
    for place in draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        changed[place] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.integers(0, len(whole)))]) if draw(st.booleans()) else bytes(changed)


@MANY
@given(st.binary(max_size=300) | damaged(sphere({"sample_count": 400}, bytes(800))))
def test_audio_is_read_or_refused(folder: Path, content: bytes) -> None:
    (folder / "a.wav").write_bytes(content)
    found, refused = answered(read_audio, folder / "a.wav")
    assert "a.wav" in refused if found is None else found[0].ndim == 1


@MANY
@given(
    st.sampled_from([".zip", ".tar"]),
    st.binary(max_size=200) | damaged(zipped({"a": b"1", "b/c": b"2"})) | damaged(tarred({"a": b"1"})[:2048]),
)
def test_archives_stay_in_their_folder(folder: Path, suffix: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path, target = Path(place, f"c{suffix}"), Path(place, "target")
        path.write_bytes(content)
        target.mkdir()
        found, refused = answered(archive.unpack, path, target)
        assert found is not None or path.name in refused
        assert {entry.name for entry in Path(place).iterdir()} == {path.name, "target"}


@MANY
@given(st.sampled_from([".zip", ".tar"]), st.text(max_size=60))
def test_names_in_archives_stay_in_their_folder(folder: Path, suffix: str, name: str) -> None:
    make = zipped if suffix == ".zip" else tarred
    try:
        content = make({name: b"x"})
    except (UnicodeEncodeError, ValueError, tarfile.TarError):  # no archive can hold it
        return
    test_archives_stay_in_their_folder.hypothesis.inner_test(folder, suffix, content)


@MANY
@given(st.binary(max_size=100) | st.binary(max_size=60).map(lambda rest: b"\x1f\x8b\x08" + rest))
def test_idx_files_are_read_or_refused(folder: Path, content: bytes) -> None:
    (folder / "idx").write_bytes(content)
    found, refused = answered(read_bytes, folder / "idx")
    assert found is not None or "idx" in refused


@MANY
@given(st.dictionaries(KEYS, JSON, max_size=8) | JSON)
def test_leases_and_progress_are_read_or_nothing(folder: Path, value: Any) -> None:
    text = json.dumps(value)
    for name in ("lease.json", "progress.json"):
        (folder / name).write_text(text)
    seen = read_lease(folder)
    assert seen is not None
    assert is_gone(seen[0]) in (True, False)
    assert isinstance(read_progress(folder), Progress)


@MANY
@given(JSON | st.dictionaries(st.sampled_from(["schema", "cell", "metrics", "data", "code", "status"]), JSON))
def test_no_json_is_a_record_by_chance(folder: Path, value: Any) -> None:
    (folder / "record.json").write_text(json.dumps(value))
    checked = check_file(folder / "record.json")
    assert checked.problems
    assert all(problem.isprintable() for problem in checked.problems)


@MANY
@given(st.binary(max_size=80))
def test_no_bytes_end_the_reading_of_json(folder: Path, content: bytes) -> None:
    (folder / "any.json").write_bytes(content)
    assert (
        answered(read_json, folder / "any.json")[1] == "" or "any.json" in answered(read_json, folder / "any.json")[1]
    )


@MANY
@given(st.sampled_from(["training.steps", "training.precision", "draws", "x", ""]), st.text(max_size=40))
def test_settings_are_typed_or_refused(key: str, text: str) -> None:
    kinds = {"training": TrainingConfig, "evaluation": EvaluationConfig}
    assert len(answered(lambda: merged(kinds, (), parse_overrides([f"{key}={text}"])))[1]) < 500


@MANY
@given(
    st.text(max_size=80)
    | st.tuples(
        st.sampled_from(
            ["partition", "gpus", "cpus", "mem", "time", "setup", "extra", "max_jobs", "rule", "hold", "python"]
        ),
        JSON,
    ).map(lambda pair: f"[lab]\n{pair[0]} = {json.dumps(pair[1])}\n")
)
def test_profiles_are_read_or_refused(folder: Path, text: str) -> None:
    path = folder / "lab.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    options, refused = answered(Options.of, JobWishes(profile=str(path)))
    assert len(refused) < 1000
    written = () if options is None else (*options.asked.values(), *options.extra, *options.extra.values())
    assert all("\n" not in str(value) for value in written)
