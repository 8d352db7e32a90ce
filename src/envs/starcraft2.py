"""StarCraft II itself behind our settings: a thin adapter over the packages ``smac`` and ``smacv2``.

The package starts the game, gives orders and counts the episode. In the flavours ``smac`` and ``smacv2`` its
observations, state and rewards are passed on as they are. The fork that ``smac_comm`` describes is not needed: there
the package drives the game, and the interface of ``battle/`` reads the game's units, as it reads the simulator's.
``epymarl_lmac/tasks/sc2_engine.py`` says whether everything is installed.
"""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

import numpy as np

from envs.battle.actions import accepted
from envs.battle.observe import Observer
from envs.battle.reward import RUNNING, WON, Scorer
from envs.battle.table import UnitTable
from envs.battle.units import UNIT_INDEX
from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.errors import ActionError, TaskError
from epymarl_lmac.tasks.sc2_constants import SHOOT_RANGE, SIGHT_RANGE, SMAC, SMACV2, UNITS
from epymarl_lmac.tasks.sc2_engine import GENERATED_NAMES, announce, choose_engine, game_version, map_file
from epymarl_lmac.tasks.sc2_settings import Sc2Settings

_PASSED_ON = (
    "continuing_episode", "obs_all_health", "obs_own_health", "obs_last_action", "obs_pathing_grid",
    "obs_terrain_height", "obs_timestep_number", "obs_instead_of_state", "state_last_action", "state_timestep_number",
    "reward_sparse", "reward_only_positive", "reward_death_value", "reward_win", "reward_defeat",
    "reward_negative_scale", "reward_scale", "reward_scale_rate", "difficulty", "game_version",
    "step_mul", "heuristic_ai", "heuristic_rest",
)  # fmt: skip
_PASSED_ON_V2 = ("obs_own_pos", "use_unit_ranges", "min_attack_range", "conic_fov", "prob_obs_enemy", "action_mask")
_FIELDS = ("health", "health_max", "shield", "shield_max", "energy")
_STOCK_NAMES = {facts.stock_id: name for name, facts in UNITS.items()}


def make(
    env: str, *, seed: int, common_reward: bool = True, reward_scalarisation: str = "sum", **env_args: Any
) -> MultiAgentEnv:
    """Makes one game of ``sc2`` or ``sc2v2``.

    Args:
        env: "sc2" or "sc2v2".
        seed: of the game; SMACv2's own draws of teams and positions cannot be seeded.
        common_reward, reward_scalarisation: must be True and "sum": SMAC has one reward for the team.
        env_args: of the environment's yaml.

    Raises:
        TaskError: something is missing (each part is named), or the settings make no task.
    """
    if not common_reward or reward_scalarisation != "sum":
        raise TaskError(f"{env}: SMAC has one reward for the team; use common_reward=True reward_scalarisation=sum.")
    settings = Sc2Settings.from_env_args(env, env_args)
    engine = choose_engine(settings)
    if engine != "starcraft2":
        raise TaskError(f"{env}: engine={settings.engine} stands for the embedded simulator here; use runner=vector.")
    if settings.flavour == SMACV2 and settings.sight_memory != "faithful":
        raise TaskError(f"{env}: sight_memory={settings.sight_memory!r} needs engine=embedded; SMACv2 has 'faithful'.")
    announce(settings, engine)
    game = _make_game(settings, seed)
    is_native = settings.flavour == SMACV2 or (
        settings.flavour == SMAC and (settings.sight_range, settings.shoot_range) == (SIGHT_RANGE, SHOOT_RANGE)
    )
    return (NativeGame if is_native else ReadGame)(settings, game, seed)


def make_sc2(**arguments: Any) -> MultiAgentEnv:
    """Makes one game of ``sc2``; arguments and errors as ``make``."""
    return make("sc2", **arguments)


def make_sc2v2(**arguments: Any) -> MultiAgentEnv:
    """Makes one game of ``sc2v2``; arguments and errors as ``make``."""
    return make("sc2v2", **arguments)


def _make_game(settings: Sc2Settings, seed: int) -> Any:
    """Returns the package's environment for a map."""
    battle_map = settings.battle_map
    kwargs = {key: getattr(settings, key) for key in _PASSED_ON}
    amount = settings.move_amount
    kwargs |= {"seed": seed, "move_amount": int(amount) if amount.is_integer() else amount}  # SMAC adds it to indices
    if settings.flavour == SMACV2:
        kwargs |= {key: getattr(settings, key) for key in _PASSED_ON_V2}
        kwargs |= {"map_name": GENERATED_NAMES[battle_map.map_type], "capability_config": _capabilities(settings)}
        return importlib.import_module("smacv2.env.starcraft2.wrapper").StarCraftCapabilityEnvWrapper(**kwargs)
    maps = importlib.import_module("smac.env.starcraft2.maps.smac_maps")
    if battle_map.name not in maps.map_param_registry:
        _register(maps, settings)
    return importlib.import_module("smac.env").StarCraft2Env(map_name=battle_map.name, **kwargs)


