"""The interface is tested on unit tables that the tests fill themselves: no battle is simulated here."""

from __future__ import annotations

import numpy as np
import pytest
from sc2_states import draw_rows, rng_of

from envs.battle.table import UnitTable
from epymarl_lmac.tasks.sc2_map import BattleMap


class StillSimulator:
    """Stands in for the simulator: units appear somewhere and nothing ever happens to them."""

    def __init__(self, battle_map: BattleMap, num_envs: int, seed: int, *, opponent: str, step_mul: int) -> None:
        self.table = UnitTable(num_envs, battle_map.n_allies, battle_map.n_enemies)
        self.orders: list = []  # what the agents were told, a step each
        self._rows = draw_rows(battle_map.name, rng_of("still", battle_map.name))
        self._rows |= {"alive": np.ones_like(self._rows["alive"]), "health": self._rows["health_max"]}

    def reset(self, mask_B: np.ndarray) -> None:
        for b in np.flatnonzero(mask_B):
            self.table.set_battle(int(b), self._rows)

    def step(self, orders, active_B) -> None:
        self.orders.append([part.copy() for part in orders])

    def state_dict(self) -> dict[str, np.ndarray]:
        return {name: column.copy() for name, column in self.table.columns().items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        for name, column in self.table.columns().items():
            column[...] = state[name]


@pytest.fixture
def still_battles(monkeypatch) -> None:
    """Environments made in the test play still battles."""
    monkeypatch.setattr("envs.sc2.Simulator", StillSimulator)
