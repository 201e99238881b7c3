"""What preparing costs: peak memory and processor time of speech, Sprites and digits, beside the obvious loops.

    python examples/prepare_benchmark.py --hours 1 5 --lpc DIR --digits 60000

Each is prepared in a fresh process, which says what it held at most and what it held once everything was imported.
Processor time is compared, without imports: wall time depends on what else the machine does. The clips and test digits
that the loops write are compared with what was prepared.

Speech: WAV files of noise bursts (the time does not depend on what is said). The loop reads a file, makes its log-mel
spectrogram with torchaudio, keeps it, and saves all at the end; it is compared without the copies in other voices,
which it does not make.

Sprites: the real sheets in DIR. The loop opens a character's five sheets with Pillow, lays them over one another, cuts
and shrinks the frames of the nine actions, keeps them, and saves all at the end. It is measured as it is kindest,
sheets opened once a character, and on a few characters also with sheets opened anew for each action.

Digits: four IDX files of random digits. The loop reads them with NumPy, resizes each digit with Pillow, keeps it, and
saves all at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

RATE = 16_000
SECONDS = 3
SPEAKERS = 50
SAMPLE = 8
"""Characters whose sheets are opened anew for each action."""
N_TEST_DIGITS = 10_000

PEAK = """
from pathlib import Path

def peak():
    # Not ru_maxrss, which begins at what the parent process held.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) >> 10
"""

PREPARE = (
    PEAK
    + """
import json, sys, time
import torch
torch.set_num_threads(1)
from seqdis.datasets.audio import corpus
from seqdis.datasets.speech import Speech
corpus.COPIES = int(sys.argv[3])
import soundfile, scipy.signal, scipy.fft
start = peak()
used = time.process_time()
Speech.prepare(Path(sys.argv[2]), "real", from_dir=Path(sys.argv[1]))
print(json.dumps({"imported": start, "peak": peak(), "cpu": time.process_time() - used}))
"""
)

OBVIOUS = (
    PEAK
    + """
import json, sys, time
import numpy as np, soundfile, torch, torchaudio
torch.set_num_threads(1)
used = time.process_time()
features = []
for path in sorted(Path(sys.argv[1]).rglob("*.wav")):
    samples, rate = soundfile.read(str(path), dtype="float32")
    mel = torchaudio.transforms.MelSpectrogram(rate, n_fft=1024, win_length=400, hop_length=160, n_mels=80, power=1,
                                               center=False, window_fn=torch.hamming_window)
    features.append(mel(torch.from_numpy(samples)).clamp(min=2e-9).log().T)
every = torch.cat(features)
every = (every - every.mean(0)) / every.std(0)
np.save(Path(sys.argv[2]) / "obvious.npy", every.half().numpy())
print(json.dumps({"peak": peak(), "cpu": time.process_time() - used}))
"""
)


PREPARE_SPRITES = (
    PEAK
    + """
import json, sys, time
import numpy, PIL.Image, torch
torch.set_num_threads(1)
from seqdis.datasets.sprites import Sprites
start = peak()
used = time.process_time()
Sprites.prepare(Path(sys.argv[2]), "real", int(sys.argv[3]), from_dir=Path(sys.argv[1]))
print(json.dumps({"imported": start, "peak": peak(), "cpu": time.process_time() - used}))
"""
)

OBVIOUS_SPRITES = (
    PEAK
    + """
import itertools, json, sys, time
import numpy as np
from PIL import Image
sheets, out, size, n_characters, is_opened_once = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
WALK, SPELL, SLASH = (8, 1, 2, 3, 4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 4, 6), (0, 1, 2, 3, 4, 5, 4, 0)
ACTIONS = [(10, WALK), (9, WALK), (11, WALK), (2, SPELL), (1, SPELL), (3, SPELL), (14, SLASH), (13, SLASH), (15, SLASH)]

def composed(body, bottom, top, hair):
    canvas = Image.new("RGBA", (832, 1344), (0, 0, 0, 255))
    for name in (f"body/{body}", f"bottomwear/{bottom}", f"topwear/{top}", f"hair/{hair}", "shoes/1"):
        with Image.open(sheets / f"{name}.png") as layer:
            canvas = Image.alpha_composite(canvas, layer.convert("RGBA"))
    return canvas.convert("RGB")

