"""How far clips and codes move: known answers, and what must not matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from seqdis.datasets.base import DataSet, Split
from seqdis.judges.distances import relative_change
from seqdis.judges.settings import EvaluationConfig
from seqdis.judges.subjects import subject_of

CONFIG = EvaluationConfig(draws=3)


def test_relative_change_is_none_for_an_ignored_code_and_whole_for_another_clip(
    exact: Callable[[str], Any], toy: DataSet
) -> None:
    device = torch.device("cpu")

    def change(name: str, direction: Any) -> float:
        subject = subject_of(exact(name), toy.test, toy.spec, CONFIG, device)
        rebuild = subject.draw(direction, torch.Generator().manual_seed(0))
        return relative_change(subject, rebuild, toy.test, CONFIG, device)

    assert change("all-in-s", "fix_static") == 0
    assert change("all-in-z", "fix_dynamic") == 0
    assert change("all-in-s", "fix_dynamic") == pytest.approx(1, abs=0.1)


def test_relative_change_depends_on_neither_batch_size_nor_order(exact: Callable[[str], Any], toy: DataSet) -> None:
    device = torch.device("cpu")
    ordered = toy.test.subset(toy.test.labels["colour"].argsort())  # neighbours look alike

    def change(split: Split, batch_size: int) -> float:
        config = dataclasses.replace(CONFIG, batch_size=batch_size)
        subject = subject_of(exact("perfect"), split, toy.spec, config, device)
        # The clip before stands for the draw, so that what is measured does not hang on the generator.
        return relative_change(subject, lambda position: subject.reconstruct(position - 1), split, config, device)

    assert change(toy.test, 7) == pytest.approx(change(toy.test, 64), rel=1e-6)
    assert change(toy.test, 1) == pytest.approx(change(toy.test, 500), rel=1e-6)
    assert change(toy.test, 64) == pytest.approx(1, abs=0.1)
    assert change(ordered, 64) < change(toy.test, 64) - 0.1  # its neighbours differ less than any two clips do


def test_relative_change_is_measured_against_the_mean_of_all_pairs(exact: Callable[[str], Any], toy: DataSet) -> None:
    split = toy.test.subset(torch.arange(20))
    subject = subject_of(exact("perfect"), split, toy.spec, CONFIG, torch.device("cpu"))
    kept = subject.reconstruct(torch.arange(20)).double().flatten(1)
    pairs = (kept[:, None] - kept[None]).square().sum(2).sum() / (20 * 19)
    moved = (kept - kept.roll(1, 0)).square().sum(1).mean()
    found = relative_change(
        subject, lambda position: subject.reconstruct(position - 1), split, CONFIG, torch.device("cpu")
    )
    assert found == pytest.approx(min(float(moved / pairs), 1.0), rel=1e-6)
