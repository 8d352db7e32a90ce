"""``epymarl-lmac protocol``: show, check and compare protocols."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from epymarl_lmac.errors import BundleError, SettingsError
from epymarl_lmac.protocol.analysis.compare import Side, compare, side_of
from epymarl_lmac.protocol.analysis.profile import profile_program
from epymarl_lmac.protocol.commands.check import check_text
from epymarl_lmac.protocol.commands.samples import Played, read_samples
from epymarl_lmac.protocol.commands.tables import column_table, kind_table, pair_table, summary_table, verdict_lines
from epymarl_lmac.protocol.engine.build import Limits
from epymarl_lmac.protocol.engine.bundle import Bundle
from epymarl_lmac.protocol.engine.spec import ProtocolSpec
from epymarl_lmac.settings.command_line import split_argv

REJECTED = 1  # exit code of `check` for a text that is not accepted, and of `diff` for protocols that differ

app = typer.Typer(no_args_is_help=True, help="Shows, checks and compares protocols.")
WITH = {"allow_extra_args": True}

EnvConfig = Annotated[str | None, typer.Option(help="environment, a file in config/envs; then `with key=value ...`")]
Agents = Annotated[int | None, typer.Option(help="N, number of agents")]
Dim = Annotated[int | None, typer.Option(help="D, width of the extended observation x")]
History = Annotated[int | None, typer.Option(help="L, steps the protocol sees; absent: the current step only")]
Data = Annotated[Path | None, typer.Option(help="recorded x: .npy, or .safetensors with x; (episodes, steps, N, D)")]
Episodes = Annotated[int | None, typer.Option(help="measure on this many random episodes of --env-config")]
Json = Annotated[bool, typer.Option("--json", help="print JSON for machines")]


def _updates(argv: Sequence[str]) -> list[str]:
    """Returns the settings after ``with``."""
    before, updates = split_argv(argv)
    if before:
        raise SettingsError(f"Unexpected word {before[0]!r}; settings of the task come after `with`.", before[0])
    return updates


def _sizes(env_config: str | None, updates: Sequence[str], agents: int | None, dim: int | None) -> tuple[int, int]:
    """Returns N and D, from the environment or as given."""
    if env_config is None:
        if updates:
            raise SettingsError("Settings after `with` need --env-config.", "--env-config")
        if agents is None or dim is None:
            raise SettingsError("Give the task with --env-config ENV, or its sizes with --agents N --dim D.", "--dim")
        if agents < 1 or dim < 1:
            raise SettingsError(f"--agents {agents} and --dim {dim} must be at least 1.", "--agents")
        return agents, dim
    if agents is not None or dim is not None:
        raise SettingsError("--env-config already says --agents and --dim; give one or the other.", "--agents")
    from epymarl_lmac.settings.load import merge
    from epymarl_lmac.tasks import task_card
    from protocol_gen.build_bundle import schema_of

    values = merge("lmac_qmix", env_config, updates)
    card = task_card(values["env"], values["env_args"])
    schema = schema_of(card, values["obs_last_action"], values["obs_agent_id"])
    return schema.n_agents, schema.x_dim


def _history(history: int | None) -> int | None:
    if history is not None and history < 1:
        raise SettingsError(f"--history {history} must be at least 1.", "--history")
    return history


class _Inputs:
    """Where the inputs for profiles come from."""

    def __init__(self, env: str | None, updates: Sequence[str], data: Path | None, episodes: int | None) -> None:
        if episodes is not None and env is None:
            raise SettingsError("--episodes needs --env-config: the environment to play.", "--episodes")
        if episodes is not None and data is not None:
            raise SettingsError("Give either --data or --episodes.", "--data")
        self._data = data
        self._played = None if episodes is None or env is None else Played(env, updates, episodes)
        self.name = "" if data is None else data.name
        if self._played is not None:
            self.name = self._played.name

    def of(self, spec: ProtocolSpec, id_columns: int = 0) -> torch.Tensor | None:
        """Returns inputs for one protocol; None for synthetic ones."""
        if self._played is not None:
            return self._played.inputs(spec)
        return None if self._data is None else read_samples(self._data, spec, id_columns)


@app.command(context_settings=WITH)
def show(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="folder of a bundle")],
    env_config: EnvConfig = None,
    data: Data = None,
    episodes: Episodes = None,
    png: Annotated[Path | None, typer.Option(help="draw the exchange to this PNG")] = None,
    html: Annotated[Path | None, typer.Option(help="draw the exchange to this page")] = None,
    columns: Annotated[bool, typer.Option("--columns", help="also list every message column")] = False,
    as_json: Json = False,
) -> None:
    """Shows who tells whom what in a bundle, by protocol step. Bits are measured on synthetic data by default."""
    inputs = _Inputs(env_config, _updates(context.args), data, episodes)
    loaded = Bundle.load(bundle, None)
    schema = loaded.manifest["task_schema"]
    ids = schema["n_agents"] if schema["obs_agent_id"] else 0
    names = [f"k={k}" for k in loaded.steps]
    profiles = [profile_program(p, inputs.of(p.spec, ids), inputs.name) for p in loaded.programs]
    if png is not None or html is not None:
        from epymarl_lmac.protocol.commands.draw import draw_html, draw_png

        if png is not None:
            draw_png(profiles, names, png)
        if html is not None:
            draw_html(profiles, names, html)
    if as_json:
        entries = [{"k": k, **profile.as_dict()} for k, profile in zip(loaded.steps, profiles, strict=True)]
        typer.echo(json.dumps({"bundle": str(bundle), "task_schema": schema, "protocols": entries}))
        return
    console = Console()
    console.print(summary_table(loaded, profiles))
    for name, program, profile in zip(names, loaded.programs, profiles, strict=True):
        console.print(kind_table(name, profile))
        console.print(pair_table(name, profile))
        if columns:
            console.print(column_table(name, profile, program.spec.history))
    for path in (png, html):
        if path is not None:
            typer.echo(f"drawing: {path}")


@app.command(context_settings=WITH)
def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="text of one protocol")],
    env_config: EnvConfig = None,
    agents: Agents = None,
    dim: Dim = None,
    history: History = None,
    max_message_dim: Annotated[int | None, typer.Option(help="most numbers a receiver may get a step")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="refuse to run without every measure of isolation")] = False,
    data: Data = None,
    episodes: Episodes = None,
    as_json: Json = False,
) -> None:
    """Runs all layers on a text and explains the verdict. Exit code 0: accepted, 1: rejected, 2: wrong usage."""
    updates = _updates(context.args)
    n_agents, x_dim = _sizes(env_config, updates, agents, dim)
    spec = ProtocolSpec(n_agents, x_dim, _history(history))
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise BundleError(f"{file} cannot be read as text: {err}.") from err
    inputs = _Inputs(env_config, updates, data, episodes)
    limits = Limits(max_message_dim=max_message_dim, strict=strict)
    verdict = check_text(text, spec, limits, inputs.of(spec), inputs.name)
    if as_json:
        sizes = {"n_agents": n_agents, "x_dim": x_dim, "history": spec.history}
        typer.echo(json.dumps({"file": str(file), **sizes, **verdict.as_dict()}))
    else:
        for line in verdict_lines(verdict, file.name, spec, text):
            typer.echo(line)
        if verdict.profile is not None:
            console = Console()
            console.print(kind_table(file.name, verdict.profile))
            console.print(pair_table(file.name, verdict.profile))
    if not verdict.accepted:
        raise typer.Exit(REJECTED)


@app.command(context_settings=WITH)
def diff(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(help="a bundle's folder, or the text of one protocol")],
    b: Annotated[Path, typer.Argument(help="the same kind, or the other one")],
    k: Annotated[int | None, typer.Option(help="which protocol of a bundle a text is compared with")] = None,
    env_config: EnvConfig = None,
    agents: Agents = None,
    dim: Dim = None,
    history: History = None,
    as_json: Json = False,
) -> None:
    """Compares texts, message sizes and flow of two bundles or texts. Exit code 0: equal, 1: different.

    A text beside a bundle takes the bundle's sizes. Two texts need sizes, or only their lines are compared.
    """
    updates = _updates(context.args)
    given = env_config is not None or agents is not None or dim is not None
    sizes = _sizes(env_config, updates, agents, dim) if given else None
    sides: list[Side] = side_of(a, b, k, sizes, _history(history))
    changes = compare(*sides)
    if as_json:
        typer.echo(json.dumps({"a": str(a), "b": str(b), "protocols": [change.as_dict() for change in changes]}))
    else:
        for change in changes:
            typer.echo(change.as_text(str(a), str(b)))
    if any(change.different for change in changes):
        raise typer.Exit(REJECTED)
