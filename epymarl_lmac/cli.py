"""The command ``epymarl-lmac``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from epymarl_lmac import __version__
from epymarl_lmac.compare import cli as compare_cli
from epymarl_lmac.errors import UserError
from epymarl_lmac.paths import config_root, make_host_importable, protocols_root, source_root
from epymarl_lmac.plugin import cli as plugin_cli
from epymarl_lmac.protocol.commands.cli import app as protocol_app
from epymarl_lmac.record import cli as record_cli
from epymarl_lmac.sc2_cli import app as sc2_app

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Communication in cooperative multi-agent RL.")

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _host_main() -> Callable[[list[str]], int]:
    """Returns the host's command line, with the host's folders importable."""
    make_host_importable()
    import main as host

    return host.execute


@app.command(context_settings=PASS_ON)
def train(context: typer.Context) -> None:
    """Trains: --config=ALG --env-config=ENV [with key=value ...], or --resume RUN [with key=value ...]."""
    argv = list(context.args)
    if argv and argv[0] == "--resume":
        argv = _resume_argv(argv[1:])
    raise typer.Exit(_host_main()(argv))


def _resume_argv(argv: list[str]) -> list[str]:
    """Returns the host's command line that continues a recorded run with its own settings."""
    from epymarl_lmac.errors import SettingsError
    from epymarl_lmac.record.provenance import read_run
    from epymarl_lmac.settings import recorded_run
    from epymarl_lmac.settings.command_line import assignment, split_argv

    flags, extra = split_argv(argv)
    if not flags:
        raise SettingsError("--resume needs the folder of a run.", "--resume")
    folder, *options = flags
    alg, env, values = recorded_run(read_run(folder)["settings"])
    updates = [assignment(key, value) for key, value in {**values, "checkpoint_path": folder}.items()]
    return [f"--config={alg}", f"--env-config={env}", *options, "with", *updates, *extra]


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="folder of a run")],
    controls: Annotated[bool, typer.Option("--controls", help="also with messages zeroed, shuffled, late")] = False,
    episodes: Annotated[int, typer.Option(min=2, help="test episodes of every row")] = 100,
    checkpoint: Annotated[int | None, typer.Option(help="saved step; the last if not given")] = None,
    sender: Annotated[int, typer.Option(min=0, help="agent whose messages one control exchanges")] = 0,
    delay: Annotated[int, typer.Option(min=1, help="steps by which another control delays messages")] = 1,
) -> None:
    """Plays a run's networks in tests: return, score and interval; with --controls, what messages are worth."""
    make_host_importable()
    from evaluation import Request, evaluate_run, report

    for line in report(evaluate_run(Request(run, episodes, checkpoint, controls, sender, delay))):
        typer.echo(line)


@app.command()
def play(
    run: Annotated[Path, typer.Argument(help="folder of a run")],
    out: Annotated[Path, typer.Option(help="picture to write: .gif of all steps, or .png of one")],
    episodes: Annotated[int, typer.Option(min=1, help="test episodes played")] = 3,
    checkpoint: Annotated[int | None, typer.Option(help="saved step; the last if not given")] = None,
    frame_ms: Annotated[int, typer.Option(min=20, help="milliseconds a step is shown")] = 250,
    size: Annotated[int, typer.Option(min=100, max=2000, help="pixels of the longer side")] = 480,
    still: Annotated[int | None, typer.Option(min=0, help="step of the first episode that a .png shows")] = None,
) -> None:
    """Plays a run's networks and draws them: places, attacks, and messages as arrows as wide as their bits."""
    make_host_importable()
    from playing import Request, play_run

    for line in play_run(Request(run, out, episodes, checkpoint, frame_ms, size, still)):
        typer.echo(line)


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="run folders")],
    key: Annotated[str, typer.Option(help="figure to draw")] = "test_return_mean",
    out: Annotated[Path, typer.Option(help="folder to write to")] = Path(),
) -> None:
    """Draws learning curves to a PNG and an HTML page."""
    from epymarl_lmac.record.plot import plot_runs

    for path in plot_runs(runs, key, out):
        typer.echo(f"curve: {path}")


@app.command("check-env", context_settings=PASS_ON)
def check_env(context: typer.Context) -> None:
    """Checks an environment against what runners rely on: ENV or module:Class [with env_args.key=value ...]."""
    make_host_importable()
    from envs.check_command import run

    raise typer.Exit(run(list(context.args)))


@app.command()
def doctor() -> None:
    """Says what this installation has and lacks."""
    import torch

    from epymarl_lmac.learning import products
    from epymarl_lmac.protocol.engine.sandbox import detect
    from epymarl_lmac.record.provenance import git_state, machine, package_versions
    from epymarl_lmac.tasks.sc2_engine import doctor_rows

    products.use(products.AUTO, torch.get_num_threads())  # what a run would choose
    lines = {**machine(), "torch threads": torch.get_num_threads(), **package_versions()}
    lines |= {"source": source_root(), "config": config_root(), "protocols": protocols_root()}
    lines |= {f"git {key}": value for key, value in git_state().items()}
    lines |= {f"protocol child, {key}": "in force" if ok else "MISSING" for key, ok in detect().items()}
    lines |= doctor_rows()
    for key, value in lines.items():
        typer.echo(f"{key}: {value if value is not None else 'absent'}")


@app.command()
def version() -> None:
    """Prints the version."""
    typer.echo(__version__)


app.command(context_settings=compare_cli.CONTEXT)(compare_cli.compare)
app.command()(record_cli.sync)
app.add_typer(record_cli.runs, name="runs")
app.command()(plugin_cli.attach)
app.command()(plugin_cli.detach)
app.add_typer(sc2_app, name="sc2")
app.add_typer(protocol_app, name="protocol")


def main() -> int:
    """Runs the command line; a user's error is one message and its exit code."""
    from epymarl_lmac.record.screen import console_error

    try:
        code = app(standalone_mode=False)
    except UserError as err:
        console_error(str(err))
        return err.exit_code
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return 130
    except Exception as err:
        if hasattr(err, "format_message"):  # click's usage errors
            console_error(err.format_message())
            return int(getattr(err, "exit_code", 2))
        raise
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
