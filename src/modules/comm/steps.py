"""The steps that a communication method sees in one call: all existing ones of a batch, or one while acting.

A method is written once, for rows of agents. While learning the rows are all existing steps of a batch, packed
(``epymarl_lmac.learning.packing``); while acting they are the current step of every episode. What a method must
remember between steps goes through ``recur``, ``windows`` and ``late``, which work in both cases, so acting and
learning cannot differ. While acting, rows may be at different steps of their episodes, and an episode may start beside
others that are under way.

Letters: R rows, N agents, D extended observation x, O observation, S state, A actions, L history length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.learning.gru import gru_sequence
from epymarl_lmac.learning.packing import Packing

LEARN, ACT, TEST = "learn", "act", "test"  # in an update; playing to train; playing a test


@dataclass(eq=False)
class Steps:
    """Rows of agents, and what is known about each.

    ``memory`` is None where whole episodes are seen at once. Else it holds what earlier steps left, by name: tensors
    whose first axis is episodes, of which the first ones are still running. Nothing else may be kept there, and every
    entry must be there after an episode's first step: where episodes start at different times, rows of it are taken
    and joined (``SequenceMac.memory``).
    """

    x_RND: Tensor  # extended observations
    obs_dim: int  # O: the first columns of x
    layout: XLayout  # what x holds
    counts: Sequence[int]  # rows of each step, not increasing, summing to R; one number where it is a single step
    mode: str  # LEARN, ACT or TEST
    packing: Packing | None = None  # whole episodes: where the rows lie in the batch
    memory: dict[str, Tensor] | None = None
    alive_RN: Tensor | None = None  # bool; None: everyone lives
    running: Callable[[], Tensor] | None = None  # gives bool (R,), False where the episode has ended; None: all run
    look: Callable[[str], Tensor | None] = lambda key: None  # a stored field of the episodes by name (R, ...), or None
    _once: dict[str, Any] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """R."""
        return self.x_RND.shape[0]

    @property
    def n_agents(self) -> int:
        """N."""
        return self.x_RND.shape[1]

    @property
    def obs_RNO(self) -> Tensor:
        """The observations, (R, N, O)."""
        return self.x_RND[..., : self.obs_dim]

    @property
    def last_action_RNA(self) -> Tensor:
        """The last actions, one-hot (R, N, A); width 0 where x has none."""
        stop = self.obs_dim + (self.layout.n_actions if self.layout.last_action else 0)
        return self.x_RND[..., self.obs_dim : stop]

    @property
    def id_RNN(self) -> Tensor:
        """The agents' ids, one-hot (R, N, N); width 0 where x has none."""
        width = self.n_agents if self.layout.agent_id else 0
        return self.x_RND[..., self.x_RND.shape[-1] - width :]

    def stored(self, key: str) -> Tensor:
        """Returns a field of the episodes, (R, ...), e.g. "state" or "avail_actions".

        Raises:
            KeyError: the episodes have no such field.
        """
        value = self.once(f"stored {key}", lambda: self.look(key))
        if value is None:
            raise KeyError(f"The episodes have no field {key!r}.")
        return value

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """Returns ``compute()``, computed at the first call with this key only.

        For what depends on no trained parameter: the online and the target network then share it.
        """
        if key not in self._once:
            self._once[key] = compute()
        return self._once[key]

    def without_the_dead(self) -> Steps:
        """Returns these steps with zeros for what dead agents observe, as SMAC shows it; the memory is shared."""
        if self.alive_RN is None:
            return self
        seen_RND = self.x_RND.clone()
        seen_RND[..., : self.obs_dim] *= self.alive_RN.unsqueeze(2)
        return replace(self, x_RND=seen_RND)

    # -- memory ------------------------------------------------------------------------------------------

    def recur(self, name: str, cell: nn.GRUCell, inputs_RNI: Tensor, residual_RNH: Tensor | None = None) -> Tensor:
        """Runs a GRU for every agent over the steps.

        Args:
            name: of its memory.
            cell: shared by all agents.
            inputs_RNI: inputs of every row.
            residual_RNH: added to the state after every step and carried on with it; None adds nothing.

        Returns:
            The states after every step, (R, N, H).
        """
        R, N, I = inputs_RNI.shape
        H = cell.hidden_size
        rows = inputs_RNI.reshape(R * N, I)
        residual = None if residual_RNH is None else residual_RNH.reshape(R * N, H)
        if self.memory is None:
            h0 = rows.new_zeros(self.counts[0] * N, H)
            h = gru_sequence(cell, rows, h0, [count * N for count in self.counts], residual_PH=residual)
        else:
            before = self.memory.get(name)
            h = cell(rows, rows.new_zeros(R * N, H) if before is None else before[:R].reshape(R * N, H))
            h = h if residual is None else h + residual
            self.memory[name] = h.view(R, N, H)
        return h.view(R, N, H)

    def windows(self, length: int) -> Iterator[Tensor]:
        """Yields x of the last ``length`` steps up to every row, (R', L, N, D) in pieces, in row order.

        Steps before the episode's start are -1 with the agent's id kept.
        """
        if self.packing is not None:
            yield from self.layout.windows(self.x_RND, self.packing, length)
            return
        assert self.memory is not None
        window = self.memory.get("window")
        if window is None:
            window = self.layout.before_start(self.x_RND).unsqueeze(1).repeat(1, length, 1, 1)
        window = torch.cat([window[: self.n_rows, 1:], self.x_RND.unsqueeze(1)], dim=1)
        self.memory["window"] = window
        yield window

    def late(self, name: str, values: Tensor, delay: int) -> Tensor:
        """Returns the values (R, ...) of ``delay`` steps ago, at least 1; zeros before the episode's start.

        Args:
            name: of their memory.
            values: of every row now.
            delay: steps.
        """
        if self.packing is not None:
            earlier = self.packing.history(delay + 1)[:, 0]  # P, the row after the last, before the start
            return torch.cat([values, values.new_zeros(1, *values.shape[1:])])[earlier]
        assert self.memory is not None
        under_way = self.memory.get(name)
        if under_way is None:
            under_way = values.new_zeros(len(values), delay, *values.shape[1:])
        under_way = under_way[: self.n_rows]
        self.memory[name] = torch.cat([under_way[:, 1:], values.unsqueeze(1)], dim=1)
        return under_way[:, 0]

    def one_by_one(self) -> Iterator[Steps]:
        """Yields the steps of whole episodes one at a time, with a memory of their own."""
        memory: dict[str, Tensor] = {}
        start = 0
        for count in self.counts:
            rows = slice(start, start + count)

            yield replace(
                self,
                x_RND=self.x_RND[rows],
                counts=[count],
                packing=None,
                memory=memory,
                alive_RN=None if self.alive_RN is None else self.alive_RN[rows],
                look=partial(_part_of, self.look, rows),
                _once={},
            )
            start += count

    # -- other episodes ----------------------------------------------------------------------------------

    def another_episode(self) -> tuple[Tensor, Tensor]:
        """Draws for every row the row of another running episode at the same step.

        Returns:
            Row indices (R,), and whether there is another one, bool (R,); without one the index is the row itself.
        """
        device = self.x_RND.device
        index = torch.arange(self.n_rows, device=device)
        has_other = torch.zeros(self.n_rows, dtype=torch.bool, device=device)
        running = None if self.running is None else self.running()
        start = 0
        for count in self.counts:
            rows = index[start : start + count].clone()
            if running is not None:
                rows = rows[running[start : start + count]]
            if len(rows) > 1:
                shift = int(torch.randint(1, len(rows), ()))
                index[rows] = rows.roll(shift)
                has_other[rows] = True
            start += count
        return index, has_other


def _part_of(look: Callable[[str], Tensor | None], rows: slice, key: str) -> Tensor | None:
    """Returns some rows of a stored field, None where it is not stored."""
    value = look(key)
    return None if value is None else value[rows]
