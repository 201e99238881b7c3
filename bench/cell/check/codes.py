"""What a method does once it is trained: codes, clips, draws from its priors."""

from __future__ import annotations

import math

import safetensors.torch
import torch
from torch import Tensor

from seqdis.bench.cell.check.bed import Bed, state
from seqdis.bench.cell.check.findings import Check, Failure, Skipped, checks_of, require
from seqdis.bench.cell.check.rows import PAGE
from seqdis.methods.base import Latents, Method

CHECKS: list[Check[Bed]] = []
check = checks_of(PAGE, CHECKS)


def encoder_of(bed: Bed) -> None:
    """Raises `Skipped` if the method has no encoder."""
    if not bed.encodes:
        raise Skipped("it has no encoder")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sampled(method: Method, bed: Bed, n: int) -> Latents:
    """Both codes of `n` clips, drawn from the priors with one generator."""
    generator = seeded()
    static = method.sample_static(n, generator)
    return Latents(static=static, dynamic=method.sample_dynamic(n, bed.shape.n_frames, generator))


def has_shape(what: str, found: Tensor, expected: tuple[int, ...]) -> None:
    require(tuple(found.shape) == expected, f"{what} has shape {tuple(found.shape)}, not {expected}")


def close(what: str, found: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    """Raises `Failure` if two tensors differ by more than rounding."""
    has_shape(what, found, tuple(expected.shape))
    gap = (found - expected).abs().max().item()
    require(torch.allclose(found, expected, rtol=1e-3, atol=atol), f"{what} differs by up to {gap:.3g}")


def equal(what: str, a: Latents, b: Latents) -> None:
    for name in ("static", "dynamic"):
        require(torch.equal(getattr(a, name), getattr(b, name)), f"{what}: the {name} codes differ")


@check("shapes")
def codes_have_the_shapes_of_the_contract(bed: Bed) -> None:
    """Codes are (B, Ds) and (B, T, Dd), or (B, 1, Dd) for a segment, for any batch and any length.

    The protocol encodes chunks of any size, down to one clip, and joins codes that were encoded with codes that were
    drawn.
    """
    method = bed.build().eval()
    for size, n_frames in ((1, 8), (3, 5), (5, 1)):
        static, dynamic = method.sample_static(size, seeded()), method.sample_dynamic(size, n_frames, seeded())
        has_shape(f"sample_static({size})", static, (size, method.config.static_dim))
        length = dynamic.shape[1] if dynamic.dim() == 3 else 0
        require(
            dynamic.dim() == 3 and len(dynamic) == size and length in (1, n_frames),
            f"sample_dynamic({size}, {n_frames}) has shape {tuple(dynamic.shape)}, not ({size}, {n_frames}, Dd)",
        )
        if not bed.encodes:
            continue
        for generator in (None, seeded()):
            latents = method.encode(bed.clips(size, n_frames), generator)
            require(isinstance(latents, Latents), f"encode gives {type(latents).__name__}, not Latents")
            has_shape("the static code of encode", latents.static, tuple(static.shape))
            length = latents.dynamic.shape[1] if latents.dynamic.dim() == 3 else 0
            require(length in (1, n_frames), f"the dynamic code of {n_frames} frames covers {length} steps")
            has_shape("the dynamic code of encode", latents.dynamic, (size, length, dynamic.shape[2]))


@check("decode")
def decode_gives_clips(bed: Bed) -> None:
    """`decode` gives finite clips of the data's shape, video in [0, 1], from encoded and from drawn codes.

    Judges are trained on frames in [0, 1]; what lies outside of it would be scored for being out of range.
    """
    method, shape = bed.build().eval(), bed.shape
    codes = {"drawn": sampled(method, bed, 3)} | ({"encoded": method.encode(bed.clips(3))} if bed.encodes else {})
    for kind, latents in codes.items():
        clips = method.decode(latents)
        has_shape(f"decode of {kind} codes", clips, (3, shape.n_frames, *shape.frame))
        require(torch.isfinite(clips).all(), f"decode of {kind} codes gives values that are not finite")
        low, high = clips.min().item(), clips.max().item()
        require(
            not shape.is_video or (low >= 0 and high <= 1),
            f"decode of {kind} codes gives values from {low:.3g} to {high:.3g}, outside of [0, 1]",
        )


@check("priors")
def draws_differ_and_repeat(bed: Bed) -> None:
    """Draws of one generator are the same again, those of another are others, and each clip has its own.

    Every draw of a record can be repeated; ten equal draws would have a spread of nought.
    """
    method, n_frames = bed.build().eval(), bed.shape.n_frames
    draws = {
        "sample_static": lambda seed: method.sample_static(3, seeded(seed)),
        "sample_dynamic": lambda seed: method.sample_dynamic(3, n_frames, seeded(seed)),
    }
    for name, draw in draws.items():
        first = draw(0)
        require(torch.equal(first, draw(0)), f"{name} gives other draws for the same generator")
        require(not torch.equal(first, draw(1)), f"{name} gives the same draws for every generator")
        require(not torch.equal(first[0], first[1]), f"{name} gives every clip the same draw")
    means = method.sample_dynamic(3, n_frames, seeded(), means=True)
    has_shape("sample_dynamic(means=True)", means, tuple(draws["sample_dynamic"](0).shape))
    if bed.encodes:
        x = bed.clips(3)
        equal("two draws of encode from one generator", method.encode(x, seeded()), method.encode(x, seeded()))


@check("randomness")
def draws_are_made_where_the_generator_is(bed: Bed) -> None:
    """A generator on the CPU serves a method on any device, and gives it the numbers that it gives on the CPU.

    One protocol draws for every machine. The meta device stands for another one here: it takes no generator of the CPU.
    Use `randn` of seqdis.methods.base.
    """
    method, states = bed.build().eval(), []
    for device in ("cpu", "meta"):
        method.to(device)
        generator = seeded()
        made = {
            "sample_static": method.sample_static(3, generator),
            "sample_dynamic": method.sample_dynamic(3, bed.shape.n_frames, generator),
        }
        if bed.encodes:
            made["encode"] = method.encode(bed.clips(3).to(device), generator).dynamic
        for name, found in made.items():
            require(found.device.type == device, f"{name} leaves its draws on {found.device}, the model is on {device}")
        states.append(generator.get_state())
    require(torch.equal(*states), "it draws other numbers on another device")


@check("encode")
def encoding_is_deterministic_and_hangs_on_the_clip_alone(bed: Bed) -> None:
    """In evaluation mode a clip's codes, and what is decoded, do not hang on what else is in the batch, nor on chance.

    Scores would otherwise change with the batch size. Without a generator `encode` gives the posterior means.
    """
    encoder_of(bed)
    method, x = bed.few_steps(), bed.clips(4)
    together, alone = method.encode(x), method.encode(x[1:2])
    equal("encode of the same clips twice", together, method.encode(x))
    for name in ("static", "dynamic"):
        close(f"the {name} code of a clip alone", getattr(alone, name), getattr(together, name)[1:2])
    close("the clip decoded alone", method.decode(alone), method.decode(together)[1:2])


@check("encode")
def evaluation_changes_no_state(bed: Bed) -> None:
    """In evaluation mode nothing of the model changes.

    Judging a model twice must give the same scores.
    """
    method = bed.few_steps()
    before = state(method)
    if bed.encodes:
        method.decode(method.encode(bed.clips(3)))
        method.encode(bed.clips(3), seeded())
    method.decode(sampled(method, bed, 2))
    after = state(method)
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    require(not changed, f"evaluation changes {', '.join(changed[:3])}")


@check("decode")
def swapping_a_clip_with_itself_is_reconstruction(bed: Bed) -> None:
    """Clips decoded from copies of their own codes, in any order, are their reconstructions.

    The protocol decodes one clip's static code with another's dynamic code: `decode` may read nothing else.
    """
    encoder_of(bed)
    method = bed.build().eval()
    latents = method.encode(bed.clips(3))
    whole = method.decode(latents)
    copies = Latents(static=latents.static.clone(), dynamic=latents.dynamic.clone(), n_frames=latents.n_frames)
    require(torch.equal(method.decode(copies), whole), "decode gives other clips for copies of the codes")
    order = torch.tensor([2, 0, 1])
    close("a clip decoded at another place of the batch", method.decode(latents[order]), whole[order], atol=1e-5)


@check("pooling")
def pooling_gives_one_vector_a_sequence(bed: Bed) -> None:
    """`pool` gives one static and one dynamic vector for all segments of a sequence.

    Speaker verification compares one vector an utterance.
    """
    encoder_of(bed)
    method = bed.build().eval()
    latents = method.encode(bed.clips(5))
    static, dynamic = method.pool(latents)
    has_shape("the static vector of pool", static, tuple(latents.static.shape[1:]))
    has_shape("the dynamic vector of pool", dynamic, tuple(latents.dynamic.shape[2:]))


@check("checkpoints")
def a_checkpoint_holds_the_whole_model(bed: Bed) -> None:
    """Saved as safetensors and loaded into a model of another seed, it gives the same codes and clips.

    What is neither a parameter nor a buffer is lost when a run is resumed: register_buffer keeps it.
    """
    method = bed.build()
    bed.train(method, 2)
    data = safetensors.torch.save({name: value.contiguous() for name, value in state(method).items()})
    other = bed.build(seed=5)
    try:
        other.load_state_dict(safetensors.torch.load(data))
    except RuntimeError as error:
        raise Failure(f"its state does not load: {str(error).splitlines()[-1].strip()}") from error
    models = [method.eval(), other.eval()]
    drawn = [sampled(model, bed, 3) for model in models]
    equal("draws of the loaded model", *drawn)
    clips = [model.decode(codes) for model, codes in zip(models, drawn, strict=True)]
    require(torch.equal(*clips), "the loaded model decodes other clips")
    if bed.encodes:
        equal("codes of the loaded model", *(model.encode(bed.clips(3)) for model in models))


@check("encode")
def change_of_the_static_code_under_shuffles_is_a_number(bed: Bed) -> str:
    """How far shuffled frames move the static code, over the distance between clips: reported, nothing is required.

    It is a number of the protocol. A static code that reads no order has 0.
    """
    encoder_of(bed)
    method, x = bed.few_steps(), bed.clips(6)
    order = torch.rand(x.shape[:2], generator=seeded()).argsort(1)
    rows = torch.arange(len(x))[:, None]
    static, shuffled = method.encode(x).static, method.encode(x[rows, order]).static
    change = ((static - shuffled).norm(dim=1).mean() / (torch.pdist(static).mean() + 1e-12)).item()
    require(math.isfinite(change), f"the change is {change}")
    return f"{change:.3f}"
