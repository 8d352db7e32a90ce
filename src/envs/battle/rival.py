"""A trained run that leads the enemies: ``env_args.opponent`` names it, ``OtherSide`` is what it sees."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.battle.other_side import OtherSide
from envs.battle.simulator import Orders
from envs.battle.table import UnitTable
from envs.saved_arrays import check, restore, saved
from epymarl_lmac.tasks.env_info import EnvInfo
from epymarl_lmac.tasks.sc2_opponent import fitting_opponent
from epymarl_lmac.tasks.sc2_settings import Sc2Settings

_TEAM = "team."  # prefix of what the networks remember, in a saved state


class Rival:
    """The networks of a recorded run, which lead the enemies.

    Args:
        env: name of the environment.
        settings: the task; its ``opponent`` is the place of the run.
        table: the units; read, never written.
        seed: root of its streams.

    Raises:
        TaskError: no such run, or it does not fit the task.
        CheckpointError: its networks cannot be read.
    """

    def __init__(self, env: str, settings: Sc2Settings, table: UnitTable, seed: int) -> None:
        self.run, learnt = fitting_opponent(env, settings)
        from acting import Team  # the host's networks and PyTorch: only where a run plays

        self._side = OtherSide(learnt, table, seed)
        info = EnvInfo(
            n_agents=learnt.n_agents,
            n_actions=learnt.n_actions,
            obs_dim=learnt.obs_dim,
            state_dim=learnt.state_dim,
            episode_limit=settings.battle_map.limit,
            has_alive=True,
        )
        self._team = Team(self.run.folder, self.run.step, self.run.record, info, seed)
        self._actions_BM = np.zeros((table.num_envs, learnt.n_agents), np.int64)

    def begin(self, which_B: np.ndarray) -> None:
        """Starts an episode in the battles of ``which_B`` (bool (B,))."""
        self._side.begin(which_B)
        self._team.begin(which_B)

    def orders(self, live_B: np.ndarray) -> Orders:
        """Returns the enemies' orders of this step in the battles of ``live_B`` (bool (B,)); none elsewhere."""
        observer = self._side.observer
        self._actions_BM = self._team.act(
            observer.obs_BNO, observer.state_BS, observer.avail_BNA, self._side.alive_BM, live_B
        )
        return self._side.orders(self._actions_BM, live_B)

    def see(self, live_B: np.ndarray) -> None:
        """Observes what the step led to."""
        self._side.see(self._actions_BM, live_B)

    def state_dict(self, live_B: np.ndarray) -> dict[str, np.ndarray]:
        """Returns everything that later orders depend on besides the table.

        Args:
            live_B: bool (B,), battles that go on; of the others nothing is kept.
        """
        team = {f"{_TEAM}{name}": array for name, array in self._team.state_dict(live_B).items()}
        return saved(self._side.arrays()) | team

    def check(self, state: Mapping[str, np.ndarray]) -> None:
        """Refuses what ``load_state_dict`` would refuse, without changing anything."""
        check("sc2 opponent", self._side.arrays(), _of_side(state))

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores what ``state_dict`` returned; the table must have been restored before.

        Raises:
            ValueError: a name, shape or type differs.
        """
        team = {name.removeprefix(_TEAM): array for name, array in state.items() if name.startswith(_TEAM)}
        restore("sc2 opponent", self._side.arrays(), _of_side(state))
        self._side.restored()
        self._team.load_state_dict(team)


def _of_side(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in state.items() if not name.startswith(_TEAM)}
