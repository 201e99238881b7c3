"""What every method must do, whatever it is: run over every method and variant and every kind of data.

A row that cannot work on a kind of data must refuse it when it is built, with a ValueError that says why.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from seqdis.methods.base import Capabilities, Latents, Method, Needs, Shape


@pytest.fixture
def built(kit: Any, each_row: str, each_data: str) -> tuple[Method, Shape]:
    """A small model of the row for the data."""
    shape = kit.shapes[each_data]
    return kit.build(each_row, shape), shape


def encodes(method: Method) -> bool:
    return type(method).capabilities(method.config).encodes


def adversarial(method: Method) -> bool:
    return len(method.players) > 1


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Latents):
        return torch.equal(a.static, b.static) and torch.equal(a.dynamic, b.dynamic)
    return torch.equal(a, b)


def imported(node: ast.AST) -> list[str]:
    """Names of ours that an import statement takes in, fully dotted."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        names = []
    return [name for name in names if name.partition(".")[0] == "seqdis"]


def files_of(name: str) -> list[Path]:
    """The files behind a dotted name in `seqdis.methods`."""
    path = Path(inspect.getfile(Method)).parent
    found = []
    for part in name.split(".")[2:]:
        path /= part
        found += [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()]
    return found


def state(method: Method) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in method.state_dict().items()}


def test_what_it_cannot_do_it_refuses_in_words(kit: Any, refusal: tuple[str, str, str]) -> None:
    row, data, reason = refusal
    with pytest.raises(ValueError, match=reason):
        kit.build(row, kit.shapes[data])


def test_it_names_its_paper_and_its_departures(kit: Any, each_row: str) -> None:
    name, _, variant = each_row.partition(":")
    method = kit.classes()[name]
    module = inspect.getmodule(method)
    assert module is not None
    assert len(module.__doc__ or "") > 300
    assert method.title
    assert method.paper
    assert method.variant_title(variant)
    titles = [method.variant_title(other) for other in ("", *method.variants)]
    assert len(titles) == len(set(titles))
    assert inspect.getdoc(method.Config)


def test_config_survives_json(kit: Any, each_row: str) -> None:
    config = kit.config(each_row)
    assert type(config).__dataclass_params__.frozen
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    assert type(config)(**fields) == config
    assert {"lr", "static_dim", "dynamic_dim"} <= set(fields)


def test_it_says_what_it_needs_and_can(kit: Any, each_row: str) -> None:
    method = kit.classes()[each_row.partition(":")[0]]
    config = kit.config(each_row)
    assert isinstance(method.needs(config), Needs)
    assert isinstance(method.capabilities(config), Capabilities)


def test_its_file_imports_no_other_room(kit: Any, each_row: str) -> None:
    seen, todo = set(), [Path(inspect.getfile(kit.classes()[each_row.partition(":")[0]]))]
    while todo:
        path = todo.pop()
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            for name in imported(node):
                assert name.split(".")[1] == "methods", f"{path.name} imports {name}"
                todo += [file for file in files_of(name) if file not in seen]


def test_losses_are_finite_scalars(kit: Any, built: tuple[Method, Shape]) -> None:
    method, shape = built
    for size in (2, 6):
        batch, ctx = kit.batch(shape, size), kit.context(shape)
        method.on_epoch(ctx)
        for player in method.players:
            terms = method.loss(batch, player, ctx)
            assert terms["total"].requires_grad
            for name, value in terms.items():
                assert value.shape == (), name
                assert math.isfinite(value.item()), name


def weights_in_total(terms: dict[str, Tensor]) -> dict[str, float]:
    """The weight of each logged term in the total, as the graph has it: d total / d term."""
    names = [name for name, value in terms.items() if name != "total" and value.requires_grad]
    found = torch.autograd.grad(terms["total"], [terms[name] for name in names], allow_unused=True, retain_graph=True)
    return {name: weight.item() for name, weight in zip(names, found, strict=True) if weight is not None and weight}


def test_the_total_is_the_weighted_sum_of_the_terms_it_should_have(
    kit: Any, built: tuple[Method, Shape], each_row: str, each_data: str
) -> None:
    method, shape = built
    method.on_epoch(kit.context(shape))
    for player in method.players:
        terms = method.loss(kit.batch(shape), player, kit.context(shape))
        weights = weights_in_total(terms)
        assert set(weights) == kit.terms(each_row, player, shape), player
        summed = sum(weight * terms[name].item() for name, weight in weights.items())
        assert terms["total"].item() == pytest.approx(summed, rel=1e-4), "a part of the total is not logged"


def test_every_weighted_term_alone_moves_a_parameter(kit: Any, built: tuple[Method, Shape]) -> None:
    """Each term that is minimised has a gradient of its own, by which its player can lower it."""
    method, shape = built
    method.on_epoch(kit.context(shape))
    for player in method.players:
        parameters = method.player_parameters(player)
        terms = method.loss(kit.batch(shape), player, kit.context(shape))
        for name in weights_in_total(terms):
            grads = torch.autograd.grad(terms[name], parameters, allow_unused=True, retain_graph=True)
            assert any(grad is not None and grad.abs().max() > 1e-9 for grad in grads), (
                f"{name} of {player} is a constant"
            )


