"""StarCraft II micromanagement on the embedded battle simulator, for many battles at once.

``battle/simulator.py`` moves the units, ``battle/observe.py``, ``reward.py`` and ``actions.py`` are SMAC's interface
to them. ``starcraft2.py`` beside this file drives the game itself, where it is installed, behind the same settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.batched import BatchedEnv, StepResult
from envs.battle.actions import OrderBook, accepted
from envs.battle.observe import Observer
from envs.battle.orders import COMMANDED
from envs.battle.reward import RUNNING, WON, Scorer
from envs.battle.rival import Rival
from envs.battle.scripted_team import ScriptedTeam
from envs.battle.simulator import Orders, Simulator
from envs.battle.units import UNIT_NAMES
from envs.saved_arrays import check, restore, saved
from envs.scene import AGENT, OTHER, Body, Scene
from epymarl_lmac.errors import TaskError
from epymarl_lmac.seeding import derive_seed
from epymarl_lmac.tasks.sc2_constants import SMAC_COMM
from epymarl_lmac.tasks.sc2_engine import announce, choose_engine
from epymarl_lmac.tasks.sc2_settings import SCRIPT, Sc2Settings

_SIMULATOR, _RIVAL, _TEAM = "simulator.", "rival.", "scripted_team."  # prefixes of their arrays in a saved state
SIMULATOR_VERSION = "2"  # goes up when the same seed would play another battle


class Sc2Env(BatchedEnv):
    """B battles of one map.

    Args:
        num_envs: number B of battles.
        seed: root of the battles' random streams; battle b's stream depends on (seed, b) only, not on B.
        env_args: every key of the ``env_args`` of ``config/envs/sc2.yaml`` (``sc2v2.yaml`` for ``Sc2V2Env``).

    Attributes:
        scripted_team: what leads the agents with ``heuristic_ai``; None without.

    Raises:
        TaskError: the settings make no task, or ask for the game itself, which plays one battle a process.
    """

    has_alive = True

    env_name = "sc2"

    def __init__(self, num_envs: int, seed: int, **env_args: Any) -> None:
        self.settings = settings = Sc2Settings.from_env_args(self.env_name, env_args)
        if num_envs < 1:
            raise TaskError(f"{self.env_name}: num_envs={num_envs} battles is not possible; it must be at least 1.")
        engine = choose_engine(settings)
        if engine != "embedded":
            raise TaskError(
                f"{self.env_name}: engine={settings.engine} stands for StarCraft II here, which plays one battle a "
                "process: use runner=parallel or runner=episode, or env_args.engine=embedded."
            )
        announce(settings, engine)
        self.num_envs = num_envs
        self.n_agents, self.n_actions = settings.n_agents, settings.n_actions
        self.episode_limit = settings.battle_map.limit
        self.obs_dim, self.state_dim = settings.obs_dim, settings.state_dim
        seeds = np.random.SeedSequence(seed).generate_state(2)
        leader = COMMANDED if settings.plays_a_run else settings.opponent
        self._simulator = Simulator(
            settings.battle_map, num_envs, int(seeds[0]), opponent=leader, step_mul=settings.step_mul
        )
        self._table = self._simulator.table
        self._rival: Rival | None = None
        if settings.plays_a_run:
            self._rival = Rival(self.env_name, settings, self._table, derive_seed(seed, "rival"))
        self._observer = Observer(settings, self._table, int(seeds[1]))
        self._scorer = Scorer(settings, self._table)
        self._book = OrderBook(self._observer)
        self.scripted_team = ScriptedTeam(self._observer) if settings.heuristic_ai else None
        self._live_B = np.zeros(num_envs, np.bool_)
        self._counts = dict.fromkeys(("battles_won", "battles_game", "timeouts"), 0)
        self.obs_BNO, self.state_BS = self._observer.obs_BNO, self._observer.state_BS
        self.avail_BNA = self._observer.avail_BNA
        self.reset()

    @property
    def rules(self) -> str:
        """Engine, flavour and map for the run record."""
        battle_map = self.settings.battle_map
        played = f"{self.env_name} embedded {SIMULATOR_VERSION}, {self.settings.flavour}"
        if self.settings.opponent != SCRIPT:
            played += f", opponent {self._rival.run.rules if self._rival else self.settings.opponent}"
        return f"{played}, {battle_map.name} {battle_map.hash()[:12]}"

    @property
    def alive_BN(self) -> np.ndarray:  # type: ignore[override]  # others keep an array
        """Which agents live, bool (B, N)."""
        n = self.n_agents
        return self._table.alive[:, :n] & (self._table.health[:, :n] > 0)

    @property
    def max_reward_B(self) -> np.ndarray:
        """Reward of a perfect first episode before scaling, float64 (B,)."""
        return self._scorer.max_reward_B

    # -- episodes ------------------------------------------------------------------------------------------------

    def reset(self, which_B: np.ndarray | None = None) -> None:
        """Starts a new battle in every copy, or only in those that ``which_B`` (bool (B,)) names."""
        if which_B is None:
            which_B = np.ones(self.num_envs, np.bool_)
        self._simulator.reset(which_B)
        self._live_B |= which_B
        self._scorer.begin(which_B)
        self._observer.begin(which_B)
        if self.scripted_team is not None:
            self.scripted_team.begin(which_B)
        if self._rival is not None:
            self._rival.begin(which_B)

    def step(self, actions_BN: np.ndarray) -> StepResult:
        """Moves every battle that has not ended by one step: ``step_mul`` game loops, half a second as published.

        Args:
            actions_BN: integers (B, N), see ``docs/environments/sc2.md``. With ``heuristic_ai`` the script's orders are
                given in their place; they stay the last actions that are observed, and are not written to.

        Returns:
            The step's result. ``info``: ``battle_won``; ``dead_allies`` and ``dead_enemies`` but in smac_comm.

        Raises:
            ActionError: a wrong shape, an action that does not exist, or (strict) one that is not available and that no
                script replaces. Nothing has changed then.
        """
        live_B = self._live_B.copy()
        actions_BN = accepted(self._observer, actions_BN, live_B, self.env_name)
        orders = self._orders(actions_BN, live_B)
        if self._rival is None:
            self._simulator.step(orders, active_B=live_B)
        else:
            self._simulator.step(orders, self._rival.orders(live_B), active_B=live_B)
        return self._finish_step(actions_BN, live_B)

    def _orders(self, actions_BN: np.ndarray, live_B: np.ndarray) -> Orders:
        """Returns the agents' orders: of their accepted actions, or of the script."""
        if self.scripted_team is not None:
            return self.scripted_team.orders(live_B)
        return self._book.orders(actions_BN, live_B)

    def _finish_step(self, actions_BN: np.ndarray, live_B: np.ndarray, order_N: np.ndarray | None = None) -> StepResult:
        """Reads the units after a step in the battles of ``live_B``: reward, end, observations."""
        observer = self._observer
        observer.last_BN[live_B] = actions_BN[live_B]
        observer.clock_B[live_B] += 1
        outcome = self._scorer.score(live_B)
        observer.forget(live_B)
        over_B = live_B & (outcome.code_B != RUNNING)
        timed_out_B = live_B & ~over_B & (observer.clock_B >= self.episode_limit)
        self._live_B &= ~(over_B | timed_out_B)
        observer.observe(live_B, order_N)
        if self._rival is not None:
            self._rival.see(live_B)
        won_B = over_B & (outcome.code_B == WON)
        self._counts["battles_won"] += int(won_B.sum())
        self._counts["battles_game"] += int((over_B | timed_out_B).sum())
        self._counts["timeouts"] += int(timed_out_B.sum())
        is_cut = self.settings.continuing_episode
        info = {"battle_won": won_B.astype(np.float32)}
        if self.settings.flavour != SMAC_COMM:
            info["dead_allies"] = outcome.dead_allies_B.astype(np.float32)
            info["dead_enemies"] = outcome.dead_enemies_B.astype(np.float32)
        return StepResult(
            outcome.reward_B.astype(np.float32),
            over_B if is_cut else over_B | timed_out_B,
            timed_out_B if is_cut else np.zeros_like(timed_out_B),
            info,
            self.alive_BN,
        )

    def get_stats(self) -> dict[str, float]:
        """Returns SMAC's counters over all episodes of all battles."""
        counts = self._counts
        return {
            **counts,
            "battles_draw": counts["timeouts"],
            "win_rate": counts["battles_won"] / max(counts["battles_game"], 1),
            "restarts": 0,
        }

    # -- the units of one battle ---------------------------------------------------------------------------------

    def read_battle(self, battle: int) -> dict[str, np.ndarray]:
        """Returns copies of one battle's unit table, one array (U,) a column; ``UnitTable`` explains the columns.

        Slots are the agents in order, then the enemies; ``unit_type`` indexes ``envs.battle.units.UNIT_NAMES``.
        """
        return self._table.get_battle(battle)

    def write_battle(
        self,
        battle: int,
        rows: Mapping[str, np.ndarray],
        *,
        last_actions_N: np.ndarray | None = None,
        steps: int | None = None,
        looks_N2: np.ndarray | None = None,
        order_N: np.ndarray | None = None,
    ) -> None:
        """Puts one battle into any state and observes it, as the first observation of an episode.

        The next reward is counted from this state, units that are dead in it are not counted again, and what agents
        had seen before is forgotten, as are a script's targets. An ended battle goes on.

        Args:
            battle: index of the battle.
            rows: arrays (U,) by column; columns that are not given stay.
            last_actions_N: previous actions, -1 for none; None leaves them.
            steps: steps of the episode so far; None leaves them.
            looks_N2: look directions of the conic field of view; None leaves them.
            order_N: order in which SMACv2 visits the agents; None draws it.

        Raises:
            TaskError: rows that the table refuses (``UnitTable.set_battle``).
        """
        self._table.set_battle(battle, rows)
        which_B = np.arange(self.num_envs) == battle
        observer = self._observer
        if last_actions_N is not None:
            observer.last_BN[battle] = last_actions_N
        if steps is not None:
            observer.clock_B[battle] = steps
        if looks_N2 is not None:
            observer.look_BN2[battle] = looks_N2
        self._live_B[battle] = True
        observer.forget_all(which_B)
        self._scorer.begin(which_B)
        observer.observe(which_B, order_N)
        if self.scripted_team is not None:
            self.scripted_team.begin(which_B)
        if self._rival is not None:
            self._rival.begin(which_B)

    def step_to(
        self,
        battle: int,
        actions_N: np.ndarray,
        rows: Mapping[str, np.ndarray],
        *,
        order_N: np.ndarray | None = None,
    ) -> StepResult:
        """Plays one step of one battle whose outcome is given: the units of the table after it.

        The actions are checked and remembered, reward, end and observations are those of the given units; the
        simulator does not run, and an opponent that is a run is not asked. The script of ``heuristic_ai`` chooses its
        targets. This is how recorded battles are replayed through the interface.

        Args:
            battle: index of the battle; the others stay as they are.
            actions_N: integers (N,).
            rows: arrays (U,) by column; columns that are not given stay.
            order_N: order in which SMACv2 visits the agents; None draws it.

        Raises:
            ActionError: as ``step``.
            TaskError: rows that the table refuses.
        """
        live_B = self._live_B & (np.arange(self.num_envs) == battle)
        actions_BN = np.zeros((self.num_envs, self.n_agents), np.int64)
        actions_BN[battle] = actions_N
        actions_BN = accepted(self._observer, actions_BN, live_B, self.env_name)
        self._orders(actions_BN, live_B)  # turns the look directions, or lets the script choose
        self._table.set_battle(battle, rows)
        return self._finish_step(actions_BN, live_B, order_N)

    def scene(self, copy: int = 0) -> Scene:
        """Returns one battle: units with their health, sight, walls, and who was ordered to attack whom."""
        rows, settings = self.read_battle(copy), self.settings
        radius_U, walls = self._simulator.radius_BU[copy], ~settings.battle_map.walkable
        bodies = [
            Body(
                x=float(rows["x"][u]),
                y=float(rows["y"][u]),
                radius=float(radius_U[u]),
                kind=AGENT if u < self.n_agents else OTHER,
                label=UNIT_NAMES[rows["unit_type"][u]].split("_")[0],
                health=float(rows["health"][u] / max(rows["health_max"][u], 1)),
                shield=float(rows["shield"][u] / rows["shield_max"][u]) if rows["shield_max"][u] > 0 else None,
                alive=bool(rows["alive"][u]),
            )
            for u in range(len(rows["x"]))
        ]
        clock = int(self._observer.clock_B[copy])
        return Scene(
            float(walls.shape[0]),
            float(walls.shape[1]),
            bodies,
            self.n_agents,
            sight=None if settings.use_unit_ranges else settings.sight_range,
            walls=walls,
            attacks=self._simulator.attacks(copy),
            caption=f"{settings.battle_map.name}, step {clock} of {self.episode_limit}",
        )

    # -- saving --------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        """Everything that later steps depend on but the simulator's own: the arrays, not copies."""
        own = {f"observer.{name}": array for name, array in self._observer.arrays().items()}
        own |= {f"scorer.{name}": array for name, array in self._scorer.arrays().items()}
        if self.scripted_team is not None:
            own |= {f"{_TEAM}{name}": array for name, array in self.scripted_team.arrays().items()}
        return own | {"live_B": self._live_B}

    def state_dict(self) -> dict[str, np.ndarray]:
        simulator = {f"{_SIMULATOR}{name}": array for name, array in self._simulator.state_dict().items()}
        own = saved(self._arrays()) | {"counts": np.array(list(self._counts.values()), np.int64)}
        rival = self._rival.state_dict(self._live_B) if self._rival else {}
        return simulator | own | {f"{_RIVAL}{name}": array for name, array in rival.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restores what ``state_dict`` returned.

        Raises:
            ValueError: a name, shape or type differs; nothing has changed then.
        """
        inner = {k.removeprefix(_SIMULATOR): v for k, v in state.items() if k.startswith(_SIMULATOR)}
        rival = {k.removeprefix(_RIVAL): v for k, v in state.items() if k.startswith(_RIVAL)}
        own = {k: v for k, v in state.items() if not k.startswith((_SIMULATOR, _RIVAL))}
        counts = np.zeros(len(self._counts), np.int64)
        arrays = {**self._arrays(), "counts": counts}
        check(self.env_name, arrays, own)
        if self._rival is not None:
            self._rival.check(rival)
        elif rival:
            raise ValueError(f"{self.env_name}: saved state has the memory of an opponent that is a run; here is none.")
        self._simulator.load_state_dict(inner)
        restore(self.env_name, arrays, own)
        self._counts = dict(zip(self._counts, counts.tolist(), strict=True))
        if self._rival is not None:
            self._rival.load_state_dict(rival)


class Sc2V2Env(Sc2Env):
    """B battles of one of SMACv2's maps: teams and start positions are drawn anew each episode."""

    env_name = "sc2v2"
