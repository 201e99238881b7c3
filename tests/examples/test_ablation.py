"""The ablation of C-DSVAE: the plain one is the suite's to the last bit, and each variant changes what it names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from seqdis.bench.perf.testbed import Bed, Settings
from seqdis.bench.plan import catalog
from seqdis.bench.plan.catalog import MethodRef

FILE = f"{Path(__file__).resolve().parents[2] / 'examples' / 'cdsvae_ablation.py'}:Ablation"
SETTINGS = Settings(preset="quick", dataset="sprites", batch_size=6, device=torch.device("cpu"), n_clips=32)
VARIANTS = sorted(catalog.load_method(catalog.parse_methods(FILE)[0]).variants)


def losses(ref: MethodRef, steps: int = 2) -> list[dict[str, Tensor]]:
    bed = Bed(ref, SETTINGS)
    found = []
    for number in range(steps):
        bed.trainer.state.step = number
        found.append(bed.trainer.step(bed.index)["model"])
    return found


@pytest.fixture(scope="module")
def reference() -> list[dict[str, Tensor]]:
    return losses(MethodRef("cdsvae"))


def test_without_a_variant_it_is_the_suite_s_c_dsvae(reference: list[dict[str, Tensor]]) -> None:
    for own, suite in zip(losses(catalog.parse_methods(FILE)[0]), reference, strict=True):
        assert own.keys() == suite.keys()
        assert all(torch.equal(own[name], suite[name]) for name in suite)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_trains_and_changes_the_loss(variant: str, reference: list[dict[str, Tensor]]) -> None:
    (ref,) = catalog.parse_methods(f"{FILE}:{variant}")
    found = losses(ref)
    assert all(torch.isfinite(value) for terms in found for value in terms.values())
    # Statistics that evaluation reads do not show in a training loss, nor does a clamp that is far from acting.
    if variant in ("all-views", "relu"):
        return
    assert not torch.equal(found[-1]["total"], reference[-1]["total"])


def test_view_variants_leave_the_first_reconstruction_alone() -> None:
    plain, crop_only = (losses(catalog.parse_methods(name)[0], 1)[0] for name in (FILE, f"{FILE}:crop-only"))
    assert torch.equal(plain["recon"], crop_only["recon"])
    assert not torch.equal(plain["contrastive_dynamic"], crop_only["contrastive_dynamic"])
    assert torch.equal(plain["contrastive_static"], crop_only["contrastive_static"])


def test_running_statistics_move_with_all_views_only_where_it_says_so() -> None:
    means = []
    for name in (FILE, f"{FILE}:all-views"):
        bed = Bed(catalog.parse_methods(name)[0], SETTINGS)
        bed.step()
        means.append(bed.trainer.method.state_dict()["frame_encoder.norms.0.num_batches_tracked"].item())
    assert means == [1, 2]
