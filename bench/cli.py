"""The command line. Only the chosen command's module is imported, and none imports torch before it must."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.core.exits import DONE, STOPPED, UNREAD, discard, refuse, say
from seqdis.bench.core.inherited import settle
from seqdis.bench.core.places import user_path

COMMANDS: dict[str, str] = {
    "run": "train, judge and record methods on data sets, here or on SLURM",
    "table": "the field's tables from records, beside the published numbers",
    "figure": "swap grids, samples, curves and comparison sheets",
    "publish": "a static leaderboard page from records",
    "list": "methods, data sets, judges, presets or tables",
    "describe": "a method, data set or preset: paper, equations, departures, settings",
    "check": "whether a method, data set or judge keeps its contract, in words",
    "data": "prepare, verify or preview a data set",
    "judge": "train, verify or show a judge",
    "status": "what is done, running, queued, failed or lost",
    "watch": "status, live",
    "logs": "a cell's log",
    "cancel": "stop cells",
    "retry": "run again what failed or was lost",
    "reproduce": "run a record's configuration again and compare number by number",
    "validate": "check records: schema, identities, ranges, digests",
    "import": "take records from another lab, after validation",
    "pack": "a run folder's results in few files, for another machine",
    "perf": "throughput, FLOPs and memory of training steps, as ratios",
    "tune": "search settings of a method, yours too, on validation clips only",
    "doctor": "check this installation",
    "cell": "run one planned cell (what launchers start)",
}
MODULES = {"import": "import_"}
ROOM = "seqdis.bench.commands"


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; only `command`'s own arguments are added, so that help costs no imports."""
    parser = argparse.ArgumentParser(
        prog="bench",
        description="The benchmark suite for sequential disentanglement.",
        epilog="Start with: bench run --methods all --datasets sprites,mug --preset quick",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        if name != command:
            subparsers.add_parser(name, help=text, add_help=False)
            continue
        module = importlib.import_module(f"{ROOM}.{MODULES.get(name, name)}")
        sub = subparsers.add_parser(
            name, help=text, description=module.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0 done, 1 something failed, 2 the user's to put right.

    141: the reader of the output went away before the end. A command that had come to its end keeps its code.
    """
    settle()
    code = None
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except UserError as error:
        return refuse(error)
    except KeyboardInterrupt:
        say("interrupted; run the same line again to go on.")
        return STOPPED
    except BrokenPipeError:
        discard(sys.stdout.fileno())  # Python would complain once more when it flushes at exit
        return UNREAD if code is None else code
    except OSError as error:
        return refuse(error)


def _run(arguments: list[str]) -> int:
    """Runs a command. Returns its exit code."""
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise unknown_name("command", command, COMMANDS, "bench --help")
    parser = build_parser(command)
    args = parser.parse_args(arguments)
    _expand_paths(args)
    if args.version:
        from seqdis.bench.core.provenance import code_version

        print(f"seqdis-bench {code_version().version}")
        return DONE
    if command is None:
        parser.print_help()
        return DONE
    return int(args.run(args))


def _expand_paths(args: argparse.Namespace) -> None:
    """Puts the home folder for the `~` of paths: no shell expands the one of --out=~/runs."""
    for name, value in vars(args).items():
        if isinstance(value, Path):
            setattr(args, name, user_path(value))
        elif isinstance(value, list):
            setattr(args, name, [user_path(item) if isinstance(item, Path) else item for item in value])


if __name__ == "__main__":
    sys.exit(main())
