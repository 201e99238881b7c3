"""Training of judges: what is learnt, what is written down, and of several that train at once one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.schema import to_json
from seqdis.datasets.base import DataSet, Factor, Spec, Split
from seqdis.judges.cards import shipped_folder
from seqdis.judges.judge import Judge, load_judge
from seqdis.judges.settings import Architecture, Recipe
from seqdis.judges.training import accuracies, fit_judge, train_judge


def test_trained_judge_tells_every_factor_of_clips_it_never_saw(judge: Judge, toy: DataSet) -> None:
    assert min(judge.card.accuracy.values()) >= 0.99
    assert min(judge.card.accuracy_blurred.values()) >= 0.97
    assert judge.card.joint["look"] >= 0.99
    found, joint = accuracies(judge, toy.test, toy.spec, chunk=7)
    assert (found, joint) == (judge.card.accuracy, judge.card.joint)
    assert judge.card.n_test == len(toy.test)
    assert judge.card.data.revision == toy.spec.revision
    json.dumps(to_json(judge.card), allow_nan=False)


def test_same_seed_trains_the_same_judge_and_another_seed_another(toy: DataSet, narrow: Architecture) -> None:
    recipe = Recipe(steps=12, check_every=6)
    trained = [fit_judge(toy, seed=seed, recipe=recipe, architecture=narrow) for seed in (3, 3, 4)]
    first, again, other = (torch.cat([p.flatten() for p in judge.parameters()]) for judge in trained)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_leaves_the_global_generator_alone(toy: DataSet, narrow: Architecture) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fit_judge(toy, recipe=Recipe(steps=2, check_every=2), architecture=narrow)
    assert torch.equal(torch.rand(3), expected)


def test_training_stops_early_when_every_head_is_perfect(judge: Judge, recipe: Recipe) -> None:
    assert judge.card.steps < recipe.steps


def test_data_without_factors_cannot_be_judged(toy: DataSet, other_spec: Callable[..., Spec]) -> None:
    toy_without = type(toy)(other_spec(factors=(), joints=()))  # type: ignore[call-arg]
    with pytest.raises(UserError, match="no labelled factor"):
        fit_judge(toy_without)


def test_audio_judge_learns_who_speaks(other_spec: Callable[..., Spec]) -> None:
    """Three speakers with different mean spectra, in noise, with a loudness of the clip's own."""

    class Speech(DataSet):
        name = "speech"

        def __init__(self) -> None:
            self.spec = other_spec(
                name="speech",
                modality="audio",
                frame=(20,),
                n_frames=10,
                joints=(),
                factors=(Factor(name="speaker", classes=("a", "b", "c"), role="static"),),
            )
            self.train, self.validation, self.test = (self._split(n, seed) for seed, n in enumerate((300, 60, 90)))

        def _split(self, n: int, seed: int) -> Split:
            generator = torch.Generator().manual_seed(seed)
            speaker = torch.randint(3, (n,), generator=generator)
            voices = torch.randn((3, 20), generator=torch.Generator().manual_seed(99))
            noise = torch.randn((n, 10, 20), generator=generator)
            loudness = torch.randn((n, 1, 1), generator=generator)
            return Split((voices[speaker][:, None] + noise + loudness).half(), {"speaker": speaker}, torch.arange(n))

    trained = fit_judge(Speech(), recipe=Recipe(steps=150, check_every=75))
    assert trained.card.size == 0
    assert trained.card.name == "speech-synthetic"
    assert trained.card.accuracy["speaker"] >= 0.95


@pytest.mark.parametrize("kind", ["default", "second"])
def test_training_on_some_frames_keeps_their_order_and_count(kind: str, toy: DataSet, narrow: Architecture) -> None:
    trained = fit_judge(toy, name=kind, recipe=Recipe(steps=2, check_every=2, frames=2), architecture=narrow)
    assert trained.card.recipe["frames"] == 2
    assert trained.card.n_test == len(toy.test)


def test_unknown_judge_is_refused(toy: DataSet) -> None:
    with pytest.raises(UserError, match="default, second, official"):
        fit_judge(toy, name="third")


def test_of_two_processes_one_trains_and_the_other_waits(tmp_path: Path, toy: DataSet, narrow: Architecture) -> None:
    trained: list[str] = []
    found: dict[str, Judge] = {}

    def ask(name: str) -> None:
        found[name] = train_judge(
            toy,
            root=tmp_path,
            recipe=Recipe(steps=20, check_every=10),
            architecture=narrow,
            progress=lambda *_: trained.append(name),
        )

    askers = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(set(trained)) == 1
    assert found["a"].card.sha256 == found["b"].card.sha256


def test_a_damaged_judge_of_the_users_is_trained_anew(
    root: Path, weights: Path, toy: DataSet, narrow: Architecture
) -> None:
    weights.write_bytes(b"damaged")
    train_judge(toy, root=root, recipe=Recipe(steps=4, check_every=2), architecture=narrow)
    assert load_judge(toy.spec, root).card.steps == 4


def test_unwritable_folder_is_a_clear_error(tmp_path: Path, toy: DataSet) -> None:
    (tmp_path / "judges").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="--data-dir"):
        train_judge(toy, root=tmp_path)


@pytest.mark.skipif("SEQDIS_TEST_DATA" not in os.environ, reason="SEQDIS_TEST_DATA is not set: no real sheets")
@pytest.mark.skipif(not (shipped_folder() / "sprites-real-32.json").exists(), reason="no judge of real Sprites yet")
def test_judge_of_real_sprites_is_as_good_as_its_card_says(tmp_path: Path) -> None:
    from seqdis.datasets.sprites import Sprites

    Sprites.prepare(tmp_path, "real", 32, from_dir=Path(os.environ["SEQDIS_TEST_DATA"]) / "lpc-sprites")
    sprites = Sprites.open(tmp_path, "real", 32)
    loaded = load_judge(sprites.spec, tmp_path)
    found, _ = accuracies(loaded, sprites.test, sprites.spec)
    assert found == pytest.approx(loaded.card.accuracy, abs=0.002)
    assert min(found.values()) >= 0.999