used = time.process_time()
clips = []
for character in itertools.islice(itertools.product(range(6), repeat=4), n_characters):
    for action, (row, columns) in enumerate(ACTIONS):
        if action == 0 or not is_opened_once:
            canvas = composed(*character)
        frames = []
        for column in columns:
            frame = canvas.crop((64 * column, 64 * row, 64 * column + 64, 64 * row + 64))
            frames.append(np.asarray(frame if size == 64 else frame.reduce(64 // size)).transpose(2, 0, 1))
        clips.append(np.stack(frames))
np.save(out, np.stack(clips))
print(json.dumps({"peak": peak(), "cpu": time.process_time() - used}))
"""
)

PREPARE_DIGITS = (
    PEAK
    + """
import json, sys, time
import numpy, torch
torch.set_num_threads(1)
from seqdis.datasets.smmnist import SmMnist
SmMnist.digests = json.loads(sys.argv[3])
start = peak()
used = time.process_time()
SmMnist.prepare(Path(sys.argv[2]), "real", from_dir=Path(sys.argv[1]))
print(json.dumps({"imported": start, "peak": peak(), "cpu": time.process_time() - used}))
"""
)

OBVIOUS_DIGITS = (
    PEAK
    + """
import json, sys, time
import numpy as np
from PIL import Image
used = time.process_time()
resized = []
for name in ("train", "t10k"):
    images = np.frombuffer((Path(sys.argv[1]) / f"{name}-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((Path(sys.argv[1]) / f"{name}-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    np.save(Path(sys.argv[2]) / f"{name}-labels.npy", labels.astype(np.int64))
    for image in images.reshape(-1, 28, 28):
        resized.append(np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)))
np.save(Path(sys.argv[2]) / "digits.npy", np.stack(resized))
print(json.dumps({"peak": peak(), "cpu": time.process_time() - used}))
"""
)


def write_corpus(folder: Path, hours: float) -> int:
    """Files of 3 s by 50 speakers; returns how many."""
    rng = np.random.default_rng(0)
    burst = (rng.normal(size=(16, SECONDS * RATE)) * 2000 * rng.random((16, 1))).astype("<i2")
    n_files = round(hours * 3600 / SECONDS)
    for number in range(n_files):
        path = folder / f"s{number % SPEAKERS:02d}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(np.roll(burst[number % 16], number).tobytes())
    return n_files


def write_digits(folder: Path, n_train: int) -> dict[str, str]:
    """IDX files of random digits, with test digits beside them; returns the SHA-256 of each file."""
    rng = np.random.default_rng(0)
    digests = {}
    for part, count in (("train", n_train), ("t10k", N_TEST_DIGITS)):
        # Labels come in turn, so that every class is there.
        for name, array in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28), np.uint8)),
            ("labels-idx1", (np.arange(count) % 10).astype(np.uint8)),
        ):
            data = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
            (folder / f"{part}-{name}-ubyte").write_bytes(data)
            digests[f"{part}-{name}-ubyte"] = hashlib.sha256(data).hexdigest()
    return digests


def run(code: str, *arguments: object) -> dict[str, float]:
    """Runs code in a fresh process and gives what it printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[], help="speech: lengths of corpus, such as 1 5")
    parser.add_argument("--rounds", type=int, default=3, help="speech: rounds of the speed comparison (0: none)")
    parser.add_argument("--lpc", type=Path, metavar="DIR", help="Sprites: your copy of YingzhenLi/Sprites")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        choices=(64, 32),
        default=[64, 32],
        help="Sprites: sides of the frames (default: 64 32)",
    )
    parser.add_argument("--digits", type=int, default=0, metavar="N", help="digits: how many, such as 60000")
    args = parser.parse_args()
    if not (args.hours or args.lpc or args.digits):
        parser.error("say what to measure: --hours, --lpc or --digits")
    for hours in args.hours:
        with tempfile.TemporaryDirectory() as folder:
            measure_speech(Path(folder), hours, args.rounds if hours == args.hours[0] else 0)
    for size in args.sizes if args.lpc else ():
        with tempfile.TemporaryDirectory() as folder:
            measure_sprites(args.lpc, Path(folder), size)
    if args.digits:
        with tempfile.TemporaryDirectory() as folder:
            measure_digits(Path(folder), args.digits)


def measure_speech(folder: Path, hours: float, rounds: int) -> None:
    """One length of corpus."""
    corpus = folder / "corpus"
    n_files = write_corpus(corpus, hours)
    ours = run(PREPARE, corpus, folder / "caches", 2)
    print(
        f"{hours:g} h ({n_files} files), with copies in other voices: peak {ours['peak']} MiB, of which "
        f"{ours['imported']} MiB are imports; an hour takes {ours['cpu'] / hours:.0f} s of one core",
        flush=True,
    )
    if rounds:
        compare(corpus, folder, rounds)


def measure_sprites(sheets: Path, folder: Path, size: int) -> None:
    """One frame size; every pixel of the loop's is compared."""
    from seqdis.datasets.sprites import Sprites

    ours = run(PREPARE_SPRITES, sheets, folder / "caches", size)
    other = run(OBVIOUS_SPRITES, sheets, folder / "obvious.npy", size, 1296, 1)
    anew = run(OBVIOUS_SPRITES, sheets, folder / "few.npy", size, SAMPLE, 0)
    prepared = Sprites.open(folder / "caches", "real", size)
    obvious = np.load(folder / "obvious.npy", mmap_mode="r")
    n_clips = 0
    for split in (prepared.train, prepared.validation, prepared.test):
        for clip, character, action in zip(split.x, split.identity, split.labels["motion"], strict=True):
            n_clips += 1
            if not np.array_equal(clip.numpy(), obvious[9 * int(character) + int(action)]):
                raise SystemExit(f"character {character} differs in action {action}")
    print(
        f"Sprites {size}x{size}, {n_clips} clips, every pixel as the loop has it: {ours['cpu']:.1f} s of one core, peak "
        f"{ours['peak']} MiB, of which {ours['imported']} MiB are imports, for {obvious.nbytes >> 20} MiB of clips; the "
        f"loop takes {other['cpu']:.0f} s ({other['cpu'] / ours['cpu']:.1f} times as long) and {other['peak']} MiB; "
        f"with sheets opened for each action {anew['cpu'] / SAMPLE / (ours['cpu'] / 1296):.0f} times as long "
        f"({SAMPLE} characters)",
        flush=True,
    )


def measure_digits(folder: Path, n_train: int) -> None:
    """Training digits and the test digits beside them; the loop's are the same but for rounding."""
    from seqdis.datasets.cache import Cache

    (folder / "idx").mkdir()
    digests = write_digits(folder / "idx", n_train)
    started = time.process_time()
    n_bytes = sum(np.fromfile(path, np.uint8).nbytes for path in (folder / "idx").iterdir())
    reading = time.process_time() - started
    ours = run(PREPARE_DIGITS, folder / "idx", folder / "caches", json.dumps(digests))
    other = run(OBVIOUS_DIGITS, folder / "idx", folder)
    (cache,) = (folder / "caches").glob("*/meta.json")
    prepared = Cache(cache.parent, json.loads(cache.read_text()))
    difference = prepared.array("test_digits").astype(int) - np.load(folder / "digits.npy")[n_train:]
    if np.abs(difference).max() > 1:
        raise SystemExit("the loop resizes digits to something else")
    print(
        f"digits, {n_train} and {N_TEST_DIGITS} to test, {n_bytes >> 20} MiB: {ours['cpu']:.1f} s of one core, peak "
        f"{ours['peak']} MiB, of which {ours['imported']} MiB are imports; the loop takes {other['cpu']:.1f} s "
        f"({other['cpu'] / ours['cpu']:.1f} times as long) and {other['peak']} MiB; reading alone takes NumPy "
        f"{reading:.2f} s",
        flush=True,
    )


def compare(corpus: Path, folder: Path, rounds: int) -> None:
    """Processor time against the obvious loop's, in turn; every round writes anew."""
    ratios = []
    for number in range(rounds):
        ours = run(PREPARE, corpus, folder / f"round{number}", 0)
        other = run(OBVIOUS, corpus, folder)
        ratios.append(other["cpu"] / ours["cpu"])
    print(
        f"features only: {statistics.median(ratios):.2f} times as fast as the obvious loop ({min(ratios):.2f} to "
        f"{max(ratios):.2f}), which peaks at {other['peak']} MiB"
    )


if __name__ == "__main__":
    main()
