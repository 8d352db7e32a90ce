"""Which engine plays a battle: StarCraft II where all of it is there, else the embedded simulator.

Looks at files and installed packages only: nothing of the game or its packages is imported here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.sc2_map import BattleMap
from epymarl_lmac.tasks.sc2_settings import SCRIPT, Sc2Settings

SMAC_SOURCE = "git+https://github.com/oxwhirl/smac.git"
SMACV2_SOURCE = "git+https://github.com/oxwhirl/smacv2.git"
MAPS_ADVICE = {
    "smac": "copy SMAC_Maps from the folder smac/env/starcraft2/maps of https://github.com/oxwhirl/smac",
    "smac_comm": "copy the map from the folder src/smac_plus/sc2_maps of https://github.com/TonghanWang/NDQ or of "
    "https://github.com/SaaangJun/LMAC",
    "smacv2": "copy SMAC_Maps from the release of https://github.com/oxwhirl/smacv2",
}
GENERATED_NAMES = {"terran_gen": "10gen_terran", "protoss_gen": "10gen_protoss", "zerg_gen": "10gen_zerg"}
GENERATED_FILE = "32x32_flat"  # the map that SMACv2 plays all of them on
_log = logging.getLogger("epymarl_lmac.sc2")
_announced: set[str] = set()


@dataclass(frozen=True)
class Part:
    """One thing that StarCraft II needs."""

    name: str
    found: str | None  # what is there, None where it is missing
    advice: str  # how to get it


def game_folder() -> Path:
    """Folder of StarCraft II: ``SC2PATH``, or where the game's own library looks by default."""
    return Path(os.environ.get("SC2PATH") or Path.home() / "StarCraftII")


def game_version() -> str | None:
    """Returns the newest installed version's folder, e.g. ``Base75689``, or None."""
    versions = game_folder() / "Versions"
    bases = [
        path
        for path in (versions.glob("Base*") if versions.is_dir() else [])
        if any((path / name).exists() for name in ("SC2_x64", "SC2_x64.exe", "SC2.app", "SC2.exe"))
    ]
    return max(bases, key=lambda path: int(re.sub(r"\D", "", path.name) or 0)).name if bases else None


def package_folder(name: str) -> Path | None:
    """Returns the folder of an installed package without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _game() -> Part:
    version = game_version()
    found = f"{game_folder()} ({version})" if version else None
    where = (
        f"SC2PATH={os.environ['SC2PATH']!r}" if os.environ.get("SC2PATH") else f"SC2PATH is not set; {game_folder()}"
    )
    return Part(
        "StarCraft II",
        found,
        f"{where} holds no Versions/Base*/SC2_x64; unpack a Linux package of "
        "https://github.com/Blizzard/s2client-proto and set SC2PATH to its StarCraftII folder",
    )


def _smac(name: str) -> Part:
    """Looks for the package ``smac`` or ``smacv2``, and tells SMAC from the tuner of the same name."""
    folder = package_folder(name)
    source = SMAC_SOURCE if name == "smac" else SMACV2_SOURCE
    if folder is not None and (folder / "env" / "starcraft2" / "starcraft2.py").is_file():
        return Part(f"package {name}", str(folder), "")
    if folder is not None and (folder / "facade").is_dir():
        advice = (
            f"the installed package smac {_version('smac') or ''} is another project, a tuner of hyperparameters that "
            f"has the name in the Python index; pip uninstall smac and pip install {source}"
        )
    elif folder is not None:
        advice = f"{folder} is no StarCraft II environment; pip uninstall {name} and pip install {source}"
    else:
        other = " (not 'pip install smac', which is another project)" if name == "smac" else ""
        advice = f"pip install {source}{other}"
    return Part(f"package {name}", None, advice)


def _protobuf() -> Part:
    """The game's generated messages do not load with protobuf 3.21 and later unless its slow form is chosen."""
    version = _version("protobuf")
    if version is None:
        return Part("protobuf", None, "pip install 'protobuf<3.21'")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    is_slow = os.environ.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION") == "python"
    if numbers < (3, 21) or is_slow:
        return Part("protobuf", version, "")
    advice = (
        f"protobuf {version} cannot load the game's messages; pip install 'protobuf<3.21', or set "
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python"
    )
    return Part("protobuf", None, advice)


def _library(name: str) -> Part:
    folder = package_folder(name)
    return Part(f"package {name}", str(folder) if folder else None, f"pip install {name}")


def _file_name(battle_map: BattleMap) -> str:
    return (GENERATED_FILE if battle_map.is_generated else battle_map.name) + ".SC2Map"


