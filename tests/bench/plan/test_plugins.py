"""Methods from outside of the suite: files alone and with others beside them, and what is wrong with broken ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seqdis.bench.cli import main
from seqdis.bench.core.errors import UserError
from seqdis.bench.plan import catalog, plugins
from seqdis.bench.plan.catalog import MethodRef
from seqdis.methods.base import Method

ALONE = '''"""A method."""
from __future__ import annotations
import dataclasses
from typing import Any
from seqdis.methods.base import Capabilities, Method, Needs, Rule

@dataclasses.dataclass(frozen=True, kw_only=True)
class MineConfig:
    lr: float = 1e-3
    static_dim: int = 8
    dynamic_dim: int = 4

class Mine(Method):
    title, paper = "Mine", "none"
    Config = MineConfig
    variants: Any = {"fast": {"lr": 1e-2}}
'''
HEAD = "from seqdis.methods.base import Capabilities"
WITH_OTHERS = ALONE.replace(HEAD, "from .nets import DEPTH\n" + HEAD).replace(
    "static_dim: int = 8", "static_dim: int = DEPTH"
)


def written(folder: Path, text: str = WITH_OTHERS, **others: str) -> MethodRef:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"mine": text, **others}.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return catalog.parse_methods(f"{folder / 'mine.py'}:Mine")[0]


def depth(ref: MethodRef) -> int:
    found: int = catalog.load_method(ref).Config().static_dim
    return found


def test_a_plug_in_imports_what_lies_beside_it_and_below(tmp_path: Path) -> None:
    ref = written(
        tmp_path,
        nets="from .parts.sizes import DEPTH\nfrom . import more\n",
        more="",
        parts__sizes="DEPTH = 12\n",
    )
    assert depth(ref) == 12
    assert [path.name for path in plugins.files_of(tmp_path / "mine.py")] == [
        "mine.py",
        "nets.py",
        "sizes.py",
        "more.py",
    ]


def test_modules_of_a_plug_in_may_import_one_another(tmp_path: Path) -> None:
    ref = written(tmp_path, nets="DEPTH = 5\ndef back():\n    from .mine import Mine\n    return Mine\n")
    found = catalog.load_method(ref)
    assert found is catalog.load_method(ref)
    assert sys.modules[f"{found.__module__.rpartition('.')[0]}.nets"].back() is found


def test_plug_ins_of_one_name_do_not_meet(tmp_path: Path) -> None:
    one, other = (written(tmp_path / name, nets=f"DEPTH = {size}\n") for name, size in (("a", 3), ("b", 44)))
    assert (depth(one), depth(other), depth(one)) == (3, 44, 3)
    assert catalog.load_method(one).Config.__module__ != catalog.load_method(other).Config.__module__


def test_an_edited_file_is_another_method_whichever_it_is(tmp_path: Path) -> None:
    ref = written(tmp_path, nets="DEPTH = 3\n", unread="")
    digests, sizes = [ref.digest], [depth(ref)]
    for name, text in (
        ("unread", "# not imported\n"),
        ("nets", "DEPTH = 444\n"),
        ("mine", WITH_OTHERS.replace("= DEPTH", "= 2 * DEPTH")),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        digests.append(ref.digest)
        sizes.append(depth(ref))
    assert sizes == [3, 3, 444, 888]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_the_digest_hangs_on_no_folder_and_on_nothing_that_does_nothing(tmp_path: Path) -> None:
    one, other = (written(tmp_path / name, nets="DEPTH = 3\n").digest for name in "ab")
    remarked = WITH_OTHERS.replace('"""A method."""', '"""Another text."""  # and a comment')
    assert (
        written(tmp_path / "c", remarked, nets='"""Depths."""\nDEPTH = (  # of nets\n    3\n)\n').digest == one == other
    )
    assert written(tmp_path / "d", ALONE, nets="", random="", seqdis="").digest == written(tmp_path / "e", ALONE).digest


def test_each_class_of_a_file_has_a_digest_of_its_own(tmp_path: Path) -> None:
    written(tmp_path, ALONE + "class Yours(Mine):\n    pass\nMETHOD = Yours\n")
    path = tmp_path / "mine.py"
    mine, yours, named = (MethodRef("mine", "", f"{path}:{name}").digest for name in ("Mine", "Yours", "METHOD"))
    assert mine != yours == named


def test_packages_of_the_user_s_elsewhere_count_and_installed_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, installed = tmp_path / "lab", tmp_path / "site-packages"
    for folder, name in ((lab, "my_lab"), (installed, "their_package")):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")
        (folder / name / "nets.py").write_text("from .sizes import DEPTH\n")
        (folder / name / "sizes.py").write_text("DEPTH = 6\n")
        monkeypatch.syspath_prepend(folder)
    text = WITH_OTHERS.replace("from .nets import DEPTH", "from my_lab.nets import DEPTH\nimport their_package.nets")
    ref = written(tmp_path / "here", text)
    files = plugins.files_of(tmp_path / "here" / "mine.py")
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        "here/mine.py",
        "lab/my_lab/__init__.py",
        "lab/my_lab/nets.py",
        "lab/my_lab/sizes.py",
    ]
    assert depth(ref) == 6
    digests = [ref.digest]
    for path in (lab / "my_lab" / "sizes.py", installed / "their_package" / "sizes.py"):
        path.write_text("DEPTH = 7\n")
        digests.append(ref.digest)
    assert digests[0] != digests[1] == digests[2]
    (lab / "my_lab-1.0.dist-info").mkdir()
    assert [path.name for path in plugins.files_of(tmp_path / "here" / "mine.py")] == ["mine.py"]


def test_what_cannot_be_read_from_the_text_is_refused(tmp_path: Path) -> None:
    text = WITH_OTHERS.replace(
        "from .nets import DEPTH", "import importlib\nDEPTH = importlib.import_module('.nets', __package__).DEPTH"
    )
    with pytest.raises(UserError, match=r"write 'from \.nets import"):
        catalog.load_method(written(tmp_path, text, nets="DEPTH = 3\n"))
    with pytest.raises(UserError, match=r"No module named 'nets'; write 'from \.nets import"):
        catalog.load_method(written(tmp_path, text="import nets\n", nets="DEPTH = 3\n"))


def test_a_plug_in_that_failed_can_be_mended(tmp_path: Path) -> None:
    ref = written(tmp_path, nets="raise RuntimeError('first line\\nsecond')\n")
    with pytest.raises(UserError, match=r"\(RuntimeError: first line\)\.$"):
        catalog.load_method(ref)
    (tmp_path / "nets.py").write_text("DEPTH = 7\n")
    assert depth(ref) == 7


DEFAULT, VARIANTS = "lr: float = 1e-3", 'variants: Any = {"fast": {"lr": 1e-2}}'
BROKEN = {
    "no Config": (ALONE.replace("    Config = MineConfig\n", ""), "has no Config"),
    "no dataclass": (ALONE.replace("Config = MineConfig", "Config = dict"), "not a dataclass"),
    "required": (ALONE.replace(DEFAULT, "lr: float"), "no default for lr"),
    "NaN": (ALONE.replace(DEFAULT, 'lr: float = float("nan")'), "the default of lr in its Config is nan"),
    "no JSON": (ALONE.replace(DEFAULT, "lr: Any = Method"), "use finite numbers, texts and booleans"),
    "no type": (ALONE.replace(DEFAULT, "lr: Nowhere = 1e-3"), "a type in its Config cannot be read"),
    "refuses": (
        ALONE.replace(DEFAULT, DEFAULT + "\n    def __post_init__(self):\n        raise RuntimeError('never')"),
        "cannot be made with its defaults .RuntimeError: never",
    ),
    "variants": (ALONE.replace(VARIANTS, "variants: Any = ('fast',)"), "its variants are"),
    "a variant": (ALONE.replace(VARIANTS, "variants: Any = {'fast': 3}"), "its variants are"),
    "variant of nothing": (ALONE.replace('"lr": 1e-2', '"beta": 1'), "variant fast"),
    "rules": (ALONE + "    rules = {'quick': {}}\n", "not a tuple of Rule"),
    "a rule": (ALONE + "    rules = ({'presets': ('quick',)},)\n", "not a tuple of Rule"),
    "names of a rule": (ALONE + "    rules = (Rule(presets='quick'),)\n", "a rule's presets are 'quick'"),
    "changes of a rule": (ALONE + "    rules = (Rule(presets=('quick',), method=3),)\n", "not a dict"),
    "values of a rule": (
        ALONE + "    rules = (Rule(presets=('quick',), method={'lr': float('inf')}),)\n",
        "in its rules, method.lr=inf is no number",
    ),
    "training of a rule": (
        ALONE + "    rules = (Rule(presets=('quick',), training={'stepz': 3}),)\n",
        "unknown setting 'training.stepz'; did you mean 'training.steps'",
    ),
    "kind of a rule's values": (
        ALONE + "    rules = (Rule(presets=('quick',), method={'lr': 'fast'}),)\n",
        "in its rules, method.lr='fast': must be a number",
    ),
    "space": (ALONE + "    space = ('lr',)\n", "its space is"),
    "values of a space": (ALONE + "    space = {'method.lr': 1e-3}\n", "its space is"),
    "needs raises": (
        ALONE + "    @classmethod\n    def needs(cls, config):\n        return cls.nowhere\n",
        "needs.config. raises AttributeError",
    ),
    "needs nothing": (
        ALONE + "    @classmethod\n    def needs(cls, config): ...\n",
        "needs.config. gives None, not Needs",
    ),
    "can nothing": (
        ALONE + "    @classmethod\n    def capabilities(cls, config): ...\n",
        "capabilities.config. gives None, not Capabilities",
    ),
    "ends": ("import sys\nsys.exit(0)\n", "cannot be imported .SystemExit"),
    "no Python": ("\x00\x01 not Python", "cannot be imported"),
    "no grammar": ("def def\n", "cannot be imported .SyntaxError"),
    "no such class": ("Yours = 3\n", "has no class 'Mine'"),
    "no class": ("Mine = 3\n", "not a subclass"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(
    "command",
    [["describe"], ["describe", "--preset", "quick"], ["run", "--dry-run", "--datasets", "sprites"], ["tune"]],
)
def test_a_broken_one_is_one_sentence_and_the_user_s_to_put_right(
    text: str, message: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = written(tmp_path, text)
    first, *options = command
    name = ["--methods"] if first == "run" else []
    where = [] if first == "describe" else ["--out", str(tmp_path / "runs")]
    assert main([first, *name, ref.plugin, *where, *options]) == 2
    with pytest.raises(UserError, match=message):
        catalog.load_method(ref)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: ")


def test_every_method_of_ours_is_whole() -> None:
    for name in catalog.method_modules():
        found = catalog.load_method(MethodRef(name))
        assert issubclass(found, Method)
