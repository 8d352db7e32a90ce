"""Command line of ``python -m protocol_gen``: a design; or the subcommands ``build`` and ``measure``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from epymarl_lmac.errors import UserError
from epymarl_lmac.record.screen import console_error
from epymarl_lmac.settings.command_line import split_argv

SUBCOMMANDS = ("build", "measure")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m protocol_gen", description="Designs and measures protocols.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="check three texts and write them as a bundle")
    build.add_argument("folder", type=Path, help="holds k0.py, k1.py, k2.py")
    build.add_argument("--out", type=Path, help="folder to write (default protocols/<env>/<task>/default)")
    build.add_argument("--important", default="", help="comma separated names or globs of state columns")
    build.add_argument("--history", type=int, default=10, help="steps the last protocol sees")
    build.add_argument("--max-message-dim", type=int, help="most numbers a receiver may get a step and protocol")
    measure = commands.add_parser("measure", help="measure what agents can recover of the state with a bundle")
    measure.add_argument("--from-record", type=Path, help="folder of a run whose networks play (default: random play)")
    measure.add_argument("--bundle", type=Path, help="bundle (default protocols/<env>/<task>/default)")
    measure.add_argument(
        "--episodes", type=int, default=1200, help="training episodes; a fifth as many more are held out"
    )
    measure.add_argument("--batches", type=int, default=1500, help="gradient steps of a decoder")
    measure.add_argument("--seeds", type=int, default=3, help="decoders trained of each kind")
    measure.add_argument("--write", action="store_true", help="also write the scores into the bundle's manifest")
    for command in (build, measure):
        command.add_argument("--env-config", required=True, metavar="ENV", help="environment, a file in config/envs")
    return parser


def execute(argv: Sequence[str]) -> int:
    """Does what the command line says; returns the exit code."""
    flags, updates = split_argv(argv)
    if not flags or flags[0] not in SUBCOMMANDS:
        from protocol_gen.command import execute as design

        return design(flags, updates)
    options = _parser().parse_args(flags)
    if options.command == "build":
        from protocol_gen.build_bundle import build, split_patterns

        patterns = split_patterns(options.important)
        bundle = build(
            options.folder,
            options.env_config,
            updates,
            options.out,
            patterns,
            options.history,
            options.max_message_dim,
        )
        sizes = ", ".join(f"k={k}: {p.message_dim}" for k, p in zip(bundle.steps, bundle.programs, strict=True))
        print(f"bundle: {bundle.path}\nnumbers a receiver gets a step: {sizes}")
        return 0
    from protocol_gen.measure_bundle import measure

    print(
        measure(
            options.env_config,
            updates,
            record=options.from_record,
            bundle_path=options.bundle,
            n_episodes=options.episodes,
            n_batches=options.batches,
            n_seeds=options.seeds,
            write=options.write,
        )
    )
    return 0


def main() -> int:
    """Runs the command line; prints a user's error as one message."""
    try:
        return execute(sys.argv[1:])
    except UserError as err:
        console_error(str(err))
        return err.exit_code
    except KeyboardInterrupt:
        console_error("stopped. What is done is kept; the same command goes on.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
