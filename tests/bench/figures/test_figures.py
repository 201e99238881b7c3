"""Figures: what stands where, what may not be shown, and that equal cells give equal bytes."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqdis.bench.cli import main
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.schema import unchecked
from seqdis.bench.figures import curves, drawing, sheets
from seqdis.bench.figures.cells import Cell, is_showable, row_names
from seqdis.bench.figures.sheets import Grid
from seqdis.bench.records.clips import save_clips
from seqdis.bench.records.record import Config, Record, Training


def _specimens():
    path = Path(__file__).parents[2] / "browser" / "specimens.py"
    spec = importlib.util.spec_from_file_location("seqdis_test_specimens", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


specimens = _specimens()


@pytest.fixture(scope="module")
def video():
    return specimens.make(specimens.figure, n=3)


@pytest.fixture(scope="module")
def audio():
    return specimens.make(specimens.spectrogram, n=3)


@pytest.fixture
def cell(tmp_path, make_record, store_record, video):
    def build(method="cdsvae", dataset="sprites", seed=0, clips=None, **options):
        record = make_record(method, dataset, seed, **options)
        specimens.add_curves(record, seed, 0.8)
        folder = store_record(tmp_path / "runs", record).parent
        save_clips(folder, clips or video)
        return Cell(folder, unchecked(Record, record))

    return build


def test_swap_sheet_puts_static_of_the_row_and_dynamic_of_the_column(video):
    (grid,) = sheets.swap_sheet(video)
    assert grid.rows[0][0] is None
    for i in range(3):
        np.testing.assert_array_equal(grid.rows[0][i + 1], video["originals"][i])
        np.testing.assert_array_equal(grid.rows[i + 1][0], video["originals"][i])
        for j in range(3):
            np.testing.assert_array_equal(grid.rows[i + 1][j + 1], video["swaps"][i, j])


def test_layout_shows_every_pixel_of_every_tile_where_its_centre_says(video):
    (grid,) = sheets.swap_sheet(video)
    drawn = drawing.layout(grid, 5, (0, 1), 4)
    for row, y in zip(grid.rows, drawn.row_centres, strict=True):
        for clip, x in zip(row, drawn.column_centres, strict=True):
            top, left = int(y - 16), int(x - 16)
            shown = drawn.image[top : top + 32, left : left + 32]
            np.testing.assert_array_equal(shown, np.full((32, 32, 3), 255) if clip is None else clip[5])


def test_strip_begins_with_the_first_frame_and_ends_with_the_last(video):
    clip = video["originals"][0]
    strip = drawing.tile(clip, None, (0, 1), max_frames=4)
    assert strip.shape == (32, 4 * 32 + 3, 3)
    np.testing.assert_array_equal(strip[:, :32], clip[0])
    np.testing.assert_array_equal(strip[:, -32:], clip[-1])
    assert drawing.tile(clip, None, (0, 1), max_frames=64).shape == (32, 8 * 33 - 1, 3)


def test_spectrogram_tile_has_time_to_the_right_and_low_bands_below():
    clip = np.zeros((20, 80), np.float16)
    clip[:, 0] = 1  # the lowest band, always on
    clip[10:, 60] = 1  # a high band in the second half
    heat = drawing.tile(clip, None, (0, 1)).astype(int).sum(-1)
    assert heat.shape == (80, 80)
    assert (heat[-1] > heat[-2]).all()
    assert heat[80 - 1 - 60, 60] > heat[80 - 1 - 60, 20]


def test_compare_sheet_gives_each_method_the_same_clips_and_generators_their_samples(video):
    generator = specimens.make(specimens.figure, n=3, encodes=False)
    grids = sheets.compare_sheet([("A", video), ("B", video), ("G", generator)])
    by_title = {grid.title: grid for grid in grids}
    assert by_title["Reconstruction"].row_labels == ["test clip", "A", "B"]
    swap = next(grid for title, grid in by_title.items() if title.startswith("Swap"))
    np.testing.assert_array_equal(swap.rows[2][2], video["swaps"][2, 0])
    assert by_title["Samples from both priors"].row_labels == ["A", "B", "G"]


def test_compare_sheet_of_other_clips_is_refused(video):
    other = {**video, "originals": video["originals"][::-1].copy()}
    with pytest.raises(UserError, match="B was shown other test clips"):
        sheets.compare_sheet([("A", video), ("B", other)])


def test_sheet_files_are_the_same_bytes_twice_and_the_gif_moves(video):
    from PIL import Image

    grids = sheets.samples_sheet(video)
    first, second = (drawing.sheet_files(grids, "T", "s", ["png", "pdf", "gif"]) for _ in range(2))
    assert first == second
    assert first["png"][:4] == b"\x89PNG"
    assert b"CreationDate" not in first["pdf"]
    with Image.open(io.BytesIO(first["gif"])) as image:
        assert image.n_frames == 8
        frames = []
        for index in range(8):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
    assert all(abs(a - b).max() > 50 for a, b in itertools.pairwise(frames))


def test_sheet_of_spectrograms_has_no_gif(audio):
    assert set(drawing.sheet_files(sheets.audio_sheet(audio), "T", "s", ["png", "gif"])) == {"png"}
    with pytest.raises(UserError, match="video"):
        sheets.audio_sheet(specimens.make(specimens.figure, n=3))


def test_titles_are_taken_as_text_not_as_mathematics(video):
    hostile = "$\\frac{ \\undefined <script> \u202e"
    grid = Grid([[video["originals"][0]]], [hostile], [hostile])
    assert drawing.sheet_files([grid], hostile, hostile, ["png"])["png"][:4] == b"\x89PNG"


def test_user_style_does_not_change_the_figure(video):
    import matplotlib

    plain = drawing.sheet_files(sheets.samples_sheet(video), "T", "s", ["png"])
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red"}):
        assert drawing.sheet_files(sheets.samples_sheet(video), "T", "s", ["png"]) == plain
        assert matplotlib.rcParams["font.size"] == 30


# What may not be shown


@pytest.mark.parametrize(
    ("dataset", "source", "may_show", "expected"),
    [
        ("sprites", "real", True, True),
        ("sprites", "real", False, False),
        ("mug", "synthetic", True, True),
        ("mug", "real", False, False),
        ("mug", "real", True, False),
        ("timit", "real", True, False),
        ("sprites", "real", "yes", False),
    ],
)
def test_showable_trusts_no_record_about_licensed_data(dataset, source, may_show, expected):
    assert is_showable(dataset, source, may_show) is expected


def test_licensed_frames_are_drawn_only_in_private(cell, tmp_path, capsys):
    made = cell(dataset="mug", source="real")
    line = ["figure", "swap", str(made.folder), "--out-dir", str(tmp_path / "out")]
    assert main(line) == 2
    assert "MUG may not be published" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*line, "--private"]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 1


# Curves


def test_mean_and_range_on_the_common_steps_is_the_plain_mean():
    steps, mean, low, high = curves.mean_and_range([[(0, 1.0), (10, 3.0), (20, 5.0)], [(10, 5.0), (20, 1.0), (30, 9)]])
    np.testing.assert_array_equal(steps, [10, 20])
    np.testing.assert_array_equal(mean, [4, 3])
    np.testing.assert_array_equal(low, [3, 1])
    np.testing.assert_array_equal(high, [5, 5])


def test_loss_points_take_one_player_and_stay_short(make_record):
    record = make_record()
    record["training"]["losses"] = [
        {"step": step, "player": player, "total": step + (player == "d") * 1000}
        for step in range(2000)
        for player in ("g", "d")
    ]
    training = unchecked(Training, record["training"])
    points = curves.loss_points(training, "total")
    assert len(points) == 400
    assert points[0] == (0, 0)
    assert points[-1] == (1999, 1999)
    assert curves.loss_points(training, "mi_cross") == []


def test_information_of_a_sum_over_frames_is_drawn_per_frame(make_record):
    """S3VAE's loss sums I(s; z_t) over frames, C-DSVAE's takes the mean: only per frame do they share an axis."""
    record = make_record()
    record["training"]["losses"] = [{"step": 1, "player": "model", "mi_static": 4.0, "mi_cross": 24.0}]
    training = unchecked(Training, record["training"])
    mean, total = (
        dataclasses.replace(unchecked(Config, record["config"]), method={"mws_reduction": how})
        for how in ("mean", "sum")
    )
    assert curves.information_points(training, mean, 8, "mi_cross") == [(1, 24)]
    assert curves.information_points(training, total, 8, "mi_cross") == [(1, 3)]
    assert curves.information_points(training, total, 8, "mi_static") == [(1, 4)]


def test_information_curves_without_any_say_which_methods_log_them(make_record, tmp_path):
    with pytest.raises(UserError, match="cdsvae"):
        curves.information_curves([Cell(tmp_path, unchecked(Record, make_record()))])


# The command


def test_every_kind_is_drawn_without_torch(cell, audio, tmp_path):
    cell()
    cell("dsvae")
    cell("cdsvae", "timit", clips=audio)
    lines = [
        [
            "figure",
            kind,
            "--out",
            str(tmp_path / "runs"),
            "--out-dir",
            str(tmp_path / kind),
            "--dataset",
            "timit" if kind == "audio" else "sprites",
            "--format",
            "png",
        ]
        for kind in ("swap", "fixed", "samples", "interpolate", "audio", "compare", "mi", "training")
    ]
    code = (
        "import sys, json\nfrom seqdis.bench.cli import main\n"
        f"code = max(main(line) for line in json.loads({json.dumps(json.dumps(lines))}))\n"
        "sys.exit(code or ('torch was imported' if 'torch' in sys.modules else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for kind, count in (
        ("swap", 2),
        ("fixed", 2),
        ("samples", 2),
        ("interpolate", 2),
        ("audio", 1),
        ("compare", 1),
        ("mi", 1),
        ("training", 1),
    ):
        assert len(list((tmp_path / kind).glob("*.png"))) == count, kind
    assert len(done.stdout.splitlines()) == 12


def test_cells_are_found_by_the_beginning_of_their_id(cell, tmp_path, capsys):
    cell(seed=0)
    second = cell(seed=1)
    places = ["--out", str(tmp_path / "runs"), "--out-dir", str(tmp_path / "out")]
    assert main(["figure", "samples", "sprites-synth-cdsvae-quick-s1", *places]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"samples-{second.folder.name}.png"]
    assert main(["figure", "samples", "sprites-synth-cdsvae", *places]) == 2
    assert "2 cells" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["swop"], "did you mean 'swap'"),
        (["swap", "--format", "jpg"], "unknown format 'jpg'"),
        (["mi", "--format", "gif"], "curves do not move"),
        (["swap", "--dataset", "nowhere"], "no finished cell fits"),
        (["audio"], "video"),
        (["swap", "--frames", "0"], "--frames 0"),
    ],
)
def test_mistakes_are_one_sentence(line, message, cell, tmp_path, capsys):
    cell()
    assert main(["figure", *line, "--out", str(tmp_path / "runs"), "--out-dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def _bounds_of(axis):
    return [round(line.get_ydata()[0], 4) for line in axis.get_lines() if line.get_color() == "0.45"]


@pytest.mark.parametrize("kind", ["mi", "training"])
def test_a_curve_is_the_mean_of_one_configuration(cell, kind):
    """Batch sizes are lines of their own, and a cell of 24 steps takes nothing from the others."""
    short = {"training.steps": 24}
    made = [cell(seed=seed, batch=batch) for batch in (0, 8, 32) for seed in (0, 1)]
    cut = cell(changes={"cell.overrides": short, "config.training": {"steps": 24, "batch_size": 16}})
    losses = tuple(line for line in cut.record.training.losses if line["step"] < 24)
    training = dataclasses.replace(cut.record.training, losses=losses, validation=())
    made.append(dataclasses.replace(cut, record=dataclasses.replace(cut.record, training=training)))
    draw = curves.information_curves if kind == "mi" else curves.training_curves
    figure = draw(made)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(named[:4]) == [
        "C-DSVAE, batch 16",
        "C-DSVAE, batch 16, training.steps=24",
        "C-DSVAE, batch 32",
        "C-DSVAE, batch 8",
    ]
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) != 2]
    assert sorted(len(line.get_xdata()) for line in lines) == [1, 51, 51, 51]
    for line in lines:
        if len(line.get_xdata()) > 1:
            assert (line.get_xdata()[0], line.get_xdata()[-1]) == (0, 1500)


def test_rows_that_differ_in_more_than_their_names_say_so(cell):
    made = [cell(), cell(changes={"data.digest": "ee" * 32, "cell.seed": 1}), cell("dsvae")]
    named = row_names(made)
    assert len(named) == 3
    assert sum(name.startswith("C-DSVAE [") for name in named.values()) == 2
    assert "DSVAE" in named.values()


def test_a_sheet_names_batch_size_and_overrides(cell):
    made = cell(seed=3, batch=8, changes={"cell.overrides": {"method.lr": 0.1}})
    assert made.full_title == "C-DSVAE, batch 8, method.lr=0.1, seed 3"


def test_overridden_cells_are_left_out_of_averages_and_counted(cell, tmp_path, capsys):
    cell()
    other = cell(changes={"cell.overrides": {"training.steps": 24}})
    places = ["--out", str(tmp_path / "runs"), "--out-dir", str(tmp_path / "out")]
    for kind in ("training", "compare"):
        assert main(["figure", kind, *places]) == 0
        assert "1 cell with overridden settings or an unfinished schedule is left out" in capsys.readouterr().err
    assert main(["figure", "training", str(other.folder), *places]) == 0
    assert "left out" not in capsys.readouterr().err


def test_a_control_is_not_to_be_run_again_for_clips(cell, tmp_path, capsys):
    cell()
    oracle = cell("oracle", changes={"training.planned_steps": 0, "training.steps": 0})
    (oracle.folder / "clips.npz").unlink()
    assert main(["figure", "compare", "--out", str(tmp_path / "runs"), "--out-dir", str(tmp_path / "out")]) == 0
    error = capsys.readouterr().err
    assert "was not trained, and keeps no clips" in error
    assert "again" not in error


def test_curves_below_the_bound_of_their_estimate_show_it(cell):
    """A contrastive estimate at its ceiling says nothing of what the code holds beyond it."""
    from seqdis.bench.figures.curves import information_curves

    made = cell()
    low = [{"step": step, "player": "model", "mi_static": 2.0, "mi_cross": 30.0} for step in (1, 2)]
    training = dataclasses.replace(made.record.training, losses=tuple(low))
    made = dataclasses.replace(made, record=dataclasses.replace(made.record, training=training))
    figure = information_curves([made])
    bounded = [axis for axis in figure.axes if _bounds_of(axis)]
    assert [axis.get_title(loc="left") for axis in bounded] == ["I(s; x)"]
    assert _bounds_of(bounded[0]) == [2.7726]
    assert any("ln(batch size)" in text.get_text() for text in figure.legends[0].get_texts())