def _capabilities(settings: Sc2Settings) -> dict[str, Any]:
    """Returns SMACv2's description of teams and start positions."""
    battle_map = settings.battle_map
    if battle_map.team is None or battle_map.start is None:
        raise TaskError(f"sc2v2: map {battle_map.name} draws no teams; it cannot be played by SMACv2.")
    return {
        "n_units": battle_map.n_allies,
        "n_enemies": battle_map.n_enemies,
        "team_gen": {
            "dist_type": "weighted_teams",
            "unit_types": [name.lower() for name in battle_map.team.unit_types],
            "exception_unit_types": [name.lower() for name in battle_map.team.exceptions],
            "weights": list(battle_map.team.weights),
            "observe": True,
        },
        "start_positions": {
            "dist_type": "surrounded_and_reflect",
            "p": battle_map.start.p_surround,
            "map_x": battle_map.walkable.shape[0],
            "map_y": battle_map.walkable.shape[1],
        },
    }


def _register(maps: Any, settings: Sc2Settings) -> None:
    """Tells the package of a map that it does not know: without type columns, as we read the units ourselves."""
    battle_map = settings.battle_map
    path = map_file(battle_map)
    maps.map_param_registry[battle_map.name] = {
        "n_agents": battle_map.n_allies,
        "n_enemies": battle_map.n_enemies,
        "limit": battle_map.limit,
        "a_race": battle_map.ally_race[0].upper(),
        "b_race": battle_map.enemy_race[0].upper(),
        "unit_type_bits": 0,
        "map_type": "stalkers" if battle_map.map_type == "stalkers" else "marines",
    }
    folder = path.parent.name if path else "SMAC_Maps"
    attributes = {"filename": battle_map.name, "directory": "" if folder == "Maps" else folder}
    # The game's library finds maps among the living subclasses, by name.
    setattr(maps, battle_map.name, type(battle_map.name, (maps.SMACMap,), attributes))


class NativeGame(MultiAgentEnv):
    """The package's own environment under our calling convention.

    Its observations are read once after a reset and once after a step and kept: SMACv2's reading changes its shared
    sighting memory. With the one in its own reset that makes two at a new episode and one a step, as PyMARL's runner
    has them and ``Observer.begin`` repeats them.

    Args:
        settings: the task.
        game: the package's environment.
        seed: it was made with.
    """

    has_alive = True

    def __init__(self, settings: Sc2Settings, game: Any, seed: int) -> None:
        self.settings, self.game = settings, game
        self.n_agents, self.episode_limit = settings.n_agents, settings.battle_map.limit
        self._obs: list[np.ndarray] = []  # of the current step

    @property
    def rules(self) -> str:
        """Engine with the game's version, flavour, and map with the hash of its file, for the run record."""
        settings = self.settings
        version = settings.game_version or getattr(self.game, "version", None) or game_version()
        path = map_file(settings.battle_map)
        file_hash = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path else "unknown"
        return f"starcraft2 {version}, {settings.flavour}, {settings.battle_map.name} {file_hash}"

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[list, dict]:
        """Starts an episode. ``seed`` is fixed when the game is created, so it is not used here."""
        self.game.reset()
        self._observe()
        return self.get_obs(), {}

    def step(self, actions: Any) -> tuple[list, float, bool, bool, dict]:
        """Plays one step; a refused action raises ActionError where the package would fail an assertion."""
        actions = [int(a) for a in actions]
        self._check(actions)
        reward, terminated, info = self.game.step(actions)
        is_cut = bool(info.get("episode_limit", False))
        self._observe()
        return self.get_obs(), float(reward), bool(terminated) and not is_cut, is_cut, info

    def _check(self, actions: list[int]) -> None:
        """Refuses what the game would refuse, or replaces it where the settings are not strict."""
        for i, action in enumerate(actions):
            row = self.get_avail_agent_actions(i)
            if 0 <= action < len(row) and (row[action] or self.settings.heuristic_ai):
                continue
            if self.settings.strict_actions or not 0 <= action < len(row):
                possible = ", ".join(str(a) for a, bit in enumerate(row) if bit)
                env = "sc2v2" if self.settings.flavour == SMACV2 else "sc2"
                raise ActionError(f"{env}: agent {i}: action {action} is not available; choose of {possible}.", 0, i)
            actions[i] = 0 if row[0] else 1

    def get_alive(self) -> np.ndarray:
        """Returns which agents live now, bool (N,)."""
        return np.array([self.game.agents[i].health > 0 for i in range(self.n_agents)], np.bool_)

    def _observe(self) -> None:
        self._obs = [np.asarray(row, np.float32) for row in self.game.get_obs()]

    def get_obs(self) -> list:
        return list(self._obs)

    def get_obs_size(self) -> int:
        return self.settings.obs_dim

    def get_state(self) -> np.ndarray:
        return np.asarray(self.game.get_state(), np.float32)

    def get_state_size(self) -> int:
        return self.settings.state_dim

    def get_avail_actions(self) -> list:
        return self.game.get_avail_actions()

    def get_avail_agent_actions(self, agent_id: int) -> list:
        return self.game.get_avail_agent_actions(agent_id)

    def get_total_actions(self) -> int:
        return self.settings.n_actions

    def get_stats(self) -> dict:
        return self.game.get_stats()

    def save_replay(self) -> None:
        self.game.save_replay()

    def close(self) -> None:
        self.game.close()


