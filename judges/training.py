"""Training of judges: real clips with their labels, blur and noise on half of each batch, cross-entropy of all heads.

Blur matters: a judge trained on clean clips alone is perfect on real clips, yet a 3x3 blur costs it 61 points on a
colour attribute, so it would charge every decoder's blur to the method. Steps are counted, never seconds, and all
randomness comes from the seed, so the same machine trains the same judge.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.files import make_folder
from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import DataSet, Spec, Split
from seqdis.judges import metrics
from seqdis.judges.architectures import default_architecture
from seqdis.judges.cards import Card, CardData, shipped_folder, side, stem, trained_folder, trained_stem
from seqdis.judges.degradation import blurred, degrade, shifted
from seqdis.judges.judge import Judge, load_judge, save_judge
from seqdis.judges.settings import Architecture, Factors, Recipe
from seqdis.judges.subjects import spread
from seqdis.judges.windows import Windows, window_loss

Progress = Callable[[int, int, str], None]

BLURRED_CLIPS = 3000
"""Test clips that are judged blurred as well, evenly spread, where there are more."""


def default_recipe(spec: Spec, architecture: Architecture) -> Recipe:
    """The recipe for these data: the usual one, but for clips that are framed loosely and for digits that move about."""
    if spec.is_loosely_framed:
        # Such data have few training clips too: without shifts the judge learns them by heart.
        return Recipe(shift=2)
    if architecture.kind in ("cnn-windows", "cnn-windows-deep"):
        short = Recipe(windows=4000, steps=250, lr=5e-4, frames=5, check_every=125, look_clips=400)
        # The papers' size deserves the longer training: with the short one, .4 points of pairs less were right.
        long = dataclasses.replace(short, windows=8000, steps=800, check_every=100, look_clips=1000)
        return long if side(spec) >= 64 else short
    return Recipe()


def train_judge(
    dataset: DataSet,
    *,
    root: Path | None = None,
    name: str = "default",
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    again: bool = False,
    recipe: Recipe | None = None,
    architecture: Architecture | None = None,
) -> Judge:
    """The judge of a data set, trained and saved in `<root>/judges` unless it is there already.

    Of several processes that ask at once, one trains and the others wait for its judge (where the file system has
    locks; else each trains, and one's files win whole).

    Args:
        again: train even if there is one.
        others: as of `fit_judge`.

    Raises:
        UserError: no space or permission, or no labelled factor.
    """
    folder = trained_folder(root)
    with _alone(folder / f".{trained_stem(dataset.spec, name)}.lock"):
        if not again:
            try:
                return load_judge(dataset.spec, root, name)
            except MissingDataError:
                pass
            except UserError:
                # A damaged judge of the user's is trained anew; one of the suite's would still be found first.
                if (shipped_folder() / f"{stem(dataset.spec, name)}.json").is_file():
                    raise
        judge = fit_judge(
            dataset,
            name=name,
            seed=seed,
            recipe=recipe,
            architecture=architecture,
            device=device,
            progress=progress,
        )
        save_judge(judge, folder, trained_stem(dataset.spec, name))
    return judge


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds a lock file while the block runs."""
    try:
        make_folder(path.parent)
        lock = open(path, "ab")  # noqa: SIM115 - held over the yield
    except OSError as error:
        raise UserError(
            f"cannot write {path.parent}: {error.strerror}. Choose another folder with --data-dir."
        ) from error
    with lock:
        # Without locks (Windows, some file systems) both train, and the files of one win whole.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fit_judge(
    dataset: DataSet,
    *,
    name: str = "default",
    seed: int = 0,
    recipe: Recipe | None = None,
    architecture: Architecture | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Judge:
    """Trains a judge on the training clips, keeps the best by validation, measures it on the test clips.

    Args:
        name: "default" or "second"; names the file and, unless `architecture` is given, the network.
        progress: called with (step, steps, text).

    Returns:
        The judge in evaluation mode on the CPU, its card complete but for the weights' digest (`save_judge`).

    Raises:
        UserError: the data have no labelled factor.
    """
    spec = dataset.spec
    architecture = architecture or default_architecture(spec, name)
    recipe = recipe or default_recipe(spec, architecture)
    factors = judged_factors(dataset)
    if not factors:
        raise UserError(f"{spec.name} has no labelled factor for a judge to learn.")
    device = torch.device(device)
    # Initial weights and dropout draw from the global generators, which are left as they were found.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive(seed, "judge", stem(spec, name), "initialise"))
        judge = Judge(spec.frame, factors, architecture).to(device)
        steps = _fit(judge, dataset, recipe, derive(seed, "judge", stem(spec, name)), device, progress)
    judge.eval().requires_grad_(False)
    if progress is not None:
        progress(steps, recipe.steps, "testing")
    judge.card = _card(judge, dataset, name, recipe, seed, steps)
    return judge.cpu()


def _card(judge: Judge, dataset: DataSet, name: str, recipe: Recipe, seed: int, steps: int) -> Card:
    """What is written down of a judge that was trained in `steps` steps, measured on the test clips."""
    spec = dataset.spec
    test = dataset.test.to(next(judge.parameters()).device)
    clean, joint = accuracies(judge, test, spec)
    return Card(
        name=stem(spec, name),
        judge=name,
        dataset=spec.name,
        title=spec.title,
        source=spec.source,
        size=side(spec),
        frame=tuple(spec.frame),
        n_frames=spec.n_frames,
        factors=dict(judge.factors),
        architecture=judge.architecture,
        recipe=dataclasses.asdict(recipe),
        seed=seed,
        data=CardData(
            revision=spec.revision,
            digest=dataset.digest,
            clips=len(dataset.train),
            split_rule=spec.split_rule,
            identity=spec.identity,
        ),
        accuracy=clean,
        joint=joint,
        accuracy_blurred=accuracies(judge, _part(test, BLURRED_CLIPS), spec, blur=recipe.blur)[0],
        n_test=len(test),
        parameters=sum(parameter.numel() for parameter in judge.parameters()),
        steps=steps,
        torch=str(torch.__version__),
    )


def judged_factors(dataset: DataSet) -> Factors:
    """What a judge of these data has heads for: every factor with test classes that training clips show.

    Where data are split by people, who it is cannot be judged on test clips, and nothing is scored on it.
    """
    found: Factors = {}
    for factor in dataset.spec.factors:
        seen, asked = (set(split.labels[factor.name].tolist()) for split in (dataset.train, dataset.test))
        if seen & asked:
            found[factor.name] = (factor.n_classes, factor.role)
    return found


def _fit(
    judge: Judge, dataset: DataSet, recipe: Recipe, seed: int, device: torch.device, progress: Progress | None
) -> int:
    """Trains in place and loads the best weights. Returns the steps taken."""
    train, validation = dataset.train.to(device), dataset.validation.to(device)
    optimiser = torch.optim.Adam(_groups(judge), lr=recipe.lr, weight_decay=recipe.weight_decay)
    generator = torch.Generator(device).manual_seed(derive(seed, "batches"))
    order = torch.Generator().manual_seed(derive(seed, "order"))
    _fit_windows(judge, train, recipe, seed, progress)
    looked = _part(validation, recipe.look_clips)
    best: tuple[float, dict[str, Tensor]] = (-1.0, {})
    good, step = 0, 0
    for step, index in enumerate(_batches(len(train), recipe, order), start=1):
        _anneal(optimiser, recipe.lr, step, recipe.steps, recipe.final_lr)
        loss = _step(judge.train(), train, index.to(device), recipe, optimiser, generator)
        if step % recipe.check_every == 0 or step == recipe.steps:
            score, perfect = _look(judge.eval(), looked, dataset.spec, recipe)
            # Of equal scores the later, which has seen more and was trained at a lower rate.
            if score >= best[0]:
                best = score, {key: value.clone() for key, value in judge.state_dict().items()}
            good = good + 1 if perfect else 0
            if progress is not None:
                progress(step, recipe.steps, f"loss {loss.item():.3f}, validation {score:.4f}")
            if good >= recipe.good_checks:
                break
    judge.load_state_dict(best[1])
    return step


def _part(split: Split, n_clips: int) -> Split:
    """At most `n_clips` clips, evenly spread over the split; 0 is all."""
    return split.subset(spread(split, n_clips)) if 0 < n_clips < len(split) else split


def _groups(judge: Judge) -> list[dict[str, Any]]:
    """The parameters, and how much faster than the others each group learns."""
    scalars = {"net.scale", "net.gain", "net.twice"} if isinstance(judge.net, Windows) else set()
    named = dict(judge.named_parameters())
    groups: list[dict[str, Any]] = [
        {"params": [value for name, value in named.items() if name not in scalars], "faster": 1.0}
    ]
    # Numbers of order one to ten, that a net's rate would hardly move.
    return groups + ([{"params": [named[name] for name in sorted(scalars)], "faster": 20.0}] if scalars else [])


def _anneal(optimiser: torch.optim.Optimizer, lr: float, step: int, steps: int, final: float) -> None:
    cosine = 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
    for group in optimiser.param_groups:
        group["lr"] = group.get("faster", 1.0) * lr * (final + (1 - final) * cosine)


def _fit_windows(judge: Judge, train: Split, recipe: Recipe, seed: int, progress: Progress | None) -> None:
    """Teaches a sliding-window network single windows, where the training split can cut them (`windows`)."""
    if not isinstance(judge.net, Windows) or not recipe.windows:
        return
    optimiser = torch.optim.Adam(judge.net.net.parameters(), lr=recipe.window_lr)
    generator = torch.Generator(train.device).manual_seed(derive(seed, "windows"))
    judge.train()
    for step in range(1, recipe.windows + 1):
        _anneal(optimiser, recipe.window_lr, step, recipe.windows, recipe.final_lr)
        cut = train.windows(recipe.window_batch, generator)
        if cut is None:
            return
        windows, labels = cut
        loss = window_loss(judge.net, degrade(windows[:, None], recipe, generator)[:, 0], labels)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        if progress is not None and step % 100 == 0:
            progress(step, recipe.windows, f"single windows, loss {loss.item():.3f}")


def _batches(n_clips: int, recipe: Recipe, generator: torch.Generator) -> Iterator[Tensor]:
    """`recipe.steps` index batches (B,), epoch after epoch, the smaller last batch of an epoch dropped."""
    size = min(recipe.batch_size, n_clips)
    done = 0
    while done < recipe.steps:
        for index in torch.split(torch.randperm(n_clips, generator=generator)[: n_clips // size * size], size):
            if done == recipe.steps:
                return
            done += 1
            yield index


def _step(
    judge: Judge,
    train: Split,
    index: Tensor,
    recipe: Recipe,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> Tensor:
    x = train.varied_clips(index, generator)
    if recipe.frames:
        chosen = torch.rand(x.shape[:2], generator=generator, device=x.device).argsort(1)[:, : recipe.frames]
        x = x[torch.arange(len(x), device=x.device)[:, None], chosen.sort(1).values]
    if x.dim() == 5:
        x = shifted(x, recipe.shift, generator)
    logits = judge(degrade(x, recipe, generator))
    loss = torch.stack(
        [
            functional.cross_entropy(
                logits[factor], train.labels[factor][index], label_smoothing=recipe.label_smoothing
            )
            for factor in judge.factors
        ]
    ).sum()
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(judge.parameters(), 5.0)
    optimiser.step()
    return loss.detach()


def _look(judge: Judge, validation: Split, spec: Spec, recipe: Recipe) -> tuple[float, bool]:
    """Mean accuracy over heads on clean and blurred validation clips, and whether every one is perfect."""
    clean, _ = accuracies(judge, validation, spec)
    values = [*clean.values(), *accuracies(judge, validation, spec, blur=recipe.blur)[0].values()]
    return float(np.mean(values)), min(values) == 1.0


@torch.inference_mode()
def accuracies(
    judge: Judge, split: Split, spec: Spec, *, blur: int = 0, chunk: int = 128
) -> tuple[dict[str, float], dict[str, float]]:
    """Accuracy of each head, and of the data set's joint factors, on all clips of a split.

    Args:
        blur: judge blurred clips instead (the box of `blurred`); ignored for audio.
    """
    device = next(judge.parameters()).device
    parts: list[dict[str, Tensor]] = []
    for index in torch.split(torch.arange(len(split), device=split.device), chunk):
        x = split.clips(index).to(device)
        parts.append(judge.classify(blurred(x, blur) if blur and x.dim() == 5 else x))
    logits = {factor: torch.cat([part[factor] for part in parts]).cpu().numpy() for factor in judge.factors}
    labels = {factor: split.labels[factor].cpu().numpy() for factor in judge.factors}
    joints = [joint for joint in spec.joints if set(joint.factors) <= set(judge.factors)]
    joint = {
        joint.name: metrics.joint_accuracy([logits[f] for f in joint.factors], [labels[f] for f in joint.factors])
        for joint in joints
    }
    return {factor: metrics.accuracy(logits[factor], labels[factor]) for factor in judge.factors}, joint
