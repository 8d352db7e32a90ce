"""A battle seen from the enemies' side: their units are the agents, and the map is turned by half a circle.

So a team that learnt in the west can play in the east. All places are turned (x and y become 32 - x and 32 - y), and
with them differences, look directions and moves: the other side's north is the agents' south. All other numbers are the
same on both sides.

Letters: B battles, N agents, M enemies (the other side has N and M exchanged), U = N + M units.
"""

from __future__ import annotations

import numpy as np

from envs.battle.actions import OrderBook
from envs.battle.observe import Observer
from envs.battle.simulator import ATTACK, HEAL, Orders
from envs.battle.table import COLUMNS, UnitTable
from envs.battle.terrain import SIZE
from envs.battle.units import UNIT_INDEX, UNIT_NAMES
from epymarl_lmac.tasks.sc2_settings import Sc2Settings


class OtherSide:
    """The interface of the enemies' side.

    Args:
        settings: the task as the enemies' side learnt it: its agents are the enemies here.
        table: the units; read, never written.
        seed: root of the streams of SMACv2's shared sightings.

    Attributes:
        observer: observations, state and available actions of the other side.
    """

    def __init__(self, settings: Sc2Settings, table: UnitTable, seed: int) -> None:
        self._table, self._settings = table, settings
        self._turned = UnitTable(table.num_envs, table.n_enemies, table.n_allies)
        self.observer = Observer(settings, self._turned, seed)
        self._book = OrderBook(self.observer)
        self._slot_BU = np.zeros((table.num_envs, table.n_slots), np.int64)  # where each of its units stands here
        rank = settings.battle_map.ally_rank
        self._rank_K = np.array([rank.get(name, len(rank)) for name in UNIT_NAMES])
        self._enemy_types = [UNIT_INDEX[name] for name in settings.battle_map.enemy_types]

    @property
    def alive_BM(self) -> np.ndarray:
        """Which of its units live, bool (B, M)."""
        own = slice(0, self._turned.n_allies)
        return self._turned.alive[:, own] & (self._turned.health[:, own] > 0)

    def begin(self, which_B: np.ndarray) -> None:
        """Numbers the units anew and observes the first step in the battles of ``which_B`` (bool (B,))."""
        for b in np.flatnonzero(which_B):
            self._slot_BU[b] = self._numbered(int(b))
        self._turn()
        self.observer.begin(which_B)

    def see(self, actions_BM: np.ndarray, which_B: np.ndarray) -> None:
        """Observes the next step after its units did ``actions_BM``."""
        self._turn()
        observer = self.observer
        observer.last_BN[which_B] = actions_BM[which_B]
        observer.clock_B[which_B] += 1
        observer.forget(which_B)
        observer.observe(which_B)

    def _numbered(self, b: int) -> np.ndarray:
        """Returns the slots of battle b in the other side's order.

        Its agents are sorted by rank of type, x and y, as always. Its enemies must come in the order in which they were
        created when it learnt. That order is still known here, as both teams start alike: it is the order of this
        battle's own enemies. So for each of them in turn, that unit of its type is taken which, seen from the other
        side, stands nearest to its place.
        """
        t, n = self._table, self._table.n_allies
        x_U, y_U = np.float32(SIZE) - t.x[b], np.float32(SIZE) - t.y[b]
        agents = sorted(range(n, t.n_slots), key=lambda u: (self._rank_K[t.unit_type[b, u]], x_U[u], y_U[u]))
        wanted = self._enemy_types or t.unit_type[b, n:].tolist()
        free, enemies = list(range(n)), []
        for k, unit_type in enumerate(wanted):
            place = n + min(k, t.n_enemies - 1)
            same = [u for u in free if t.unit_type[b, u] == unit_type] or free
            best = min(same, key=lambda u: (x_U[u] - t.x[b, place]) ** 2 + (y_U[u] - t.y[b, place]) ** 2)
            free.remove(best)
            enemies.append(best)
        return np.array([*agents, *enemies], np.int64)

    def _turn(self) -> None:
        """Copies all units to the turned table."""
        for name in COLUMNS:
            if name != "owner":
                column = np.take_along_axis(getattr(self._table, name), self._slot_BU, axis=1)
                getattr(self._turned, name)[...] = np.float32(SIZE) - column if name in ("x", "y") else column

    def orders(self, actions_BM: np.ndarray, live_B: np.ndarray) -> Orders:
        """Returns the orders of available actions, int64 (B, M), for the enemies' slots here."""
        kind_BM, target_BM, point_BM2 = self._book.orders(actions_BM, live_B)
        n, m = self._table.n_allies, self._table.n_enemies
        slot_BM = self._slot_BU[:, :m] - n
        at_unit = (kind_BM == ATTACK) | (kind_BM == HEAL)
        target_BM = np.where(at_unit, np.take_along_axis(self._slot_BU, target_BM.astype(np.int64), axis=1), -1)
        orders = Orders(np.zeros_like(kind_BM), np.full(kind_BM.shape, -1, np.int16), np.zeros_like(point_BM2))
        np.put_along_axis(orders.kind_BN, slot_BM, kind_BM, axis=1)
        np.put_along_axis(orders.target_BN, slot_BM, target_BM.astype(np.int16), axis=1)
        np.put_along_axis(orders.point_BN2, slot_BM[..., None], np.float32(SIZE) - point_BM2, axis=1)
        return orders

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns everything that later observations depend on besides the table: the arrays, not copies."""
        return {"slot_BU": self._slot_BU, **self.observer.arrays()}

    def restored(self) -> None:
        """Takes over the table after table and arrays were restored."""
        self._turn()
