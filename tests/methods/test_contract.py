"""Every method and variant of the suite keeps the contract, and minimises what it should."""

from __future__ import annotations

from typing import Any

import pytest

from seqdis.bench.cell.check.bed import KINDS, weights_in_total
from seqdis.bench.cell.check.methods import check_method
from seqdis.methods.base import NotForTheseData, Shape

# Rows that refuse a kind of data, and a word of the reason.
REFUSALS = {
    ("rwae:weak", "audio"): "number of actions",
    ("rwae:weak", "bare-video"): "number of actions",
    ("mocogan:labels", "audio"): "motion classes",
    ("mocogan:labels", "bare-video"): "motion classes",
    ("s3vae", "bare-video"): "per-frame signal",
    ("fhvae", "bare-video"): "two segments of each sequence",
    ("fhvae:alpha0", "bare-video"): "two segments of each sequence",
}

_ELBO = {"recon", "kl_static", "kl_dynamic"}
_RWAE = {"recon", "penalty_static", "penalty_dynamic"}
_FHVAE = {*_ELBO, "table_prior", "discriminative"}
_CONTRASTIVE = {"contrastive_static", "contrastive_dynamic"}
TERMS: dict[str, dict[str, set[str]]] = {
    "dsvae": {"model": _ELBO},
    "dsvae:mws": {"model": {*_ELBO, "mi_static", "mi_dynamic", "mi_cross"}},
    "s3vae": {"model": {*_ELBO, "triplet", "prediction", "mi_cross"}},
    "rwae": {"model": _RWAE},
    "rwae:gan": {"model": _RWAE, "critic": {"critic_static", "critic_dynamic"}},
    "rwae:weak": {"model": {*_RWAE, "kl_action"}},
    "cdsvae": {"model": {*_ELBO, *_CONTRASTIVE, "mi_cross"}},
    "cdsvae:no-content-aug": {"model": {*_ELBO, "contrastive_dynamic", "mi_cross"}},
    "cdsvae:no-motion-aug": {"model": {*_ELBO, "contrastive_static", "mi_cross"}},
    "cdsvae:gamma0": {"model": {*_ELBO, *_CONTRASTIVE}},
    "fhvae": {"model": _FHVAE},
    "fhvae:alpha0": {"model": _FHVAE - {"discriminative"}},
    "mocogan": {
        "image_discriminator": {"adversarial_image"},
        "video_discriminator": {"adversarial_video", "category"},
        "generator": {"adversarial_image", "adversarial_video", "category"},
    },
    "autoencoder": {"model": {"recon", "kl_dynamic"}},
    "autoencoder:all-in-s": {"model": {"recon", "kl_static"}},
}
"""The terms that each player of each row minimises. A variant that is not listed has those of its plain row."""


def minimised(row: str, player: str, shape: Shape) -> set[str]:
    """The terms that the player of a row minimises on data of this shape."""
    terms = TERMS.get(row) or TERMS[row.partition(":")[0]]
    has_categories = shape.n_motions and row != "mocogan:no-categories"
    return terms[player] if has_categories else terms[player] - {"category"}


def test_it_keeps_the_contract(kit: Any, each_row: str, record_property: pytest.RecordProperty) -> None:
    failures, refused = [], set()
    for finding in check_method([kit.rows[each_row]]):
        failures += [f"{finding.name}: {case.where}: {case.text}" for case in finding.failures]
        for case in finding.cases:
            if case.text.startswith("not for these data"):
                refused.add(case.where.partition(" on ")[2])
            elif finding.name.startswith("change-of-the-static-code") and case.state == "holds":
                record_property(f"static change of {case.where}", case.text)
    assert not failures
    assert refused == {kind for row, kind in REFUSALS if row == each_row}


@pytest.mark.parametrize(("row", "kind"), REFUSALS)
def test_what_it_cannot_do_it_refuses_in_words(kit: Any, row: str, kind: str) -> None:
    with pytest.raises(NotForTheseData, match=REFUSALS[row, kind]):
        kit.build(row, KINDS[kind])


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_each_player_minimises_the_terms_that_it_should(kit: Any, each_row: str, kind: str) -> None:
    if (each_row, kind) in REFUSALS:
        return
    shape = kit.shapes[kind]
    method = kit.build(each_row, shape)
    method.on_epoch(kit.context(shape))
    for player in method.players:
        terms = method.loss(kit.batch(shape), player, kit.context(shape))
        assert set(weights_in_total(terms)) == minimised(each_row, player, shape), player
