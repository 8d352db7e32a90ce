"""Command line of the host: ``python src/main.py --config=ALG --env-config=ENV [with key=value ...]``.

Settings are merged and checked before anything starts; Sacred then records the run.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    for folder in (Path(__file__).resolve().parent, Path(__file__).resolve().parent.parent):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))

import yaml

from epymarl_lmac.errors import SettingsError, UserError
from epymarl_lmac.record.mongo import HIDDEN, URL_VARIABLE, MongoTarget, without_password
from epymarl_lmac.record.screen import console_error
from epymarl_lmac.settings import algorithms, environments, freeze, load_settings, method_schema
from epymarl_lmac.settings.command_line import split_argv
from epymarl_lmac.settings.files import ALGS, ENVS, Kind, variants

USAGE = "python src/main.py --config=ALG --env-config=ENV [options] [with key=value ...]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(usage=USAGE, description="Trains or evaluates one algorithm on one task.")
    parser.add_argument("--config", metavar="ALG", help="algorithm, a file in config/algs")
    parser.add_argument("--env-config", metavar="ENV", help="environment, a file in config/envs")
    parser.add_argument("--print-config", action="store_true", help="print the merged settings and leave")
    parser.add_argument("--list", action="store_true", help="list algorithms, environments and tasks, and leave")
    parser.add_argument("--no-sacred", action="store_true", help="keep the run's own record only")
    parser.add_argument("-m", "--mongo_db", metavar="URL", help="mirror the record to this MongoDB")
    parser.add_argument("-c", "--comment", metavar="TEXT", help="comment in Sacred's record")
    return parser


def _with_variants(kind: Kind, names: list[str]) -> list[str]:
    """Returns a line for every name that has presets or tasks."""
    found = {name: list(variants(kind, name)) for name in names}
    return [f"  {name} with {kind.variant}={' | '.join(own)}" for name, own in found.items() if own]


def _listing() -> str:
    from epymarl_lmac.paths import protocols_root

    lines = [
        "algorithms: " + ", ".join(algorithms()),
        *_with_variants(ALGS, algorithms()),
        "environments: " + ", ".join(environments()),
        *_with_variants(ENVS, environments()),
        "protocols:",
    ]
    root = protocols_root()
    for manifest in sorted(root.glob("*/*/*/manifest.yaml")):
        lines.append("  " + manifest.parent.relative_to(root).as_posix())
    return "\n".join(lines)


def _mongo_target(values: dict[str, Any], flag: str | None) -> MongoTarget | None:
    """Returns the MongoDB that flag, setting or environment name, if any; hides the password in the setting."""
    url = flag or values["mongo_url"]
    if not url or HIDDEN in url:  # a resumed run's own record has no password
        url = os.environ.get(URL_VARIABLE, "")
    if not url and values["mongo_url"]:
        print(f"warning: {values['mongo_url']} lacks its password; give it in {URL_VARIABLE} to mirror this run.")
    values["mongo_url"] = without_password(values["mongo_url"])
    return MongoTarget(url) if url else None


def _sacred_run(values: dict[str, Any], comment: str | None, mongo: MongoTarget | None) -> int:
    """Runs under Sacred, recorded in files under ``local_results_path``/sacred."""
    # sacred 0.8.7 imports pkg_resources, which warns at import; setup.py keeps a setuptools that still has it.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    from sacred import SETTINGS, Experiment
    from sacred.observers import FileStorageObserver

    from epymarl_lmac.record.sacred_observer import CarefulObserver

    SETTINGS["CAPTURE_MODE"] = "no"  # the screen is live; metrics have their own file
    SETTINGS["CONFIG"]["READ_ONLY_CONFIG"] = False
    experiment = Experiment("epymarl-lmac", save_git_info=False)
    experiment.add_config(values)
    folder = Path(values["local_results_path"]).expanduser() / "sacred"
    experiment.observers.append(CarefulObserver(FileStorageObserver(folder)))

    @experiment.main
    def train(_run: Any, _config: Mapping[str, Any]) -> int:  # sacred passes by these names
        return _start({key: _config[key] for key in values}, mongo, _run)

    flags = {"--comment": comment, "--loglevel": "CRITICAL"}
    done = experiment.run(options={key: value for key, value in flags.items() if value})
    return int(done.result or 0)


def _start(values: dict[str, Any], mongo: MongoTarget | None, sacred_run: Any = None) -> int:
    from run import run
    from utils.logging import Logger, get_logger

    settings = freeze(values, method_schema(values))
    return run(settings, Logger(get_logger()), sacred_run, mongo)


def execute(argv: Sequence[str]) -> int:
    """Does what the command line says; returns the exit code.

    Args:
        argv: what follows the program's name.

    Raises:
        UserError: bad input, with its one message.
    """
    flags, updates = split_argv(argv)
    options = _parser().parse_args(flags)
    if options.list:
        print(_listing())
        return 0
    for flag, value, known in (
        ("--config", options.config, algorithms()),
        ("--env-config", options.env_config, environments()),
    ):
        if not value:
            raise SettingsError(f"{flag} is missing; choose one of: {', '.join(known)}.\nusage: {USAGE}", flag)
    values = vars(load_settings(options.config, options.env_config, updates))
    mongo = _mongo_target(values, options.mongo_db)
    if options.print_config:
        print(yaml.safe_dump(values, sort_keys=True), end="")
        return 0
    if options.no_sacred or values["evaluate"]:
        return _start(values, mongo)
    return _sacred_run(values, options.comment, mongo)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; prints a user's error as one message and returns its exit code."""
    try:
        return execute(sys.argv[1:] if argv is None else argv)
    except UserError as err:
        console_error(str(err))
        return err.exit_code


if __name__ == "__main__":
    sys.exit(main())
