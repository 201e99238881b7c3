"""Making the clips that are kept beside a record (`bench/records/clips.py` says what they are)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqdis.bench.core.seeds import derive
from seqdis.bench.records.clips import Clips
from seqdis.datasets.base import DataSet, Split
from seqdis.methods.base import Latents, Method


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """How many clips are kept. They change no number of the record.

    Attributes:
        clips: n, test clips.
        draws: m, prior draws in each row of `fixed_static` and `fixed_dynamic`.
        pairs: p, rows of the interpolation.
        steps: q, its points, ends included.
        seed: of the prior draws; the choice of the test clips never depends on it.
    """

    clips: int = 6
    draws: int = 6
    pairs: int = 3
    steps: int = 7
    seed: int = 0


def make_clips(
    method: Method, dataset: DataSet, config: ClipConfig = ClipConfig(), device: torch.device | str = "cpu"
) -> Clips:
    """Reconstructions, swaps, prior samples and interpolations of a trained method on a few test clips.

    The method's mode (training or not) is left as it was.

    Args:
        method: trained, on `device`.
        dataset: opened; its test split may lie on any device.
        config: how many, and the seed of the prior draws.
        device: where the method is.

    Returns:
        The arrays that `bench/records/clips.py` names.
    """
    training = method.training
    method.eval()
    try:
        with torch.no_grad():
            if type(method).capabilities(method.config).encodes:
                return _encoder_clips(method, dataset, config, device)
            return _generator_clips(method, dataset, config, device)
    finally:
        method.train(training)


def _encoder_clips(method: Method, dataset: DataSet, config: ClipConfig, device: torch.device | str) -> Clips:
    test = dataset.test
    index = choose(test, config.clips, derive("clips", dataset.spec.name, dataset.spec.source))
    generator = torch.Generator(device=test.device).manual_seed(derive("clips", dataset.spec.name, "frames"))
    x = test.clips(torch.as_tensor(index, device=test.device), generator).to(device)
    codes = method.encode(x)
    static, dynamic = _drawn(method, dataset, config, device)
    clips = _rows(method, codes, static, dynamic, config, dataset.spec.n_frames)
    clips["originals"] = _stored(x)
    columns = [label[index] for label in clip_labels(test).values()]
    clips["labels"] = np.stack(columns, 1) if columns else np.zeros((len(index), 0), np.int64)
    clips["reconstructions"] = _decoded(method, codes, x.shape[1])
    clips["swaps"] = _crossed(method, codes.static, codes.dynamic, codes.n_frames, x.shape[1])
    return clips


def _generator_clips(method: Method, dataset: DataSet, config: ClipConfig, device: torch.device | str) -> Clips:
    generator = torch.Generator().manual_seed(derive(config.seed, "clips", "rows"))
    rows = Latents(
        static=method.sample_static(config.clips, generator),
        dynamic=method.sample_dynamic(config.clips, dataset.spec.n_frames, generator),
    )
    static, dynamic = _drawn(method, dataset, config, device)
    return _rows(method, rows, static, dynamic, config, dataset.spec.n_frames)


def _drawn(method: Method, dataset: DataSet, config: ClipConfig, device: torch.device | str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(derive(config.seed, "clips", "prior"))
    n = max(config.draws, config.clips * config.draws // 2)
    return method.sample_static(n, generator), method.sample_dynamic(n, dataset.spec.n_frames, generator)


def _rows(method: Method, codes: Latents, static: Tensor, dynamic: Tensor, config: ClipConfig, n_frames: int) -> Clips:
    m, length = config.draws, codes.n_frames
    return {
        "fixed_static": _crossed(method, codes.static, dynamic[:m], length, n_frames),
        "fixed_dynamic": _crossed(method, static[:m], codes.dynamic, length, n_frames).swapaxes(0, 1),
        "samples": _decoded(method, Latents(static=static, dynamic=dynamic, n_frames=length), n_frames),
        "interpolation": _interpolated(method, codes, config, n_frames),
    }


def _crossed(method: Method, static: Tensor, dynamic: Tensor, length: int | None, n_frames: int) -> NDArray[Any]:
    """Clips (S, D, T, frame): every static code (S, Ds) with every dynamic code (D, T, Dd)."""
    n_static, n_dynamic = len(static), len(dynamic)
    repeated = dynamic.repeat(n_static, *[1] * (dynamic.ndim - 1))
    mixed = Latents(static=static.repeat_interleave(n_dynamic, 0), dynamic=repeated, n_frames=length)
    clips = _decoded(method, mixed, n_frames)
    return clips.reshape(n_static, n_dynamic, *clips.shape[1:])


def _interpolated(method: Method, codes: Latents, config: ClipConfig, n_frames: int) -> NDArray[Any]:
    """Clips (p, q, T, frame): straight lines between static codes, as in the paper's Figure 16."""
    n = len(codes.static)
    first = torch.arange(min(config.pairs, n), device=codes.static.device)
    weight = torch.linspace(0, 1, config.steps, device=codes.static.device, dtype=codes.static.dtype)[:, None]
    static = torch.stack([torch.lerp(codes.static[i], codes.static[(i + 1) % n], weight) for i in first])
    dynamic = codes.dynamic[first].repeat_interleave(config.steps, 0)
    line = Latents(static=static.flatten(0, 1), dynamic=dynamic, n_frames=codes.n_frames)
    clips = _decoded(method, line, n_frames)
    return clips.reshape(len(first), config.steps, *clips.shape[1:])


