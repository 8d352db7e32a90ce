"""The command ``epymarl-lmac compare``."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epymarl_lmac.errors import RecordError, SettingsError

if TYPE_CHECKING:
    from epymarl_lmac.compare.launch import Launcher
    from epymarl_lmac.compare.live import LiveTable
    from epymarl_lmac.compare.places import Place
    from epymarl_lmac.compare.plan import Cell
    from epymarl_lmac.compare.results import Comparison
    from epymarl_lmac.compare.schedule import Schedule

CONTEXT = {"allow_extra_args": True}
STOPPED_CODE = 130


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    algs: list[str]
    envs: list[str]
    seeds: list[int]
    t_max: int
    updates: list[str]
    out: Path
    jobs: int  # 0: as many as there is room for
    place: Place
    gpus: list[str]
    key: str
    also: list[Path]
    sacred: list[tuple[str, Path]]  # environment of the plan, folder of Sacred runs
    allow_unfair: bool
    threshold: float | None
    trials: dict[str, str]


def compare(
    context: typer.Context,
    algs: Annotated[str, typer.Option(help="algorithms, separated by commas")],
    envs: Annotated[str, typer.Option(help="environments, ENV or ENV:TASK, separated by commas")],
    t_max: Annotated[str, typer.Option(help="steps of every run, e.g. 2M")],
    seeds: Annotated[str, typer.Option(help="number of seeds, or a list such as 1,2,7")] = "5",
    out: Annotated[Path, typer.Option(help="folder of the comparison")] = Path("results/compare"),
    jobs: Annotated[int, typer.Option(help="runs at a time; 0: one a core, or what the cluster holds", min=0)] = 0,
    gpus: Annotated[str, typer.Option(help="devices to share out, e.g. 0,1; one run at a time each")] = "",
    ray: Annotated[bool, typer.Option("--ray", help="run on a Ray that is started on this machine")] = False,
    cluster: Annotated[str, typer.Option(help="run on this Ray cluster, ray://HOST:10001 or HOST:6379")] = "",
    slurm: Annotated[bool, typer.Option("--slurm", help="run as Slurm jobs, through submitit")] = False,
    slurm_option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for Slurm; may be repeated")] = None,
    cpus_per_run: Annotated[int, typer.Option(help="cores of a run on a cluster", min=1)] = 1,
    gpus_per_run: Annotated[float, typer.Option(help="GPUs of a run on a cluster; on Ray also 0.25", min=0)] = 0.0,
    key: Annotated[str, typer.Option(help="metric to compare")] = "test_return_mean",
    also: Annotated[list[Path] | None, typer.Option(help="further folder of runs to use; may be repeated")] = None,
    sacred: Annotated[list[str] | None, typer.Option(help="ENV=FOLDER of EPyMARL or PyMARL2 Sacred runs")] = None,
    allow_unfair: Annotated[bool, typer.Option(help="run what is not comparable and mark the page")] = False,
    threshold: Annotated[float | None, typer.Option(help="level for times; default: 90 % of the best mean")] = None,
    trials: Annotated[str, typer.Option(help="trials spent on tuning, e.g. qmix=0,lmac_qmix=12")] = "",
    calibration: Annotated[bool, typer.Option(help="forecast time and disk from short runs first")] = True,
    dry_run: Annotated[bool, typer.Option(help="show plan and forecast, and leave")] = False,
    page_only: Annotated[bool, typer.Option(help="make the page of the runs there are, and leave")] = False,
) -> None:
    """Compares algorithms: runs what is missing, then writes a page. Settings for all runs: with key=value ..."""
    from epymarl_lmac.compare import plan
    from epymarl_lmac.compare.places import choose_place

    devices = [gpu for gpu in gpus.split(",") if gpu]
    options = Options(
        algs=plan.parse_names(algs, "--algs"),
        envs=plan.parse_names(envs, "--envs"),
        seeds=plan.parse_seeds(seeds),
        t_max=plan.parse_steps(t_max),
        updates=_updates(context.args),
        out=out.expanduser().absolute(),
        jobs=jobs or len(devices),
        place=choose_place(ray, cluster, slurm, slurm_option or [], cpus_per_run, gpus_per_run, devices),
        gpus=devices,
        key=key,
        also=_folders(also or []),
        sacred=_sacred(sacred or []),
        allow_unfair=allow_unfair,
        threshold=_finite(threshold),
        trials=_trials(trials),
    )
    raise typer.Exit(_compare(options, calibration, dry_run, page_only))


def _updates(argv: Sequence[str]) -> list[str]:
    """Returns the settings for all runs."""
    from epymarl_lmac.settings.command_line import split_argv

    stray, updates = split_argv(argv)
    if stray:
        raise SettingsError(
            f"{stray[0]!r} is not understood; settings for all runs come after the word 'with', and the address of a "
            "Ray cluster after --cluster."
        )
    return list(updates)


def _sacred(texts: Sequence[str]) -> list[tuple[str, Path]]:
    pairs = [text.partition("=") for text in texts]
    if any(not equals or not env or not folder for env, equals, folder in pairs):
        raise SettingsError(
            f"--sacred {' '.join(texts)!r}: write ENV=FOLDER, e.g. lbf=~/epymarl/results/sacred.", "--sacred"
        )
    return [(env, Path(folder).expanduser()) for env, _, folder in pairs]


def _folders(paths: Sequence[Path]) -> list[Path]:
    folders = [path.expanduser() for path in paths]
    for folder in folders:
        if not folder.is_dir():
            raise SettingsError(f"--also {folder} is no folder; give a folder that holds folders of runs.", "--also")
    return folders


def _finite(threshold: float | None) -> float | None:
    if threshold is not None and not math.isfinite(threshold):
        raise SettingsError(f"--threshold {threshold} is no level; give a number such as 0.9.", "--threshold")
    return threshold


def _refuse_other_trials(options: Options) -> None:
    """Raises SettingsError if trials are stated for an algorithm that is not compared."""
    from epymarl_lmac.compare.sacred_folders import read_sacred

    others = set(options.trials) - set(options.algs)
    if others:  # of foreign runs the records alone know the algorithm
        foreign = {run.alg for env, folder in options.sacred for run in read_sacred(folder, env, options.key)}
        known = list(dict.fromkeys([*options.algs, *sorted(foreign)]))
        for alg in sorted(others - foreign):
            raise SettingsError(
                f"--trials {alg}={options.trials[alg]}: {alg!r} is not compared; algorithms here are: "
                f"{', '.join(known)}.",
                "--trials",
            )


def _trials(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if any(not equals or not number.isdigit() for _, equals, number in pairs):
        raise SettingsError(f"--trials {text!r}: write e.g. qmix=0,lmac_qmix=12.", "--trials")
    return {alg: number for alg, _, number in pairs}


def _compare(options: Options, calibration: bool, dry_run: bool, page_only: bool) -> int:
    """Does the work; returns the exit code."""
    from epymarl_lmac.checkpoint import RunLock
    from epymarl_lmac.compare import fairness, plan
    from epymarl_lmac.compare.live import LiveTable, summary_line
    from epymarl_lmac.compare.schedule import Schedule, State

    for env, folder in options.sacred:
        if env not in options.envs or not folder.is_dir():
            raise SettingsError(
                f"--sacred {env}={folder}: {env!r} must be one of --envs and the folder must exist.", "--sacred"
            )
    _refuse_other_trials(options)
    cells = plan.make_plan(options.algs, options.envs, options.seeds, options.t_max, options.updates)
    for difference in fairness.require_fair(cells, options.allow_unfair):
        typer.echo(f"unfair: {difference}")
    if page_only:
        return _write_page(options, cells, {})
    _make_folder(options.out)
    lock = RunLock(options.out)
    try:
        with LiveTable() as screen:
            schedule = Schedule(cells, options.out, options.gpus, options.key, options.also, screen.line)
            for sentence in schedule.look():
                screen.line(f"warning: {sentence}")
            stopped = _run(options, schedule, calibration, dry_run, screen)
            screen.line(summary_line(schedule.tasks))
            if dry_run:
                return 0
        failures = {task.cell.name: task.error for task in schedule.tasks if task.state is State.FAILED}
        code = _write_page(options, cells, failures)
        if stopped:
            typer.echo("stopped; the same command goes on from here")
            return STOPPED_CODE
        return 1 if failures else code
    finally:
        lock.release()


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise RecordError(f"Cannot make {out}: {err.strerror}; choose another --out.") from err


def _run(options: Options, schedule: Schedule, calibration: bool, dry_run: bool, screen: LiveTable) -> bool:
    """Forecasts and runs what is not done; returns whether a signal ended it early."""
    from epymarl_lmac.compare.places import make_launcher
    from epymarl_lmac.compare.schedule import State

    n_left = len(schedule.tasks) - schedule.count(State.DONE)
    if not n_left or (dry_run and not calibration):
        return False
    launcher = make_launcher(options.place, options.out, options.jobs)
    try:
        jobs = options.jobs or launcher.capacity(n_left)
        if calibration:
            _forecast(schedule, options, launcher, jobs, screen.line)
        return False if dry_run else schedule.run(launcher, jobs, screen.show)
    finally:
        launcher.close()


def _forecast(schedule: Schedule, options: Options, launcher: Launcher, jobs: int, say: Callable[[str], None]) -> None:
    """Shows what is still to come; refuses a plan that the disk cannot hold."""
    from epymarl_lmac.compare import forecast
    from epymarl_lmac.compare.schedule import State
    from epymarl_lmac.record.screen import duration

    tasks = [task for task in schedule.tasks if task.state is not State.DONE]
    costs = forecast.calibrate([task.cell for task in tasks], options.out, jobs, say, options.gpus, launcher)
    for name, cost in costs.items():
        say(f"  {name}: {cost.steps_per_s:,.0f} steps/s, {cost.test_s:.1f} s a test")
    left = [(task.cell, max(0, task.cell.t_max - task.progress.t_env)) for task in tasks]
    found = forecast.forecast(left, costs, jobs, forecast.free_bytes(options.out))
    say(
        f"forecast: {len(left)} runs, {jobs} at a time, about {duration(found.wall_s)} (h:mm:ss or m:ss), "
        f"{found.disk_bytes / 1e6:,.0f} MB of {found.free_bytes / 1e6:,.0f} MB free"
    )
    if not found.fits:
        raise RecordError(
            f"The runs need about {found.disk_bytes / 1e6:,.0f} MB, {options.out} has {found.free_bytes / 1e6:,.0f} MB "
            "free; make room, choose another --out, or set save_model=False (a killed run then starts anew)."
        )


def command_line(options: Options) -> str:
    """Returns the command that makes this comparison."""
    words = ["epymarl-lmac", "compare", "--algs", ",".join(options.algs), "--envs", ",".join(options.envs)]
    words += ["--seeds", ",".join(map(str, options.seeds)) + ("," if len(options.seeds) == 1 else "")]
    words += ["--t-max", str(options.t_max)]
    if options.key != "test_return_mean":
        words += ["--key", options.key]
    words += [word for folder in options.also for word in ("--also", str(folder))]
    words += [word for env, folder in options.sacred for word in ("--sacred", f"{env}={folder}")]
    words += ["--threshold", str(options.threshold)] if options.threshold is not None else []
    words += ["--trials", ",".join(f"{alg}={n}" for alg, n in options.trials.items())] if options.trials else []
    words += ["--allow-unfair"] if options.allow_unfair else []
    words += ["with", *options.updates] if options.updates else []
    return shlex.join(words)


def _write_page(options: Options, cells: Sequence[Cell], failures: dict[str, list[str]]) -> int:
    """Writes the page and the tables; returns the exit code, 1 where complete runs could not be used for any page."""
    from epymarl_lmac.compare.gather import gather
    from epymarl_lmac.compare.page import write_page
    from epymarl_lmac.compare.results import summarise
    from epymarl_lmac.compare.sacred_folders import read_sacred
    from epymarl_lmac.compare.tables import write_tables

    foreign = [run for env, folder in options.sacred for run in read_sacred(folder, env, options.key)]
    comparison = gather(cells, [options.out / "runs", *options.also], options.key, failures, foreign)
    comparison.threshold, comparison.trials = options.threshold, options.trials
    comparison.commands = [command_line(options)]
    if not comparison.curves:
        return _say_why_no_page(comparison)
    _make_folder(options.out)
    summary = summarise(comparison)
    for path in [write_page(comparison, summary, options.out), *write_tables(comparison, summary, options.out)]:
        typer.echo(f"written: {path}")
    return 0


def _say_why_no_page(comparison: Comparison) -> int:
    """Names every run that is missing, with the last line of its reason; returns the exit code."""
    from epymarl_lmac.compare.gather import DAMAGED

    unusable = any(state == DAMAGED for _, state, _ in comparison.unfinished)
    typer.echo("no complete run can be used: no page" if unusable else "no run is complete yet: no page")
    for sentence in comparison.notes:
        typer.echo(f"  {sentence}")
    for name, state, lines in comparison.unfinished:
        typer.echo(f"  {name}: {state}" + (f": {lines[-1]}" if lines else ""))
    return 1 if unusable else 0
