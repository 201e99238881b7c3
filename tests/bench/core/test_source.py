"""Classes read as text."""

from __future__ import annotations

from seqdis.bench.core.source import assigned, class_values


def test_literals_of_a_class_and_of_its_bases_are_read_and_nothing_is_run(tmp_path):
    path = tmp_path / "file.py"
    path.write_text(
        "raise SystemExit\n"
        "class Base:\n    title: str = 'base'\n    kept = (1, 2)\n    made = 3\n"
        "class Own(Base):\n    title = 'own'\n    made = len('abc')\n    declared: int\n"
        "THING = Own\n"
    )
    assert class_values(path, "Own") == {"title": "own", "kept": (1, 2)}
    assert class_values(path, "Nobody") == {}
    assert assigned(path, "THING").id == "Own"
    assert assigned(path, "OTHER") is None


def test_a_base_of_ours_is_found_where_it_is_imported_from(tmp_path):
    path = tmp_path / "file.py"

    path.write_text("from seqdis.datasets.mug import Mug\nclass Own(Mug):\n    pass\n")
    assert class_values(path, "Own")["may_show"] is False
