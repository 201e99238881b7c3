"""The site as files: what is in it, what is not, that every string is escaped, and that it is put in place whole."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.figures import drawing, media
from seqdis.bench.records.clips import save_clips
from seqdis.bench.records.collection import load
from seqdis.bench.site import boards, publish
from seqdis.bench.tables.build import build as build_table


def _specimens():
    path = Path(__file__).parents[2] / "browser" / "specimens.py"
    spec = importlib.util.spec_from_file_location("seqdis_test_specimens", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


specimens = _specimens()
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7 * 7 }}"


@pytest.fixture(scope="module")
def clips():
    return specimens.make(specimens.figure, n=2)


@pytest.fixture
def runs(tmp_path, make_record, store_record, clips):
    """Adds cells below one folder; `clips=True` gives them clips."""

    def add(method="cdsvae", dataset="sprites", seeds=3, with_clips=False, **options):
        folders = []
        for seed in range(seeds):
            record = make_record(method, dataset, seed, **options)
            folder = store_record(tmp_path / "runs", record).parent
            (folder / "config.json").write_text(json.dumps({"cell": record["cell"]}))
            if with_clips:
                save_clips(folder, clips)
            folders.append(folder)
        return folders

    add.root = tmp_path / "runs"
    add.out = tmp_path / "site"
    return add


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Elements(HTMLParser):
    """Every element of a page, with its attributes, and the text outside of scripts."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.found, self.text, self.inside = [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside != "script":
            self.text += data


# What is in it


def test_site_is_the_same_bytes_for_the_same_records(runs, tmp_path):
    runs("cdsvae", with_clips=True)
    runs("dsvae", acc=0.5)
    publish.publish([runs.root], tmp_path / "a")
    publish.publish([runs.root], tmp_path / "b")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_page_prints_the_numbers_of_bench_table(runs):
    for method, acc in (("cdsvae", 0.9), ("dsvae", 0.5), ("s3vae", 0.7)):
        runs(method, acc=acc)
    publish.publish([runs.root], runs.out)
    document = build_table("comparison", load([runs.root]))
    text = Elements((runs.out / "index.html").read_text()).text
    for row in document.tables[0].rows:
        for key in ("acc", "is", "h_y"):
            column = next(column for column in document.tables[0].columns if column.key == key)
            cell = row.cell(key)
            assert f"{cell.mean * column.scale:.{column.digits}f}" in text
        low, high = row.cell("acc").interval
        assert f"{100 * low:.1f} to {100 * high:.1f}" in text
    leaderboard = json.loads((runs.out / "leaderboard.json").read_text())
    assert leaderboard["tables"]["comparison"]["blocks"][0]["rows"][0]["cells"]["acc"]["n"] == 3
    assert (runs.out / "leaderboard.md").read_text().count("C-DSVAE") >= 1


def test_sources_and_presets_never_share_a_table(runs):
    runs("cdsvae")
    runs("dsvae", source="real", preset="paper", size=64)
    runs("rwae", preset="demo")
    publish.publish([runs.root], runs.out)
    found = Elements((runs.out / "index.html").read_text()).found
    blocks = [
        (attrs["data-source"], attrs["data-preset"])
        for tag, attrs in found
        if tag == "section" and "data-source" in attrs
    ]
    assert sorted(blocks) == [("real", "paper"), ("synthetic", "demo"), ("synthetic", "quick")]
    rows = [attrs["data-text"] for tag, attrs in found if tag == "tr" and "data-text" in attrs]
    assert len(rows) == 3


def test_every_seed_of_a_row_is_linked_and_has_its_record(runs):
    runs("cdsvae", seeds=4)
    publish.publish([runs.root], runs.out)
    found = Elements((runs.out / "index.html").read_text()).found
    links = [attrs["href"] for tag, attrs in found if tag == "a" and attrs.get("href", "").startswith("cells/")]
    assert len(links) == len(set(links)) == 4
    seeds = set()
    for link in links:
        assert (runs.out / link).is_file()
        record = json.loads((runs.out / link.removesuffix(".html") / "record.json").read_text())
        seeds.add(record["cell"]["seed"])
    assert seeds == {0, 1, 2, 3}