def _decoded(method: Method, codes: Latents, n_frames: int) -> NDArray[Any]:
    """Decoded in pieces, so that a paper-sized decoder fits beside what is already on the device.

    A method that codes clips window by window may return whole windows: what is beyond the clip is dropped.
    """
    pieces = [
        _stored(method.decode(codes[start : start + 16])[:, :n_frames]) for start in range(0, len(codes.static), 16)
    ]
    return np.concatenate(pieces)


def _stored(x: Tensor) -> NDArray[Any]:
    """Video (B, T, C, H, W) in [0, 1] as uint8 (B, T, H, W, C), audio (B, T, F) as float16."""
    if x.ndim == 5:
        levels = (x.float() * 256).round().clamp(0, 255).byte()
        return np.ascontiguousarray(levels.permute(0, 1, 3, 4, 2).cpu().numpy())
    limit = float(np.finfo(np.float16).max)
    return x.float().clamp(-limit, limit).half().cpu().numpy()


def clip_labels(split: Split) -> dict[str, NDArray[np.int64]]:
    """Labels (N,) of whole clips, by factor; those of single frames are left out."""
    arrays = {name: label.cpu().numpy() for name, label in split.labels.items()}
    return {name: label for name, label in arrays.items() if label.ndim == 1}


def choose(split: Split, n: int, seed: int) -> NDArray[np.int64]:
    """Positions (n,) of test clips that differ in identity and, as far as there are enough, in every label.

    The choice is the same for every method and seed, so that sheets compare like with like.
    """
    candidates = np.random.default_rng(seed).permutation(len(split))[:4096]
    columns = {"identity": split.identity.cpu().numpy(), **clip_labels(split)}
    # Consecutive numbers, so that values already shown can be counted.
    codes = {name: np.unique(column[candidates], return_inverse=True)[1] for name, column in columns.items()}
    shown = {name: np.zeros(int(code.max(initial=0)) + 1) for name, code in codes.items()}
    cost = np.zeros(len(candidates))
    taken: list[int] = []
    while len(taken) < min(n, len(candidates)):
        # Fewest repeats of a value already shown, identity first; ties go to the earlier in the seeded order.
        repeats = sum(shown[name][code] * (1000 if name == "identity" else 1) for name, code in codes.items())
        best = int((cost + repeats).argmin())
        taken.append(best)
        cost[best] = np.inf
        for name, code in codes.items():
            shown[name][code[best]] += 1
    return np.asarray(candidates[taken], dtype=np.int64)
