"""Where and how exactly torch computes: the device, precision, repeatability, the layout of weights."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

from seqdis.bench.core.environment import check_device
from seqdis.bench.core.errors import UserError
from seqdis.methods.base import Method


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU where there is one.

    Raises:
        UserError: a device of another kind, or a GPU that isn't there.
    """
    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name} was asked for, but torch sees no GPU here; use --device cpu.")
    if (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise UserError(f"--device {name} was asked for, but torch sees {torch.cuda.device_count()} GPUs here, from 0.")
    return device


def check_precision(precision: str, device: torch.device) -> None:
    """Whether the device computes in it: without TF32 units torch would take float32 and say nothing.

    Raises:
        UserError: TF32 on a CPU, or on a GPU older than Ampere.
    """
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        raise UserError(
            f"precision tf32 needs an NVIDIA GPU from Ampere on, and {device_name(device)} computes in float32 instead: "
            "use float32 or bfloat16, or another --device."
        )


def set_precision(precision: str) -> None:
    """float32 means float32: on a GPU torch would otherwise run convolutions and LSTMs in TF32."""
    allowed = precision == "tf32"
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def set_repeatable(exact: bool) -> None:
    """Whether a GPU repeats a run to the last bit, which costs speed.

    Without, cuDNN picks its algorithms by timing them and sums are added up in any order: two undisturbed runs differ
    by rounding, and so does one that was stopped and went on. The state it goes on from is exact either way. A CPU
    always repeats itself.
    """
    torch.backends.cudnn.benchmark = not exact
    torch.backends.cudnn.deterministic = exact
    if exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def device_name(device: torch.device) -> str:
    """The device as records name it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def processor_name() -> str | None:
    """The processor's model as Linux names it, with its numbers, since names may be of a whole line; None elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None
    said = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(\S.*?)\s*$", text, re.MULTILINE))
    if "model name" not in said:
        return None
    return f"{said['model name']} (family {said.get('cpu family', '?')}, model {said.get('model', '?')})"[:200]


def to_channels_last(method: Method) -> Method:
    """The method with the weights of its 2-d convolutions laid out channels last, in place; others stay as they are.

    `Module.to(memory_format=...)` tries it on every tensor of five axes too, and fails on a Conv3d.
    """
    for tensor in (*method.parameters(), *method.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return method
