"""Command lines, settings and variables of the environment that make no sense or mean harm."""

from __future__ import annotations

from collections.abc import Iterator

from .cases import DEEP, ESCAPE, EVIL, HUGE, LONG, TAKEN, Case, short, written

RUN = "run --methods dsvae --datasets sprites --preset quick --source synthetic --launcher local --dry-run"
GO = RUN.removesuffix(" --dry-run")
ARGPARSE = r"usage:|invalid|expected one argument|required|unrecognized"

LINES: tuple[tuple[str, str], ...] = (
    ("nope", "unknown command"),
    (LONG, "unknown command"),
    (ESCAPE, "unknown command"),
    ("run", ARGPARSE),
    ("run --datasets", ARGPARSE),
    ("run --methods nope --datasets sprites --dry-run", "unknown method 'nope'"),
    (f"run --methods {LONG} --datasets sprites --dry-run", "unknown method|too long"),
    (f"run --methods {HUGE} --datasets sprites --dry-run", "unknown method"),
    ("run --methods dsvae:nope --datasets sprites --dry-run", "nope"),
    ("run --methods , --datasets sprites --dry-run", "method"),
    ("run --methods dsvae --datasets nope --dry-run", "unknown data set 'nope'"),
    ("run --methods dsvae --datasets , --dry-run", "data set"),
    ("run --methods dsvae --datasets sprites --preset nope --dry-run", "unknown preset 'nope'"),
    ("run --methods dsvae --datasets sprites --preset quick --source synthetic --table nope --dry-run", "nope"),
    (
        "run --methods ../../etc/passwd:X --datasets sprites --dry-run",
        "not there|does not exist|no file|unknown method",
    ),
    ("run --methods /etc:X --datasets sprites --dry-run", "not there|no file|unknown method|not a file"),
    (f"{RUN} --seeds 0", "out of range|runs nothing"),
    (f"{RUN} --seeds -5", "out of range|runs nothing"),
    (f"{RUN} --seeds 1e9", ARGPARSE),
    (f"{RUN} --seeds {HUGE}", "out of range"),
    (f"{RUN} --seeds nan", ARGPARSE),
    (f"{RUN} --first-seed {HUGE}", "out of range"),
    (f"{RUN} --first-seed -1", "out of range"),
    (f"{RUN} --workers 0", "runs nothing"),
    (f"{RUN} --workers {HUGE}", "out of range"),
    (f"{RUN} --per-device {HUGE}", "out of range"),
    (f"{RUN} --time-budget {HUGE}", "budget|time|duration"),
    (f"{RUN} --time-budget -1m", ARGPARSE),
    (f"{RUN} --time-budget nan", "budget|time|duration"),
    (f"{RUN} --time-budget inf", "budget|time|duration"),
    (f"{RUN} --time-budget 0", "budget|time|duration"),
    (f"{RUN} --time-budget 1y", "budget|time|duration"),
    (f"{RUN} --device mps", "device"),
    (f"{RUN} --device cpu:7", "device"),
    (f"{RUN} --device meta", "device"),
    (f"{RUN} --device {LONG}", "device"),
    (f"{RUN} --device {ESCAPE}", "device"),
    (f"{RUN} --device=", "device"),
    (f"{RUN} --gpus 1", "SLURM"),
    (f"{RUN} --out {'x' * 300}", "too long"),
    (f"{GO} --out /proc/none", "cannot write|Choose|/proc/none"),
    (f"{GO} --out /dev/null", "file|folder|director"),
    (f"{GO} --out {{root}}/file", "file|folder|director"),
    (f"{RUN} --launcher nope", ARGPARSE),
    (
        "run --methods dsvae --datasets sprites --preset quick --source synthetic --launcher slurm --cpus 0 --dry-run",
        "cpus",
    ),
    (
        f"run --methods dsvae --datasets sprites --preset quick --source synthetic --launcher slurm --cpus {HUGE} --dry-run",
        "cpus",
    ),
    (
        "run --methods dsvae --datasets sprites --preset quick --source synthetic --launcher slurm --mem lots --dry-run",
        "mem",
    ),
    (
        "run --methods dsvae --datasets sprites --preset quick --source synthetic --launcher slurm --time soon --dry-run",
        "time",
    ),
    (
        "run --methods dsvae --datasets sprites --preset quick --source synthetic --launcher slurm --profile nowhere --dry-run",
        "slurm.toml|profile",
    ),
    (
        "run --methods dsvae --datasets sprites --preset quick --source synthetic --launcher slurm --max-jobs -1 --dry-run",
        "max.jobs",
    ),
    ("table nope", "unknown table"),
    ("table --out /nowhere", "no records|not|nowhere"),
    ("table --format nope", ARGPARSE),
    ("table --output {root}/a.xyz", "format|suffix|record"),
    ("table --records {root}/file", "record|folder"),
    ("figure nope", "unknown"),
    ("figure swap --frames -1", "frames|record|cell"),
    (f"figure swap --frames {HUGE}", "frames|record|cell"),
    ("figure swap --format exe", "format"),
    ("figure swap ../../etc", "cell|folder|record"),
    ("publish", ARGPARSE),
    ("publish --out {root} --runs /nowhere", "did not write|not"),
    ("publish --out {root}/site --runs /nowhere", "nowhere|no record"),
    ("publish --out /proc/none --runs {root}", "cannot write|record"),
    ("list nope", "unknown kind"),
    (f"list {LONG}", "unknown kind"),
    ("describe nope", "unknown"),
    ("describe dsvae --preset nope", "unknown preset"),
    ("describe dsvae --dataset nope --preset quick", "unknown data set"),
    ("describe {root}/file:X", "cannot be imported|unknown|no class"),
    ("check nope", "unknown"),
    ("check sprites --size -1", "size"),
    (f"check sprites --size {HUGE}", "size"),
    ("data prepare nope", "unknown data set"),
    ("data prepare sprites --size -1 --source synthetic --data-dir {root}/d", "size"),
    (f"data prepare sprites --size {HUGE} --source synthetic --data-dir {{root}}/d", "size"),
    ("data prepare sprites --from {root}/nothing", "not there"),
    ("data prepare sprites --from {root}/file", "not a folder"),
    ("data prepare sprites --split video", "split"),
    ("data prepare timit --set data.features=nope", "features"),
    ("data prepare timit --set lr=1", "no option"),
    ("data verify sprites --data-dir {root}/nothing", "not|bench data prepare"),
    ("data preview sprites --data-dir {root}/nothing", "not|bench data prepare"),
    ("judge train", "name|data set"),
    ("judge train nope", "unknown data set"),
    ("judge train sprites --size -1 --data-dir {root}/d", "size"),
    ("judge train sprites --name ../../x --data-dir {root}/d", "judge|name"),
    ("judge train sprites --seed -1 --data-dir {root}/d", "seed"),
    (f"judge train sprites --seed {HUGE} --data-dir {{root}}/d", "seed"),
    ("judge show nope --data-dir {root}/d", "nope|no judge"),
    ("judge apply {root}/nothing", "nothing|cell|record"),
    ("status --out {root}/file", "folder|director"),
    ("watch --every nan", "every"),
    ("watch --every -1", "every"),
    ("watch --every inf", "every"),
    ("logs nope", "nope|no cell"),
    ("logs x -n -5", "no cell|lines"),
    ("cancel nope", "nope|no cell"),
    ("retry nope", "nope|no cell"),
    (f"retry --workers {HUGE}", "out of range"),
    ("retry --device mps", "device|no cell|nothing"),
    ("validate /nowhere", "nowhere"),
    ("import /nowhere", "nowhere"),
    ("import {root}/file", "folder|pack"),
    ("pack /nowhere {root}/packs", "nowhere|no cell"),
    ("pack {root} {root}/packs --limit nan", "limit"),
    ("pack {root} {root}/packs --limit -1", "limit"),
    ("pack {root} {root}/packs --limit 1e-9", "limit"),
    ("pack {root} {root}/packs --files 0", "files"),
    (f"pack {{root}} {{root}}/packs --files {HUGE}", "files"),
    ("pack {root} {root}/packs --name ../../x", "name"),
    ("perf --methods nope", "unknown method"),
    ("perf --dataset nope", "unknown data set|data set"),
    ("perf --preset nope", "unknown preset"),
    ("perf --threads 100000", "threads"),
    ("perf --threads -1", "threads"),
    ("perf --threads 0", "threads"),
    ("perf --batch 0", "batch"),
    ("perf --batch -1", "batch"),
    (f"perf --batch {HUGE}", "batch"),
    ("perf --rounds 0", "rounds"),
    (f"perf --rounds {HUGE}", "rounds"),
    ("perf --seconds nan --together 1,2", "seconds"),
    ("perf --seconds -1 --together 1,2", "seconds"),
    ("perf --seconds inf --together 1,2", "seconds"),
    ("perf --together 0", "together"),
    ("perf --together 1,x", "together"),
    ("perf --together 100000", "together"),
    ("perf --parity nope", "parity|nope"),
    ("perf --device mps", "device"),
    ("tune", "method"),
    ("tune dsvae --keep nan", "keep"),
    ("tune dsvae --finalists 0", "finalists"),
    ("tune dsvae --rungs 5,x", "rungs"),
    (f"tune dsvae --rungs {HUGE}", "rungs|steps"),
    ("tune dsvae --name ../x", "name"),
    ("tune --report /nowhere", "nowhere|no search|tuning"),
    ("tune nope", "unknown method|nope"),
    ("tune dsvae --trials 0", "runs nothing"),
    (f"tune dsvae --trials {HUGE}", "out of range"),
    ("tune dsvae --dataset nope", "unknown data set|data set"),
    ("tune dsvae --preset nope", "unknown preset"),
    ("tune dsvae --device mps --out {root}/t --data-dir {root}/d", "device"),
    ("cell {root}/nothing", "config.json"),
    ("cell {root}/file", "config.json|folder|director"),
    ("doctor --nope", ARGPARSE),
    ("list", TAKEN),
    ("describe dsvae", TAKEN),
    ("validate --schema", TAKEN),
    ("status --out {root}/none", "cells|no cell|not"),
)

