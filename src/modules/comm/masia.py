"""MASIA: all agents hear all observations and sum them up in one latent, trained to tell the state and its own future.

    observations -> attention over agents -> GRU a slot -> narrow slots -> z -> private gate -> agents

Letters: R rows, P existing steps, K receivers that hear apart (1 where all hear the same, else N), N agents (also the
slots of z), O observation, E observation and id, G slot features, Z = N * slot width, S state, A actions.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, LossContext, Sizes, Team, follow, no_gradient, weighted_mean
from modules.comm.link import LinkSettings
from modules.comm.steps import Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs


@dataclass(frozen=True)
class MasiaSettings(LinkSettings):
    """MASIA's own settings."""

    masia_slot_dim: int = setting(8, "numbers of z for every agent", low=1)
    masia_encoder_dim: int = setting(32, "width of the encoder's values and of its GRU", low=1)
    masia_attention_dim: int = setting(16, "width of queries and keys", low=1)
    masia_obs_dim: int = setting(32, "numbers an agent's own observation is embedded in", low=1)
    masia_action_dim: int = setting(8, "numbers an action is embedded in, in the transition model", low=1)
    masia_model_dim: int = setting(64, "hidden width of the transition model, the reward head and projections", low=1)
    masia_projection_dim: int = setting(32, "width of the projections that are compared", low=1)
    masia_pred_len: int = setting(2, "steps that z is predicted ahead", low=0)
    masia_pred_from: int = setting(
        1, "first step that is compared: 1 (the paper), or 0 for the present one as well (as released)", choices=(0, 1)
    )
    masia_repr_coef: float = setting(1.0, "weight of all losses on z together", low=0)
    masia_pred_coef: float = setting(1.0, "weight of the prediction of z among them", low=0)
    masia_reward_coef: float = setting(1.0, "weight of the prediction of rewards among them", low=0)
    masia_momentum: float = setting(
        1.0,
        "share by which the momentum encoder moves to the encoder when the target network is copied; 1 copies",
        above=0,
        high=1,
    )
    masia_td_trains_encoder: bool = setting(True, "whether the TD loss reaches the encoder through z")


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Returns Linear, ReLU, Linear."""
    return nn.Sequential(Linear(inputs, hidden), nn.ReLU(), Linear(hidden, outputs))


class Aggregator(nn.Module):
    """Turns what a receiver heard of all agents into z: attention, a GRU for every slot, a narrow linear layer.

    Args:
        width: E, of what is heard of an agent.
        settings: see ``MasiaSettings``.
    """

    def __init__(self, width: int, settings: MasiaSettings) -> None:
        super().__init__()
        self.query = Linear(width, settings.masia_attention_dim)
        # A bias of the keys adds the same number to all scores of a query, which the softmax takes away again.
        self.key = Linear(width, settings.masia_attention_dim, bias=False)
        self.value = Linear(width, settings.masia_encoder_dim)
        self.gru = nn.GRUCell(settings.masia_encoder_dim, settings.masia_encoder_dim)
        self.slot = Linear(settings.masia_encoder_dim, settings.masia_slot_dim)
        self.scale = 1 / math.sqrt(settings.masia_attention_dim)

    def forward(self, steps: Steps, heard_RKNE: Tensor, name: str) -> Tensor:
        """Returns z, (R, K, Z).

        Args:
            steps: the rows.
            heard_RKNE: what every receiver heard.
            name: of the memory between steps.
        """
        R, K = heard_RKNE.shape[:2]
        scores = self.query(heard_RKNE) @ self.key(heard_RKNE).transpose(-1, -2)
        seen = torch.softmax(scores * self.scale, dim=-1) @ self.value(heard_RKNE)
        slots = self.slot(steps.recur(name, self.gru, seen.flatten(1, 2)))
        return slots.reshape(R, K, -1)


class TransitionModel(nn.Module):
    """Predicts the next z from z and all agents' actions, as z plus a change.

    Args:
        team: sizes.
        settings: see ``MasiaSettings``.
    """

    def __init__(self, team: Team, settings: MasiaSettings) -> None:
        super().__init__()
        latent, hidden = team.n_agents * settings.masia_slot_dim, settings.masia_model_dim
        joint = team.n_agents * settings.masia_action_dim
        self.action = Linear(team.n_actions, settings.masia_action_dim)
        self.joint_action = nn.Sequential(nn.ReLU(), mlp(joint, hidden, hidden))
        self.latent = mlp(latent, hidden, hidden)
        self.change = mlp(2 * hidden, hidden, latent)

    def forward(self, z_RKZ: Tensor, onehot_RNA: Tensor) -> Tensor:
        """Returns the z expected at the next step, (R, K, Z)."""
        actions = self.joint_action(self.action(onehot_RNA).flatten(1)).unsqueeze(1)
        latent = self.latent(z_RKZ)
        return z_RKZ + self.change(torch.cat([latent, actions.expand_as(latent)], dim=-1))


class MasiaComm(Comm):
    """Agents broadcast their observations; every receiver aggregates what it heard to z and acts on a gated z.

    With a perfect link and everyone alive all receivers hear the same, so z is computed once; else for every receiver.
    An agent reads [embedded own observation, sigmoid(gate(own)) * z, its last action and id].

        L = L_TD + repr_coef * (L_state + pred_coef * L_pred + reward_coef * L_reward)

    L_state reconstructs the state from z. L_pred rolls z forward with a transition model and compares projections with
    those of the momentum encoder k steps later; L_reward predicts the rewards there, as the environment gave them. The
    terms of different k are added; each is a mean over the steps that have one (and over the living receivers).

    Message: O numbers an ordered pair a step, broadcast. Slots belong to agents, so the method is slotted.

    Raises:
        SettingsError: no step is left to compare (masia_pred_len=0 with masia_pred_from=1).

    Source: Guan, Chen, Yuan, Wang, Yin, Zhang, Yu, "Efficient Multi-agent Communication via Self-supervised Information
    Aggregation", NeurIPS 2022; layers as in the released code, but for a key bias that has no effect.
    """

    SETTINGS = MasiaSettings
    settings: MasiaSettings
    is_slotted = True

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        s = self.settings
        if s.masia_pred_from > s.masia_pred_len:
            raise SettingsError(
                f"masia_pred_len={s.masia_pred_len} leaves nothing to compare from step {s.masia_pred_from} on; use "
                "masia_pred_len=1 or more, or masia_pred_from=0.",
                "masia_pred_len",
            )
        self.id_dim = team.n_agents if team.layout.agent_id else 0
        latent, hidden = team.n_agents * s.masia_slot_dim, s.masia_model_dim
        self.aggregator = Aggregator(team.obs_dim + self.id_dim, s)
        self.gate = Linear(team.own_dim, latent)
        self.own_obs = Linear(team.obs_dim, s.masia_obs_dim)
        self.decoder = Linear(latent, team.state_dim)
        self.projection = mlp(latent, hidden, s.masia_projection_dim)
        self.predictor = mlp(s.masia_projection_dim, hidden, s.masia_projection_dim)
        self.transition = TransitionModel(team, s) if s.masia_pred_len > 0 else None
        self.reward = mlp(latent, hidden, 1)
        self.slow_aggregator = no_gradient(copy.deepcopy(self.aggregator))
        self.slow_projection = no_gradient(copy.deepcopy(self.projection))
        interval_or_rate = args.target_update_interval_or_tau
        self.slow_rate = s.masia_momentum * min(1.0, interval_or_rate)

    @classmethod
    def sizes(cls, team: Team, settings: MasiaSettings) -> Sizes:
        latent = team.n_agents * settings.masia_slot_dim
        return Sizes(settings.masia_obs_dim + latent + team.own_dim - team.obs_dim, team.hidden_dim)

    def floats_per_pair(self) -> float:
        return self.team.obs_dim

    # -- acting ------------------------------------------------------------------------------------------

    def inputs(self, steps: Steps, own_RND: Tensor, before_RNH: Tensor | None, kept: Kept) -> Tensor:
        heard = steps.once("heard", lambda: self._heard(steps))
        z_RKZ = self.aggregator(steps, heard, "slots")
        kept.update(heard=heard, latent=z_RKZ)
        used = z_RKZ if self.settings.masia_td_trains_encoder else z_RKZ.detach()
        O = self.team.obs_dim
        return torch.cat(
            [self.own_obs(own_RND[..., :O]), torch.sigmoid(self.gate(own_RND)) * used, own_RND[..., O:]], -1
        )

    def _heard(self, steps: Steps) -> Tensor:
        """Returns what every receiver knows of every agent, (R, K, N, E): observations with the sender's id."""
        values = self.link.broadcast(steps, steps.obs_RNO).values
        R, K, N, _ = values.shape
        ids_NN = torch.eye(N, device=values.device, dtype=values.dtype)[:, : self.id_dim]
        return torch.cat([values, ids_NN.expand(R, K, -1, -1)], dim=-1)

    # -- losses ------------------------------------------------------------------------------------------

    def losses(self, context: LossContext) -> dict[str, tuple[float, Tensor]]:
        s, stats = self.settings, context.stats
        z_PKZ = context.online.kept["latent"]
        weight_PK = self._counted(context, z_PKZ.shape[1])
        state_P1S = context.steps.stored("state").unsqueeze(1)
        state_loss = weighted_mean((self.decoder(z_PKZ) - state_P1S).square().mean(-1), weight_PK)
        prediction_loss, reward_loss = self._roll_out(context, z_PKZ, weight_PK)
        if context.with_stats:
            spread = context.transitions.state_VS.var(0, unbiased=False).mean()
            stats["recon_r2"] = 1 - state_loss.detach() / spread
            stats["latent_std"] = z_PKZ.detach().flatten(0, 1).std(0).mean()
        return {
            "recon_loss": (s.masia_repr_coef, state_loss),
            "prediction_loss": (s.masia_repr_coef * s.masia_pred_coef, prediction_loss),
            "reward_loss": (s.masia_repr_coef * s.masia_reward_coef, reward_loss),
        }

    def _counted(self, context: LossContext, n_receivers: int) -> Tensor:
        """Returns which steps and receivers count in the losses, 1 or 0, (P, K).

        Not those that follow the end of the task, and not dead receivers, which hear nobody.
        """
        packing, steps = context.transitions.packing, context.steps
        counted_P = steps.x_RND.new_ones(steps.n_rows)
        counted_P[packing.next_V] = 1 - context.transitions.terminated_V1.squeeze(1)
        counted_PK = counted_P.unsqueeze(1).expand(-1, n_receivers)
        return counted_PK if steps.alive_RN is None or n_receivers == 1 else counted_PK * steps.alive_RN

    def _roll_out(self, context: LossContext, z_PKZ: Tensor, weight_PK: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the losses of predicted projections and of predicted rewards, sums over the steps ahead."""
        s, packing = self.settings, context.transitions.packing
        target_PKY = self._targets(context)
        reward_P1 = weight_PK.new_zeros(len(weight_PK), 1)
        reward_P1[packing.now_V] = context.transitions.raw_reward_V1
        followed_PK = torch.zeros_like(weight_PK)
        followed_PK[packing.now_V] = weight_PK[packing.now_V]
        onehot_PNA = context.steps.stored("actions_onehot").to(z_PKZ.dtype)
        next_P = packing.ahead(1)
        row = torch.arange(len(next_P), device=next_P.device)  # of the step that z is predicted for
        z, prediction_loss, reward_loss = z_PKZ, z_PKZ.new_zeros(()), z_PKZ.new_zeros(())
        for k in range(s.masia_pred_len + 1):
            if k > 0:
                assert self.transition is not None
                has_next = next_P[row] >= 0
                z = self.transition(z[has_next], onehot_PNA[row[has_next]])
                row = next_P[row[has_next]]
            if k >= s.masia_pred_from:
                error = (self.predictor(self.projection(z)) - target_PKY[row]).square().sum(-1)
                prediction_loss = prediction_loss + weighted_mean(error, weight_PK[row])
            error = (self.reward(z).squeeze(-1) - reward_P1[row]).square()
            reward_loss = reward_loss + weighted_mean(error, followed_PK[row])
        return prediction_loss, reward_loss

    @torch.no_grad()
    def _targets(self, context: LossContext) -> Tensor:
        """Returns the momentum encoder's projections of all existing steps, (P, K, projection width)."""
        heard = context.online.kept["heard"]
        return self.slow_projection(self.slow_aggregator(context.steps, heard, "slow slots"))

    def before_target_update(self) -> None:
        follow(self.slow_aggregator, self.aggregator, self.slow_rate)
        follow(self.slow_projection, self.projection, self.slow_rate)
