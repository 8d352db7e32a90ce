"""The link between agents: every message of every method passes here, and nowhere else.

Whatever a method sends, the link applies in this order: who may send and hear (dead agents do neither, a method may
choose links itself), a budget of numbers a link, quantisation, noise, delay, loss, and the controls (messages zeroed,
exchanged for those of another episode, one sender replaced). It counts what is sent for every ordered pair. What an
agent knows itself is no message: it needs no link and is never changed.

In an update the channel is drawn anew for every batch: an episode's actions are recorded, so a fresh draw is as good a
sample of what agents may hear as the one they heard.

Letters: R rows (steps of episodes), N receivers, S senders (S = N), M numbers of a message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning import threads
from epymarl_lmac.learning.forms import is_compiled
from epymarl_lmac.settings.fields import setting
from modules.comm import link_kernels
from modules.comm.steps import TEST, Steps

FLOAT_BITS = 32  # bits of a number that is not quantised
CONTROLS = ("none", "zero", "shuffle", "replace")
EXCHANGES = ("shuffle", "replace")  # controls that take messages from other episodes
WHEN = ("always", "test")


@dataclass(frozen=True)
class LinkSettings:
    """The settings of the link; every method that sends has them. By default the link changes nothing."""

    channel_drop: float = setting(
        0.0,
        "probability that a link (sender to receiver) fails at a step; every number that depends on it arrives as 0",
        low=0,
        high=1,
    )
    channel_delay: int = setting(0, "steps until a message arrives; before the first arrives, zeros are heard", low=0)
    channel_noise: float = setting(0.0, "standard deviation of Gaussian noise on every number received", low=0)
    channel_bits: int = setting(0, "bits of a number after quantisation, 2 to 24; 0: not quantised", low=0, high=24)
    channel_range: float = setting(1.0, "numbers are clipped to [-range, range] where they are quantised", above=0)
    channel_budget: int = setting(
        0, "most numbers that a sender tells a receiver at a step; the first columns are kept; 0: no limit", low=0
    )
    channel_when: str = setting("always", "when the channel is imperfect: always, or in tests only", choices=WHEN)
    comm_control: str = setting(
        "none",
        "replaces messages: zero (nothing arrives), shuffle (messages of another episode at the same step arrive "
        "instead), replace (the same for one sender only; of a protocol, for every number with a part of it)",
        choices=CONTROLS,
    )
    comm_control_sender: int = setting(0, "the sender whose messages comm_control=replace replaces", low=0)
    comm_control_when: str = setting(
        "always", "when comm_control acts: always, or in tests only", choices=WHEN, resume=True
    )
    comm_dead: str = setting(
        "auto",
        "which agents count as dead: auto (as the environment says; all live where it does not say), "
        "noop (those whose only available action is 0, as in SMAC)",
        choices=("auto", "noop"),
    )


class Heard(NamedTuple):
    """What arrives at every receiver."""

    values: Tensor  # (R, N, S, M), or (R, 1, S, M) where all receivers hear the same; 0 where a link is closed
    open_RNS: Tensor | None  # bool, the links that carried a message, an agent's own included; None: all

    def mean_of_others(self) -> Tensor:
        """Returns the mean over the teammates that were heard, (R, N, M); 0 where there is none."""
        S = self.values.shape[2]
        others_NS = ~torch.eye(S, dtype=torch.bool, device=self.values.device)
        open_links = others_NS.unsqueeze(0) if self.open_RNS is None else self.open_RNS & others_NS
        weight = open_links.to(self.values.dtype)
        total = torch.einsum("rns,rnsm->rnm", weight, self.values.expand(-1, S, -1, -1))
        return total / weight.sum(-1, keepdim=True).clamp(min=1)


class LinkCost:
    """What was sent in tests: numbers for every ordered pair, receiver by sender."""

    def __init__(self) -> None:
        self.rows = 0.0
        self.floats: Tensor | None = None  # (N, S) sums over rows
        self.opened: Tensor | None = None  # (N, S) sums over rows, of links that carried anything

    def add(self, floats_NS: Tensor, opened_NS: Tensor, rows: float) -> None:
        """Adds the sums of some rows."""
        self.rows += rows
        self.floats = floats_NS if self.floats is None else self.floats + floats_NS
        self.opened = opened_NS if self.opened is None else self.opened + opened_NS


class Link:
    """The link of one communication module.

    Args:
        settings: what it does to messages.
        n_agents: N.

    Raises:
        SettingsError: settings that do not fit each other or the team.
    """

    def __init__(self, settings: LinkSettings, n_agents: int) -> None:
        if settings.channel_bits == 1:
            raise SettingsError("channel_bits=1 cannot hold a sign and 0; use 2 to 24 bits, or 0.", "channel_bits")
        if settings.comm_control == "replace" and settings.comm_control_sender >= n_agents:
            raise SettingsError(
                f"comm_control_sender={settings.comm_control_sender} is no agent; the {n_agents} agents count from 0.",
                "comm_control_sender",
            )
        self.settings = settings
        self.n_agents = n_agents
        self.costs: dict[str, LinkCost] = {}

    # -- what is on --------------------------------------------------------------------------------------

    def _is_imperfect(self, steps: Steps) -> bool:
        s = self.settings
        changes = any((s.channel_drop, s.channel_delay, s.channel_noise, s.channel_bits, s.channel_budget))
        return changes and (steps.mode == TEST or s.channel_when == "always")

    def _control(self, mode: str) -> str:
        s = self.settings
        return s.comm_control if mode == TEST or s.comm_control_when == "always" else "none"

    def exchanges(self, mode: str) -> bool:
        """Returns whether messages of other episodes arrive in this mode (ACT, TEST or LEARN)."""
        return self._control(mode) in EXCHANGES

    def is_random(self, steps: Steps) -> bool:
        """Returns whether what arrives depends on draws."""
        s = self.settings
        noisy = self._is_imperfect(steps) and (s.channel_drop > 0 or s.channel_noise > 0)
        return noisy or self.exchanges(steps.mode)

    # -- learned messages --------------------------------------------------------------------------------

    def broadcast(self, steps: Steps, message_RSM: Tensor, gate_RNS: Tensor | None = None, name: str = "") -> Heard:
        """Sends one message of every agent to all others.

        Args:
            steps: the rows.
            message_RSM: what every sender says.
            gate_RNS: bool, the links that are used (receiver, sender); None: all. An agent's own is always open.
            name: of the message, where a method sends several a step.
        """
        return self._deliver(steps, message_RSM.unsqueeze(1), gate_RNS, name)

    def pairs(
        self,
        steps: Steps,
        message_RNSM: Tensor,
        gate_RNS: Tensor | None = None,
        name: str = "",
        sent_RNSM: Tensor | None = None,
    ) -> Heard:
        """Sends a message of its own to every receiver; arguments as for ``broadcast``.

        Args:
            sent_RNSM: bool, which numbers of the messages are sent; None: all. The others cost nothing and are 0 at
                the receiver. An agent's own message must be all True.
        """
        if sent_RNSM is None:
            return self._deliver(steps, message_RNSM, gate_RNS, name)
        carries_RNS = sent_RNSM.any(-1)
        gate_RNS = carries_RNS if gate_RNS is None else gate_RNS & carries_RNS
        return self._deliver(steps, message_RNSM * sent_RNSM, gate_RNS, name, sent_RNSM)

    def _deliver(
        self, steps: Steps, sent: Tensor, gate_RNS: Tensor | None, name: str, sent_RNSM: Tensor | None = None
    ) -> Heard:
        open_RNS = self._open_links(steps, gate_RNS)
        self._count(steps, name, sent.shape[-1], open_RNS, sent_RNSM)
        control = self._control(steps.mode)
        imperfect = self._is_imperfect(steps)
        if not imperfect and control == "none" and open_RNS is None:
            return Heard(sent, None)
        N = self.n_agents
        own = torch.eye(N, dtype=torch.bool, device=sent.device)
        values = sent.expand(-1, N, -1, -1)
        open_links = values.new_ones(values.shape[:3], dtype=torch.bool) if open_RNS is None else open_RNS
        if imperfect:
            values, open_links = self._impair(steps, values, open_links, name)
        values, open_links = self._exchange(steps, control, values, open_links)
        values = torch.where(open_links.unsqueeze(-1), values, 0.0)
        return Heard(torch.where(own.unsqueeze(-1), sent.expand(-1, N, -1, -1), values), open_links | own)

    def _open_links(self, steps: Steps, gate_RNS: Tensor | None) -> Tensor | None:
        """Returns which links the method and the living agents leave open, bool (R, N, S), or None for all."""
        open_RNS = gate_RNS
        if steps.alive_RN is not None:
            both_live = steps.alive_RN.unsqueeze(2) & steps.alive_RN.unsqueeze(1)
            open_RNS = both_live if open_RNS is None else open_RNS & both_live
        return open_RNS

    def _impair(self, steps: Steps, values: Tensor, open_links: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Applies budget, quantisation, noise, delay and loss."""
        s = self.settings
        if s.channel_budget:
            kept = torch.arange(values.shape[-1], device=values.device) < s.channel_budget
            values = values * kept
        values = self._quantise_and_blur(values)
        if s.channel_delay:
            carried = torch.cat([values * open_links.unsqueeze(-1), open_links.unsqueeze(-1).to(values.dtype)], dim=-1)
            carried = steps.late(f"under way {name}", carried, s.channel_delay)
            values, open_links = carried[..., :-1], carried[..., -1] > 0
        if s.channel_drop:
            open_links = open_links & (torch.rand(open_links.shape, device=values.device) >= s.channel_drop)
        return values, open_links

    def _exchange(self, steps: Steps, control: str, values: Tensor, open_links: Tensor) -> tuple[Tensor, Tensor]:
        """Applies the controls."""
        if control == "zero":
            return values, torch.zeros_like(open_links)
        if control in EXCHANGES:
            other_R, has_other_R = steps.another_episode()
            chosen_S = self._exchanged_senders(control, values.device)
            values = torch.where(chosen_S.unsqueeze(-1), values[other_R], values)
            open_links = torch.where(chosen_S, open_links[other_R] & has_other_R.view(-1, 1, 1), open_links)
        return values, open_links

    def _exchanged_senders(self, control: str, device: torch.device) -> Tensor:
        """Returns whose messages are exchanged, bool (S,)."""
        senders = torch.arange(self.n_agents, device=device)
        return (
            torch.ones_like(senders, dtype=torch.bool)
            if control == "shuffle"
            else (senders == self.settings.comm_control_sender)
        )

    # -- messages of fixed protocols ---------------------------------------------------------------------

    def fixed(
        self, steps: Steps, message_RNM: Tensor, senders_NMS: Tensor, name: str = "", may_overwrite: bool = False
    ) -> Tensor:
        """Sends the messages of a protocol that says who tells whom which number.

        Args:
            steps: the rows.
            message_RNM: what every receiver would hear.
            senders_NMS: whether column m of receiver n needs something that agent s sends, bool. A receiver's
                dependence on itself does not count: a number that comes from no teammate needs no link.
            name: of what is sent, where a method sends several times a step.
            may_overwrite: whether ``message_RNM`` is a copy of the caller's that may be changed and returned.

        Returns:
            What arrives, (R, N, M). A number made of several agents' parts is lost where one of their links fails, and
            where none of them lives. With a part of them dead it arrives: the protocol made it without their parts.
        """
        own = torch.eye(self.n_agents, dtype=torch.bool, device=senders_NMS.device).unsqueeze(1)
        senders_NMS = senders_NMS & ~own
        kept_NM = self._within_budget(senders_NMS)
        open_RNS = self._open_links(steps, None)
        self._count_fixed(steps, name, senders_NMS & kept_NM.unsqueeze(-1), open_RNS)
        control, imperfect = self._control(steps.mode), self._is_imperfect(steps)
        if not imperfect and control == "none" and open_RNS is None:
            return message_RNM
        values = message_RNM
        if imperfect:
            values = self._quantise_and_blur(values * kept_NM)
            if self.settings.channel_delay:
                values = steps.late(f"under way {name}", values, self.settings.channel_delay)
        if control in EXCHANGES:
            other_R, has_other_R = steps.another_episode()
            chosen_NM = (senders_NMS & self._exchanged_senders(control, values.device)).any(-1)
            values = torch.where(chosen_NM, values[other_R] * has_other_R.view(-1, 1, 1), values)
        needs_senders_NM = senders_NMS.any(-1)
        if values is not message_RNM:  # numbers that come from no teammate are never changed, and none of them is lost
            values = torch.where(needs_senders_NM, values, message_RNM)
        if control == "zero":
            return values.masked_fill(needs_senders_NM, 0.0)
        drop = self.settings.channel_drop if imperfect else 0.0
        if not drop and open_RNS is None:
            return values
        heard = values if may_overwrite or values is not message_RNM else values.clone()
        R, N = heard.shape[:2]
        failed_NRS = torch.rand(N, R, N, device=heard.device) < drop if drop else None
        _silence(heard, senders_NMS, open_RNS, None if failed_NRS is None else failed_NRS.transpose(0, 1))
        return heard

    def _within_budget(self, senders_NMS: Tensor) -> Tensor:
        """Returns which columns of a fixed protocol fit the budget of all links that they need, bool (N, M)."""
        kept = torch.ones(senders_NMS.shape[:2], dtype=torch.bool, device=senders_NMS.device)
        budget = self.settings.channel_budget
        if budget == 0:
            return kept
        for receiver, senders_MS in enumerate(senders_NMS.tolist()):
            used = [0] * self.n_agents
            for column, senders in enumerate(senders_MS):
                needed = [s for s, sends in enumerate(senders) if sends]
                if any(used[s] >= budget for s in needed):
                    kept[receiver, column] = False
                    continue
                for s in needed:
                    used[s] += 1
        return kept

    # -- a central messenger -----------------------------------------------------------------------------

    def to_messenger(self, steps: Steps, message_RSM: Tensor) -> Tensor:
        """Sends every agent's message to a central messenger; returns what it hears, (R, S, M)."""
        alive = None if steps.alive_RN is None else steps.alive_RN.unsqueeze(2)
        return self._through_messenger(steps, message_RSM, alive, "uplink")

    def from_messenger(self, steps: Steps, message_RNM: Tensor) -> Tensor:
        """Sends every agent a message of the central messenger; returns what they hear, (R, N, M)."""
        alive = None if steps.alive_RN is None else steps.alive_RN.unsqueeze(2)
        return self._through_messenger(steps, message_RNM, alive, "downlink")

    def _through_messenger(self, steps: Steps, sent: Tensor, open_RN1: Tensor | None, name: str) -> Tensor:
        """One direction; every agent has one link, so the pair (agent, messenger) stands on the diagonal."""
        open_links = sent.new_ones(*sent.shape[:2], 1, dtype=torch.bool) if open_RN1 is None else open_RN1
        if steps.mode == TEST:
            share_RN = open_links.squeeze(-1).to(torch.float64)
            self._add_cost(steps, name, torch.diag_embed(share_RN), self._paid(sent.shape[-1]))
        control, imperfect = self._control(steps.mode), self._is_imperfect(steps)
        if not imperfect and control == "none" and open_RN1 is None:
            return sent
        values = sent
        if imperfect:
            values, opened = self._impair(steps, values, open_links.squeeze(-1), name)
            open_links = opened.unsqueeze(-1)
        if control == "zero":
            return torch.zeros_like(values)
        if control in EXCHANGES and name == "downlink":
            other_R, has_other_R = steps.another_episode()
            chosen_N = self._exchanged_senders(control, values.device).unsqueeze(-1)
            values = torch.where(chosen_N, values[other_R] * has_other_R.view(-1, 1, 1), values)
        return torch.where(open_links, values, 0.0)

    # -- what happens to a number ------------------------------------------------------------------------

    def _quantise_and_blur(self, values: Tensor) -> Tensor:
        """Applies quantisation and noise. Quantisation passes gradients on as if it were not there (straight-through),
        but for numbers beyond the range, which are clipped."""
        s = self.settings
        if s.channel_bits:
            levels = 2 ** (s.channel_bits - 1) - 1  # on each side of 0, which stays 0
            clipped = values.clamp(-s.channel_range, s.channel_range)
            rounded = torch.round(clipped * (levels / s.channel_range)) * (s.channel_range / levels)
            values = clipped + (rounded - clipped).detach() if values.requires_grad else rounded
        if s.channel_noise:
            values = values + s.channel_noise * torch.randn_like(values)
        return values

    # -- cost --------------------------------------------------------------------------------------------

    def _paid(self, width: int) -> int:
        """Returns how many numbers of a message of this width a link carries."""
        budget = self.settings.channel_budget
        return min(width, budget) if budget else width

    def _count(
        self, steps: Steps, name: str, width: int, open_RNS: Tensor | None, sent_RNSM: Tensor | None = None
    ) -> None:
        if steps.mode != TEST:
            return
        N = self.n_agents
        others = 1 - torch.eye(N, dtype=torch.float64, device=steps.x_RND.device)
        links = others.expand(steps.n_rows, -1, -1) if open_RNS is None else open_RNS * others
        paid = self._paid(width)
        self._add_cost(steps, name, links, paid if sent_RNSM is None else sent_RNSM[..., :paid].sum(-1))

    def _count_fixed(self, steps: Steps, name: str, sent_NMS: Tensor, open_RNS: Tensor | None) -> None:
        if steps.mode != TEST:
            return
        floats_NS = sent_NMS.sum(1).to(torch.float64)
        links = (floats_NS > 0).to(torch.float64).expand(steps.n_rows, -1, -1)
        links = links if open_RNS is None else links * open_RNS
        self._add_cost(steps, name, links, floats_NS)

    def _add_cost(self, steps: Steps, name: str, links_RNS: Tensor, floats: Tensor | int) -> None:
        """Adds rows to the cost of a message; ``floats`` are numbers an open link carries, broadcast over (R, N, S)."""
        floats_RNS = links_RNS * floats
        running = None if steps.running is None else steps.running()
        if running is not None:
            links_RNS, floats_RNS = links_RNS[running], floats_RNS[running]
        self.costs.setdefault(name, LinkCost()).add(floats_RNS.sum(0), links_RNS.sum(0), float(len(links_RNS)))

    @contextlib.contextmanager
    def uncounted(self) -> Iterator[None]:
        """Sends without counting, where steps that were played are looked at again."""
        costs, self.costs = self.costs, {}
        try:
            yield
        finally:
            self.costs = costs

    def take_sums(self) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
        """Returns the sums of what tests cost since the last call, and forgets them; another link can add them."""
        costs, self.costs = self.costs, {}
        return {
            name: (cost.floats.cpu().numpy(), cost.opened.cpu().numpy(), cost.rows)
            for name, cost in costs.items()
            if cost.floats is not None and cost.opened is not None
        }

    def add_sums(self, sums: Mapping[str, tuple[np.ndarray, np.ndarray, float]]) -> None:
        """Adds what ``take_sums`` of another link returned."""
        for name, (floats_NS, opened_NS, rows) in sums.items():
            self.costs.setdefault(name, LinkCost()).add(torch.from_numpy(floats_NS), torch.from_numpy(opened_NS), rows)

    def take_costs(self) -> dict[str, Tensor]:
        """Returns what tests cost since the last call, means a step, and forgets it.

        Returns:
            ``floats`` and ``links`` (how often the link carried anything), each float64 (N, S), receiver by sender,
            summed over the messages of a step; ``uplink`` and ``downlink`` (N,), floats to and from a central
            messenger. Empty where nothing was sent.
        """
        costs, self.costs = self.costs, {}
        result: dict[str, Tensor] = {}
        for name, cost in costs.items():
            if cost.floats is None or cost.opened is None or not cost.rows:
                continue
            floats, links = (cost.floats / cost.rows).cpu(), (cost.opened / cost.rows).cpu()
            if name in ("uplink", "downlink"):
                result[name] = floats.diagonal()
                continue
            result["floats"] = result["floats"] + floats if "floats" in result else floats
            result["links"] = torch.maximum(result["links"], links) if "links" in result else links
        return result

    @property
    def bits_per_float(self) -> int:
        """Bits that one number takes."""
        return self.settings.channel_bits or FLOAT_BITS