FLOATS = (
    "nan",
    "inf",
    "-inf",
    "-1",
    HUGE,
    f"1e{HUGE}",
    "1e400",
    "x",
    "",
    "[]",
    "{}",
    DEEP,
    "null",
    "true",
    '"1"',
    LONG,
)
COUNTS = ("nan", "inf", "-1", "1.5", HUGE, "x", "", "[1]", "null", "true", ESCAPE, "0x10", "1_000")


def command_lines() -> Iterator[Case]:
    """Words that no command takes."""
    for number, (line, answer) in enumerate(LINES):
        words = tuple(line.split(" "))
        yield Case("line", f"{number}-{short(line)}", words, answer, written("file", "not a folder\n"))


def settings() -> Iterator[Case]:
    """Values of --set that no setting has."""
    values = [("method.lr", value) for value in FLOATS]
    values += [("training.steps", value) for value in COUNTS]
    values += [("training.batch_size", value) for value in ("0", "-1", "1.5", HUGE, "x", "null")]
    values += [("training.log_every", value) for value in ("0", "-1", "x")]
    values += [("training.precision", value) for value in ("float8", "", "1", "[]", EVIL)]
    values += [("training.compile", value) for value in ("2", "x", "[]", "maybe")]
    values += [("evaluation.draws", value) for value in ("0", "-1", HUGE, "x", "1.5")]
    values += [("evaluation.max_clips", value) for value in ("-1", "x", "1.5")]
    values += [("method.static_dim", value) for value in ("0", "-1", "1.5", "x", HUGE)]
    values += [("method.width", value) for value in ("0", "-1", HUGE)]
    for number, (key, value) in enumerate(values):
        words = (*RUN.split(), "--set", f"{key}={value}")
        yield Case("set", f"{number}-{key}={short(value)}", words, "--set|setting")
    for number, item in enumerate(
        ("", "=", "lr", "=1", ".steps=1", "nope=1", "method.nope=1", "training.=1", "a.b.c=1", f"{LONG}=1", f"{ESCAPE}=1",
         "method.__class__=1", "data.nope=1", "data.=1", "cell.seed=1", "method=1")
    ):  # fmt: skip
        yield Case("set", f"key-{number}-{short(item)}", (*RUN.split(), "--set", item), "--set|setting|option")


