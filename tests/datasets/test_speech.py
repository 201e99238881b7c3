"""Corpora of speech beside TIMIT: splits by speaker, caches, damaged files and files of another rate."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from seqdis.bench.core.errors import UserError
from seqdis.datasets.audio import layouts
from seqdis.datasets.audio.corpus import read_lengths
from seqdis.datasets.audio.features import Features, log_features
from seqdis.datasets.audio.layouts import Utterance
from seqdis.datasets.base import SPLITS
from seqdis.datasets.folders import walk
from seqdis.datasets.speech import FsddMini, LibriSpeechMini, Speech

from .speech_files import noise, sphere, write_wav

N_SAMPLES = 4000  # 23 frames


def make_corpus(root: Path, speakers: dict[str, int], n_samples: int = 8000) -> Path:
    for number, (speaker, n) in enumerate(speakers.items()):
        for k in range(n):
            write_wav(root / speaker / f"{k}.wav", noise(n_samples, 100 * number + k))
    return root


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (sphere(noise(N_SAMPLES, 0), rate=8000), "8000 Hz"),
        (b"", "is empty"),
        (sphere(noise(0, 0)), "no samples"),
        (sphere(noise(N_SAMPLES, 0))[:2000], "is damaged"),
        (b"not audio at all", "no audio"),
    ],
)
def test_bad_files_are_named_and_leave_nothing_behind(tmp_path: Path, content: bytes, text: str) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"s{i}": 2 for i in range(8)})
    bad = corpus / "s5" / "1.wav"
    bad.write_bytes(content)
    with pytest.raises(UserError, match=text) as caught:
        LibriSpeechMini.prepare(tmp_path / "caches", "real", from_dir=corpus)
    assert str(bad) in str(caught.value)
    assert [path for path in (tmp_path / "caches").glob("*") if path.is_dir()] == []


def test_pipes_and_names_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"s{i}": 2 for i in range(8)})
    os.mkfifo(corpus / "s5" / "2.wav")
    with pytest.raises(UserError, match=r"2\.wav is a pipe or a device"):
        LibriSpeechMini.prepare(tmp_path / "caches", "real", from_dir=corpus)
    (corpus / "s5" / "2.wav").unlink()
    (corpus / "s5" / "1.wav").rename(os.fsdecode(os.fsencode(corpus / "s5") + b"/\xfc.wav"))
    with pytest.raises(UserError, match=r"holds the name b'\\xfc\.wav', not in UTF-8"):
        LibriSpeechMini.prepare(tmp_path / "caches", "real", from_dir=corpus)


def test_any_folder_of_speakers_is_split_by_speaker(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"s{i}": 3 for i in range(10)} | {"once": 1})
    (corpus / "README").write_text("hello")
    write_wav(corpus / "stray.wav", noise(400, 0))
    write_wav(corpus / "s0" / "short.wav", noise(1000, 0))
    Speech.prepare(tmp_path / "caches", "real", from_dir=corpus)
    data = Speech.open(tmp_path / "caches", "real")
    speakers = [set(split.identity.tolist()) for split in (data.train, data.validation, data.test)]
    assert [len(found) for found in speakers] == [7, 2, 2]
    assert not speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2]
    assert data.spec.factor("speaker").classes.index("once") in speakers[0]
    assert data.cache.meta["skipped"] == {
        "files that are no audio": 1,
        "audio files outside speakers' folders": 1,
        "utterances shorter than 20 frames": 1,
    }
    assert data.spec.frame_factors == ()


def test_training_features_alone_set_the_scale(tmp_path: Path) -> None:
    speakers = {f"train/a{i}": 2 for i in range(4)} | {f"test/b{i}": 2 for i in range(5)}
    corpus = make_corpus(tmp_path / "corpus", speakers)
    for path in (corpus / "test").rglob("*.wav"):
        write_wav(path, noise(8000, 5) // 40)  # much softer: its own scale would hide that
    Speech.prepare(tmp_path / "caches", "real", from_dir=corpus)
    data = Speech.open(tmp_path / "caches", "real")
    frames = data.train.frames.float()
    assert frames.mean(0).abs().max() < 2e-3
    assert (frames.std(0) - 1).abs().max() < 5e-3
    assert data.test.frames.float().mean() < -3
    waves = [
        noise(8000, int(p.parent.name[1:]) * 100 + int(p.stem)).astype(np.float32) / 32768
        for p in sorted((corpus / "train").rglob("*.wav"))
    ]
    values, _ = log_features(waves, Features())
    torch.testing.assert_close(data.train.mean, values.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(frames, (values - data.train.mean) / data.train.std, atol=4e-3, rtol=4e-3)
    assert data.train.shifted is not None
    assert data.train.shifted.shape == (2, *data.train.frames.shape)
    assert Speech.open(tmp_path / "caches", "real", augment="vtlp").train.shifted is None


def test_small_blocks_give_the_same_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"s{i}": 2 for i in range(8)})
    Speech.prepare(tmp_path / "one", "real", from_dir=corpus)
    monkeypatch.setattr("seqdis.datasets.audio.corpus.BLOCK_SECONDS", 1)
    Speech.prepare(tmp_path / "many", "real", from_dir=corpus)
    one, many = (Speech.open(tmp_path / name, "real") for name in ("one", "many"))
    for split in ("train", "test"):
        torch.testing.assert_close(getattr(one, split).frames, getattr(many, split).frames, atol=2e-3, rtol=2e-3)
        assert torch.equal(getattr(one, split).loud, getattr(many, split).loud)


def test_rates_must_agree(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"s{i}": 2 for i in range(8)})
    write_wav(corpus / "s3" / "odd.wav", noise(8000, 0), rate=44_100)
    with pytest.raises(UserError, match=r"odd.wav is sampled at 44100 Hz, and 16000 Hz is expected"):
        Speech.prepare(tmp_path / "caches", "real", from_dir=corpus)


def test_a_speaker_in_two_parts_is_refused(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", {"train/a": 2, "train/b": 2, "test/a": 2, "test/c": 2, "test/d": 2})
    with pytest.raises(UserError, match="speaker a lies in two parts"):
        layouts.scan_speakers(corpus)


def speakers_of(root: Path, files: list[str]) -> set[str]:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    found = layouts.scan_speakers(root)
    assert len(found.utterances) == len(files)
    splits = [{u.speaker for u in found.utterances if u.split == split} for split in SPLITS]
    assert sum(map(len, splits)) == len(set().union(*splits))
    return set().union(*splits)


PEOPLE = [str(100 + number) for number in range(12)]


@pytest.mark.parametrize(
    "pattern",
    [
        "LibriSpeech/dev-clean/{0}/{1}/{0}-{1}-000{2}.flac",
        "dev-clean/{1}/{0}-{1}-000{2}.flac",  # chapters alone
        "train/audio/{0}/{1}/{0}_{1}_00000{2}.flac",  # LibriTTS, Multilingual LibriSpeech
        "female/{0}/{1}{2}.wav",
        "DR1/{0}/{1}{2}.wav",
        "{0}/wav/arctic_a{1}{2}.wav",  # CMU Arctic, VoxForge
        "corpus/{0}/{0}_{1}{2}_mic1.flac",
    ],
)
def test_chapters_sessions_and_groups_are_no_speakers(tmp_path: Path, pattern: str) -> None:
    files = [
        pattern.format(person, 1000 + 2 * number + chapter, k)
        for number, person in enumerate(PEOPLE)
        for chapter in range(2)
        for k in range(2)
    ]
    assert speakers_of(tmp_path, files) == set(PEOPLE)


def test_folders_that_do_not_say_who_speaks_are_refused(tmp_path: Path) -> None:
    files = [f"{person}/session{n}/{k}.wav" for person in PEOPLE for n in range(2) for k in range(2)]
    with pytest.raises(UserError, match=r"whether \d+ or session0 is the speaker"):
        speakers_of(tmp_path, files)


def test_videos_of_voxceleb_are_no_speakers(tmp_path: Path) -> None:
    files = [f"wav/id{10_000 + n}/{v}_{n}/0000{k}.wav" for n in range(12) for v in ("aB3", "Qq-9") for k in range(2)]
    assert speakers_of(tmp_path, files) == {f"id{10_000 + n}" for n in range(12)}


def test_parts_are_no_speakers_and_one_speaker_s_chapters_are_no_people(tmp_path: Path) -> None:
    flat = [
        f"{part}-{kind}/{n}_{k}.wav" for part in ("train", "dev", "test") for kind in "ab" for n in "xy" for k in "12"
    ]
    with pytest.raises(UserError, match="has no folders of speakers"):
        speakers_of(tmp_path / "flat", flat)
    with pytest.raises(UserError, match=r"are too few"):
        speakers_of(
            tmp_path / "100", [f"{chapter}/100-{chapter}-000{k}.flac" for chapter in range(20, 32) for k in range(3)]
        )


@pytest.mark.parametrize("speakers", [{}, {"a": 3}, {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}])
def test_too_few_speakers_are_refused(tmp_path: Path, speakers: dict[str, int]) -> None:
    corpus = make_corpus(tmp_path / "corpus", speakers)
    corpus.mkdir(exist_ok=True)
    with pytest.raises(UserError, match=r"too few|holds no"):
        layouts.scan_speakers(corpus)


def test_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(tmp_path / "corpus", {"a": 1})
    locked = corpus / "a"
    locked.chmod(0)
    try:
        if os.access(locked, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(UserError, match="cannot be read"):
            walk(corpus)
    finally:
        locked.chmod(0o755)


def test_what_other_programs_leave_is_stepped_over_and_counted(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"s{i}": 2 for i in range(8)})
    clean = layouts.scan_speakers(corpus)
    (corpus / "s1" / "._0.wav").write_bytes(b"\0\5\x16\7Mac OS X")
    make_corpus(corpus / "__MACOSX", {"s2": 1})
    make_corpus(corpus / ".Trash-0", {"s3": 1})
    found = layouts.scan_speakers(corpus)
    assert found.utterances == clean.utterances
    assert found.skipped == {"hidden files and folders": 3}


def test_copies_of_utterances_are_stepped_over_and_of_speakers_refused(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"s{i}": 2 for i in range(8)})
    clean = layouts.scan_speakers(corpus)
    write_wav(corpus / "s1" / "0 (1).wav", noise(8000, 100))
    found = layouts.scan_speakers(corpus)
    assert found.utterances == clean.utterances
    assert found.skipped == {"numbered copies beside their originals": 1}
    write_wav(corpus / "s1" / "9 (1).wav", noise(8000, 100))  # of what is not there
    assert len(layouts.scan_speakers(corpus).utterances) == 17
    make_corpus(corpus, {"s2 (1)": 2})
    with pytest.raises(UserError, match=r"s2 \(1\) looks like the copy of a folder"):
        layouts.scan_speakers(corpus)


def test_linked_folders_are_read_once_and_by_their_own_names(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"s{i}": 2 for i in range(8)})
    clean = layouts.scan_speakers(corpus)
    (corpus / "s5").rename(tmp_path / "elsewhere")
    (corpus / "s5").symlink_to("../elsewhere")
    assert layouts.scan_speakers(corpus) == clean
    (corpus / "s1" / "up").symlink_to("..")
    (corpus / "a").symlink_to("s6")  # sorts before it
    (corpus / "s9").symlink_to(tmp_path / "elsewhere")
    (corpus / "out").symlink_to(tmp_path)
    found = layouts.scan_speakers(corpus)
    assert found.utterances == clean.utterances
    assert found.skipped == {"links to folders that are read anyway": 4}


@pytest.mark.parametrize("target", ["../unplugged", "s3"])
def test_a_speaker_behind_a_link_that_leads_nowhere_is_named(tmp_path: Path, target: str) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"s{i}": 2 for i in range(3)})
    (corpus / "s3").symlink_to(target)
    with pytest.raises(UserError, match=r"s3 is a link that leads nowhere"):
        layouts.scan_speakers(corpus)


@pytest.fixture(scope="module")
def shared() -> Path:
    configured = os.environ.get("SEQDIS_TEST_DATA")
    if not configured:
        pytest.skip("SEQDIS_TEST_DATA is not set")
    return Path(configured) / "speech"


def test_spoken_digits_under_their_own_rate(shared: Path, tmp_path: Path) -> None:
    FsddMini.prepare(tmp_path, "real", from_dir=shared / "fsdd-mini")
    data = FsddMini.open(tmp_path, "real")
    assert data.cache.meta["rate"] == 8000
    assert [len(split.lengths) for split in (data.train, data.validation, data.test)] == [235, 59, 178]
    assert data.cache.meta["skipped"] == {"utterances shorter than 20 frames": 8}
    assert data.spec.by_role("dynamic")[0].name == "digit"
    assert sorted(data.test.labels["digit"].unique().tolist()) == list(range(10))
    with pytest.raises(UserError, match="8000 Hz, and 16000 Hz"):
        read_lengths(
            layouts.Found([Utterance(shared / "fsdd-mini/0_george_0.wav", "a", "b", "train")], {}, ""),
            Features(),
            16_000,
            None,
        )


def test_librispeech_subset_keeps_speakers_apart(shared: Path, tmp_path: Path) -> None:
    found = layouts.scan_speakers(shared / "librispeech-mini")
    by_split = {split: {u.speaker for u in found.utterances if u.split == split} for split in SPLITS}
    assert {split: len(names) for split, names in by_split.items()} == {"train": 40, "validation": 4, "test": 6}
    assert len(set().union(*by_split.values())) == 50
    one = next(u for u in found.utterances if u.split == "test")
    assert LibriSpeechMini.rate == 16_000
    assert one.path.suffix == ".flac"