def _silence(heard_RNM: Tensor, senders_NMS: Tensor, open_RNS: Tensor | None, failed_RNS: Tensor | None) -> None:
    """Sets the numbers of a fixed protocol that do not arrive to 0, in place.

    A number is lost where no link that it needs is open, and where one that is open fails.

    Args:
        heard_RNM: the numbers.
        senders_NMS: whether column m of receiver n needs something that agent s sends.
        open_RNS: links on which something can be sent; None: all.
        failed_RNS: links that lose what is sent; None: none does.
    """
    R, N, _ = heard_RNM.shape
    if is_compiled(heard_RNM) and N <= link_kernels.MOST_AGENTS:
        nothing = senders_NMS.new_empty(0, N, N)
        links = [(nothing if mask is None else mask).numpy() for mask in (open_RNS, failed_RNS)]
        heard, senders = heard_RNM.numpy(), senders_NMS.numpy()

        def run(rows: slice) -> None:
            link_kernels.silence(heard[rows], *(mask[rows] for mask in links), senders)

        threads.run(run, threads.shares(R))
        return
    senders_NSM = senders_NMS.transpose(1, 2).to(torch.float32)
    lost_NRM = torch.zeros(1, 1, 1, dtype=torch.bool, device=senders_NMS.device)
    if open_RNS is not None:
        is_heard_NRM = torch.bmm(open_RNS.transpose(0, 1).to(torch.float32), senders_NSM) > 0
        lost_NRM = ~is_heard_NRM & senders_NMS.any(-1).unsqueeze(1)
    if failed_RNS is not None:
        failed_RNS = failed_RNS if open_RNS is None else failed_RNS & open_RNS
        lost_NRM = lost_NRM | (torch.bmm(failed_RNS.transpose(0, 1).to(torch.float32), senders_NSM) > 0)
    heard_RNM.masked_fill_(lost_NRM.transpose(0, 1), 0.0)