def environments() -> Iterator[Case]:
    """Variables of the environment that say nothing or harm."""
    for name in ("SEQDIS_DATA", "XDG_CACHE_HOME"):
        variables = {"SEQDIS_DATA": "", name: "~nobody-of-that-name/x"}
        yield Case("environment", name, ("data", "verify", "sprites"), "no such home folder", variables=variables)
    for name, value, answer in (
        ("CUDA_VISIBLE_DEVICES", "-1", TAKEN),
        ("CUDA_VISIBLE_DEVICES", "x,y,z", TAKEN),
        ("CUDA_VISIBLE_DEVICES", LONG, TAKEN),
        ("COLUMNS", "-1", TAKEN),
        ("COLUMNS", HUGE, TAKEN),
        ("COLUMNS", "x", TAKEN),
        ("LINES", "0", TAKEN),
        ("TERM", ESCAPE, TAKEN),
        ("PYTHONWARNINGS", "error", TAKEN),
        ("MPLBACKEND", "module://nowhere", TAKEN),
        ("SLURM_CPUS_PER_TASK", "x", TAKEN),
        ("SLURM_JOB_ID", EVIL.replace("\0", ""), TAKEN),
        ("OMP_NUM_THREADS", "x", TAKEN),
        ("OMP_NUM_THREADS", "-1", TAKEN),
        ("OMP_NUM_THREADS", HUGE, TAKEN),
        ("LANG", "xx_YY.nope", TAKEN),
        ("TZ", "x" * 1000, TAKEN),
    ):
        yield Case("environment", f"{name}={short(value)}", tuple(RUN.split()), answer, variables={name: value})
    for name, value in (
        *(("SEQDIS_HEARTBEAT", value) for value in ("x", "nan", "0", "-1", HUGE)),
        *(("SEQDIS_PROGRESS_SECONDS", value) for value in ("x", "nan", "-1")),
        *(("SEQDIS_THREADS", value) for value in ("x", "0", "-1", HUGE)),
        ("SEQDIS_BESIDE", "x"),
    ):
        yield Case("variable", f"{name}={short(value)}", (), f"{name}", variables={name: value})
