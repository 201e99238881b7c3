"""The one loop: exact resume, several players, sequences of an epoch, best by validation, divergence."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from seqdis.bench.cell.trainer import Diverged, Interrupted, Trainer
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.provenance import code_version
from seqdis.bench.records.config import TrainingConfig
from seqdis.bench.records.store import CHECKPOINT
from seqdis.datasets.base import Factor, Spec, Split
from seqdis.methods.base import Batch, Context, Method, Needs, Optimisation, Shape

SPEC = Spec(
    name="toy",
    title="Toy",
    source="synthetic",
    modality="audio",
    frame=(6,),
    n_frames=5,
    factors=(Factor(name="kind", classes=("a", "b"), role="dynamic"),),
    headline=("fix_dynamic", "kind"),
    split_rule="none",
    revision="1",
    licence="none",
    citation="none",
)
N = 22


@dataclasses.dataclass(frozen=True)
class Config:
    lr: float = 1e-2
    explode: bool = False


class Duel(Method):
    """Two players: a linear map that rebuilds the clip, and a critic; with a batch-norm and a table rebuilt an epoch."""

    title = "Duel"
    paper = "none"
    Config = Config
    players = ("critic", "maker")

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.maker = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
        self.critic = nn.Linear(6, 1)
        # Convolution weights lie channels last in a video run; their moments must come back in the same layout.
        self.mixer = nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
        self.register_buffer("table", torch.zeros(shape.n_sequences))
        self.register_buffer("steps", torch.zeros(()))

    @classmethod
    def needs(cls, config: Any) -> Needs:
        return Needs(content_view=True)

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        return [*getattr(self, player).parameters(), *(self.mixer.parameters() if player == "maker" else ())]

    def optimisation(self, player: str) -> Optimisation:
        return Optimisation(lr=self.config.lr, betas=(0.5, 0.99))

    def loss(self, batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
        x = batch.x + 0.1 * torch.randn(batch.x.shape, generator=ctx.generator)
        made = self.maker(x.flatten(0, 1))
        if player == "critic":
            return {
                "total": (self.critic(made.detach()) - 1).square().mean() + self.critic(x.flatten(0, 1)).square().mean()
            }
        mixed = self.mixer(made.view(len(batch.x), 5, 2, 3).transpose(1, 2))
        recon = (made - batch.x.flatten(0, 1)).square().sum() + (mixed - 1).square().sum()
        if self.config.explode and ctx.step > 3:
            recon = recon * float("inf")
        return {"total": recon + self.critic(made).mean(), "recon": recon}

    def on_epoch(self, ctx: Context) -> Tensor:
        chosen = torch.randperm(len(self.table), generator=ctx.generator)[:8]
        assert ctx.segments is not None
        for batch in ctx.segments(chosen):
            self.table[batch.sequence] = batch.x.mean((1, 2))
        return chosen

    def on_step_end(self, ctx: Context) -> None:
        self.steps += 1


def make(
    tmp: Path | None, *, stop_at: int | None = None, validate: Any = None, config: Config | None = None, **training: Any
) -> Trainer:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(N, 5, 6, generator=generator).half()
    split = Split(x, {"kind": torch.arange(N) % 2}, torch.arange(N), sequence=torch.arange(N) // 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = Duel(config or Config(), Shape(frame=(6,), n_frames=5, n_train=N, n_sequences=11))
    settings = TrainingConfig(
        **{"steps": 30, "batch_size": 4, "schedule": "cosine", "log_every": 5, "validations": 3, **training}
    )
    trainer = Trainer(
        method,
        split,
        SPEC,
        settings,
        seed=1,
        device=torch.device("cpu"),
        validate=validate,
        checkpoint=tmp / CHECKPOINT if tmp else None,
    )
    if stop_at is not None:
        trainer.should_stop = lambda: trainer.state.step >= stop_at
    return trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.method.state_dict().items()}


def score(method: Method) -> dict[str, float]:
    assert not method.training
    return {"score": float(method.state_dict()["maker.0.weight"].sum())}


@pytest.mark.parametrize("stop_at", [1, 4, 10, 17, 29])
def test_resume_after_any_step_gives_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    whole = make(None, validate=score)
    whole.fit()
    stopped = make(tmp_path, stop_at=stop_at, validate=score)
    with pytest.raises(Interrupted):
        stopped.fit()
    resumed = make(tmp_path, validate=score)
    resumed.fit()
    assert resumed.state.losses == whole.state.losses
    assert resumed.state.validation == whole.state.validation
    assert resumed.state.epoch == whole.state.epoch
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_another_seed_gives_other_numbers() -> None:
    first, second = make(None), make(None)
    second.seed = 2
    first.fit(), second.fit()
    assert first.state.losses != second.state.losses


def test_every_player_moves_its_own_weights_only() -> None:
    trainer = make(None)
    before = weights(trainer)
    trainer.optimisers = {"critic": trainer.optimisers["critic"]}
    trainer.step(torch.arange(4))
    after = weights(trainer)
    assert not torch.equal(before["critic.weight"], after["critic.weight"])
    assert torch.equal(before["maker.0.weight"], after["maker.0.weight"])
    assert int(after["steps"]) == 1


def test_epoch_draws_only_from_the_sequences_it_was_given() -> None:
    trainer = make(None)
    order = trainer.begin_epoch()
    assert trainer.epoch_sequences is not None
    chosen = trainer.epoch_sequences.tolist()
    assert len(chosen) == 8
    assert sorted(order.tolist()) == sorted(clip for sequence in chosen for clip in (2 * sequence, 2 * sequence + 1))


def test_best_weights_by_validation_are_put_back() -> None:
    seen: list[float] = []

    def falling(method: Method) -> dict[str, float]:
        seen.append(float(method.state_dict()["steps"]))
        return {"score": -seen[-1]}

    trainer = make(None, validate=falling)
    state = trainer.fit()
    assert seen == [10.0, 20.0, 30.0]
    assert state.best_step == 10
    assert float(trainer.method.state_dict()["steps"]) == 10.0


def test_patience_ends_training_early() -> None:
    trainer = make(None, validate=lambda method: {"score": 0.0}, validations=10, patience=2)
    assert trainer.fit().step == 9


def test_infinite_loss_is_a_clear_failure() -> None:
    with pytest.raises(Diverged, match="recon of maker is not finite at step"):
        make(None, config=Config(explode=True)).fit()


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The checkpoint of a run that was stopped at step 12, with weights kept as best."""
    with pytest.raises(Interrupted):
        make(tmp_path, stop_at=12, validate=score).fit()
    return tmp_path / CHECKPOINT


