"""The learner that all value-based methods share.

    batch -> steps -> online and target unroll -> mixer -> TD loss + the communication method's own losses

Sequences come from the controller's ``unroll``; what depends on no trained parameter is computed once and shared by the
online and the target network.

Letters: P existing steps of all episodes, V transitions, N agents, A actions, S state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from epymarl_lmac.learning.q_values import next_values, taken
from learners.base_learner import Learner, Transitions
from modules.comm.base import CHOOSING

if TYPE_CHECKING:
    from epymarl_lmac.seam import Episodes


class ValueLearner(Learner):
    """Double Q-learning with an optional mixer.

    Args:
        mac: the controller to train.
        scheme: the buffer's scheme.
        logger: has ``log_stat(key, value, t_env)``.
        args: the run's settings.

    Source: Rashid et al., QMIX, ICML 2018, equation 6; double Q as in PyMARL.
    """

    # -- one update --------------------------------------------------------------------------------------

    def train(self, batch: Episodes, t_env: int, episode_num: int) -> None:
        """Takes one gradient step on a batch of episodes.

        Args:
            batch: ``EpisodeBatch`` of B episodes on this learner's device.
            t_env: environment steps so far; decides when to log, and drives schedules.
            episode_num: episodes so far; kept for EPyMARL's signature.
        """
        should_log = self._should_log(t_env)
        self.mac.train(True)
        loss, stats = self.loss(batch, should_log, t_env)
        self.mac.train(False)
        norms = self._step(loss, self.optimisers)
        self._finish_update(t_env)
        if should_log:
            self._log(stats, norms, t_env)
            self.log_stats_t = t_env

    def loss(self, batch: Episodes, with_stats: bool = True, t_env: int = 0) -> tuple[Tensor, dict[str, Any]]:
        """Returns the total loss of a batch (a scalar with gradient) and the metrics to log."""
        steps = self.mac.steps(batch)
        assert steps.packing is not None
        transitions = self._transitions(batch, steps.packing)
        online = self.mac.unroll(batch, steps)
        with torch.no_grad():
            target = self.target_mac.unroll(batch, steps)
        loss, stats = self.td_loss(transitions, online.q_PNA, target.q_PNA, with_stats, online.kept.get(CHOOSING))
        loss = self._method_losses(
            loss,
            stats,
            batch=batch,
            steps=steps,
            transitions=transitions,
            online=online,
            target=target,
            t_env=t_env,
            with_stats=with_stats,
        )
        return loss, stats

    def td_loss(
        self,
        transitions: Transitions,
        q_PNA: Tensor,
        target_q_PNA: Tensor,
        with_stats: bool,
        choosing_PNA: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Returns the mean squared TD error over transitions (and agents, without a mixer) and its metrics.

        Args:
            transitions: see ``Transitions``.
            q_PNA, target_q_PNA: Q-values of all existing steps by the online and the target network.
            with_stats: whether metrics are wanted.
            choosing_PNA: Q-values that choose the next action in double Q-learning; None: ``q_PNA``.
        """
        choosing_PNA = q_PNA if choosing_PNA is None else choosing_PNA
        packing = transitions.packing
        chosen = taken(q_PNA, packing.now_V, transitions.actions_VN1)
        with torch.no_grad():
            choosing_PNA = choosing_PNA if self.args.double_q else target_q_PNA
            next_value = next_values(target_q_PNA, choosing_PNA, packing.next_V, transitions.avail_next_VNA)
            if self.target_mixer is not None:
                next_value = self._mix(self.target_mixer, next_value, transitions.state_next_VS)
            if self.ret_ms is not None:
                next_value = next_value * self.ret_ms.var.sqrt() + self.ret_ms.mean
            target = transitions.reward_V1 + self.args.gamma * (1 - transitions.terminated_V1) * next_value
            if self.ret_ms is not None:
                self.ret_ms.update(target.reshape(-1, 1))
                target = (target - self.ret_ms.mean) / self.ret_ms.var.sqrt()
            target = target.float()
        if self.mixer is not None:
            chosen = self._mix(self.mixer, chosen, transitions.state_VS)
        error = chosen - target
        loss = error.square().mean()
        stats: dict[str, Any] = {"loss": loss.detach()}
        if with_stats:
            stats["td_error_abs"] = error.detach().abs().mean()
            stats["q_taken_mean"] = chosen.detach().mean()
            stats["target_mean"] = target.mean()
        return loss, stats
