"""The commands ``epymarl-lmac sc2``: maps of the battle environments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Maps of the battle environments sc2 and sc2v2.")


@app.command("maps")
def list_maps() -> None:
    """Lists the maps that come with the project."""
    from epymarl_lmac.tasks.sc2_map_file import load_map, map_names

    for name in map_names():
        battle_map = load_map(name)
        env = "sc2v2" if battle_map.is_generated else "sc2"
        teams = f"{battle_map.n_allies} against {battle_map.n_enemies}"
        typer.echo(f"{name}: {env}, {teams}, {battle_map.limit} steps, published as {battle_map.flavour}")


@app.command("check-map")
def check_map(
    file: Annotated[Path, typer.Argument(help="map file (.yaml), or the name of a map of the project")],
    png: Annotated[Path | None, typer.Option(help="also draw the map to this file")] = None,
) -> None:
    """Reads a map file, says what is wrong with it, or prints the map."""
    from epymarl_lmac.tasks.sc2_map_file import load_map

    battle_map = load_map(str(file))
    from epymarl_lmac.tasks.sc2_map_draw import as_png, as_text

    typer.echo(as_text(battle_map))
    if png is not None:
        as_png(battle_map, png)
        typer.echo(f"picture: {png}")
