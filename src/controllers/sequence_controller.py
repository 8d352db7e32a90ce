"""The controller that all value-based methods share: ``forward`` acts, ``unroll`` gives a learner every step.

Letters: B episodes, T steps, N agents, R = B * N rows, D input, A actions, P existing steps of all episodes.
Sequences are packed (``epymarl_lmac.learning.packing``): no layer and no loss ever sees a padded step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.action_selectors import REGISTRY as action_REGISTRY
from epymarl_lmac.learning.packing import Packing
from modules.agents import REGISTRY as agent_REGISTRY


@dataclass
class Unrolled:
    """What a controller computed for every existing step of a batch."""

    q_PNA: Tensor  # Q-values of all actions
    latent_PNZ: Tensor | None = None  # what the agents inferred from messages, where the method has it


@dataclass
class SharedInputs:
    """What the online and the target network have in common for a batch."""

    packing: Packing
    inputs_PND: Tensor  # what the agent network reads, but for what the method itself infers


class SequenceMAC:
    """Parameter-shared agents on x = [obs, last action, agent id(, state)].

    Args:
        scheme: the replay buffer's scheme; gives the widths.
        groups: ``{"agents": N}``.
        args: the run's settings.
    """

    SETTINGS: type | None = None
    X_KEYS = ("obs", "actions_onehot")  # what the extended observation is made of

    def __init__(self, scheme, groups, args) -> None:
        self.n_agents = args.n_agents
        self.args = args
        self.agent_output_type = args.agent_output_type
        self.x_dim = self._x_dim(scheme)
        self.agent = agent_REGISTRY[args.agent](self._agent_input_dim(), args)
        self.action_selector = action_REGISTRY[args.action_selector](args)
        self.hidden_states: Tensor | None = None

    # -- sizes -------------------------------------------------------------------------------------------

    def _x_dim(self, scheme) -> int:
        """Returns the width D of the extended observation."""
        width = scheme["obs"]["vshape"]
        width = width if isinstance(width, int) else int(torch.tensor(width).prod())
        if self.args.obs_last_action:
            width += scheme["actions_onehot"]["vshape"][0]
        if self.args.obs_agent_id:
            width += self.n_agents
        return width

    def _agent_input_dim(self) -> int:
        """Returns the width of what the agent network reads."""
        return self.x_dim + (int(self.args.state_shape) if self.args.add_state else 0)

    # -- inputs ------------------------------------------------------------------------------------------

    def extended_obs(self, ep_batch, t: int) -> Tensor:
        """Returns x of one step, (B, N, D). The last action is all zero at t = 0."""
        obs = ep_batch["obs"][:, t]
        parts = [obs]
        if self.args.obs_last_action:
            onehot = ep_batch["actions_onehot"]
            parts.append(torch.zeros_like(onehot[:, 0]) if t == 0 else onehot[:, t - 1])
        if self.args.obs_agent_id:
            ids = torch.eye(self.n_agents, device=obs.device, dtype=obs.dtype)
            parts.append(ids.expand(obs.shape[0], -1, -1))
        return torch.cat(parts, dim=-1)

    def extended_obs_packed(self, ep_batch, packing: Packing) -> Tensor:
        """Returns x of all existing steps, (P, N, D)."""
        obs = packing.pack(ep_batch["obs"])
        P, N, O = obs.shape
        x = obs.new_empty(P, N, self.x_dim)
        x[..., :O] = obs
        column = O
        if self.args.obs_last_action:
            onehot = ep_batch["actions_onehot"]
            A = onehot.shape[-1]
            before = (packing.rows_P - 1).clamp(min=0)  # one step earlier in the same episode, except at t = 0
            last = onehot.reshape(-1, N, A).index_select(0, before)
            last[: packing.counts[0]] = 0
            x[..., column : column + A] = last
            column += A
        if self.args.obs_agent_id:
            x[..., column:] = torch.eye(N, device=obs.device, dtype=obs.dtype)
        return x

    def _with_state(self, x: Tensor, state: Tensor) -> Tensor:
        """Appends the global state (..., S) to every agent's x (..., N, D) if ``add_state`` is set."""
        if not self.args.add_state:
            return x
        return torch.cat([x, state.unsqueeze(-2).expand(*x.shape[:-1], state.shape[-1])], dim=-1)

    # -- acting ------------------------------------------------------------------------------------------

    def init_hidden(self, batch_size: int) -> None:
        """Forgets everything before a new episode."""
        self.hidden_states = self.agent.init_hidden().expand(batch_size * self.n_agents, -1)

    @torch.no_grad()  # EPyMARL's runners act with gradients on, and the hidden state would keep an episode's graph
    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False) -> Tensor:
        """Chooses actions for the episodes ``bs`` at step ``t_ep``.

        Returns:
            Actions, long (len(bs), N).
        """
        avail_actions = ep_batch["avail_actions"][:, t_ep]
        q = self.forward(ep_batch, t_ep, test_mode=test_mode)
        return self.action_selector.select_action(q[bs], avail_actions[bs], t_env, test_mode=test_mode)

    def forward(self, ep_batch, t: int, test_mode: bool = False) -> Tensor:
        """Returns the Q-values of step t, (B, N, A), and moves the hidden state on."""
        x = self._with_state(self.extended_obs(ep_batch, t), ep_batch["state"][:, t])
        B = x.shape[0]
        q_RA, self.hidden_states = self.agent(x.reshape(B * self.n_agents, -1), self.hidden_states)
        return q_RA.view(B, self.n_agents, -1)

    # -- learning ----------------------------------------------------------------------------------------

    def stored_fields(self, n_steps: int) -> dict[str, dict[str, Any]]:
        """Returns what the replay buffer should store beside the scheme, as a scheme; ``complete`` writes it.

        Args:
            n_steps: steps the buffer has room for.
        """
        return {}

    def complete(self, ep_batch) -> None:
        """Adds ``stored_fields`` to episodes that were played."""

    def shared_inputs(self, ep_batch) -> Any:
        """Returns what the online and the target network have in common for a batch, computed once."""
        packing = Packing.of(ep_batch["filled"].squeeze(-1))
        x_PND = self.extended_obs_packed(ep_batch, packing)
        return SharedInputs(packing, self._with_packed_state(x_PND, ep_batch, packing))

    def _with_packed_state(self, x_PND: Tensor, ep_batch, packing: Packing) -> Tensor:
        if not self.args.add_state:
            return x_PND
        return self._with_state(x_PND, packing.pack(ep_batch["state"]))

    def unroll(self, ep_batch, shared: Any = None) -> Unrolled:
        """Computes all steps of a batch from fresh hidden states.

        Args:
            ep_batch: B episodes of up to T steps.
            shared: what ``shared_inputs`` returned for this batch; computed if None.
        """
        shared = self.shared_inputs(ep_batch) if shared is None else shared
        return Unrolled(self._q_values(shared.inputs_PND, shared.packing))

    def _q_values(self, inputs_PND: Tensor, packing: Packing) -> Tensor:
        """Runs the agent over packed inputs (P, N, *); returns (P, N, A)."""
        P, N, _ = inputs_PND.shape
        h0 = self.agent.init_hidden().expand(packing.counts[0] * N, -1)
        q_RA = self.agent.unroll(inputs_PND.reshape(P * N, -1), h0, [c * N for c in packing.counts])
        return q_RA.view(P, N, -1)

    # -- parameters --------------------------------------------------------------------------------------

    def networks(self) -> dict[str, nn.Module]:
        """Returns every network of this controller under the name of its file in a checkpoint."""
        return {"agent": self.agent}

    def parameters(self):
        """Returns all trained parameters."""
        return [p for network in self.networks().values() for p in network.parameters()]

    def train(self, mode: bool = True) -> None:
        """Sets train mode (dropout on) for an update, or eval mode for everything else."""
        for network in self.networks().values():
            network.train(mode)

    def load_state(self, other_mac) -> None:
        """Copies another controller's parameters."""
        for name, network in self.networks().items():
            network.load_state_dict(other_mac.networks()[name].state_dict())

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Returns the parameters of every network."""
        return {name: network.state_dict() for name, network in self.networks().items()}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Restores what ``state_dict`` returned."""
        for name, network in self.networks().items():
            network.load_state_dict(state[name])

    def cuda(self) -> None:
        """Moves the networks to the run's device (EPyMARL's name for it)."""
        for network in self.networks().values():
            network.to(self.args.device)

    def save_models(self, path) -> None:
        """Writes one ``<name>.th`` a network into the folder ``path``."""
        for name, network in self.networks().items():
            torch.save(network.state_dict(), Path(path) / f"{name}.th")

    def load_models(self, path) -> None:
        """Reads what ``save_models`` wrote."""
        for name, network in self.networks().items():
            network.load_state_dict(torch.load(Path(path) / f"{name}.th", map_location="cpu", weights_only=True))
