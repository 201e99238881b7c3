"""The checks of methods: the documentation's method keeps the contract, and each fault put into it is found and named."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
import torch

from seqdis.bench.cell.check import codes, losses, rows
from seqdis.bench.cell.check.bed import KINDS, Bed, Row, make_batch, make_context
from seqdis.bench.cell.check.findings import Finding
from seqdis.bench.cell.check.methods import check_method, rows_of
from seqdis.bench.cli import main
from seqdis.bench.perf import testbed
from seqdis.bench.plan import catalog
from seqdis.methods.base import Needs

ROOT = Path(__file__).resolve().parents[4]
EXAMPLES = ("examples/first_frame_vae.py:FirstFrameVAE", "examples/cdsvae_ablation.py:Ablation")
FILES = [
    (page.name, text)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for text in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    if re.search("^METHOD = ", text, re.M)
]
"""The methods that the documentation shows whole."""

(MEAN_VAE,) = [text for page, text in FILES if page == "add-a-method.md"]

SNIPPETS = re.findall(
    r"put into the class above.*?-->\n```python\n(.*?)^```$",
    (ROOT / "docs" / "add-a-method.md").read_text(),
    re.M | re.S,
)


def row_of(file: str) -> Row:
    (ref,) = catalog.parse_methods(file)
    return Row(ref.name, catalog.load_class(ref), ref.variant)


def failing(found: list[Finding]) -> dict[str, str]:
    """The checks that fail, with what they say."""
    return {one.name: "; ".join(case.text for case in one.failures) for one in found if one.state == "fails"}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def example_rows() -> list[Row]:
    rows = [row_of(f"{ROOT / file}") for file in EXAMPLES]
    return [one for row in rows for one in rows_of(row.name, row.method)]


@pytest.mark.parametrize("row", example_rows(), ids=lambda row: row.where)
def test_examples_keep_the_contract(row: Row) -> None:
    assert failing(list(check_method([row], ["video"] if row.variant else KINDS))) == {}


@pytest.mark.parametrize(("page", "text"), FILES, ids=[page for page, _ in FILES])
def test_files_of_the_documentation_keep_the_contract_and_train(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "documented.py").write_text(text)
    file = f"{tmp_path / 'documented.py'}:METHOD"
    row = row_of(file)
    assert failing(list(check_method(rows_of(row.name, row.method)))) == {}
    (ref,) = catalog.parse_methods(file)
    settings = testbed.Settings(preset="quick", dataset="sprites", batch_size=6, device=torch.device("cpu"), n_clips=32)
    bed = testbed.Bed(ref, settings)
    bed.step()
    bed.step()


def test_the_first_frame_alone_moves_the_static_code_of_the_example() -> None:
    row = row_of(f"{ROOT / EXAMPLES[0]}")
    method, x = row.build(KINDS["video"]).eval(), make_batch(KINDS["video"], 3).x
    later, first = x.clone(), x.clone()
    later[:, 1:] = 0.5
    first[:, 0] = 0.5
    static = method.encode(x).static
    assert torch.equal(method.encode(later).static, static)
    assert not torch.equal(method.encode(first).static, static)
    with pytest.raises(ValueError, match="causal or nested"):
        row.build(KINDS["video"], dynamic_posterior="rnn_bilstm")


# Places of the method that faults are put into.
DECODED = "return self.decoder(torch.cat([latents.dynamic, static], 2))"
DRAWN = "return randn((n, self.config.static_dim), generator, default_device(self))"
ENCODED = "return Latents(static=static.mean, dynamic=dynamic.mean)"
INFERRED = "static, dynamic = self.posteriors(batch.x)\n        s = "
SIZE = "        size = config.static_dim"
TERMS = "        terms = {\n"
S = 's = ctx.noisy("static", static.sample(ctx.generator))'
SUM = 'with_total(terms, {"recon": self.config.recon_weight, "kl_static": kl, "kl_dynamic": kl}, ctx)'
HELPER = "    def posteriors"


def rule(settings: str) -> str:
    """What stands in place of `HELPER` for a method with one rule."""
    return f"    from seqdis.methods.base import Rule\n\n    rules = (Rule({settings}),)\n\n{HELPER}"


FAULTS: dict[str, dict[str, tuple[str, str, str]]] = {
    "it-names-its-paper-and-its-departures": {
        "no docstring": ("", "", "characters, which is too short"),
        "no paper": ('paper = "an example of this suite\'s documentation"', 'paper = ""', "paper is not set"),
        "titles": (
            HELPER,
            "    @classmethod\n    def variant_title(cls, variant: str) -> str:\n        return 'M'\n\n" + HELPER,
            "'M' to more than one variant",
        ),
    },
    "config-is-frozen-and-survives-json": {
        "mutable config": ("frozen=True, kw_only=True", "kw_only=True", "Config can be changed"),
        "required field": ("    lr: float = 1e-3", "    lr: float", "no default for lr"),
        "tuple in the config": (
            "    kl_weight: float = 1.0\n",
            "    kl_weight: float = 1.0\n    betas: tuple[float, float] = (0.9, 0.999)\n",
            "JSON changes betas",
        ),
        "no rate": ("lr: float = 1e-3", "rate: float = 1e-3", "Config has no lr"),
    },
    "variants-change-fields-of-the-config": {
        "unknown field": ('{"kl_weight": 4.0}', '{"beta": 4.0}', "sets beta, which Config does not have"),
    },
    "rules-name-what-there-is": {
        "no such preset": (
            HELPER,
            rule("presets=('quik',)"),
            "presets of a rule names 'quik'; there are: quick, compact,",
        ),
        "no such data": (HELPER, rule("presets=('quick',), data=('sprite',)"), "data of a rule names 'sprite'"),
        "no such variant": (HELPER, rule("presets=('quick',), variants=('beta',)"), "names 'beta'; there are: beta4"),
        "no such modality": (
            HELPER,
            rule("presets=('quick',), modality='speech'"),
            "modality of a rule names 'speech'",
        ),
        "no such setting": (
            HELPER,
            rule("presets=('quick',), method={'recon_wight': 2.0}"),
            "did you mean 'method.recon_weight'",
        ),
        "no such value": (
            HELPER,
            rule("presets=('quick',), training={'steps': 0.5}"),
            "training.steps=0.5: must be a whole",
        ),
        "text": (HELPER, rule("presets='quick'"), "presets of a rule is 'quick', not a tuple"),
        "a full stop": (HELPER, rule("presets=('quick',), not_trained='Too hard.'"), "full stop"),
        "no rule": (HELPER, "    rules = ({'presets': ('quick',)},)\n\n" + HELPER, "not a tuple of Rule"),
    },
    "the-space-is-of-settings-and-values-that-exist": {
        "no such setting": (
            HELPER,
            "    space = {'method.rate': (1e-3,)}\n\n" + HELPER,
            "unknown setting 'method.rate'",
        ),
        "no such value": (HELPER, "    space = {'lr': (1e-3, 'fast')}\n\n" + HELPER, "lr='fast': must be a number"),
        "no values": (
            HELPER,
            "    space = {'method.lr': 1e-3}\n\n" + HELPER,
            "not a tuple of values to try or a range",
        ),
    },
    "it-says-what-it-needs-and-can": {
        "needs": (
            HELPER,
            "    @classmethod\n    def needs(cls, config: Any) -> Any:\n        return {'signal'}\n\n" + HELPER,
            "needs(config) gives set, not Needs",
        ),
    },
    "its-file-imports-nothing-that-knows-the-data": {
        "imports": (
            "from seqdis.methods import estimators",
            "from seqdis.datasets.base import Spec\nfrom seqdis.methods import estimators",
            "imports seqdis.datasets.base.Spec",
        ),
    },
    "it-can-be-built-or-refuses-in-words": {
        "cannot be built": (
            SIZE,
            "        raise RuntimeError('no such net')\n" + SIZE,
            "raised RuntimeError: no such net (faulty.py:",
        ),
        "refuses without a word": (
            SIZE,
            "        from seqdis.methods.base import NotForTheseData\n        raise NotForTheseData\n" + SIZE,
            "refuses without a reason",
        ),
    },
    "losses-are-finite-scalars": {
        "no total": (SUM, "terms", 'no "total"'),
        "not a scalar": (
            "kl_standard_normal(*static).mean()",
            "kl_standard_normal(*static)",
            "has shape (2,), not that of a scalar",
        ),
        "not a number": ('"recon": estimators', '"recon": (batch.x.mean() - 2).log() + estimators', "is nan"),
        "detached": (SUM, f"(found := {SUM}) | {{'total': found['total'].detach()}}", "has no gradient"),
        "reads what it did not ask for": (
            INFERRED,
            "static, dynamic = self.posteriors(batch.motion_view)\n        s = ",
            "(faulty.py:",
        ),
    },
    "the-total-is-the-weighted-sum-of-the-logged-terms": {
        "a part is not logged": (
            SUM,
            f"{{name: value for name, value in {SUM}.items() if name != 'kl_static'}}",
            "give every part as a term of its own",
        ),
    },
    "every-weighted-term-moves-a-parameter": {
        "a constant term": (
            '"kl_static": estimators.kl_standard_normal(*static).mean()',
            '"kl_static": (batch.x.mean() * 1).requires_grad_()',
            "kl_static of model is a constant",
        ),
    },
    "what-can-be-scheduled-changes-the-total": {
        "sums by hand": (
            SUM,
            SUM.replace("ctx", "dataclasses.replace(ctx, capacity={})"),
            "a factor of 3 on recon makes the weights of model",
        ),
        "no such term": (
            '"kl_dynamic", "noise',
            '"kl_dynamik", "noise',
            "with_total sums no kl_dynamik in any variant",
        ),
        "no noise": (S, "s = static.sample(ctx.generator)", "noise_static changes no loss"),
    },
    "every-parameter-is-trained-by-one-player": {
        "parameters of no player": (
            HELPER,
            "    def player_parameters(self, player: str) -> list[Any]:\n        return list(self.encoder.parameters())\n\n"
            + HELPER,
            "no player trains decoder",
        ),
        "parameters of no loss": (
            "        self.static_head",
            "        self.unused = GaussianHead(3, 3)\n        self.static_head",
            "no loss of model reads unused.to_mean.weight",
        ),
        "two players of one": (
            '    title = "Mean VAE"',
            '    title = "Mean VAE"\n    players = ("model", "other")',
            "belongs to two players",
        ),
    },
    "training-lowers-the-loss": {
        "wrong sign": (
            SUM,
            f"(found := {SUM}) | {{'total': found['total'] * (1.0 + ctx.step)}}",
            "after twenty steps on one batch",
        ),
    },
    "same-seed-same-numbers": {
        "its own seed": (
            S,
            "s = static.sample(torch.Generator().manual_seed(torch.seed() % 999))",
            "two runs of one seed",
        ),
    },
    "it-draws-from-the-given-generators-only": {
        "global generator": (
            TERMS,
            "        batch = dataclasses.replace(batch, x=batch.x + 0 * torch.rand(()))\n" + TERMS,
            "global generator of torch",
        ),
        "global NumPy": (
            TERMS,
            "        import numpy\n        numpy.random.rand()\n" + TERMS,
            "global generator of NumPy",
        ),
    },
    "the-loss-reads-no-value-back": {
        "waits": (TERMS, "        scale = batch.x.mean().item()\n" + TERMS, "1 times a step"),
    },
    "the-loss-leaves-the-batch-as-it-is": {
        "in place": (
            INFERRED,
            "static, dynamic = self.posteriors(batch.x.mul_(0.9))\n        s = ",
            "loss changes batch.x",
        ),
    },
    "codes-have-the-shapes-of-the-contract": {
        "wrong count": (
            "randn((n, self.config.static_dim)",
            "randn((3, self.config.static_dim)",
            "sample_static(1) has shape (3, 6), not (1, 6)",
        ),
        "wrong length": ("randn((n, n_frames, self", "randn((n, 8, self", "sample_dynamic(3, 5) has shape (3, 8, 4)"),
        "not latents": (ENCODED, "return static.mean, dynamic.mean", "encode gives tuple, not Latents"),
        "wrong width": (
            "return Latents(static=static.mean, dynamic=",
            "return Latents(static=static.mean[:, :3], dynamic=",
            "static code of encode has shape (1, 3), not (1, 6)",
        ),
    },
    "decode-gives-clips": {
        "out of range": (
            DECODED,
            "return 2 * self.decoder(torch.cat([latents.dynamic, static], 2)) - 1",
            "outside of [0, 1]",
        ),
        "wrong clips": (DECODED, DECODED + "[:, 1:]", "has shape (3, 7, 3, 32, 32), not (3, 8, 3, 32, 32)"),
    },
    "draws-differ-and-repeat": {
        "always the same": (
            "return randn((n, n_frames, self.config.dynamic_dim), generator,",
            "return randn((n, n_frames, self.config.dynamic_dim), torch.Generator().manual_seed(0),",
            "same draws for every generator",
        ),
        "one draw for all": (
            DRAWN,
            "return randn((1, self.config.static_dim), generator, default_device(self)).expand(n, -1)",
            "every clip the same draw",
        ),
    },
    "draws-are-made-where-the-generator-is": {
        "draws on the model's device": (
            DRAWN,
            "return torch.randn(n, self.config.static_dim, generator=generator)",
            "leaves its draws on cpu, the model is on meta",
        ),
    },
    "encoding-is-deterministic-and-hangs-on-the-clip-alone": {
        "chance in encode": (
            "return Latents(static=static.mean, ",
            "return Latents(static=static.mean + torch.rand(()), ",
            "the static codes differ",
        ),
        "hangs on the batch": (
            "return Latents(static=static.mean, ",
            "return Latents(static=static.mean - static.mean.mean(0), ",
            "the static code of a clip alone differs",
        ),
    },
    "evaluation-changes-no-state": {
        "counts": (
            "        static, dynamic = self.posteriors(x)\n",
            "        static, dynamic = self.posteriors(x)\n        self.static_head.to_mean.bias.data += 0.01\n",
            "evaluation changes static_head.to_mean.bias",
        ),
    },
    "swapping-a-clip-with-itself-is-reconstruction": {
        "places": (
            DECODED,
            DECODED + " * (1 - 0.1 * torch.arange(len(static))).view(-1, 1, 1, 1, 1)",
            "another place of the batch",
        ),
    },
    "pooling-gives-one-vector-a-sequence": {
        "pools nothing": (
            HELPER,
            "    def pool(self, latents: Latents) -> Any:\n        return latents.static, latents.dynamic[0, 0]\n\n"
            + HELPER,
            "static vector of pool has shape (5, 6), not (6,)",
        ),
    },
    "a-checkpoint-holds-the-whole-model": {
        "forgets": (TERMS, "        self.scale = 3.0\n" + TERMS, "decodes other clips"),
    },
}
"""The faults that each check must find: what is put in place of what, and what the check must say."""


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name in FAULTS for fault in FAULTS[name]])
def test_a_fault_fails_its_check_in_words(name: str, fault: str, tmp_path: Path) -> None:
    old, new, words = FAULTS[name][fault]
    text = MEAN_VAE
    if fault == "no docstring":
        text = text[text.index("from __future__") :]
    if fault == "forgets":  # a factor that training sets and no buffer keeps
        text = text.replace("return self.decoder(", "return (1 / getattr(self, 'scale', 1.0)) * self.decoder(")
    assert old in text
    (tmp_path / "faulty.py").write_text(text.replace(old, new))
    row = row_of(f"{tmp_path / 'faulty.py'}:MeanVAE")
    cases = [check.on(one) for check in rows.CHECKS for one in rows_of(row.name, row.method) if check.name == name]
    cases += [check.on(Bed(row, "video")) for check in (*losses.CHECKS, *codes.CHECKS) if check.name == name]
    case = cases[-1]
    assert case.state == "fails"
    assert words in case.text


def test_rules_and_space_of_the_documentation_hold_and_are_shown_as_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = MEAN_VAE.replace(HELPER, "\n".join([*(textwrap.indent(one, " " * 4) for one in SNIPPETS), HELPER])).replace(
        "Method, Shape", "LogUniform, Method, Rule, Shape, Space"
    )
    (tmp_path / "meanvae.py").write_text(text)
    row = row_of(f"{tmp_path / 'meanvae.py'}:MeanVAE")
    cases = [check.on(one) for check in rows.CHECKS for one in rows_of(row.name, row.method)]
    assert {(case.state, case.text) for case in cases} == {("holds", "")}
    assert main(["describe", f"{tmp_path / 'meanvae.py'}:MeanVAE", "--preset", "quick", "--dataset", "sprites"]) == 0
    (shown,) = re.findall(r"^```\n(method:\n.*?)^```$", (ROOT / "docs" / "add-a-method.md").read_text(), re.M | re.S)
    assert shown in capsys.readouterr().out


def test_a_fault_in_a_file_beside_the_method_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(
        "from seqdis.datasets.base import Spec\n\n\ndef mean(x):\n    return x.meen(1)\n"
    )
    text = MEAN_VAE.replace("frames.mean(1)", "mean(frames)")
    (tmp_path / "meanvae.py").write_text(
        text.replace("from seqdis.methods import", "from .parts import mean\nfrom seqdis.methods import")
    )
    row = row_of(f"{tmp_path / 'meanvae.py'}:MeanVAE")
    found = failing(list(check_method([row], ["video"])))
    assert found["its-file-imports-nothing-that-knows-the-data"] == "parts.py imports seqdis.datasets.base.Spec"
    assert "(parts.py:5, in mean)" in found["losses-are-finite-scalars"]


def test_a_method_that_refuses_all_data_is_no_method(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(
        MEAN_VAE.replace(
            "        size = config", "        raise NotForTheseData('it wants smells')\n        size = config"
        ).replace("Latents, Method,", "Latents, Method, NotForTheseData,")
    )
    row = row_of(f"{tmp_path / 'faulty.py'}:MeanVAE")
    found = list(check_method(rows_of(row.name, row.method)))
    assert "refuses every kind of data" in failing(found)["it-can-be-built-or-refuses-in-words"]
    assert "it wants smells" in {case.text.removeprefix("not for these data: ") for case in found[-1].cases}


def test_what_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("from seqdis.methods.base import Method\n\n\nclass Empty(Method):\n    pass\n")
    found = failing(list(check_method([row_of(f"{tmp_path / 'empty.py'}:Empty")])))
    assert found["config-is-frozen-and-survives-json"] == "it has no Config"
    text = MEAN_VAE.replace("def loss", "def losses").replace("def decode", "def decoded")
    (tmp_path / "part.py").write_text(text)
    found = failing(list(check_method([row_of(f"{tmp_path / 'part.py'}:MeanVAE")], ["video"])))
    assert found["losses-are-finite-scalars"] == "loss is not written"
    assert found["decode-gives-clips"] == "decode is not written"


def test_every_check_has_a_fault_that_fails_it() -> None:
    reported = {"change-of-the-static-code-under-shuffles-is-a-number"}
    known = {check.name for check in (*rows.CHECKS, *losses.CHECKS, *codes.CHECKS)}
    assert set(FAULTS) == known - reported


def test_every_check_says_why_and_names_a_section_that_there_is() -> None:
    for check in (*rows.CHECKS, *losses.CHECKS, *codes.CHECKS):
        page, _, anchor = check.page.partition("#")
        headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.M)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, check.page
        assert check.sentence.endswith(".")
        assert check.why


def test_the_command_says_what_fails_why_and_where_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "decode-gives-clips"
    old, new, words = FAULTS[name]["out of range"]
    (tmp_path / "faulty.py").write_text(MEAN_VAE.replace(old, new))
    file = f"{tmp_path / 'faulty.py'}:MeanVAE:beta4"
    assert main(["check", file]) == 1
    printed = capsys.readouterr().out
    assert f"FAIL  {name}" in printed
    assert words in printed
    assert "Why: Judges are trained on frames in [0, 1]" in printed
    assert "See: docs/add-a-method.md#decode" in printed
    assert main(["check", file, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["holds"]
    (failed,) = [check for check in found["checks"] if check["name"] == name]
    assert {case["where"] for case in failed["cases"]} == {"faulty:beta4 on video", "faulty:beta4 on audio"}


def test_what_cannot_be_examined_is_the_user_s_to_put_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.py").write_text("raise ImportError('no such thing')\n")
    for name in ("dsvea", str(tmp_path / "none.py"), f"{tmp_path / 'broken.py'}:Method", "oracle", "all"):
        assert main(["check", name]) == 2
        assert capsys.readouterr().err.startswith("bench: ")


def test_a_plain_method_of_ours_passes_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "dsvae:mws"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("hold, 0 fail.")


def test_context_and_batch_give_what_was_asked_for_only() -> None:
    batch = make_batch(KINDS["video"], 4, needs=Needs(signal=True))
    assert batch.signal is not None
    assert batch.content_view is batch.motion_view is batch.motion_labels is None
    assert make_context(KINDS["video"]).segments is not None