def test_rows_of_other_settings_are_not_linked(runs):
    runs("cdsvae")
    runs("cdsvae", changes={"data.revision": "2", "cell.id": "another"}, seeds=1)
    collection = load([runs.root])
    links = {}
    for entry in collection.entries:
        links.setdefault(publish.row_key(entry), []).append(boards.Link(entry.seed, entry.cell))
    made = boards.boards(build_table("comparison", collection), links)
    assert sorted(len(board.rows[0].links) for board in made) == [1, 3]


def test_failed_cells_without_a_record_have_a_page_with_the_reason(runs):
    done = runs("cdsvae")[0]
    folder = runs.root / "cells" / "sprites-broken"
    folder.mkdir()
    cell = json.loads((done / "record.json").read_text())["cell"]
    (folder / "config.json").write_text(json.dumps({"cell": {**cell, "seed": 9}}))
    (folder / "error.json").write_text(json.dumps({"reason": "ran out of memory"}))
    publish.publish([runs.root], runs.out)
    assert "ran out of memory" in (runs.out / "cells" / "sprites-broken.html").read_text()


def test_no_page_imports_torch_or_opens_the_network(runs, tmp_path):
    runs("cdsvae", with_clips=True)
    code = (
        "import sys, socket\n"
        "def refuse(*args, **kwargs):\n    raise OSError('network')\nsocket.socket.connect = refuse\n"
        "from seqdis.bench.cli import main\n"
        f"code = main(['publish', '--runs', {str(runs.root)!r}, '--out', {str(tmp_path / 'site')!r}])\n"
        "sys.exit(code or ('torch was imported' if 'torch' in sys.modules else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 cells, 1 tables" in done.stdout


def test_pages_name_nothing_outside_and_carry_a_policy(runs):
    runs("cdsvae", with_clips=True)
    publish.publish([runs.root], runs.out)
    for path in runs.out.rglob("*.html"):
        found = Elements(path.read_text()).found
        policy = [attrs["content"] for tag, attrs in found if attrs.get("http-equiv") == "Content-Security-Policy"]
        assert len(policy) == 1
        assert "default-src 'none'" in policy[0]
        assert "unsafe" not in policy[0]
        assert "http" not in policy[0]
        for _, attrs in found:
            assert not any(
                re.match(r"(https?:)?//", attrs.get(name) or "") for name in ("src", "href", "srcset", "data-moving")
            )
            assert not any(name.startswith("on") or name == "style" for name in attrs)
    for path in (runs.out / "assets").glob("*.js"):
        assert "http" not in path.read_text().replace("http-equiv", "")


# What is not in it


@pytest.mark.parametrize("dataset", ["mug", "timit"])
def test_licensed_clips_are_left_out_whatever_the_record_says(dataset, runs):
    runs("cdsvae", dataset, source="real", preset="paper", with_clips=True, changes={"data.may_show": True})
    runs("dsvae", dataset, source="real", preset="paper", with_clips=True, changes={"data.may_show": True})
    publish.publish([runs.root], runs.out)
    assert not [path for path in runs.out.rglob("*") if path.suffix in (".webp", ".png", ".gif", ".npz")]
    page = next((runs.out / "cells").glob("*.html")).read_text()
    assert "may not be published" in page


def test_sprites_clips_bring_attribution_and_licence_texts(runs):
    runs("cdsvae", source="real", preset="paper", with_clips=True)
    publish.publish([runs.root], runs.out)
    shown = {path.parent for path in runs.out.rglob("*.webp")}
    cells = [folder for folder in shown if folder.parent.name == "cells"]
    assert cells
    for folder in cells:
        note = (folder / "ATTRIBUTION.txt").read_text()
        assert "CC BY-SA 3.0" in note
        assert "GPL 3.0" in note
        for target in re.findall(r"\.\./\.\./\S+\.txt", note):
            assert (folder / target).resolve().is_file()
    assert "Attribution-ShareAlike 3.0" in (runs.out / "licences" / "CC-BY-SA-3.0.txt").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in (runs.out / "licences" / "GPL-3.0.txt").read_text()


def test_pictures_show_the_clips_and_are_clear_between_them(clips):
    import io

    from PIL import Image

    swap = next(each for each in media.pictures(clips, "X") if each.name == "swap")
    with Image.open(io.BytesIO(swap.files["swap.webp"])) as image:
        assert image.n_frames == 8
        image.seek(3)
        pixels = np.asarray(image.convert("RGBA"))
    grid = specimens_grid(clips)
    drawn = drawing.layout(grid, 3, (0, 1), 1)
    for i in range(2):
        for j in range(2):
            top, left = int(drawn.row_centres[i + 1] - 16), int(drawn.column_centres[j + 1] - 16)
            tile = pixels[top : top + 32, left : left + 32]
            np.testing.assert_array_equal(tile[..., :3], clips["swaps"][i, j, 3])
            assert (tile[..., 3] == 255).all()
    assert (pixels[:32, :32, 3] == 0).all()


def specimens_grid(clips):
    from seqdis.bench.figures import sheets

    return sheets.swap_sheet(clips)[0]


def test_clips_first_brings_one_seed_of_each_row(runs):
    runs("cdsvae", with_clips=True)
    publish.publish([runs.root], runs.out, clips="first")
    assert len({path.parent for path in (runs.out / "cells").rglob("*.webp")}) == 1
    publish.publish([runs.root], runs.out, clips="none")
    assert not list(runs.out.rglob("*.webp"))


# Hostile records


def test_half_a_surrogate_pair_is_no_reason_to_show_nothing(runs):
    """A JSON file may hold one as an escape; no file can hold it as a character."""
    changes = {"title": "x\ud800y", "notes": ["\udfff"], "config.method": {"k": "\ud800"}, "data.title": "\ud800"}
    runs("cdsvae", seeds=1, changes=changes)
    done = publish.publish([runs.root], runs.out)
    assert done.problems == ()
    (page,) = (runs.out / "cells").glob("*.html")
    (record,) = (runs.out / "cells").glob("*/record.json")
    assert json.loads(record.read_text())["title"] == "x\ud800y"
    assert "xy" in page.read_text()


def test_hostile_strings_become_text(runs):
    changes = {
        "title": HOSTILE,
        "notes": [HOSTILE],
        "paper": HOSTILE,
        "data.title": HOSTILE,
        "judge.name": HOSTILE,
        "config.method": {HOSTILE: HOSTILE},
        "environment.device": HOSTILE,
        "cell.preset": HOSTILE,
        "data.split_rule": HOSTILE,
        "cell.variant": HOSTILE,
    }
    for seed in range(3):
        runs("cdsvae", seeds=1, changes={**changes, "cell.id": f"hostile-{seed}", "cell.seed": seed})
    publish.publish([runs.root], runs.out, heading=HOSTILE)
    for path in runs.out.rglob("*.html"):
        found = Elements(path.read_text()).found
        assert not [attrs for tag, attrs in found if tag == "img" and "onerror" in attrs]
        assert all(
            attrs.get("src") or attrs.get("type") == "application/json" for tag, attrs in found if tag == "script"
        )
    text = Elements((runs.out / "index.html").read_text()).text
    assert "alert(1)" in text
    assert "{{ 7 * 7 }}" in text
    script = (runs.out / "assets" / "cells.js").read_text()
    assert "<" not in script
    assert json.loads(script.removeprefix("window.seqdisCells = ").rstrip(";\n"))["rows"]


@pytest.mark.parametrize("identity", ["../../../etc/passwd", "a/b", "", ".", "x" * 400, "con\x00trol", "ünïcode"])
def test_hostile_identities_stay_inside_the_site(identity, runs):
    runs("cdsvae")
    _store_as(runs, identity)
    publish.publish([runs.root], runs.out)
    names = [path.name for path in (runs.out / "cells").iterdir()]
    assert all(re.fullmatch(r"[a-z0-9-]+(\.html)?", name) for name in names)
    assert len([name for name in names if name.endswith(".html")]) == 4


def _store_as(runs, identity):
    (folder,) = runs("dsvae", seeds=1)
    record = json.loads((folder / "record.json").read_text())
    record["cell"]["id"] = identity
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")


def test_cells_of_one_name_get_pages_of_their_own(runs):
    folders = [*runs("cdsvae", seeds=1), *runs("dsvae", seeds=1)]
    for folder, identity in zip(folders, ("Same Name", "same-name"), strict=True):
        record = json.loads((folder / "record.json").read_text())
        record["cell"]["id"] = identity
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    publish.publish([runs.root], runs.out)
    assert sorted(path.name for path in (runs.out / "cells").glob("*.html")) == ["same-name-2.html", "same-name.html"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("metrics", {"directions": {"fix_dynamic": {"n_clips": 3, "draws": "no"}}}),
        ("metrics", []),
        ("cost", []),
        ("training", {"losses": "x", "validation": 3, "steps": 1, "planned_steps": 1, "complete": True}),
        ("data", {"factors": [3, None], "splits": [], "title": {}}),
        ("environment", "linux"),
        ("notes", [{"a": 1}] * 3),
        ("code", None),
        ("judge", "someone"),
    ],
)
def test_damaged_records_cost_their_own_page_at_most(key, value, runs):
    runs("cdsvae")
    (folder,) = runs("dsvae", seeds=1)
    record = json.loads((folder / "record.json").read_text())
    record[key] = value
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    done = publish.publish([runs.root], runs.out)
    assert len(list((runs.out / "cells").glob("*cdsvae*.html"))) == 3
    shown = (runs.out / "cells" / f"{folder.name}.html").is_file()
    assert shown or any("dsvae" in problem for problem in done.problems)


