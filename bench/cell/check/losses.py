"""What a method does in training: its loss, its players, its draws."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from seqdis.bench.cell.check.bed import Bed, ReadBacks, generators, state, weights_in_total
from seqdis.bench.cell.check.findings import Check, Skipped, checks_of, require
from seqdis.bench.cell.check.rows import PAGE
from seqdis.bench.records.config import NOISE
from seqdis.methods.base import Batch, Context, Method, NotForTheseData

CHECKS: list[Check[Bed]] = []
check = checks_of(PAGE, CHECKS)


@check("data-it-is-not-for")
def it_can_be_built_or_refuses_in_words(bed: Bed) -> None:
    """It is built, or it raises NotForTheseData with a reason.

    The reason is what tables print for the cell; any other exception counts as a failed run.
    """
    try:
        bed.build()
    except NotForTheseData as refusal:
        require(len(str(refusal)) > 10, f"it refuses without a reason: NotForTheseData({str(refusal)!r})")
        raise Skipped(f"not for these data: {refusal}") from refusal


def loss_of(method: Method, batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
    """The terms of one player, with a total."""
    terms = method.loss(batch, player, ctx)
    require(isinstance(terms, dict), f"loss gives {type(terms).__name__}, not a dict of terms")
    require("total" in terms, f'loss of {player} gives {", ".join(terms) or "no terms"} and no "total"')
    for name, value in terms.items():
        require(isinstance(value, Tensor), f"loss term {name} of {player} is {type(value).__name__}, not a tensor")
        require(value.shape == (), f"loss term {name} of {player} has shape {tuple(value.shape)}, not that of a scalar")
    require(terms["total"].requires_grad, f'"total" of {player} has no gradient: it was detached')
    return terms


@check("loss")
def losses_are_finite_scalars(bed: Bed) -> None:
    """Every loss term is a finite scalar, in float32 and under bfloat16, at every batch size.

    One value that is not finite ends a run; the last batch of an epoch may be as small as two clips.
    """
    for size, low in ((2, False), (6, False), (6, True)):
        method = bed.ready()
        for player in method.players:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                terms = loss_of(method, bed.batch(size), player, bed.context())
            for name, value in terms.items():
                where = f"loss term {name} of {player} at {size} clips{' under bfloat16' if low else ''}"
                require(math.isfinite(value.item()), f"{where} is {value.item()}")
            if low:
                terms["total"].backward(inputs=method.player_parameters(player))


@check("loss")
def the_total_is_the_weighted_sum_of_the_logged_terms(bed: Bed) -> None:
    """`"total"` is a weighted sum of the other terms, all of them logged with their graph.

    A part of the total that is not logged cannot be seen in any curve, and nobody can tell what was minimised.
    """
    method = bed.ready()
    for player in method.players:
        terms = loss_of(method, bed.batch(), player, bed.context())
        weights = weights_in_total(terms)
        summed, total = sum(weight * terms[name].item() for name, weight in weights.items()), terms["total"].item()
        listed = " + ".join(f"{weight:g} {name}" for name, weight in weights.items()) or "nothing"
        require(
            math.isclose(total, summed, rel_tol=1e-4, abs_tol=1e-6),
            f"the total of {player} is {total:.6g}, and what is logged with its graph makes {summed:.6g} ({listed}): "
            "give every part as a term of its own, not detached",
        )


@check("loss")
def every_weighted_term_moves_a_parameter(bed: Bed) -> None:
    """Each term in the total has a gradient by which its player can lower it.

    A term that is a constant to its player only looks as if it were trained.
    """
    method = bed.ready()
    for player in method.players:
        parameters = method.player_parameters(player)
        terms = loss_of(method, bed.batch(), player, bed.context())
        for name in weights_in_total(terms):
            grads = torch.autograd.grad(terms[name], parameters, allow_unused=True, retain_graph=True)
            moved = any(grad is not None and grad.abs().max() > 1e-9 for grad in grads)
            require(moved, f"loss term {name} of {player} is a constant to {player}'s parameters")


@check("a-capacity-schedule")
def what_can_be_scheduled_changes_the_total(bed: Bed) -> None:
    """A factor on a term of `schedulable` multiplies its weight in the total, and noise on a code changes the loss.

    A schedule that is recorded and not applied is a record that lies. Sum the terms with `with_total`.
    """
    if not bed.row.method.schedulable:
        raise Skipped("it declares nothing that a capacity schedule may change")
    plain = _weighed(bed, {})
    for name in bed.row.method.schedulable:
        found = _weighed(bed, {name: 3.0})
        if name.startswith(NOISE):
            require(found.totals != plain.totals, f"{name} changes no loss: pass the code through ctx.noisy")
            continue
        given = name in plain.applied
        if not given and not bed.row.variant and bed.kind == "video":  # the kind of data that has everything
            others = (dataclasses.replace(bed.row, variant=variant) for variant in bed.row.method.variants)
            somewhere = any(name in _weighed(Bed(row, bed.kind), {}).applied for row in others)
            require(somewhere, f"with_total sums no {name} in any variant")
        for player, weights in plain.weights.items():
            wanted = {term: weight * (3.0 if term == name and given else 1.0) for term, weight in weights.items()}
            changed = found.weights[player]
            require(
                wanted.keys() == changed.keys()
                and all(math.isclose(wanted[term], changed[term], rel_tol=1e-5) for term in wanted),
                f"a factor of 3 on {name} makes the weights of {player} {changed}, not {wanted}",
            )


@dataclasses.dataclass(frozen=True)
class _Weighed:
    """What the total is made of, by player: the weight of each term, and its value; and what a schedule could change."""

    weights: dict[str, dict[str, float]]
    totals: dict[str, float]
    applied: set[str]


def _weighed(bed: Bed, capacity: dict[str, float]) -> _Weighed:
    method, ctx = bed.ready(), bed.context(capacity)
    terms = {player: loss_of(method, bed.batch(), player, ctx) for player in method.players}
    return _Weighed(
        {player: weights_in_total(one) for player, one in terms.items()},
        {player: one["total"].item() for player, one in terms.items()},
        ctx.applied,
    )


@check("players")
def every_parameter_is_trained_by_one_player(bed: Bed) -> None:
    """Every trainable parameter belongs to one player, whose total reaches it.

    A parameter that nothing moves stays as it was drawn, and one of two players is moved twice a step. Take out what no
    loss reads, or freeze it with requires_grad_(False).
    """
    method = bed.ready()
    names = {id(p): name for name, p in method.named_parameters()}
    owner: dict[int, str] = {}
    for player in method.players:
        parameters = method.player_parameters(player)
        require(parameters, f"player {player} has no parameters")
        strangers = sum(id(p) not in names for p in parameters)
        require(not strangers, f"player {player} has {strangers} parameters that are not the model's own")
        for p in parameters:
            twice = f"{names[id(p)]} belongs to two players, {owner.get(id(p))} and {player}"
            require(id(p) not in owner, twice)
            owner[id(p)] = player
        total = loss_of(method, bed.batch(), player, bed.context())["total"]
        for p, grad in zip(parameters, torch.autograd.grad(total, parameters, allow_unused=True), strict=True):
            require(grad is not None, f"no loss of {player} reads {names[id(p)]}")
            assert grad is not None
            require(torch.isfinite(grad).all(), f"the gradient of {names[id(p)]} is not finite")
            require(grad.any(), f"the loss of {player} has a gradient of zeros at {names[id(p)]}")
    left = [name for name, p in method.named_parameters() if p.requires_grad and id(p) not in owner]
    require(not left, f"no player trains {', '.join(left)}")


@check("loss")
def training_lowers_the_loss(bed: Bed) -> None:
    """Twenty steps on one batch lower the loss and move nearly every parameter.

    With several players that work against each other, six steps must leave every loss finite and every player moved.
    """
    method = bed.build()
    alone = len(method.players) == 1
    before, history = state(method), bed.train(method, 20 if alone else 6, lr=2e-3)
    wrong = [step for step, totals in enumerate(history) if not all(map(math.isfinite, totals.values()))]
    require(not wrong, f"the loss is {history[wrong[0]] if wrong else ''} after {wrong[:1]} steps")
    if alone:
        (player,) = method.players
        first, last = history[0][player], min(totals[player] for totals in history[-3:])
        require(last < first, f"the loss was {first:.6g} and is {last:.6g} after twenty steps on one batch")
    after = dict(method.named_parameters())
    names = {id(p): name for name, p in after.items()}
    for player in method.players:
        own = [names[id(p)] for p in method.player_parameters(player)]
        still = [name for name in own if torch.equal(after[name].detach(), before[name])]
        require(len(still) < 0.1 * len(own), f"training did not move {', '.join(still[:3])} of {player}")


@check("randomness")
def same_seed_same_numbers(bed: Bed) -> None:
    """The same seed gives the same losses and weights to the last bit, another seed others.

    A run that was killed goes on to the numbers of one that was not, and anybody can repeat a record.
    """
    first, again = bed.first_steps, bed.build()
    second = bed.train(again, 3)
    require(
        first.history == second,
        f"two runs of one seed gave the losses {first.history[-1]} and {second[-1]} at their third step",
    )
    ended = state(again)
    other = [name for name, value in first.state.items() if not torch.equal(value, ended[name])]
    require(not other, f"two runs of one seed end with other values of {', '.join(other[:3])}")
    start, drawn = state(bed.build()), state(bed.build(seed=1))
    require(any(not torch.equal(value, start[name]) for name, value in drawn.items()), "every seed draws equal weights")


@check("randomness")
def it_draws_from_the_given_generators_only(bed: Bed) -> None:
    """Nothing is drawn from a global generator of torch, NumPy or Python, in training or afterwards.

    A global generator hangs on all that the process did before, so that a resumed run would differ from one that was
    not. Draw with generator=ctx.generator.
    """
    found, method, before = bed.first_steps.drawn_from, bed.few_steps(), generators()
    generator = torch.Generator().manual_seed(0)
    method.sample_static(2, generator)
    method.sample_dynamic(2, bed.shape.n_frames, generator)
    if bed.encodes:
        method.encode(bed.clips(2), generator)
    after = generators()
    found += [f"{name} after training" for name in before if before[name] != after[name]]
    require(not found, f"it drew from the global generator of {' and '.join(found)}")


@check("loss")
def the_loss_reads_no_value_back(bed: Bed) -> None:
    """No `.item()`, `if tensor`, `nonzero` or the like in `loss`.

    Each one makes the GPU wait for the host, which can double the time of a step.
    """
    for low in (False, True):
        method, batch, ctx = bed.ready(), bed.batch(), bed.context()
        with ReadBacks() as seen, torch.autocast("cpu", torch.bfloat16, enabled=low):
            for player in method.players:
                method.loss(batch, player, ctx)
        require(not seen.operations, f"loss copies a value to the host {len(seen.operations)} times a step")


@check("loss")
def the_loss_leaves_the_batch_as_it_is(bed: Bed) -> None:
    """`loss` changes no tensor of the batch in place.

    Several players read one batch, and on a GPU the clips are the resident data themselves.
    """
    method, batch, fresh = bed.ready(), bed.batch(), bed.batch()
    for player in method.players:
        method.loss(batch, player, bed.context())
    for field in dataclasses.fields(Batch):
        before, after = getattr(fresh, field.name), getattr(batch, field.name)
        require(before is after or torch.equal(before, after), f"loss changes batch.{field.name}")