def map_file(battle_map: BattleMap) -> Path | None:
    """Returns the game's file of a map, or None where it is not in the Maps folder."""
    maps = game_folder() / "Maps"
    found = sorted(maps.rglob(_file_name(battle_map))) if maps.is_dir() else []
    return found[0] if found else None


def _map(battle_map: BattleMap) -> Part:
    path = map_file(battle_map)
    return Part(
        f"map {_file_name(battle_map)}",
        str(path) if path else None,
        f"{MAPS_ADVICE[battle_map.flavour]} to {game_folder() / 'Maps'}",
    )


def parts(env: str = "sc2", battle_map: BattleMap | None = None) -> list[Part]:
    """Returns everything that StarCraft II needs for ``sc2`` or ``sc2v2``, found or missing.

    Args:
        env: the environment.
        battle_map: the map that is to be played; None looks for no map.
    """
    found = [_game(), _smac("smacv2" if env == "sc2v2" else "smac"), _library("pysc2"), _library("s2clientprotocol")]
    found.append(_protobuf())
    return found if battle_map is None else [*found, _map(battle_map)]


def doctor_rows() -> dict[str, str]:
    """Returns what there is of StarCraft II, one line a part, for ``epymarl-lmac doctor``."""
    rows: dict[str, str] = {}
    for part in [*parts("sc2"), _smac("smacv2")]:
        rows[f"StarCraft II, {part.name}"] = part.found or f"MISSING: {part.advice}"
    maps = game_folder() / "Maps"
    n_maps = len(list(maps.rglob("*.SC2Map"))) if maps.is_dir() else 0
    rows["StarCraft II, maps"] = f"{n_maps} in {maps}" if n_maps else f"MISSING: {MAPS_ADVICE['smac']} to {maps}"
    is_ready = all(part.found for part in parts("sc2")) and n_maps > 0
    rows["StarCraft II, engine of sc2 (auto)"] = "starcraft2" if is_ready else "embedded"
    return rows


def env_of(settings: Sc2Settings) -> str:
    """Returns the environment that settings belong to."""
    return "sc2v2" if settings.battle_map.is_generated else "sc2"


def choose_engine(settings: Sc2Settings) -> str:
    """Returns the engine that plays a task, "embedded" or "starcraft2"; an opponent of ours needs the first.

    Raises:
        TaskError: StarCraft II is asked for and something of it is missing; the message names each part and how to get
            it.
    """
    if settings.engine == "embedded" or settings.opponent != SCRIPT:
        return "embedded"
    env = env_of(settings)
    missing = [part for part in parts(env, settings.battle_map) if part.found is None]
    if not missing:
        return "starcraft2"
    if settings.engine == "auto":
        if settings.game_version is not None:
            raise TaskError(
                f"{env}: game_version={settings.game_version!r} needs StarCraft II, of which "
                f"{', '.join(part.name for part in missing)} is missing; engine=starcraft2 says how to get it."
            )
        return "embedded"
    lines = "".join(f"\n  {part.name}: {part.advice}." for part in missing)
    raise TaskError(f"{env}: engine=starcraft2, but something is missing:{lines}\nengine=embedded needs none of it.")


def form(env: str, env_args: Mapping[str, Any]) -> Literal["batched", "single"]:
    """Returns "batched" for the embedded engine and "single" for StarCraft II, which plays one battle a process.

    Raises:
        TaskError: as ``choose_engine``, or the arguments make no task.
    """
    return "batched" if choose_engine(Sc2Settings.from_env_args(env, env_args)) == "embedded" else "single"


def sc2_form(env_args: Mapping[str, Any]) -> Literal["batched", "single"]:
    """Returns how a task of ``sc2`` is built, see ``form``."""
    return form("sc2", env_args)


def sc2v2_form(env_args: Mapping[str, Any]) -> Literal["batched", "single"]:
    """Returns how a task of ``sc2v2`` is built, see ``form``."""
    return form("sc2v2", env_args)


def announce(settings: Sc2Settings, engine: str) -> None:
    """Logs once a process which engine plays a map."""
    battle_map = settings.battle_map
    text = f"{env_of(settings)}: {battle_map.name} is played by "
    text += "StarCraft II" if engine == "starcraft2" else "the embedded battle simulator"
    text += f" (engine={settings.engine}), interface {settings.flavour}, map {battle_map.hash()[:12]}"
    if text not in _announced:
        _announced.add(text)
        _log.info(text)