def test_every_parameter_has_a_gradient(kit: Any, built: tuple[Method, Shape]) -> None:
    """Every parameter is moved by the total of its one player, and by no other's step."""
    method, shape = built
    method.on_epoch(kit.context(shape))
    names = {id(p): name for name, p in method.named_parameters()}
    owned: set[int] = set()
    for player in method.players:
        parameters = method.player_parameters(player)
        assert parameters, player
        assert not owned & {id(p) for p in parameters}, "two players own one parameter"
        owned |= {id(p) for p in parameters}
        total = method.loss(kit.batch(shape), player, kit.context(shape))["total"]
        for p, grad in zip(parameters, torch.autograd.grad(total, parameters, allow_unused=True), strict=True):
            assert grad is not None, f"{player}: nothing reaches {names[id(p)]}"
            assert torch.isfinite(grad).all(), names[id(p)]
            assert grad.any(), f"{player}: {names[id(p)]} has a gradient of zeros"
    trainable = {id(p) for p in method.parameters() if p.requires_grad}
    assert trainable == owned, "a parameter that no player trains"


def test_twenty_steps_lower_the_loss_and_move_every_player(kit: Any, built: tuple[Method, Shape]) -> None:
    method, shape = built
    before = state(method)
    history = kit.train(method, shape, 6 if adversarial(method) else 20, lr=2e-3)
    assert all(math.isfinite(total) for step in history for total in step.values())
    if not adversarial(method):
        first, last = history[0]["model"], min(step["model"] for step in history[-3:])
        assert last < first
    after = dict(method.named_parameters())
    names = {id(p): name for name, p in after.items()}
    for player in method.players:
        moved = [not torch.equal(p.detach(), before[names[id(p)]]) for p in method.player_parameters(player)]
        assert sum(moved) > 0.9 * len(moved), player


def test_same_seed_same_numbers(kit: Any, built: tuple[Method, Shape], each_row: str) -> None:
    method, shape = built
    again = kit.build(each_row, shape)
    assert kit.train(method, shape, 3) == kit.train(again, shape, 3)
    first, second = state(method), state(again)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = kit.build(each_row, shape, seed=1)
    assert any(not torch.equal(value, first[name]) for name, value in state(other).items())


def test_it_draws_from_the_given_generator_only(kit: Any, built: tuple[Method, Shape]) -> None:
    method, shape = built
    before = torch.get_rng_state()
    kit.train(method, shape, 2)
    method.eval()
    generator = torch.Generator().manual_seed(0)
    method.sample_static(2, generator)
    method.sample_dynamic(2, shape.n_frames, generator)
    assert torch.equal(torch.get_rng_state(), before)


def test_shapes_of_odd_batches_and_lengths(kit: Any, built: tuple[Method, Shape]) -> None:
    method, shape = built
    method.eval()
    for size, n_frames in ((1, 8), (3, 5), (5, 1)):
        generator = torch.Generator().manual_seed(0)
        static = method.sample_static(size, generator)
        dynamic = method.sample_dynamic(size, n_frames, generator)
        assert static.shape == (size, method.config.static_dim)
        assert dynamic.dim() == 3
        assert dynamic.shape[0] == size
        if not encodes(method):
            continue
        x = kit.batch(shape, size, n_frames=n_frames).x
        latents = method.encode(x)
        assert latents.static.shape == static.shape
        assert latents.dynamic.shape[0] == size
        assert latents.dynamic.shape[2] == dynamic.shape[2]
        assert latents.dynamic.shape[1] in (1, n_frames)
        drawn = method.encode(x, torch.Generator().manual_seed(0))
        assert drawn.static.shape == static.shape
        assert drawn.dynamic.shape == latents.dynamic.shape


def test_decoding_gives_clips(kit: Any, built: tuple[Method, Shape]) -> None:
    method, shape = built
    method.eval()
    generator = torch.Generator().manual_seed(0)
    sampled = Latents(
        static=method.sample_static(3, generator), dynamic=method.sample_dynamic(3, shape.n_frames, generator)
    )
    for latents in [sampled, *([method.encode(kit.batch(shape, 3).x)] if encodes(method) else [])]:
        clips = method.decode(latents)
        assert clips.shape == (3, shape.n_frames, *shape.frame)
        assert torch.isfinite(clips).all()
        if shape.is_video:
            assert clips.min() >= 0
            assert clips.max() <= 1


def test_samples_differ_and_repeat(built: tuple[Method, Shape]) -> None:
    method, shape = built
    method.eval()
    for sample in (lambda g: method.sample_static(3, g), lambda g: method.sample_dynamic(3, shape.n_frames, g)):
        first = sample(torch.Generator().manual_seed(0))
        assert torch.equal(first, sample(torch.Generator().manual_seed(0)))
        assert not torch.equal(first, sample(torch.Generator().manual_seed(1)))
        assert not torch.equal(first[0], first[1])
    generator = torch.Generator().manual_seed(0)
    assert (
        method.sample_dynamic(3, shape.n_frames, generator, means=True).shape
        == method.sample_dynamic(3, shape.n_frames, generator).shape
    )


