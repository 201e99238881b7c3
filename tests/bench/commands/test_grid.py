"""Which cells a command is about, and what it says where they cannot run."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from seqdis.bench.commands import grid, slurm_flags
from seqdis.bench.commands.grid import Grid
from seqdis.bench.core.errors import UserError
from seqdis.bench.launch.request import JobWishes


def typed(*words: str) -> Grid:
    parser = argparse.ArgumentParser()
    grid.add_arguments(parser)
    return Grid.typed(parser.parse_args(list(words)))


def test_cells_are_those_of_the_preset_unless_more_is_said() -> None:
    quick = typed("--datasets", "sprites,mug", "--methods", "dsvae,cdsvae", "--preset", "quick")
    assert quick.data_source == "synthetic"
    planned = quick.plan()
    assert len(planned) == 4 * quick.scale.seeds
    more = typed(
        "--datasets", "sprites", "--methods", "dsvae", "--preset", "quick", "--seeds", "3", "--first-seed", "5"
    )
    assert [cell.cell.seed for cell in more.plan()] == [5, 6, 7]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--datasets", "spirtes"], "did you mean 'sprites'"),
        (["--datasets", "sprites", "--methods", "dsva"], "did you mean 'dsvae'"),
        (["--datasets", "sprites", "--preset", "quik"], "did you mean 'quick'"),
        (["--datasets", "sprites", "--table", "comparisons"], "did you mean 'comparison'"),
    ],
)
def test_unknown_names_are_found_before_anything_slow(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        typed(*words).check()


def test_missing_data_name_the_line_that_runs_now(tmp_path: Path) -> None:
    words = ["--methods", "dsvae", "--datasets", "sprites", "--seeds", "2", "--set", "method.lr=0.1"]
    with pytest.raises(UserError, match="To see the whole job now on generated data: bench run"):
        typed(*words).require_data(tmp_path)
    asked = typed(*words, "--source", "real", "--preset", "quick")
    assert asked.line(["mug"]) == (
        "bench run --methods dsvae --datasets mug --preset quick --source real --seeds 2 --set method.lr=0.1"
    )
    assert typed("--datasets", "sprites,mug").line(["mug"]) == "bench run --datasets mug"


def test_wishes_hold_what_was_typed_and_nothing_else() -> None:
    parser = argparse.ArgumentParser()
    slurm_flags.add_arguments(parser)
    assert slurm_flags.wishes(parser.parse_args([])) == JobWishes()
    words = ["--cpus", "3", "--gpus", "a100:1", "--setup", "a", "--setup", "b", "--max-jobs", "0", "--hold"]
    assert slurm_flags.wishes(parser.parse_args(words)) == JobWishes(
        needs={"gpus": "a100:1", "cpus": 3}, max_jobs=0, setup=("a", "b"), hold=True
    )
