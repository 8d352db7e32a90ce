"""The commands ``epymarl-lmac sync`` and ``epymarl-lmac runs``."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Annotated, Any

import typer

from epymarl_lmac.errors import RecordError, SettingsError

RESULTS = Path("results")
runs = typer.Typer(no_args_is_help=True, help="Lists, removes and exports recorded runs.")
Url = Annotated[str, typer.Option("--mongo", "-m", envvar="EPYMARL_LMAC_MONGO_URL", help="MongoDB address")]
Root = Annotated[Path, typer.Option(help="folder of runs")]


def sync(
    results: Annotated[Path, typer.Argument(help="folder of runs")] = RESULTS,
    mongo: Url = "",
    every: Annotated[bool, typer.Option(help="send all runs, not only those that are marked as missing")] = False,
) -> None:
    """Sends to MongoDB what it lacks of recorded runs."""
    from epymarl_lmac.record.mongo import URL_VARIABLE, MongoTarget
    from epymarl_lmac.record.mongo import sync as send

    if not mongo:
        raise SettingsError(f"Give the MongoDB address with --mongo or in {URL_VARIABLE}.", "--mongo")
    if not results.is_dir():
        raise RecordError(f"{results} is no folder; give the folder under which runs are recorded.")
    target = MongoTarget(mongo)
    try:
        arrived, lacking = send(target, results, typer.echo, every)
    except RecordError:
        raise
    except Exception as err:  # pymongo has many classes for a server that is away
        raise RecordError(
            f"MongoDB at {target.name} cannot be reached ({type(err).__name__}); try again later."
        ) from err
    finally:
        target.close()
    typer.echo(f"{arrived} runs sent whole" + (f", {lacking} not" if lacking else ""))
    raise typer.Exit(1 if lacking else 0)


def _matches(run: dict[str, Any], where: list[str]) -> bool:
    for condition in where:
        key, equals, value = condition.partition("=")
        if not equals:
            raise SettingsError(f"--where {condition!r} is not of the form key=value, e.g. task=lookout or lr=0.001.")
        known = {**run.get("settings", {}), **run}
        if str(known.get(key)) != value:
            return False
    return True


def _line(run: dict[str, Any], status: str, where: str) -> str:
    metrics = run.get("end_metrics")
    value = metrics.get("test_return_mean") if isinstance(metrics, dict) else None
    shown = f"{value:.3f}" if isinstance(value, (int, float)) else ""
    steps = f"{run.get('t_env') or 0:,}"
    algorithm, task, seed = (str(run.get(key, "?")) for key in ("algorithm", "task", "seed"))
    return f"{status:9} {algorithm:16} {task:28} {seed:>5} {steps:>12} {shown:>8}  {where}"


@runs.command("list")
def list_runs(
    results: Root = RESULTS,
    where: Annotated[list[str] | None, typer.Option(help="key=value that must hold; may be repeated")] = None,
    status: Annotated[str, typer.Option(help="running, finished, stopped, failed or dead")] = "",
    mongo: Annotated[str, typer.Option("--mongo", "-m", help="list this MongoDB's runs instead")] = "",
) -> None:
    """Lists runs: status, algorithm, task, seed, steps, last test return, folder."""
    from epymarl_lmac.record.status import STATES

    if status and status not in STATES:
        raise SettingsError(f"--status {status!r} is none of: {', '.join(STATES)}.", "--status")
    found = _mongo_runs(mongo) if mongo else _file_runs(results)
    for run, state, place in found:
        if (not status or state == status) and _matches(run, where or []):
            typer.echo(_line(run, state, place))


def _file_runs(results: Path) -> list[tuple[dict[str, Any], str, str]]:
    from epymarl_lmac.compare.records import read_records

    if not results.is_dir():
        raise RecordError(
            f"--results {results}: there is no such folder; give the folder under which runs are recorded."
        )
    records, damaged = read_records([results])
    for sentence in damaged:
        typer.echo(f"warning: {sentence}", err=True)
    return [(record.run, record.status, str(record.folder)) for record in records]


def _mongo_runs(url: str) -> list[tuple[dict[str, Any], str, str]]:
    from epymarl_lmac.record.mongo import MongoTarget

    target = MongoTarget(url)
    try:
        return target.runs()
    except Exception as err:
        raise RecordError(
            f"MongoDB at {target.name} cannot be reached ({type(err).__name__}); try again later."
        ) from err
    finally:
        target.close()


def _run_folder(folder: Path) -> Path:
    """Returns a folder that holds a run nobody works in.

    Raises:
        RecordError: it is no run's folder, the run is in progress, or its lock cannot be read.
    """
    from epymarl_lmac.record.provenance import read_run
    from epymarl_lmac.record.status import is_in_use

    read_run(folder)
    if is_in_use(folder):
        raise RecordError(f"{folder} is in use by a running process; stop the run first.")
    return folder


@runs.command("rm")
def remove(
    folders: Annotated[list[Path], typer.Argument(help="run folders")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Removes runs and everything in their folders; what MongoDB has stays there."""
    once = {folder.resolve(): folder for folder in reversed(folders)}  # a folder may be given twice
    checked = [_run_folder(folder) for folder in reversed(once.values())]
    if not yes:
        typer.confirm(f"Remove {len(checked)} runs for good?", abort=True)
    for folder in checked:
        try:
            shutil.rmtree(folder)
        except OSError as err:
            raise RecordError(
                f"Cannot remove {folder}: {err.strerror or err} ({err.filename or folder}); part of it may be gone. "
                "Make it writable and remove it again."
            ) from err
        typer.echo(f"removed: {folder}")


@runs.command("export")
def export(
    folders: Annotated[list[Path], typer.Argument(help="run folders")],
    out: Annotated[Path, typer.Option(help="archive to write, .tar.gz")] = Path("runs.tar.gz"),
    checkpoints: Annotated[bool, typer.Option(help="include checkpoints, which hold the replay buffer")] = False,
) -> None:
    """Writes runs to one archive, without checkpoints unless asked."""
    from epymarl_lmac.checkpoint import LOCK
    from epymarl_lmac.record.files import whole_file

    checked = [_run_folder(folder) for folder in folders]
    with whole_file(out) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for folder in checked:
            for path in sorted(folder.iterdir()):
                if path.name != LOCK and (checkpoints or not path.name.startswith("checkpoint")):
                    archive.add(path, arcname=f"{folder.name}/{path.name}")
    typer.echo(f"written: {out}")