def test_draws_are_made_where_the_generator_is(kit: Any, built: tuple[Method, Shape]) -> None:
    """A generator on the CPU serves a method on any device, and gives it the numbers that it gives on the CPU.

    The meta device stands for another one: it accepts no generator of the CPU, and nothing can be read back from it.
    """
    method, shape = built
    method.eval()
    x = kit.batch(shape, 3).x
    states = []
    for device in ("cpu", "meta"):
        method.to(device)
        generator = torch.Generator().manual_seed(0)
        assert method.sample_static(3, generator).device.type == device
        assert method.sample_dynamic(3, shape.n_frames, generator).device.type == device
        if encodes(method):
            assert method.encode(x.to(device), generator).dynamic.device.type == device
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_evaluation_touches_no_state_and_no_neighbour(kit: Any, built: tuple[Method, Shape]) -> None:
    """In eval mode nothing changes, and a clip's codes do not depend on what else is in the batch."""
    method, shape = built
    kit.train(method, shape, 2)
    method.eval()
    before = state(method)
    if encodes(method):
        x = kit.batch(shape, 4).x
        together, alone = method.encode(x), method.encode(x[1:2])
        torch.testing.assert_close(together.static[1:2], alone.static, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(together.dynamic[1:2], alone.dynamic, rtol=1e-3, atol=1e-4)
        assert same(method.encode(x), together)
        torch.testing.assert_close(method.decode(together)[1:2], method.decode(alone), rtol=1e-3, atol=1e-4)
    generator = torch.Generator().manual_seed(0)
    method.decode(
        Latents(static=method.sample_static(2, generator), dynamic=method.sample_dynamic(2, shape.n_frames, generator))
    )
    after = state(method)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_swapping_a_clip_with_itself_is_reconstruction(kit: Any, built: tuple[Method, Shape]) -> None:
    method, shape = built
    method.eval()
    if not encodes(method):
        pytest.skip("it has no encoder")
    latents = method.encode(kit.batch(shape, 3).x)
    whole = method.decode(latents)
    swapped = Latents(static=latents.static.clone(), dynamic=latents.dynamic.clone())
    assert torch.equal(method.decode(swapped), whole)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(method.decode(latents[order]), whole[order], rtol=1e-3, atol=1e-5)


def test_change_of_the_static_code_under_shuffles_is_a_number(
    kit: Any, built: tuple[Method, Shape], each_row: str, each_data: str, record_property: pytest.RecordProperty
) -> None:
    """Reported, not required: how far shuffled frames move the static code, over the distance between clips."""
    method, shape = built
    if not encodes(method):
        pytest.skip("it has no encoder")
    kit.train(method, shape, 10)
    method.eval()
    batch = kit.batch(shape, 6)
    rows = torch.arange(6)[:, None]
    static, shuffled = method.encode(batch.x).static, method.encode(batch.x[rows, batch.content_view]).static
    spread = torch.pdist(static).mean() + 1e-12
    change = ((static - shuffled).norm(dim=1).mean() / spread).item()
    record_property(f"static change of {each_row} on {each_data}", change)
    assert math.isfinite(change)
    torch.testing.assert_close(method.encode(batch.x[rows, torch.arange(batch.x.shape[1])]).static, static)


def test_pooling_gives_one_vector_a_sequence(kit: Any, built: tuple[Method, Shape]) -> None:
    method, shape = built
    if not encodes(method):
        pytest.skip("it has no encoder")
    latents = method.eval().encode(kit.batch(shape, 5).x)
    static, dynamic = method.pool(latents)
    assert static.shape == latents.static.shape[1:]
    assert dynamic.shape == latents.dynamic.shape[2:]


def test_checkpoint_round_trip(kit: Any, built: tuple[Method, Shape], each_row: str, tmp_path: Path) -> None:
    """Saved as safetensors and loaded into a model of another seed, it gives the same codes and clips."""
    method, shape = built
    kit.train(method, shape, 2)
    save_file({name: value.contiguous().clone() for name, value in method.state_dict().items()}, tmp_path / "m")
    other = kit.build(each_row, shape, seed=5)
    other.load_state_dict(load_file(tmp_path / "m"))
    method.eval(), other.eval()
    outputs = []
    for model in (method, other):
        generator = torch.Generator().manual_seed(0)
        latents = Latents(
            static=model.sample_static(3, generator), dynamic=model.sample_dynamic(3, shape.n_frames, generator)
        )
        codes = [model.encode(kit.batch(shape, 3).x)] if encodes(model) else []
        outputs.append([latents, model.decode(latents), *codes])
    assert all(same(a, b) for a, b in zip(*outputs, strict=True))
