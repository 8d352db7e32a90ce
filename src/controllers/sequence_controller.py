"""The controller that all methods share: ``forward`` acts, ``unroll`` gives a learner every step.

A communication method (``modules/comm/base.py``) is called at fixed places: before the agents' GRU, between the GRU and
the Q layer, and after the Q layer. Acting and learning call the same hooks.

Letters: B episodes, T steps, N agents, D agent input, H hidden, A actions, P existing steps of all episodes. Sequences
are packed (``epymarl_lmac.learning.packing``): no layer and no loss ever sees a padded step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from components.action_selectors import REGISTRY as action_REGISTRY
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.episode_transform import EpisodeTransform
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.seeding import derive_seed
from modules.agents import REGISTRY as agent_REGISTRY
from modules.comm.base import Comm, Kept, Team
from modules.comm.registry import REGISTRY as comm_REGISTRY
from modules.comm.steps import ACT, LEARN, TEST, Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import ActionSelector, ControllerArgs, Episodes, Groups, Rows, Scheme

NO_OP = 0  # SMAC's action of dead agents
EPSILON = "epsilon"  # where a selector shows the exploration of its latest training step
EPSILONS = ("fixed_epsilon", EPSILON)
HIDDEN = "hidden_states"  # the agents' states in a controller's memory; no method may use the name
KEYS_OF_EVERY_HOST = frozenset({"obs", "state", "avail_actions", "actions", "actions_onehot", "reward", "terminated"})


@dataclass
class Unrolled:
    """What a controller computed for every existing step of a batch."""

    q_PNA: Tensor  # Q-values of all actions, or a policy's logits
    hidden_PNH: Tensor  # the agents' states after every step
    kept: Kept = field(default_factory=dict)  # what the communication method kept for its losses


class SequenceMac:
    """Parameter-shared agents on x = [obs, last action, agent id(, state)], with or without communication.

    Args:
        scheme: the replay buffer's scheme; gives the widths.
        groups: ``{"agents": N}``.
        args: the run's settings; ``comm`` names the communication method, None for none.
    """

    def __init__(self, scheme: Scheme, groups: Groups, args: ControllerArgs) -> None:
        self.n_agents = args.n_agents
        self.args = args
        self.layout = XLayout(args.n_actions, args.obs_last_action, args.obs_agent_id)
        self.obs_dim = _width(scheme["obs"]["vshape"])
        self.x_dim = self.layout.width(self.obs_dim, self.n_agents)
        team = Team(
            n_agents=self.n_agents,
            n_actions=args.n_actions,
            obs_dim=self.obs_dim,
            state_dim=int(args.state_shape),
            x_dim=self.x_dim,
            own_dim=self.x_dim + (int(args.state_shape) if args.add_state else 0),
            hidden_dim=args.hidden_dim,
            layout=self.layout,
        )
        kind: type[Comm] | None = None if args.comm is None else comm_REGISTRY[args.comm]
        sizes = Comm.sizes(team, None) if kind is None else kind.sizes(team, kind.read_settings(args))
        self.agent = agent_REGISTRY[args.agent](sizes.input_dim, args)
        self._refuse_other_agents(kind)
        if sizes.head_dim is not None:
            self.agent.widen_head(sizes.head_dim)
        self.comm: Comm | None = None if kind is None else kind(team, args)
        self.action_selector: ActionSelector = action_REGISTRY[args.action_selector](args)
        self.hidden_states: Tensor | None = None
        self.last_costs: dict[str, Tensor] = {}  # what the latest tests' messages cost, see Link.take_costs
        self._memory: dict[str, Tensor] = {}  # acting: what the method remembers between steps

    def _refuse_other_agents(self, kind: type[Comm] | None) -> None:
        """Raises SettingsError if a method needs agents whose states have the width ``hidden_dim``."""
        if kind is not None and not kind.fits_any_agent and self.agent.hidden_dim != self.args.hidden_dim:
            raise SettingsError(
                f"comm={self.args.comm} needs agents with hidden layers, which agent={self.args.agent} has not; set "
                "agent=rnn.",
                "agent",
            )

    # -- inputs ------------------------------------------------------------------------------------------

    def steps(self, ep_batch: Episodes, mode: str = LEARN) -> Steps:
        """Returns all existing steps of a batch; the online and the target network share the object.

        Args:
            ep_batch: B episodes of up to T steps.
            mode: LEARN, or TEST to see them as a test would.
        """
        packing = Packing.of(ep_batch["filled"].squeeze(-1))
        actions = ep_batch["actions_onehot"] if self.layout.last_action else None
        look = _field_of(ep_batch, packing.pack)
        return Steps(
            x_RND=self.layout.packed(ep_batch["obs"], actions, packing),
            obs_dim=self.obs_dim,
            layout=self.layout,
            counts=packing.counts,
            mode=mode,
            packing=packing,
            alive_RN=self._alive(look),
            look=look,
        )

    def step(self, ep_batch: Episodes, t: int, mode: str) -> Steps:
        """Returns step t of every episode, with this controller's memory of the steps before."""
        onehot = ep_batch["actions_onehot"][:, t - 1] if self.layout.last_action and t > 0 else None

        def running() -> Tensor:
            return ~ep_batch["terminated"][:, :t].bool().flatten(1).any(1)

        look = _field_of(ep_batch, lambda value: value[:, t])
        x_BND = self.layout.step(ep_batch["obs"][:, t], onehot)
        return Steps(
            x_RND=x_BND,
            obs_dim=self.obs_dim,
            layout=self.layout,
            counts=[len(x_BND)],
            mode=mode,
            memory=self._memory,
            alive_RN=self._alive(look),
            running=running,
            look=look,
        )

    def _alive(self, look: Callable[[str], Tensor | None]) -> Tensor | None:
        """Returns which agents live, bool (R, N), or None where everyone does or nobody asks."""
        if self.comm is None:
            return None
        if getattr(self.comm.settings, "comm_dead", "auto") == "noop":
            avail_RNA = look("avail_actions")
            assert avail_RNA is not None
            return (avail_RNA[..., NO_OP] == 0) | (avail_RNA.sum(-1) > 1)
        alive_RN1 = look("alive")
        return None if alive_RN1 is None else alive_RN1.squeeze(-1) > 0

    def _own(self, steps: Steps) -> Tensor:
        """Returns what an agent reads without communication, (R, N, D): x, and the state if ``add_state`` is set."""
        if not self.args.add_state:
            return steps.x_RND
        state = steps.stored("state").unsqueeze(1).expand(-1, self.n_agents, -1)
        return torch.cat([steps.x_RND, state], dim=-1)

    # -- acting ------------------------------------------------------------------------------------------

    def init_hidden(self, batch_size: int) -> None:
        """Forgets everything before a new episode."""
        self.hidden_states = self.agent.init_hidden().expand(batch_size * self.n_agents, -1)
        self._memory = {}

    @property
    def memory(self) -> dict[str, Tensor]:
        """What is remembered of the episodes that are played, by name; the first axis is episodes.

        Where episodes start at different times (``runners/pipelined_rollout.py``), rows of it are taken and joined, and
        set here before this controller acts for them.
        """
        assert self.hidden_states is not None
        return {HIDDEN: self.hidden_states.unflatten(0, (-1, self.n_agents)), **self._memory}

    @memory.setter
    def memory(self, memory: Mapping[str, Tensor]) -> None:
        self.hidden_states = memory[HIDDEN].flatten(0, 1)
        self._memory = {name: value for name, value in memory.items() if name != HIDDEN}

    def needs_one_step(self, test_mode: bool) -> bool:
        """Returns whether all episodes of a call must be at the same step: messages are exchanged or compared."""
        return self.comm is not None and self.comm.compares_episodes(TEST if test_mode else ACT)

    @torch.no_grad()  # EPyMARL's runners act with gradients on, and the hidden state would keep an episode's graph
    def select_actions(
        self, ep_batch: Episodes, t_ep: int, t_env: int, bs: Rows = slice(None), test_mode: bool = False
    ) -> Tensor:
        """Chooses actions for the episodes ``bs`` at step ``t_ep``.

        Returns:
            Actions, long (len(bs), N).
        """
        avail_actions = ep_batch["avail_actions"][:, t_ep]
        q = self.forward(ep_batch, t_ep, test_mode=test_mode)
        if not (isinstance(bs, slice) and bs == slice(None)):  # runners ask for all, and indexing takes time
            q, avail_actions = q[bs], avail_actions[bs]
        return self.action_selector.select_action(q, avail_actions, t_env, test_mode=test_mode)

    def forward(self, ep_batch: Episodes, t: int, test_mode: bool = False) -> Tensor:
        """Returns the Q-values of step t, (B, N, A), and moves the hidden state on."""
        steps = self.step(ep_batch, t, TEST if test_mode else ACT)
        assert self.hidden_states is not None
        h_BNH = self._advance(steps, self._own(steps), self.hidden_states.reshape(steps.n_rows, self.n_agents, -1), {})
        self.hidden_states = h_BNH.flatten(0, 1)
        return self._q_values(steps, h_BNH, {})

    def _advance(self, steps: Steps, own_RND: Tensor, before_RNH: Tensor, kept: Kept) -> Tensor:
        """Moves the agents' states (R, N, H) on by one step."""
        R, N, H = before_RNH.shape
        inputs = own_RND
        if self.comm is not None:
            seen = before_RNH if self.comm.reads_hidden == "through" else before_RNH.detach()
            inputs = _joined(self.comm.inputs(steps, own_RND, None if self.comm.reads_hidden == "no" else seen, kept))
        return self.agent.step(inputs.reshape(R * N, -1), before_RNH.reshape(R * N, H)).view(R, N, H)

    def _q_values(self, steps: Steps, h_RNH: Tensor, kept: Kept) -> Tensor:
        """Returns the Q-values (R, N, A) from the agents' states after the step."""
        if self.comm is None:
            return self.agent.fc2(h_RNH)
        q = self.agent.fc2(self.comm.hidden(steps, h_RNH, kept))
        return self.comm.values(steps, h_RNH, q, kept)

    # -- learning ----------------------------------------------------------------------------------------

    def unroll(self, ep_batch: Episodes, steps: Steps | None = None) -> Unrolled:
        """Computes all steps of a batch from fresh hidden states.

        Args:
            ep_batch: B episodes of up to T steps.
            steps: what ``steps`` returned for this batch; made if None.
        """
        steps = self.steps(ep_batch) if steps is None else steps
        kept: Kept = {}
        h_PNH = self._states(steps, kept)
        return Unrolled(self._q_values(steps, h_PNH, kept), h_PNH, kept)

    def _states(self, steps: Steps, kept: Kept) -> Tensor:
        """Returns the agents' states after all steps, (P, N, H)."""
        own, comm = self._own(steps), self.comm
        if comm is None:
            return self._run_agents(own, steps)
        if comm.reads_hidden == "no":
            return self._run_agents(comm.inputs(steps, own, None, kept), steps)
        if comm.reads_hidden == "detached" and not comm.link.is_random(steps):
            # The messages' gradient stops at h(t - 1), so its values are enough: they come from a pass without
            # gradient, after which everything but the GRU is again one call over all steps.
            with torch.no_grad():
                before = self._one_by_one(steps, own, {}, states_before=True)
            return self._run_agents(comm.inputs(steps, own, before, kept), steps)
        return self._one_by_one(steps, own, kept)

    def _run_agents(self, inputs: Tensor | tuple[Tensor, ...], steps: Steps) -> Tensor:
        """Runs the agents over packed inputs (P, N, *) or parts of them; returns their states (P, N, H)."""
        if not isinstance(inputs, tuple) or not getattr(self.agent, "reads_parts", False):
            inputs = (_joined(inputs),)
        P, N, _ = inputs[0].shape
        rows = tuple(part.reshape(P * N, -1) for part in inputs)
        h0 = self.agent.init_hidden().expand(steps.counts[0] * N, -1)
        h = self.agent.states(rows if len(rows) > 1 else rows[0], h0, [count * N for count in steps.counts])
        return h.view(P, N, -1)

    def _one_by_one(self, steps: Steps, own_PND: Tensor, kept: Kept, states_before: bool = False) -> Tensor:
        """Moves the agents step by step; returns their states after (or before) every step, (P, N, H)."""
        h = self.agent.init_hidden().expand(steps.counts[0] * self.n_agents, -1)
        h = h.reshape(steps.counts[0], self.n_agents, -1)
        before, after, start = [], [], 0
        parts: dict[str, list[Tensor]] = {}
        for step in steps.one_by_one():
            h = h[: step.n_rows]
            before.append(h)
            kept_now: Kept = {}
            h = self._advance(step, own_PND[start : start + step.n_rows], h, kept_now)
            after.append(h)
            start += step.n_rows
            for name, value in kept_now.items():
                parts.setdefault(name, []).append(value)
        kept.update({name: torch.cat(values) for name, values in parts.items()})
        return torch.cat(before if states_before else after)

    def transforms(self, n_steps: int) -> list[EpisodeTransform]:
        """Returns what is computed once for every episode that enters the replay buffer.

        Args:
            n_steps: steps the buffer has room for.
        """
        fields = [] if self.comm is None else self.comm.stored_fields(n_steps)
        return [
            EpisodeTransform(f.key, {"vshape": (f.width,), "group": "agents"}, partial(self._padded, f.compute))
            for f in fields
        ]

    def _padded(self, compute: Callable[[Steps], Tensor], ep_batch: Episodes) -> Tensor:
        """Returns ``compute`` of all existing steps, (B, T, ...), zeros where no step is stored."""
        steps = self.steps(ep_batch)
        assert steps.packing is not None
        return steps.packing.pad(compute(steps))

    # -- what messages cost ------------------------------------------------------------------------------

    def take_message_metrics(self) -> dict[str, float]:
        """Returns what messages cost in the tests since the last call, means a step; empty where nothing is sent.

        Keys: ``message_floats`` and ``message_bits`` an ordered pair, ``links_open`` (share of ordered pairs that
        carried anything), and for a central messenger ``uplink_floats`` and ``downlink_floats`` an agent.
        """
        if self.comm is None:
            return {}
        costs = self.comm.link.take_costs()
        self.last_costs = costs
        n_pairs = max(1, self.n_agents * (self.n_agents - 1))
        metrics = {f"{name}_floats": float(costs[name].mean()) for name in ("uplink", "downlink") if name in costs}
        if "floats" in costs:
            floats = float(costs["floats"].sum()) / n_pairs
            metrics |= {
                "message_floats": floats,
                "message_bits": floats * self.comm.link.bits_per_float,
                "links_open": float(costs["links"].sum()) / n_pairs,
            }
        return metrics

    def message_tables(self) -> dict[str, list[Any]]:
        """Returns what messages cost in the latest tests, means a step; empty where nothing was sent.

        Keys: ``floats``, ``bits`` and ``links`` (how often a link carried anything), each a list of N lists of N,
        receiver by sender; ``uplink`` and ``downlink``, each a list of N, floats to and from a central messenger.
        """
        tables = {name: cost.tolist() for name, cost in self.last_costs.items()}
        if "floats" in self.last_costs and self.comm is not None:
            tables["bits"] = (self.last_costs["floats"] * self.comm.link.bits_per_float).tolist()
        return tables

    # -- copies that act elsewhere -----------------------------------------------------------------------

    def acting_state(self) -> dict[str, Any]:
        """Returns what acting depends on beside the settings, as NumPy arrays and plain values."""
        return {
            "networks": {
                name: {key: value.cpu().numpy() for key, value in state.items()}
                for name, state in self.state_dict().items()
            },
            "link": None if self.comm is None else self.comm.link.settings,
            "epsilons": {
                key: getattr(self.action_selector, key) for key in EPSILONS if hasattr(self.action_selector, key)
            },
        }

    def load_acting_state(self, state: Mapping[str, Any]) -> None:
        """Lets this copy act as the controller whose ``acting_state`` it is."""
        networks = state["networks"]
        self.load_state_dict(
            {
                name: {key: torch.from_numpy(np.array(value)) for key, value in of.items()}
                for name, of in networks.items()
            }
        )
        if self.comm is not None:
            self.comm.link.settings = state["link"]
        for key, value in state["epsilons"].items():
            setattr(self.action_selector, key, value)
        self.train(False)

    def seed_acting(self, seed: int) -> None:
        """Begins everything anew that acting draws: exploration, and what methods and channels draw."""
        torch.default_generator.manual_seed(derive_seed(seed, "acting"))  # torch.manual_seed takes 0.1 ms for devices
        selector: Any = self.action_selector
        selector.seed(seed)

    def take_tally(self) -> dict[str, Any]:
        """Returns what was counted while acting since the last call, for ``add_tally`` of another copy."""
        costs = {} if self.comm is None else self.comm.link.take_sums()
        return {"costs": costs, "epsilon": getattr(self.action_selector, EPSILON, None)}

    def add_tally(self, tally: Mapping[str, Any]) -> None:
        """Adds what another copy counted; the exploration shown is the other's."""
        if self.comm is not None:
            self.comm.link.add_sums(tally["costs"])
        if tally["epsilon"] is not None:
            setattr(self.action_selector, EPSILON, tally["epsilon"])

    # -- parameters --------------------------------------------------------------------------------------

    def networks(self) -> dict[str, nn.Module]:
        """Returns every network of this controller under the name of its file in a checkpoint."""
        return {"agent": self.agent} if self.comm is None else {"agent": self.agent, "comm": self.comm}

    def parameters(self) -> list[nn.Parameter]:
        """Returns all trained parameters."""
        return [p for network in self.networks().values() for p in network.parameters() if p.requires_grad]

    def train(self, mode: bool = True) -> None:
        """Sets train mode (dropout on) for an update, or eval mode for everything else."""
        for network in self.networks().values():
            network.train(mode)

    def load_state(self, other_mac: SequenceMac) -> None:
        """Copies another controller's parameters and buffers."""
        for name, network in self.networks().items():
            network.load_state_dict(other_mac.networks()[name].state_dict())

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Returns the parameters and buffers of every network."""
        return {name: network.state_dict() for name, network in self.networks().items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restores what ``state_dict`` returned."""
        for name, network in self.networks().items():
            network.load_state_dict(state[name])

    def cuda(self) -> None:
        """Moves the networks to the run's device (EPyMARL's name for it)."""
        for network in self.networks().values():
            network.to(self.args.device)

    def save_models(self, path: str | Path) -> None:
        """Writes one ``<name>.th`` a network into the folder ``path``."""
        for name, network in self.networks().items():
            torch.save(network.state_dict(), Path(path) / f"{name}.th")

    def load_models(self, path: str | Path) -> None:
        """Reads what ``save_models`` wrote."""
        for name, network in self.networks().items():
            network.load_state_dict(torch.load(Path(path) / f"{name}.th", map_location="cpu", weights_only=True))


def _field_of(ep_batch: Episodes, take: Callable[[Tensor], Tensor]) -> Callable[[str], Tensor | None]:
    """Returns a function that gives the wanted rows of a stored field by name, None where it is not stored."""

    def look(key: str) -> Tensor | None:
        return take(ep_batch[key]) if key in KEYS_OF_EVERY_HOST or key in getattr(ep_batch, "scheme", ()) else None

    return look


def _joined(parts: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Returns the parts of an input side by side."""
    return torch.cat(parts, dim=-1) if isinstance(parts, tuple) else parts


def _width(vshape: int | Iterable[int]) -> int:
    return vshape if isinstance(vshape, int) else math.prod(vshape)
