"""The commands ``attach`` and ``detach``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epymarl_lmac.plugin.attach import plan_attach, plan_detach
from epymarl_lmac.plugin.changes import Plan

HostPath = Annotated[Path, typer.Argument(metavar="PATH", help="checkout of EPyMARL or PyMARL2")]
Check = Annotated[bool, typer.Option("--check", help="say what would happen and change nothing")]


def _report(plan: Plan, verb: str, check: bool) -> None:
    typer.echo(f"{plan.root} is {plan.title}")
    for change in plan.changes:
        typer.echo(f"  {change}")
    for note in plan.notes:
        typer.echo(f"  {note}")
    if plan.is_empty:
        typer.echo(f"already {verb}: nothing to change")
    elif check:
        typer.echo("nothing changed (--check)")
    else:
        plan.carry_out()
        typer.echo(verb)


def attach(
    path: HostPath,
    check: Check = False,
    prefix: Annotated[str, typer.Option(help="put before names of ours that the host has too")] = "",
) -> None:
    """Adds our algorithms and environments to a host: config files and one line, no code."""
    _report(plan_attach(path, prefix), "attached", check)


def detach(path: HostPath, check: Check = False) -> None:
    """Takes out of a host what attach added."""
    _report(plan_detach(path), "detached", check)
