"""Records: one JSON file a cell, the only truth that tables, pages and figures are made from.

A cell is done if and only if its record exists. It is written last, whole, and once: of two processes that finish
the same cell, the first wins. This module imports no torch.

Schema, version 1 (every key is present unless marked optional; numbers are finite):

    schema        1
    status        "done" | "failed" | "n/a"
    cell          id, method, variant ("" = plain), dataset, source ("real" | "synthetic"), preset, seed (int),
                  size (side of frames in pixels, 0 for audio), overrides ({} unless --set was used)
    title         the method's name in tables; paper: its reference
    supervision   "none" | "external signal" | "motion labels" | "privileged signal"; signal (optional): how made
    ranked        bool: may stand in an unsupervised ranking (controls and supervised variants may not)
    notes         list of sentences that a reader of the row must know
    config        method: {...}, training: {...}, evaluation: {...}: everything that changes the numbers, resolved
    data          name, title, source, revision, digest, frame ([C, H, W] or [F]), n_frames, split_rule, licence,
                  splits ({"train": n, "validation": n, "test": n}), factors ([{name, role, classes}]),
                  headline ([direction, factor]), may_show
    judge         name, sha256, accuracy ({factor: fraction on real held-out clips}), or null (verification only)
    protocol      name ("encoder" | "generator" | "verification"), version, draws, sample ("draw" | "means")
    metrics       see below
    training      steps, planned_steps, complete (bool: the whole schedule was run), epochs, selected_step,
                  selection (score name), validation ([{step, ...}]), losses ([{step, player, term: value}])
    cost          train_seconds, evaluation_seconds, sequences_per_second, peak_memory_bytes, gpu_memory_bytes,
                  parameters (int), energy_joules (null where it can't be read), cells_on_gpu (optional; more than 1:
                  others ran beside it, and its times are not those that it would have alone)
    environment   python, torch, platform, device, threads, precision
    code          version, commit (or null), dirty (bool or null)
    attempts      int; finished: UTC time, ISO 8601
    error         (status "failed" or "n/a" only) reason (one sentence), traceback (optional)
    identities    (optional; protocol "encoder" only) the headline by test identity, for intervals over identities:
                  unit ("character", "video", ...), metric (such as "fix_dynamic/action/acc"), clips and right: one
                  number an identity, in one order for all records of the same data, as a text with blanks between
                  them; right counts over all prior draws, so that sum(right) = acc * sum(clips) * draws

A factor's scores are {"acc", "is", "h_y_given_x", "h_y"}: acc a fraction against the true label, entropies in nats,
is = exp(h_y - h_y_given_x), all over the same clips. `metrics` holds, where they apply:

    directions        {"fix_dynamic": {n_clips, draws: [{factor: scores}, one a prior draw]},
                       "fix_static":  the same}
                      fix_dynamic: z is the posterior mean of the test clip, s is drawn from its prior
    reconstruction    {mse (mean over pixels), sse (sum over a clip), factors: {factor: scores}}
    real              {factors: {factor: scores}}: the judge on the real test clips, the ceiling
    shuffle           relative change of the static code under frame shuffles (0 = invariant)
    generator         {"matched" | "labels": {n_clips, draws: [{factor: scores}]},
                       "consistency": {"fix_dynamic" | "fix_static": {factor: {acc_consistency, h_y}}}}
    verification      {"utterance" | "segment": {eer_static, eer_dynamic, gap, n_trials, n_target, n_speakers,
                       eer_static_ci: [lo, hi], eer_dynamic_ci, gap_ci, options: {...}}}: EERs are fractions
    probes            {factor: {"dynamic": acc, "static": acc, "chance": acc}}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import publish, read_json

SCHEMA = 1
MAX_BYTES = 4 << 20
NAME = "record.json"
REQUIRED = (
    "schema",
    "status",
    "cell",
    "title",
    "supervision",
    "ranked",
    "notes",
    "config",
    "data",
    "judge",
    "protocol",
    "metrics",
    "training",
    "cost",
    "environment",
    "code",
    "attempts",
    "finished",
)

Record = dict[str, Any]


def write_record(folder: Path, record: Record) -> bool:
    """Publishes a cell's record. Returns False if another process has published it first (its record stays).

    Raises:
        UserError: no space or no permission.
        ValueError: a number in the record is NaN or infinite, or a required key is missing.
    """
    missing = [key for key in REQUIRED if key not in record]
    if missing:
        raise ValueError(f"record lacks {', '.join(missing)}")
    return publish(folder / NAME, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def read_record(path: Path) -> Record:
    """A record from its file, checked for its version and its top-level keys only (`bench validate` checks all).

    Raises:
        UserError: missing, not JSON, of another schema, or incomplete; the message names the file.
    """
    record = read_json(path, max_bytes=MAX_BYTES)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise UserError(f"{path} is no record of schema {SCHEMA} (found {found!r}); remove it and run the cell again.")
    missing = [key for key in REQUIRED if key not in record]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; remove it and run the cell again.")
    return record
