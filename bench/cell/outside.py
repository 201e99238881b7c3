"""Scoring a model that was trained elsewhere, under the same protocol: its record says that training was not the suite's.

A model is any object with `encode` and `decode`. What it encodes and decodes is tried on two clips before anything is
scored, so that a wrong shape is said in one sentence.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from seqdis.bench.cell.build import shape_of
from seqdis.bench.cell.checkpoint import State
from seqdis.bench.cell.clips import ClipConfig, make_clips
from seqdis.bench.cell.report import cost_part, method_record, training_part
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.places import data_root
from seqdis.bench.core.seeds import derive
from seqdis.bench.plan import catalog
from seqdis.bench.records.clips import save_clips
from seqdis.bench.records.config import CellKey, RunConfig, Settings, TrainingConfig
from seqdis.bench.records.record import Record, write_record
from seqdis.bench.records.store import Store
from seqdis.datasets.base import DataSet, Split
from seqdis.judges import protocol
from seqdis.judges.judge import Judge, load_judge
from seqdis.judges.settings import PROTOCOL_VERSION, EvaluationConfig
from seqdis.judges.subjects import spread
from seqdis.methods.base import Latents, Method

PRESET = "outside"
"""What stands where the records of our own cells name their scale: rows of models from elsewhere are never among ours."""
CODES = 1024
"""Training clips whose codes stand for the prior of a model that has none."""
NOTE = "trained elsewhere: the suite scored it and knows nothing of its training"
NO_PRIOR = "it has no prior: drawn codes are those of random training clips"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Nothing:
    """The settings of a model of which the suite knows none."""

    lr: float = 0.0


class Outside(Method):
    """A model from elsewhere in the shape that the protocol examines.

    Args:
        model: has `encode(x)` for clips (B, T, C, H, W) in [0, 1] or (B, T, F), which gives (static (B, Ds), dynamic
            (B, T, Dd)) as a pair, a mapping with these two names, or `Latents`; and `decode(static, dynamic)`, which gives
            clips of that shape. It may have both of `sample_static(n, generator)` -> (n, Ds) and `sample_dynamic(n, n_frames,
            generator)` -> (n, T, Dd); without them drawn codes are those of random clips of `training`.
        dataset: that it is scored on.
        device: where clips are given to it.
    """

    title: ClassVar[str] = "model"
    paper: ClassVar[str] = "trained elsewhere"
    Config = _Nothing
    model: Any

    def __init__(self, model: Any, dataset: DataSet, device: torch.device, batch_size: int) -> None:
        super().__init__(_Nothing(), _shape(dataset))
        if isinstance(model, nn.Module):
            self.model = model  # registered: its mode follows ours
        else:
            object.__setattr__(self, "model", model)
        self.device = device
        missing = [name for name in ("encode", "decode") if not callable(getattr(model, name, None))]
        if missing:
            raise UserError(
                f"{type(model).__name__} has no {' and no '.join(missing)}: a model to be scored has encode(x) -> (static, "
                "dynamic) and decode(static, dynamic) -> x."
            )
        samplers = [callable(getattr(model, name, None)) for name in ("sample_static", "sample_dynamic")]
        if any(samplers) and not all(samplers):
            raise UserError(
                f"{type(model).__name__} has one of sample_static and sample_dynamic: give both, or none to draw the codes "
                "of training clips."
            )
        self.has_prior = all(samplers)
        self.training_codes: Latents | None = None
        self.batch_size = batch_size

    def remember(self, split: Split) -> None:
        """Encodes training clips, whose codes stand for the prior of a model without one."""
        chosen = spread(split, min(CODES, len(split)))
        codes = [self.encode(split.clips(index).to(self.device)) for index in chosen.split(self.batch_size)]
        self.training_codes = Latents(
            static=torch.cat([code.static for code in codes]), dynamic=torch.cat([code.dynamic for code in codes])
        )

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Latents:
        return _latents(self.model.encode(x), len(x))

    def decode(self, latents: Latents) -> Tensor:
        if isinstance(self.model, Method):
            return self.model.decode(latents)
        return _clips(self.model.decode(latents.static, latents.dynamic), len(latents.static), self.shape.frame)

    def sample_static(self, n: int, generator: torch.Generator) -> Tensor:
        if self.training_codes is None:
            return _drawn(self.model.sample_static(n, generator), n, "sample_static")
        return self.training_codes.static[self._any(n, generator)]

    def sample_dynamic(self, n: int, n_frames: int, generator: torch.Generator, *, means: bool = False) -> Tensor:
        if self.training_codes is None:
            return _drawn(self.model.sample_dynamic(n, n_frames, generator), n, "sample_dynamic")
        return self.training_codes.dynamic[self._any(n, generator)]

    def _any(self, n: int, generator: torch.Generator) -> Tensor:
        assert self.training_codes is not None
        codes = self.training_codes.static
        return torch.randint(len(codes), (n,), generator=generator, device=generator.device).to(codes.device)


def evaluate(
    model: Any,
    dataset: DataSet | str,
    *,
    name: str = "",
    source: str = "real",
    size: int = 64,
    seed: int = 0,
    revision: str = "",
    draws: int = 10,
    max_clips: int = 0,
    judge: Judge | None = None,
    device: torch.device | str | None = None,
    data_dir: Path | str | None = None,
    out: Path | str | None = None,
) -> Record:
    """Scores a model that was trained anywhere, as the suite scores its own: same clips, same judge, same draws.

    Args:
        model: see `Outside`; a `Method` of the suite is taken too.
        dataset: an opened one, or the name of one that is prepared.
        name: of the row; the model's class by default.
        source: "real" or "synthetic", for a data set that is named.
        size: side of frames in pixels, for a data set that is named.
        seed: that the model was trained with: rows average over it.
        revision: tells two models of one name and seed apart; by default the digest of its weights, where it has any.
        draws: prior draws a test clip, in each direction.
        max_clips: test clips examined, evenly spread; 0 is all.
        judge: the data set's own by default.
        device: that of the model's weights by default, else the CPU.
        data_dir: of prepared data (default: $SEQDIS_DATA or the user's cache).
        out: an output folder that the record and a few clips are written to, beside those of `bench run`.

    Returns:
        The record, as `bench validate`, `bench table` and `bench publish` read it.

    Raises:
        UserError: codes or clips have a wrong shape or are not finite, no such data set, or a record of the same model is there.
        MissingDataError: the data are not prepared; it holds the command that does it.
    """
    root = Path(data_dir) if data_dir is not None else data_root()
    if isinstance(dataset, str):
        dataset = catalog.load_dataset(dataset).open(root, cast(Any, source), size)
    place = torch.device(device) if device is not None else _device(model)
    if judge is None and dataset.spec.headline[0] != "verification":
        judge = load_judge(dataset.spec, root)
    name = name or type(model).__name__
    kind = type("Outside", (Outside,), {"title": name})  # rows are named by a method's class
    outside = kind(model, dataset, place, protocol.CPU_BATCH).eval()
    evaluation = EvaluationConfig(
        draws=draws, max_clips=max_clips, sample="draw" if outside.has_prior else "training codes"
    )
    config = _config(model, dataset, name, seed, revision, evaluation)
    if out is not None and Store(Path(out)).is_done(config.id):
        raise _there(Store(Path(out)).folder(config.id))
    notes = [NOTE] if outside.has_prior else [NOTE, NO_PRIOR]
    with torch.inference_mode():
        _try(outside, dataset)
        if not outside.has_prior:
            outside.remember(dataset.train)
    started = time.monotonic()
    found = protocol.evaluate(outside, dataset, None if judge is None else judge.to(place), evaluation, place)
    record = method_record(
        config,
        outside,
        dataset,
        judge,
        found,
        training=dataclasses.replace(training_part(State(), planned_steps=0, batch_size=0), selection="none"),
        cost=cost_part(
            outside,
            State(),
            batch_size=0,
            evaluation_seconds=time.monotonic() - started,
            gpu_memory_bytes=0,
            energy_joules=None,
            device=place,
        ),
        device=place,
        notes=notes,
    )
    record = dataclasses.replace(record, ranked=False)
    if out is not None:
        _write(record, config, outside, dataset, Path(out), place)
    return record


def _write(
    record: Record, config: RunConfig, outside: Outside, dataset: DataSet, out: Path, device: torch.device
) -> None:
    store = Store(out)
    store.check_writable()
    folder = store.add(config.id, config)
    if dataset.spec.modality == "video":
        save_clips(folder, make_clips(outside, dataset, ClipConfig(seed=config.evaluation.seed), device))
    if not write_record(folder, record):
        raise _there(folder)  # written meanwhile by another process


def _there(folder: Path) -> UserError:
    return UserError(f"{folder} has a record of this model and seed: name another `revision`, or another `out`.")


def _config(
    model: Any, dataset: DataSet, name: str, seed: int, revision: str, evaluation: EvaluationConfig
) -> RunConfig:
    spec = dataset.spec
    versions: Settings = {"protocol": PROTOCOL_VERSION, "data": spec.revision}
    versions["model"] = revision or _weights_digest(model)
    return RunConfig(
        cell=CellKey(
            dataset=spec.name,
            source=spec.source,
            method=name,
            variant="",
            preset=PRESET,
            seed=seed,
            size=spec.frame[1] if spec.modality == "video" else 0,
        ),
        method={},
        training=TrainingConfig(epochs=0, validations=0, batch_size=1),
        evaluation=evaluation,
        data={},
        versions=versions,
    )


def _shape(dataset: DataSet) -> Any:
    split = dataset.train
    return shape_of(dataset.spec, n_frames=dataset.spec.n_frames, n_train=len(split), n_sequences=split.n_sequences)


def _device(model: Any) -> torch.device:
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def _weights_digest(model: Any) -> str:
    """SHA-256 of a model's weights, by name; empty for a model without any that torch knows."""
    if not isinstance(model, nn.Module):
        return ""
    found = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            found.update(key.encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _try(outside: Outside, dataset: DataSet) -> None:
    """Encodes, decodes and draws for two test clips.

    Raises:
        UserError: a wrong shape, values that are not finite, or clips outside of [0, 1].
    """
    x = dataset.test.clips(torch.arange(2, device=dataset.test.device)).to(outside.device)
    clips = outside.decode(outside.encode(x))
    if clips.shape != x.shape:
        raise UserError(f"decode gave clips {tuple(clips.shape)} where {tuple(x.shape)} went in.")
    if not clips.isfinite().all():
        raise UserError("decode gave values that are not finite.")
    if dataset.spec.modality == "video" and not (clips.min() >= -1e-3 and clips.max() <= 1 + 1e-3):
        raise UserError(f"decode gave values from {clips.min():.3g} to {clips.max():.3g}; clips are in [0, 1].")
    if outside.has_prior:
        generator = torch.Generator().manual_seed(derive("trial"))
        codes = outside.encode(x)
        drawn = Latents(
            static=outside.sample_static(2, generator),
            dynamic=outside.sample_dynamic(2, dataset.spec.n_frames, generator),
        )
        for role in ("static", "dynamic"):
            mine, theirs = getattr(drawn, role), getattr(codes, role)
            if mine.shape != theirs.shape:
                raise UserError(
                    f"sample_{role} gave {tuple(mine.shape)} for two clips, and encode {tuple(theirs.shape)}: a drawn code has "
                    "the shape of an encoded one."
                )


def _latents(found: Any, n: int) -> Latents:
    if isinstance(found, Latents):
        return found
    if isinstance(found, Mapping) and {"static", "dynamic"} <= set(found):
        static, dynamic = found["static"], found["dynamic"]
    elif isinstance(found, tuple | list) and len(found) == 2:
        static, dynamic = found
    else:
        raise UserError(f"encode gave a {type(found).__name__}: it gives a pair (static, dynamic).")
    static, dynamic = torch.as_tensor(static), torch.as_tensor(dynamic)
    if static.dim() != 2 or dynamic.dim() != 3 or len(static) != n or len(dynamic) != n:
        raise UserError(
            f"encode gave codes {tuple(static.shape)} and {tuple(dynamic.shape)} for {n} clips: static is (B, Ds), dynamic "
            "(B, T, Dd)."
        )
    if not (static.isfinite().all() and dynamic.isfinite().all()):
        raise UserError("encode gave codes that are not finite.")
    return Latents(static=static.float(), dynamic=dynamic.float())


def _clips(found: Any, n: int, frame: tuple[int, ...]) -> Tensor:
    clips = torch.as_tensor(found).float()
    if clips.dim() != 2 + len(frame) or len(clips) != n or tuple(clips.shape[2:]) != frame:
        raise UserError(f"decode gave {tuple(clips.shape)} for {n} clips with frames of {frame}.")
    return clips


def _drawn(found: Any, n: int, name: str) -> Tensor:
    drawn = torch.as_tensor(found).float()
    if len(drawn) != n:
        raise UserError(f"{name} gave {tuple(drawn.shape)} where {n} codes were asked for.")
    return drawn
