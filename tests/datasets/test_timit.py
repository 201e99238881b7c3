"""TIMIT: its layout, splits, labels and cache, missing files, and the generated stand-in."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.datasets.audio import phones, timit_files
from seqdis.datasets.audio.phones import PHONES
from seqdis.datasets.audio.timit_files import CORE_TEST_SPEAKERS, DEV_SPEAKERS
from seqdis.datasets.base import SPLITS
from seqdis.datasets.timit import Timit

from .speech_files import noise, sphere, write_wav

SENTENCES = ("SA1", "SA2", "SI1", "SI2", "SI3", "SX1", "SX2", "SX3", "SX4", "SX5")
N_SAMPLES = 4000  # 23 frames


def timit_speakers() -> Iterator[tuple[str, str]]:
    """630 names: 462 of TRAIN, the 74 of the lists and 94 others of TEST."""
    yield from (("TRAIN", f"{'MF'[i % 2]}{chr(65 + i // 26 % 26)}{chr(65 + i % 26)}Z{i % 10}") for i in range(462))
    yield from (("TEST", name) for name in sorted(DEV_SPEAKERS | CORE_TEST_SPEAKERS))
    yield from (("TEST", f"MX{chr(65 + i // 10)}Y{i % 10}") for i in range(94))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TIMIT's full layout with one file's audio everywhere, by links: 6,300 sentences in no time."""
    root = tmp_path_factory.mktemp("corpus") / "TIMIT"
    base = root.parent / "base"
    base.mkdir()
    (base / "a.wav").write_bytes(sphere(noise(N_SAMPLES, 0)))
    (base / "a.phn").write_text("0 1000 h#\n1000 2200 ix\n2200 2500 q\n2500 4000 s\n")
    for i, (part, speaker) in enumerate(timit_speakers()):
        folder = root / part / f"DR{i % 8 + 1}" / speaker
        folder.mkdir(parents=True)
        for sentence in SENTENCES:
            (folder / f"{sentence}.WAV").symlink_to(base / "a.wav")
            (folder / f"{sentence}.PHN").symlink_to(base / "a.phn")
    return root


@contextlib.contextmanager
def without(path: Path) -> Iterator[None]:
    """Takes a file or folder out of the corpus while the block runs."""
    aside = path.parent.parent / f"aside-{path.name}"
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


def first_of(root: Path, split_part: str = "TRAIN", sentence: str = "SX1.WAV") -> Path:
    return sorted((root / split_part).glob(f"DR1/*/{sentence}"))[0]


def test_lists_of_speakers_are_the_published_ones() -> None:
    assert len(DEV_SPEAKERS) == 50
    assert len(CORE_TEST_SPEAKERS) == 24
    assert not DEV_SPEAKERS & CORE_TEST_SPEAKERS
    assert sum(name[0] == "F" for name in CORE_TEST_SPEAKERS) == 8  # two men and a woman of each region
    assert len(PHONES) == 39
    assert len(set(phones.PHONE_NUMBER) - {"sil"}) == 61


def test_full_layout_gives_the_asr_split(layout: Path) -> None:
    found = timit_files.scan(layout.parent)  # TIMIT/ nested below the folder that is named
    counts = {split: [u for u in found.utterances if u.split == split] for split in SPLITS}
    assert {split: len(items) for split, items in counts.items()} == {"train": 3696, "validation": 400, "test": 192}
    assert {split: len({u.speaker for u in items}) for split, items in counts.items()} == {
        "train": 462,
        "validation": 50,
        "test": 24,
    }
    assert not any(u.name.startswith("SA") for u in found.utterances)
    assert found.skipped == {"SA sentences": 2 * 536, "speakers outside the core test": 94 * 10}
    assert len([u for u in timit_files.scan(layout, with_sa=True).utterances if u.split == "test"]) == 240


def test_lower_case_second_copies_and_no_transcripts(layout: Path, tmp_path: Path) -> None:
    for path in layout.rglob("S[IX]*.WAV"):
        target = tmp_path / str(path.relative_to(layout)).lower()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path.resolve())
    speaker = sorted((tmp_path / "train" / "dr1").iterdir())[0]
    write_wav(speaker / "sx1.wav.wav", noise(N_SAMPLES, 1))
    found = timit_files.scan(tmp_path)
    assert len(found.utterances) == 4288
    assert found.skipped["second copies of a file"] == 1
    chosen = next(u for u in found.utterances if u.speaker == speaker.name.upper() and u.name == "SX1")
    assert chosen.path.name == "sx1.wav.wav"  # the RIFF file
    assert all(u.transcript is None for u in found.utterances)