class ReadGame(NativeGame):
    """The game driven by the package, its units read through our interface: for what the package does not offer."""

    def __init__(self, settings: Sc2Settings, game: Any, seed: int) -> None:
        super().__init__(settings, game, seed)
        self._table = UnitTable(1, settings.n_agents, settings.n_enemies)
        self._observer = Observer(settings, self._table, seed)
        self._scorer = Scorer(settings, self._table)
        self._all_B = np.ones(1, np.bool_)
        battle_map = settings.battle_map
        rank = battle_map.ally_rank
        self._ally_names = sorted(battle_map.ally_types, key=lambda name: rank[name])  # SMAC's order of agents
        if settings.heuristic_rest:  # the package's script asks its game what an agent may do: ours has other ranges
            game.get_avail_agent_actions = self.get_avail_agent_actions

    def _read_units(self) -> None:
        """Copies the game's units into the table; the dead keep their last position."""
        n = self.n_agents
        rows = self._table.get_battle(0)
        for side, start in ((self.game.agents, 0), (self.game.enemies, n)):
            for k, unit in side.items():
                slot = start + k
                name = self._ally_names[k] if start == 0 else _STOCK_NAMES.get(unit.unit_type)
                if name is None:
                    raise TaskError(
                        f"sc2: the game has an enemy of type id {unit.unit_type}, which map "
                        f"{self.settings.battle_map.name} does not have; is the map file another one?"
                    )
                rows["unit_type"][slot] = UNIT_INDEX[name]
                rows["x"][slot], rows["y"][slot] = unit.pos.x, unit.pos.y
                for field in _FIELDS:
                    rows[field][slot] = getattr(unit, field)
                rows["cooldown"][slot] = unit.weapon_cooldown
                rows["alive"][slot] = unit.health > 0
        self._table.set_battle(0, rows)

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[list, dict]:
        self.game.reset()
        self._read_units()
        self._scorer.begin(self._all_B)
        self._observer.begin(self._all_B)
        return self.get_obs(), {}

    def step(self, actions: Any) -> tuple[list, float, bool, bool, dict]:
        """Plays one step; reward and end are computed from the game's units by our rules."""
        actions_BN = accepted(self._observer, np.asarray(actions).reshape(1, -1), self._all_B, "sc2")
        _, _, game_info = self.game.step(actions_BN[0].tolist())
        if not game_info:  # the connection was lost and the game restarted
            self._read_units()
            self._observer.observe(self._all_B)
            return self.get_obs(), 0.0, True, False, {}
        self._read_units()
        observer = self._observer
        observer.last_BN[:] = actions_BN
        observer.clock_B += 1
        outcome = self._scorer.score(self._all_B)
        observer.observe(self._all_B)
        code = int(outcome.code_B[0])
        is_timeout = code == RUNNING and bool(observer.clock_B[0] >= self.episode_limit)
        is_cut = is_timeout and self.settings.continuing_episode
        is_over = code != RUNNING or (is_timeout and not is_cut)
        info: dict[str, Any] = {"battle_won": code == WON}
        if is_cut:
            info["episode_limit"] = True
        return self.get_obs(), float(outcome.reward_B[0]), is_over, is_cut, info

    def get_alive(self) -> np.ndarray:
        n = self.n_agents
        return self._table.alive[0, :n] & (self._table.health[0, :n] > 0)

    def get_obs(self) -> list:
        return list(self._observer.obs_BNO[0].copy())

    def get_state(self) -> np.ndarray:
        return self._observer.state_BS[0].copy()

    def get_avail_actions(self) -> list:
        return self._observer.avail_BNA[0].tolist()

    def get_avail_agent_actions(self, agent_id: int) -> list:
        return self._observer.avail_BNA[0, agent_id].tolist()