# In place


def test_publish_replaces_an_earlier_site_and_keeps_what_begins_with_a_dot(runs):
    runs("cdsvae", seeds=1)
    publish.publish([runs.root], runs.out)
    (runs.out / ".git").mkdir()
    (runs.out / ".git" / "HEAD").write_text("ref")
    runs("dsvae", seeds=1)
    publish.publish([runs.root], runs.out)
    assert (runs.out / ".git" / "HEAD").read_text() == "ref"
    assert len(list((runs.out / "cells").glob("*.html"))) == 2
    assert [path.name for path in runs.out.parent.iterdir() if "site" in path.name] == ["site"]


def test_publish_refuses_a_folder_of_other_files(runs):
    runs("cdsvae", seeds=1)
    runs.out.mkdir()
    (runs.out / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="did not write"):
        publish.publish([runs.root], runs.out)
    assert [path.name for path in runs.out.iterdir()] == ["thesis.tex"]


def test_publish_that_fails_leaves_the_earlier_site(runs, monkeypatch):
    runs("cdsvae", seeds=1)
    publish.publish([runs.root], runs.out)
    before = files_of(runs.out)

    def broken(self):
        raise OSError("disk full")

    monkeypatch.setattr(publish.Site, "write_leaderboard", broken)
    with pytest.raises(OSError, match="disk full"):
        publish.publish([runs.root], runs.out)
    assert files_of(runs.out) == before
    assert [path.name for path in runs.out.parent.iterdir() if "site" in path.name] == ["site"]


