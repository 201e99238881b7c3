"""The checks of data sets: ours and the documentation's keep the contract, and each fault put into it is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seqdis.bench.cell.check.datasets import CHECKS, Opened, check_dataset, open_to_check
from seqdis.bench.cli import build_parser, main
from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.plan import catalog
from seqdis.datasets.base import DataSet, Source

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs" / "data.md").read_text()
(DOCUMENTED,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
SQUARES = Path(__file__).with_name("squares.py").read_text()


def class_of(text: str, folder: Path) -> type[DataSet]:
    (folder / "squares.py").write_text(text)
    found = catalog.load_file(f"{folder / 'squares.py'}:Squares")
    assert issubclass(found, DataSet)
    return found


def failures(opened: Opened) -> dict[str, str]:
    return {one.name: one.failures[0].text for one in check_dataset(opened) if one.state == "fails"}


@pytest.mark.parametrize("name", ["sprites", "mug", "smmnist", "timit"])
def test_stand_ins_of_ours_keep_the_contract(name: str, tmp_path: Path) -> None:
    assert failures(open_to_check(catalog.load_dataset(name), "synthetic", 32, tmp_path)) == {}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (name, source)
        for name in catalog.dataset_names()
        for source in ("real", "synthetic")
        if source in catalog.load_dataset(name).sources
    ],
)
def test_the_command_that_prepares_is_one_that_the_command_line_takes(
    name: str, source: Source, tmp_path: Path
) -> None:
    with pytest.raises(MissingDataError) as caught:
        catalog.load_dataset(name).open(tmp_path, source, 32)
    words = caught.value.command.split()[1:]
    args = build_parser("data").parse_args(words)
    assert (args.action, args.dataset) == ("prepare", name)
    assert args.source in (source, None)


FAULTS: dict[str, dict[str, tuple[str, str, str]]] = {
    "its-spec-is-consistent": {
        "name": ("name=cls.name", 'name="circles"', "Spec.name is 'circles'"),
        "licence": ('licence="CC0"', 'licence=""', "Spec.licence is empty"),
        "frame": ("frame=(3, size, size)", "frame=(size,)", "for video"),
        "headline": ('("fix_dynamic", "direction")', '("fix_dynamic", "speed")', "scores 'speed'"),
        "classes": ('("red", "green", "blue")', '("red", "red", "blue")', "two classes of one name"),
    },
    "it-is-described-as-it-opens": {
        "revision": (
            "revision=REVISION,\n            licence",
            'revision=REVISION if cache is None else "2",\n            licence',
            "describe says revision 'squares-1' and the opened data have '2'",
        ),
    },
    "what-is-not-prepared-is-named-with-the-command-that-prepares-it": {
        "no command": (
            "    @classmethod\n    def prepare",
            '    @classmethod\n    def command(cls, *args: Any, **options: Any) -> str:\n        return "ask Ann"\n\n'
            "    @classmethod\n    def prepare",
            "not 'bench data prepare squares ...'",
        ),
        "other folder": (
            "    @classmethod\n    def prepare",
            "    @classmethod\n    def command(cls, *args: Any, **options: Any) -> str:\n"
            '        return "bench data prepare squares --source synthetic"\n\n    @classmethod\n    def prepare',
            "into the default folder",
        ),
    },
    "its-digest-is-stable": {
        "none": (
            "    def segmented",
            '    digest = property(lambda self: "", lambda self, value: None)\n\n    def segmented',
            "not a SHA-256",
        ),
    },
    "splits-do-not-share-what-must-not-straddle-them": {
        "shared": ('"test": (48, 60)', '"test": (47, 60)', "square 47 is in validation and in test"),
    },
    "every-clip-has-labels-an-identity-and-a-sequence": {
        "out of range": ("square % 3, direction], 1)", "square % 4, direction], 1)", "its classes are 0 to 2"),
        "gap": ("1), square)", "1), square, 2 * np.arange(len(square)))", "a sequence of train has no clip"),
    },
    "clips-are-as-declared": {
        "length": ("N_FRAMES, 3, size, size), np", "N_FRAMES + 1, 3, size, size), np", "have shape (64, 9, 3, 32, 32)"),
        "black": ("= 128 + 2 * number", "= 0", "one single value"),
        "range": ("size, size), np.uint8)", "size, size), np.float32)", "are 0 to 206"),
    },
    "the-same-draw-gives-the-same-clips": {
        "noise": (
            "    def segmented",
            "    def __init__(self, *args: Any) -> None:\n        super().__init__(*args)\n        import torch\n"
            "        own = self.test.clips\n"
            "        self.test.clips = lambda index, generator=None: own(index) * torch.rand(())\n\n    def segmented",
            "two versions of the clips of test",
        ),
    },
    "a-subset-is-the-same-clips": {
        "first ones": (
            "    def segmented",
            "    def __init__(self, *args: Any) -> None:\n        super().__init__(*args)\n"
            "        whole = self.test\n        own = whole.subset\n"
            "        whole.subset = lambda index: own(index * 0)\n\n    def segmented",
            "a subset of test differs",
        ),
    },
    "views-keep-the-shape-and-the-range": {
        "shorter": (
            "    def segmented",
            "    def __init__(self, *args: Any) -> None:\n        super().__init__(*args)\n"
            "        from seqdis.datasets.base import Drawn\n\n        class Half(Drawn):\n"
            "            def motion_view(self, generator: Any) -> Any:\n                return self.x[:, 1:]\n\n"
            "        self.train.draw = lambda index, generator: Half(self.train, index, self.train.clips(index))\n\n"
            "    def segmented",
            "the view has shape (64, 7, 3, 32, 32)",
        ),
    },
    "its-signal-is-as-declared": {
        "never loaded": (
            "    def segmented",
            "    def load_signal(self) -> None:\n        pass\n\n    def segmented",
            "no signal after load_signal",
        ),
    },
    "segments-are-several-of-each-sequence": {
        "uncut": (
            'raise UserError("squares has one clip a sequence, and eight frames cannot be cut.")',
            "return self.train",
            "1 segment",
        ),
    },
    "each-option-can-be-described": {
        "no text": (
            '    sources = ("synthetic",)',
            '    sources = ("synthetic",)\n    from seqdis.datasets.base import Option\n'
            '    options = {"hue": Option(default="no", choices=("yes", "no"))}',
            "data.hue has no text",
        ),
    },
}
"""The faults that each check must find: what is put in place of what, and what the check must say."""


@pytest.mark.parametrize("text", [DOCUMENTED, SQUARES], ids=["of the documentation", "to put faults into"])
def test_squares_keep_the_contract(text: str, tmp_path: Path) -> None:
    opened = open_to_check(class_of(text, tmp_path), "synthetic", 32, tmp_path)
    assert failures(opened) == {}


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name in FAULTS for fault in FAULTS[name]])
def test_a_fault_fails_its_check_in_words(name: str, fault: str, tmp_path: Path) -> None:
    old, new, words = FAULTS[name][fault]
    text = SQUARES
    if name == "its-signal-is-as-declared":
        text = text.replace(
            "            augment=",
            '            signal=Signal(dim=9, kind="multilabel", how="made up"),\n            augment=',
        ).replace("Source, Spec", "Signal, Source, Spec")
    assert old in text
    opened = open_to_check(class_of(text.replace(old, new), tmp_path), "synthetic", 32, tmp_path)
    found = failures(opened)
    assert name in found
    assert words in found[name]


def test_every_check_has_a_fault_a_reason_and_a_section() -> None:
    assert set(FAULTS) == {check.name for check in CHECKS}
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", PAGE, re.M)}
    for check in CHECKS:
        assert check.page.partition("#")[2] in headings, check.page
        assert check.why


def test_the_command_prepares_a_stand_in_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_of(SQUARES, tmp_path)
    data = tmp_path / "data"
    assert main(["check", f"{tmp_path / 'squares.py'}:Squares", "--data-dir", str(data)]) == 0
    assert "squares (synthetic) against the contract of a data set" in capsys.readouterr().out
    assert not data.exists()


def test_real_data_that_are_missing_are_the_user_s_to_prepare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "sprites", "--source", "real", "--data-dir", str(tmp_path)]) == 2
    assert "bench data prepare sprites --size 32" in capsys.readouterr().err
    with pytest.raises(UserError, match="has no source"):
        open_to_check(class_of(SQUARES, tmp_path), "real", 32, tmp_path)
