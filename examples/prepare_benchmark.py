"""How preparing speech scales: peak memory at several lengths of corpus, and speed against the obvious loop.

    python examples/prepare_benchmark.py --hours 1 5

Writes WAV files of noise bursts (the time does not depend on what is said) into a temporary folder, prepares them in a
fresh process, and prints what that process held at most, beside what it held once everything was imported. The
obvious loop reads a file, makes its log-mel spectrogram with torchaudio, keeps it, and saves all at the end; it is
compared without the copies in other voices, which it does not make, on the same files in turn. Processor
time is compared, without imports: wall time depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

RATE = 16_000
SECONDS = 3
SPEAKERS = 50

PREPARE = """
import json, resource, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from seqdis.datasets import speech
from seqdis.datasets.timit import Speech
speech.COPIES = int(sys.argv[3])
import soundfile, scipy.signal, scipy.fft
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
start = peak()
used = time.process_time()
Speech.prepare(Path(sys.argv[2]), "real", from_dir=Path(sys.argv[1]))
print(json.dumps({"imported": start, "peak": peak(), "cpu": time.process_time() - used}))
"""

OBVIOUS = """
import json, resource, sys, time
from pathlib import Path
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
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
print(json.dumps({"peak": peak, "cpu": time.process_time() - used}))
"""


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


def run(code: str, *arguments: object) -> dict[str, float]:
    """Runs code in a fresh process and gives what it printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 5], help="lengths of corpus (default: 1 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the speed comparison (0: none)")
    args = parser.parse_args()
    for hours in args.hours:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus"
            n_files = write_corpus(corpus, hours)
            ours = run(PREPARE, corpus, Path(folder) / "caches", 2)
            print(f"{hours:g} h ({n_files} files), with copies in other voices: peak {ours['peak']} MiB, of which "
                  f"{ours['imported']} MiB are imports; an hour takes {ours['cpu'] / hours:.0f} s of one core")
            if args.rounds and hours == args.hours[0]:
                compare(corpus, Path(folder), args.rounds)


def compare(corpus: Path, folder: Path, rounds: int) -> None:
    """Processor time against the obvious loop's, in turn; every round writes anew."""
    ratios = []
    for number in range(rounds):
        ours = run(PREPARE, corpus, folder / f"round{number}", 0)
        other = run(OBVIOUS, corpus, folder)
        ratios.append(other["cpu"] / ours["cpu"])
    print(f"features only: {statistics.median(ratios):.2f} times as fast as the obvious loop ({min(ratios):.2f} to "
          f"{max(ratios):.2f}), which peaks at {other['peak']} MiB")


if __name__ == "__main__":
    main()