def test_publish_without_records_says_what_to_do(tmp_path):
    (tmp_path / "runs" / "cells").mkdir(parents=True)
    with pytest.raises(UserError, match="bench run"):
        publish.publish([tmp_path / "runs"], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_cells_are_told_apart_by_batch_size_and_overrides(runs):
    runs(seeds=1)
    runs(seeds=1, batch=8)
    runs(seeds=1, changes={"cell.overrides": {"method.lr": 0.1}})
    publish.publish([runs.root], runs.out, heading="T")
    listed = json.loads((runs.out / "assets" / "cells.js").read_text().partition(" = ")[2].rstrip(";\n"))
    names = {row[1] for row in listed["rows"]}
    assert names == {"C-DSVAE", "C-DSVAE, batch 8", "C-DSVAE, method.lr=0.1"}
    pages = [path.read_text() for path in (runs.out / "cells").glob("*.html")]
    assert sum(">batch 8<" in page for page in pages) == 1
    assert sum("settings overridden: method.lr=0.1" in page for page in pages) == 1


def test_a_page_without_rows_says_why(runs):
    runs(seeds=1, changes={"cell.overrides": {"method.lr": 0.1}})
    publish.publish([runs.root], runs.out, heading="T")
    assert "settings were overridden (method.lr=0.1" in (runs.out / "index.html").read_text()
