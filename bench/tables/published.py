"""The literature's numbers, from `results/published.csv`, and an audit of what they claim.

Only numbers whose source was read are used; recalled or second-hand ones are marked `unverified` in the file and stay
out unless asked for. No torch, no pandas.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.tables.metrics import IN_LITERATURE

COLUMNS = ("method", "variant", "dataset", "table", "metric", "value", "unit", "source", "verified", "note")
METRICS = tuple(metric.key for metric in IN_LITERATURE)
CLASSES = {"sprites": 9, "mug": 6, "smmnist": 10}
"""Classes of the head that the published entropies belong to; ten-way on SM-MNIST, as their sizes show."""
TITLES = {
    "dsvae": "DSVAE",
    "s3vae": "S3VAE",
    "rwae": "R-WAE",
    "mocogan": "MoCoGAN",
    "fhvae": "FHVAE",
    "cdsvae": "C-DSVAE",
    "skd": "SKD",
    "spyl": "SPYL",
    "dbse": "DBSE",
    "diffsda": "DiffSDA",
}

WHY_OFF = (
    "log IS = H(y) - H(y|x) holds exactly when all three come from the same predictions. Averages need not keep it: a "
    "mean of IS over repeats lies above the exponential of the mean of log IS (a positive deviation), and IS averaged "
    "over splits lies below IS of the whole, whose H(y) is larger (a negative one). A small deviation is no sign of an "
    "error; an impossible row is."
)


Key = tuple[str, str, str, str, str]
"""Method, variant, data set, table, source."""


@dataclasses.dataclass(frozen=True)
class Number:
    """One published number. `value` is a fraction where the source prints per cent; `half_unit` is half a unit of the
    last printed digit, on the same scale."""

    method: str
    variant: str
    dataset: str
    table: str
    metric: str
    value: float
    half_unit: float
    source: str
    verified: bool
    note: str


@functools.cache
def load(path: Path | None = None) -> tuple[Number, ...]:
    """Every number of the file (ours by default), unverified ones included.

    Raises:
        UserError: a column or value is not what it should be; the message names the line.
    """
    text = ((files("seqdis.results") / "published.csv") if path is None else path).read_text(encoding="utf-8")
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise UserError(f"published.csv must have the columns {', '.join(COLUMNS)}.")
    return tuple(_number(line, position) for position, line in enumerate(reader, start=2))


def _number(line: dict[str, str], position: int) -> Number:
    where = f"published.csv, line {position}"
    if line["metric"] not in METRICS or line["verified"] not in ("read", "unverified"):
        raise UserError(f"{where}: metric is one of {', '.join(METRICS)}, verified is 'read' or 'unverified'.")
    if line["verified"] == "read" and not line["source"]:
        raise UserError(f"{where}: a number that was read has a source.")
    scale = 0.01 if line["unit"] == "percent" else 1.0
    try:
        value = float(line["value"])
    except ValueError:
        raise UserError(f"{where}: {line['value']!r} is not a number.") from None
    mantissa, _, exponent = line["value"].lower().partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return Number(
        line["method"],
        line["variant"],
        line["dataset"],
        line["table"],
        line["metric"],
        value * scale,
        0.5 * 10.0**-decimals * scale,
        line["source"],
        line["verified"] == "read",
        line["note"],
    )


def find(method: str, variant: str, dataset: str, metric: str) -> Number | None:
    """The published number beside a row of ours: read, of that method and variant, from the first table that has it.

    A data set's name with an addition after a dash (smmnist-10k) stands for what is before it.
    """
    dataset = dataset.partition("-")[0]
    return next(
        (
            number
            for number in load()
            if number.verified
            and (number.method, number.variant, number.dataset, number.metric) == (method, variant, dataset, metric)
        ),
        None,
    )


@dataclasses.dataclass(frozen=True)
class Finding:
    """The audit of one published row of entropies.

    `deviation` is log IS - (H(y) - H(y|x)) in nats, `rounding` what rounding alone allows, `ceiling` ln K.
    """

    method: str
    variant: str
    dataset: str
    table: str
    source: str
    log_is: float
    difference: float
    h_y: float
    deviation: float
    rounding: float
    ceiling: float
    verdict: str


def audit(numbers: Iterable[Number]) -> list[Finding]:
    """Checks every row that has IS and both entropies: possible at all, and on the identity within rounding?"""
    rows: dict[Key, dict[str, Number]] = {}
    for number in numbers:
        key = (number.method, number.variant, number.dataset, number.table, number.source)
        rows.setdefault(key, {})[number.metric] = number
    found = []
    for key, row in rows.items():
        is_range = any(number.note.startswith("range") for number in row.values())
        if {"is", "h_y_given_x", "h_y"} <= row.keys() and not is_range:
            found.append(_finding(key, row))
    return found


def _finding(key: Key, row: dict[str, Number]) -> Finding:
    score, intra, inter = row["is"], row["h_y_given_x"], row["h_y"]
    log_is, difference = math.log(score.value), inter.value - intra.value
    is_error = score.half_unit / score.value
    rounding = is_error + intra.half_unit + inter.half_unit
    ceiling = math.log(CLASSES[key[2]]) if key[2] in CLASSES else math.inf
    problems = []
    if log_is - is_error > inter.value + inter.half_unit:
        problems.append("log IS is above H(y)")
    if inter.value - inter.half_unit > ceiling:
        problems.append("H(y) is above ln K")
    if log_is - is_error > ceiling:
        problems.append("IS is above K")
    if intra.value - intra.half_unit > inter.value + inter.half_unit:
        problems.append("H(y|x) is above H(y)")
    deviation = log_is - difference
    if problems:
        verdict = "impossible: " + ", ".join(problems)
    else:
        verdict = "consistent" if abs(deviation) <= rounding + 1e-9 else "off"
    method, variant, dataset, table, source = key
    return Finding(
        method, variant, dataset, table, source, log_is, difference, inter.value, deviation, rounding, ceiling, verdict
    )
