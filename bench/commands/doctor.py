"""`bench doctor`: whether this installation can do its work, and what to do where it cannot."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, entry_points, version

from seqdis.bench.core.exits import DONE, FAILED

HELP = "Checks packages, versions that must match, the device, SLURM, prepared data, judges and plug-ins."
OPTIONAL = {
    "submitit": "SLURM",
    "optuna": "bench tune",
    "pooch": "downloads",
    "soundfile": "audio files",
    "cv2": "MUG and optical flow",
    "torchvision": "MNIST downloads",
    "torchaudio": "audio",
    "matplotlib": "figures",
    "pyarrow": "parquet tables",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    checks = [*_packages(), _device(), _slurm(), *_data(), *_plugins()]
    if args.json:
        print(json.dumps([{"check": name, "state": state, "text": text} for name, state, text in checks], indent=1))
    else:
        width = max(len(name) for name, _, _ in checks)
        for name, state, text in checks:
            print(f"{state:7s} {name:{width}s}  {text}")
    return FAILED if any(state == "wrong" for _, state, _ in checks) else DONE


Check = tuple[str, str, str]


def _packages() -> list[Check]:
    checks: list[Check] = [("python", "ok", platform.python_version())]
    trains = {"torch": "2.11.", "torchvision": "0.26.", "torchaudio": "2.11."}
    for name in ("torch", "numpy", "scipy", "pandas", "rich", "safetensors", *OPTIONAL):
        try:
            module = importlib.import_module(name)
        except Exception as error:  # a broken binary may raise anything at import
            purpose = OPTIONAL.get(name)
            text = f"cannot be imported ({type(error).__name__}: {error})"
            checks.append((name, "missing", f"{text}; needed for {purpose}") if purpose else (name, "wrong", text))
            continue
        found = getattr(module, "__version__", "installed")
        expected = trains.get(name)
        if expected and not str(found).startswith(expected):
            checks.append(
                (
                    name,
                    "wrong",
                    f"{found} is not {expected}*: the three must be of one release train: "
                    "pip install 'torch==2.11.*' 'torchvision==0.26.*' 'torchaudio==2.11.*'",
                )
            )
        else:
            checks.append((name, "ok", str(found)))
    return checks


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        return "device", "ok", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    return "device", "ok", f"no GPU; {os.cpu_count()} CPU cores: use --preset quick or compact"


def _slurm() -> Check:
    if shutil.which("scontrol") is None:
        return "slurm", "ok", "not on this machine; cells run here"
    try:
        answer = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return "slurm", "wrong", "installed, but scontrol ping does not answer"
    up = answer.returncode == 0 and "UP" in answer.stdout
    return "slurm", "ok" if up else "missing", answer.stdout.strip() or answer.stderr.strip() or "no answer"


def _data() -> list[Check]:
    from seqdis.bench.core.places import data_root

    root = data_root()
    prepared = sorted(path.parent.name for path in root.glob("*/meta.json")) if root.is_dir() else []
    return [("data", "ok", f"{root}: {', '.join(prepared) or 'nothing prepared yet'}")]


def _plugins() -> list[Check]:
    from seqdis.bench.plan.catalog import PLUGIN_GROUPS

    checks: list[Check] = []
    for group in PLUGIN_GROUPS:
        for point in entry_points(group=group):
            try:
                point.load()
                checks.append((point.name, "ok", f"plug-in {point.value}"))
            except Exception as error:  # whatever a plug-in raises must not stop the rest
                text = f"plug-in {point.value} does not load ({type(error).__name__}: {error})"
                checks.append((point.name, "wrong", text))
    try:
        checks.append(("seqdis-bench", "ok", version("seqdis-bench")))
    except PackageNotFoundError:
        from seqdis.bench.core.provenance import code_version

        found = code_version()
        checks.append(("seqdis-bench", "ok", f"{found.version}, not installed: from a path that holds it"))
    return checks
