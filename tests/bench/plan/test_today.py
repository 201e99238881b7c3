"""Which code numbers come from: what is edited changes the digest of what it decides, and of nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seqdis.bench.core.provenance import ROOT
from seqdis.bench.plan import today

TOUCHED = "\nEDITED = True\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the suite that may be edited."""
    folder = tmp_path_factory.mktemp("suite")
    for name in ("bench", "datasets", "judges", "methods"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def digests(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(today, "ROOT", checkout)
    return {
        **{name: today.method_code.__wrapped__(name) for name in ("cdsvae", "dsvae", "mocogan")},
        **{name: today.suite_code.__wrapped__(name) for name in ("sprites", "mug")},
    }


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("methods/cdsvae.py", {"cdsvae"}),
        ("methods/mocogan.py", {"mocogan"}),
        ("methods/vae.py", {"cdsvae", "dsvae"}),
        ("methods/base.py", {"cdsvae", "dsvae", "mocogan", "sprites", "mug"}),
        ("datasets/sprites.py", {"sprites"}),
        ("datasets/video/lpc.py", {"sprites"}),
        ("datasets/augment.py", {"sprites", "mug"}),
        ("judges/metrics.py", {"sprites", "mug"}),
        ("bench/cell/trainer.py", {"sprites", "mug"}),
        ("bench/core/seeds.py", {"sprites", "mug"}),
        ("bench/cell/report.py", set()),
        ("bench/plan/presets.py", set()),
        ("bench/tables/statistics.py", set()),
    ],
)
def test_a_file_changes_what_it_decides(
    edited: str, changed: set[str], checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, path = digests(checkout, monkeypatch), checkout / edited
    text = path.read_text()
    try:
        path.write_text(f'{text}\n"""Words that do nothing."""  # nor these\n')
        assert digests(checkout, monkeypatch) == before
        path.write_text(text + TOUCHED)
        after = digests(checkout, monkeypatch)
    finally:
        path.write_text(text)
    assert {name for name, digest in after.items() if digest != before[name]} == changed


def test_code_of_this_installation_has_digests_and_controls_without_files_none() -> None:
    assert len({today.method_code(name) for name in ("cdsvae", "dsvae", "autoencoder")}) == 3
    assert today.method_code("oracle") == today.method_code("nobody") == ""
    assert today.suite_code("sprites") != today.suite_code("timit")


def test_an_installed_method_is_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site-packages"
    (folder / "their_lab").mkdir(parents=True)
    (folder / "their_lab-1.0.dist-info").mkdir()
    (folder / "their_lab-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-lab\nVersion: 1.0\n"
    )
    (folder / "their_lab-1.0.dist-info" / "entry_points.txt").write_text(
        "[seqdis.methods]\nnew = their_lab.new:New\nsecond = their_lab.new:Second\n"
    )
    for name, text in {
        "__init__": "raise SystemExit\n",
        "new": "from .nets import X\n",
        "nets": "X = 1\n",
        "more": "",
    }.items():
        (folder / "their_lab" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    found = [today.method_code.__wrapped__(name) for name in ("new", "second")]
    for name in ("more", "nets"):
        (folder / "their_lab" / f"{name}.py").write_text("X = 2\n")
        found.append(today.method_code.__wrapped__("new"))
    assert "" not in found
    assert found[0] == found[2]
    assert len(set(found)) == 3