@pytest.mark.slow
def test_full_layout_is_prepared_with_phones(layout: Path, tmp_path: Path) -> None:
    seen = []
    folder = Timit.prepare(tmp_path, "real", from_dir=layout, progress=lambda done, total, _: seen.append(done / total))
    assert folder.name == "timit-real"
    assert seen[-1] == 1
    data = Timit.open(tmp_path, "real")
    assert [split.n_sequences for split in (data.train, data.validation, data.test)] == [3696, 400, 192]
    assert len(data.test) == 192  # 23 frames: one segment each, the rest dropped
    assert not data.spec.may_show
    assert data.spec.factor("speaker").n_classes == 536
    assert [factor.name for factor in data.spec.frame_factors] == ["phone"]
    labels = data.test.frame_labels["phone"][0].tolist()
    middle = np.arange(20) * 160 + 200
    expected = np.select(
        [middle < 1000, middle < 2200, middle < 2500], [PHONES.index("sil"), PHONES.index("ih"), -1], PHONES.index("s")
    )
    assert labels == expected.tolist()
    with pytest.raises(UserError, match="one segment"):
        data.segmented()  # every utterance here is too short for two


def test_a_speaker_in_both_folders_is_refused(layout: Path) -> None:
    name = next((layout / "TRAIN" / "DR1").iterdir()).name
    folder = layout / "TEST" / "DR2" / name
    folder.mkdir()
    (folder / "SX9.WAV").symlink_to(first_of(layout).resolve())
    try:
        with pytest.raises(UserError, match=f"{name} lies in both"):
            timit_files.scan(layout)
    finally:
        shutil.rmtree(folder)


def test_missing_speakers_sentences_and_folders_are_named(layout: Path, tmp_path: Path) -> None:
    sentence = first_of(layout)
    with without(sentence), pytest.raises(UserError, match=f"{sentence.parent.name} has 7 of 8 sentences"):
        timit_files.scan(layout)
    with without(sentence.parent), pytest.raises(UserError, match="461 speakers instead of 462"):
        timit_files.scan(layout)
    with without(next(layout.glob("TEST/*/FDHC0"))), pytest.raises(UserError, match="lacks 1 speakers, FDHC0"):
        timit_files.scan(layout)
    with without(first_of(layout, sentence="SX1.PHN")), pytest.raises(UserError, match=r"SX1.WAV has no .PHN file"):
        timit_files.scan(layout)
    with pytest.raises(UserError, match="is not TIMIT"):
        timit_files.scan(layout / "TEST" / "DR1")
    with pytest.raises(UserError, match="is not a folder"):
        timit_files.scan(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1000 h#\n900\n", "line 2"),
        ("0 1000 zz\n", "line 1"),
        ("0 1000 s\n500 900 t\n", "line 2.*backwards"),
        ("", "is empty"),
    ],
)
def test_wrong_transcripts_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "SX1.PHN"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        phones.read_phones(path)
    assert "SX1.PHN" in str(caught.value)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("caches")
    Timit.prepare(root, "synthetic")
    return root


def test_stand_in_has_disjoint_speakers_phones_and_enough_segments(stand_in: Path) -> None:
    data = Timit.open(stand_in, "synthetic", 32, anything="ignored")
    speakers = [set(split.identity.tolist()) for split in (data.train, data.validation, data.test)]
    assert [len(found) for found in speakers] == [24, 8, 12]
    assert not speakers[0] & speakers[2]
    assert data.spec.frame == (80,)
    assert data.spec.may_show
    labels = data.test.frame_labels["phone"]
    assert labels.min() >= 0
    assert len(labels.unique()) > 15
    assert (data.segmented().n_segments > 1).all()
    assert data.spec.signal is not None
    assert 0.2 < data.test.signal.mean() < 0.95  # type: ignore[union-attr]


def test_voices_change_and_words_stay_in_the_shifted_copies(stand_in: Path) -> None:
    """A phone classifier trained on the originals must work on the copies; their pitch and formants must differ."""
    from seqdis.judges.probes import linear_probe

    data = Timit.open(stand_in, "synthetic")
    train = data.train
    assert train.shifted is not None
    assert train.phone is not None
    rows = torch.arange(0, len(train.frames), 7)
    labels = train.phone[rows]
    own = linear_probe(train.frames[rows].float(), labels, train.frames[rows + 3].float(), train.phone[rows + 3])
    other = linear_probe(train.frames[rows].float(), labels, train.shifted[0][rows + 3].float(), train.phone[rows + 3])
    chance = float(torch.bincount(labels.long()).max() / len(labels))
    assert own > 0.75
    assert other > 3 * chance  # other formants confuse a linear classifier, but not entirely
    assert (train.shifted[0] - train.frames).float().abs().mean() > 0.3


def test_cache_is_checked(stand_in: Path, tmp_path: Path) -> None:
    assert set(Timit.verify(stand_in, "synthetic")) > {"train_frames", "mean", "digest"}
    with pytest.raises(MissingDataError, match="bench data prepare timit --from DIR"):
        Timit.open(tmp_path, "real")
    with pytest.raises(UserError, match="files that you have"):
        Timit.prepare(tmp_path, "real")
    with pytest.raises(UserError, match="wsola or vtlp"):
        Timit.open(stand_in, "synthetic", augment="neural")
