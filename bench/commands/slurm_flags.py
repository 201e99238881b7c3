"""The flags of everything that submits."""

from __future__ import annotations

import argparse

from seqdis.bench.core.errors import UserError
from seqdis.bench.launch.request import JobWishes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds them to a command's own."""
    group = parser.add_argument_group("SLURM", "flags win over the profile file; see docs/slurm.md")
    group.add_argument(
        "--profile", metavar="NAME|FILE", help="a table of ./slurm.toml or ~/.config/seqdis/slurm.toml, or another file"
    )
    for name, text in (
        ("partition", "partition"),
        ("account", "account"),
        ("qos", "quality of service"),
        ("constraint", "node features"),
    ):
        group.add_argument(f"--{name}", help=text)
    group.add_argument("--gpus", metavar="N", help="GPUs of a job, such as 1 or a100:1")
    group.add_argument("--cpus", type=int, metavar="N", help="CPU cores of a job")
    group.add_argument("--mem", metavar="SIZE", help="memory of a job, such as 16G")
    group.add_argument(
        "--time", metavar="LIMIT", help="time limit of a job, such as 12:00:00; cells that reach it go on in the next"
    )
    group.add_argument("--max-jobs", type=int, metavar="N", help="jobs that run at the same time (default: no bound)")
    group.add_argument("--pack", type=int, metavar="K", help="small cells that one job runs (default: 1)")
    group.add_argument("--at-once", type=int, metavar="N", help="of these, how many at the same time (default: 1)")
    group.add_argument(
        "--setup", action="append", metavar="LINE", help="a shell line that each job runs first; may be repeated"
    )
    group.add_argument("--hold", action="store_true", help="submit held; 'scontrol release' starts the jobs")


def wishes(args: argparse.Namespace) -> JobWishes:
    """What was typed of them."""
    from seqdis.bench.launch.slurm.profile import NEEDS

    return JobWishes(
        profile=args.profile,
        needs={name: value for name in NEEDS if (value := getattr(args, name, None)) is not None},
        max_jobs=args.max_jobs,
        setup=tuple(args.setup or ()),
        hold=args.hold,
    )


def refuse_here(jobs: JobWishes) -> None:
    """Looks whether something is said of jobs although the cells run on this machine.

    Raises:
        UserError: it is; names the flags.
    """
    others = ("profile", "max_jobs", "setup", "hold")
    said = [*jobs.needs, *(name for name in others if getattr(jobs, name) not in (None, (), False))]
    if said:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in said)
        raise UserError(f"{flags}: for SLURM jobs, but the cells would run on this machine; leave it out.")