@pytest.fixture(scope="module")
def whole() -> Trainer:
    """The run, undisturbed."""
    trainer = make(None, validate=score)
    trainer.fit()
    return trainer


def assert_begins_anew(folder: Path, whole: Trainer, capsys: pytest.CaptureFixture[str]) -> str:
    """That a run takes nothing of the checkpoint. Returns the line that it says."""
    capsys.readouterr()
    again = make(folder, validate=score)
    again.fit()
    assert not again.resumed
    assert again.state == dataclasses.replace(whole.state, seconds=again.state.seconds)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name
    (line,) = capsys.readouterr().out.splitlines()
    assert "set aside as checkpoint.damaged-" in line
    return line


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "folder", "pipe", "dead link"])
def test_damaged_checkpoint_is_kept_aside_and_training_starts_anew(
    stopped: Path, whole: Trainer, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stopped.read_bytes()
    stopped.unlink()
    aside = stopped.with_name("checkpoint.damaged-2")
    aside.with_name("checkpoint.damaged-1").write_bytes(b"an earlier one")
    if damage == "folder":
        stopped.mkdir()
    elif damage == "pipe":
        os.mkfifo(stopped)
    elif damage == "dead link":
        stopped.symlink_to("nowhere")
    else:
        stopped.write_bytes({"truncated": data[: len(data) // 2], "garbage": b"x" * 400, "empty": b""}[damage])
    assert "set aside as checkpoint.damaged-2" in assert_begins_anew(stopped.parent, whole, capsys)
    assert os.path.lexists(aside)
    assert aside.with_name("checkpoint.damaged-1").read_bytes() == b"an earlier one"


def test_checkpoint_that_may_not_be_read_is_left_where_it_is(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    stopped.chmod(0)
    with pytest.raises(UserError, match=r"cannot be read .*give yourself the right"):
        make(stopped.parent, validate=score).fit()
    assert stopped.exists()


Change = Callable[[dict[str, Tensor], dict[str, Any]], None]
"""Of a checkpoint's tensors and of its state and maker."""


def rewrite(path: Path, change: Change) -> None:
    with safe_open(path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    texts = {name: json.loads(text) for name, text in metadata.items()}
    change(tensors, texts)
    save_file(tensors, path, metadata={name: json.dumps(value) for name, value in texts.items()})


def of_state(**values: Any) -> Change:
    return lambda tensors, texts: texts["state"].update(values)


def of_maker(**values: Any) -> Change:
    return lambda tensors, texts: texts["maker"].update(values)


def of_tensors(name: str, value: Tensor | None) -> Change:
    return lambda tensors, texts: tensors.pop(name) if value is None else tensors.update({name: value})  # type: ignore[func-returns-value, return-value]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        # Of the last player, so that the first one's moments are loaded before it is found.
        (of_tensors("adam/maker/first/exp_avg", torch.zeros(1)), "adam/maker/first/exp_avg is unknown"),
        (of_tensors("adam/maker/0/exp_avg", None), "moments 0 of maker are not whole"),
        (of_tensors("adam/maker/0/exp_avg_sq", torch.full((6, 6), math.nan)), "exp_avg_sq holds numbers"),
        (of_tensors("model/maker.0.weight", torch.full((6, 6), math.inf)), "maker.0.weight holds numbers"),
        (of_tensors("model/maker.0.weight", torch.zeros(6, 7)), r"is \[6, 7\] and should be \[6, 6\]"),
        (of_tensors("model/maker.0.weight", torch.zeros(6, 6, dtype=torch.int64)), "is torch.int64 and should be"),
        (lambda tensors, texts: (tensors.pop("model/critic.bias"), tensors.pop("best/critic.bias")), "Missing key"),
        (of_tensors("best/maker.0.weight", None), "not whole"),
        (of_tensors("epoch_sequences", torch.zeros(8)), "epoch_sequences is torch.float32"),
        (of_tensors("epoch_sequences", torch.zeros(8, 2, dtype=torch.int64)), r"epoch_sequences is \[8, 2\]"),
        (of_state(step=10**9), "step 1000000000 of 30"),
        (of_state(step=-1), "step"),
        (of_state(step="12"), "step: must be a whole number"),
        (of_state(step=12.5), "step: must be a whole number"),
        (of_state(step=None), "step: must be a whole number"),
        (of_state(step_in_epoch=10**6), "1000000 of its epoch"),
        (of_state(best=math.nan), "best: is not finite"),
        (of_state(best=None), "best are not whole"),
        (of_state(seconds=math.inf), "seconds: is not finite"),
        (of_state(finished=1), "finished: must be true or false"),
        (of_state(losses={}), "losses: must be a list"),
        (of_state(losses=[1]), r"losses\[0\]: must be an object"),
        (of_state(validation=[{"score": math.nan}]), "validation"),
        (of_state(changes="none"), "changes: must be a list"),
        (of_maker(threads="two"), "threads: must be a whole number"),
        (lambda tensors, texts: texts.pop("maker"), "KeyError"),
        (lambda tensors, texts: texts.update(state=[]), "must be an object"),
    ],
)
def test_checkpoint_that_does_not_fit_leaves_nothing_behind(
    stopped: Path, whole: Trainer, change: Change, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(stopped, change)
    assert re.search(reason, assert_begins_anew(stopped.parent, whole, capsys))


def test_checkpoint_of_other_threads_torch_and_code_is_gone_on_from_and_says_so(stopped: Path, whole: Trainer) -> None:
    rewrite(stopped, of_maker(threads=64, torch="2.0.1", commit="abc", gpu=""))
    again = make(stopped.parent, stop_at=20, validate=score)
    with pytest.raises(Interrupted):
        again.fit()
    rewrite(stopped, of_maker(device="cuda", gpu="A GPU"))
    resumed = make(stopped.parent, validate=score)
    resumed.fit()
    assert resumed.resumed
    assert resumed.state.losses == whole.state.losses
    now = {"code": code_version().commit, "threads": torch.get_num_threads(), "torch": torch.__version__}
    found = [(change.step, change.what, change.before, change.after) for change in resumed.state.changes or ()]
    assert found == [
        (12, "code", "abc", str(now["code"])[:12]),
        (12, "threads", "64", str(now["threads"])),
        (12, "torch", "2.0.1", now["torch"]),
        (20, "device", "A GPU", "cpu"),
    ]


def test_checkpoint_as_version_0_1_0_wrote_it_is_gone_on_from(stopped: Path) -> None:
    rewrite(stopped, of_maker(gpu="", threads=torch.get_num_threads()))
    resumed = make(stopped.parent, validate=score)
    resumed.fit()
    assert resumed.resumed
    assert resumed.state.changes is None


def test_a_step_reads_no_number_back(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(None)
    trainer.epoch_sequences = None
    for name in ("item", "tolist", "__bool__", "__float__", "__int__"):

        def refuse(self: Tensor, *arguments: Any, _name: str = name) -> Any:
            raise AssertionError(f"{_name} in a step")

        monkeypatch.setattr(Tensor, name, refuse)
    trainer.step(torch.arange(4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("method", ["dsvae", "cdsvae", "s3vae", "rwae", "rwae:gan", "mocogan", "fhvae"])
def test_a_step_never_waits_for_the_gpu(method: str) -> None:
    from seqdis.bench.perf.testbed import Bed, Settings
    from seqdis.bench.plan import catalog

    settings = Settings(preset="quick", dataset="sprites", batch_size=8, device=torch.device("cuda"))
    bed = Bed(catalog.parse_methods(method)[0], settings)
    bed.step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        bed.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
