"""One learner core for every value-based method here: IQL, VDN, QMIX and the communication methods on top.

    batch -> shared inputs (messages included) -> online and target unroll -> mixer -> TD loss + the method's own

A method adds its own losses in ``extra_losses`` and nothing else. Sequences come from the controller's ``unroll``;
messages and inputs are computed once and shared by the online and the target network.

Letters: P existing steps of all episodes, V transitions, N agents, A actions, S state.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from epymarl_lmac.learning.optimiser import make_optimiser
from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.learning.running_stats import RunningMeanStd
from modules.mixers import REGISTRY as mixer_REGISTRY

UNAVAILABLE = -9999999.0  # Q-value of an action that cannot be taken


class Transitions(NamedTuple):
    """The transitions of a batch, V of them, without padding."""

    packing: Packing
    reward_V1: Tensor
    actions_VN1: Tensor
    terminated_V1: Tensor
    avail_next_VNA: Tensor
    state_VS: Tensor
    state_next_VS: Tensor


class ValueLearner:
    """Double Q-learning with an optional mixer.

    Args:
        mac: the controller to train.
        scheme: the buffer's scheme.
        logger: has ``log_stat(key, value, t_env)``.
        args: the run's settings.

    Source: Rashid et al., QMIX, ICML 2018, equation 6; double Q as in PyMARL.
    """

    SETTINGS: type | None = None

    def __init__(self, mac, scheme, logger, args) -> None:
        self.args = args
        self.mac = mac
        self.logger = logger
        self.device = torch.device(args.device)
        self.mac.cuda()
        self.mixer = None if args.mixer is None else mixer_REGISTRY[args.mixer](args).to(self.device)
        self.target_mac = copy.deepcopy(mac)
        self.target_mixer = copy.deepcopy(self.mixer)
        self.params = list(mac.parameters()) + ([] if self.mixer is None else list(self.mixer.parameters()))
        self.optimiser = make_optimiser(self.params, args)
        self.n_updates = 0
        self.last_target_update = 0
        self.log_stats_t = -args.learner_log_interval - 1
        self.ret_ms = RunningMeanStd(shape=(1,), device=self.device) if args.standardise_returns else None
        self.rew_ms = RunningMeanStd(shape=(1,), device=self.device) if args.standardise_rewards else None
        self.mac.train(False)
        self.target_mac.train(False)

    # -- one update --------------------------------------------------------------------------------------

    def train(self, batch, t_env: int, episode_num: int) -> None:
        """Takes one gradient step on a batch of episodes.

        Args:
            batch: ``EpisodeBatch`` of B episodes on this learner's device.
            t_env: environment steps so far; decides when to log.
            episode_num: episodes so far; kept for EPyMARL's signature.
        """
        should_log = t_env - self.log_stats_t >= self.args.learner_log_interval
        self.mac.train(True)
        loss, stats = self.loss(batch, should_log)
        self.mac.train(False)
        self.optimiser.zero_grad()
        loss.backward()
        grad_norm = self.optimiser.clip_and_step(self.args.grad_norm_clip)
        self.n_updates += 1
        self._update_targets()
        if should_log:
            stats["grad_norm"] = grad_norm
            for key, value in stats.items():
                self.logger.log_stat(key, float(value), t_env)
            self.log_stats_t = t_env

    def loss(self, batch, with_stats: bool = True) -> tuple[Tensor, dict[str, Any]]:
        """Returns the total loss of a batch (a scalar with gradient) and the figures to log."""
        shared = self.mac.shared_inputs(batch)
        transitions = self._transitions(batch, shared.packing)
        online = self.mac.unroll(batch, shared)
        with torch.no_grad():
            target_q_PNA = self.target_mac.unroll(batch, shared).q_PNA
        loss, stats = self.td_loss(transitions, online.q_PNA, target_q_PNA, with_stats)
        for name, (weight, value) in self.extra_losses(transitions, online, with_stats, stats).items():
            loss = loss + weight * value
            stats[name] = value.detach()
        return loss, stats

    def extra_losses(
        self, transitions: Transitions, online, with_stats: bool, stats: dict[str, Any]
    ) -> dict[str, tuple[float, Tensor]]:
        """Returns the method's own losses by name, each with its weight; may add figures to ``stats``."""
        return {}

    def _transitions(self, batch, packing: Packing) -> Transitions:
        now, following = packing.rows_P[packing.now_V], packing.rows_P[packing.next_V]

        def take(key: str, rows: Tensor) -> Tensor:
            value = batch[key]
            return value.reshape(-1, *value.shape[2:]).index_select(0, rows)

        reward = take("reward", now)
        if self.rew_ms is not None:
            self.rew_ms.update(reward)
            reward = (reward - self.rew_ms.mean) / self.rew_ms.var.sqrt()
        return Transitions(
            packing=packing,
            reward_V1=reward.float(),
            actions_VN1=take("actions", now),
            terminated_V1=take("terminated", now).float(),
            avail_next_VNA=take("avail_actions", following),
            state_VS=take("state", now),
            state_next_VS=take("state", following),
        )

    def td_loss(
        self, transitions: Transitions, q_PNA: Tensor, target_q_PNA: Tensor, with_stats: bool
    ) -> tuple[Tensor, dict[str, Any]]:
        """Returns the mean squared TD error over transitions (and agents, without a mixer) and its figures.

        Args:
            transitions: see ``Transitions``.
            q_PNA, target_q_PNA: Q-values of all existing steps by the online and the target network.
        """
        packing = transitions.packing
        chosen = q_PNA[packing.now_V].gather(2, transitions.actions_VN1).squeeze(2)
        with torch.no_grad():
            unavailable = transitions.avail_next_VNA == 0
            next_q = target_q_PNA[packing.next_V].masked_fill(unavailable, UNAVAILABLE)
            if self.args.double_q:
                best = q_PNA[packing.next_V].masked_fill(unavailable, UNAVAILABLE).argmax(2, keepdim=True)
                next_value = next_q.gather(2, best).squeeze(2)
            else:
                next_value = next_q.amax(2)
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

    @staticmethod
    def _mix(mixer, q_VN: Tensor, state_VS: Tensor) -> Tensor:
        """Returns Q_tot (V, 1); mixers take (B, T, N), here one episode of V steps."""
        return mixer(q_VN.unsqueeze(0), state_VS.unsqueeze(0)).squeeze(0)

    def _update_targets(self) -> None:
        interval_or_tau = self.args.target_update_interval_or_tau
        if interval_or_tau > 1:
            if self.n_updates - self.last_target_update >= interval_or_tau:
                self.target_mac.load_state(self.mac)
                if self.mixer is not None and self.target_mixer is not None:
                    self.target_mixer.load_state_dict(self.mixer.state_dict())
                self.last_target_update = self.n_updates
            return
        targets = list(self.target_mac.parameters())
        if self.target_mixer is not None:
            targets += list(self.target_mixer.parameters())
        with torch.no_grad():
            for target, source in zip(targets, self.params, strict=True):
                target.lerp_(source, interval_or_tau)

    # -- state -------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that later updates depend on."""
        return {
            "mac": self.mac.state_dict(),
            "target_mac": self.target_mac.state_dict(),
            "mixer": None if self.mixer is None else self.mixer.state_dict(),
            "target_mixer": None if self.target_mixer is None else self.target_mixer.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "n_updates": self.n_updates,
            "last_target_update": self.last_target_update,
            "log_stats_t": self.log_stats_t,
            "rew_ms": None if self.rew_ms is None else self.rew_ms.state_dict(),
            "ret_ms": None if self.ret_ms is None else self.ret_ms.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.mac.load_state_dict(state["mac"])
        self.target_mac.load_state_dict(state["target_mac"])
        if self.mixer is not None and self.target_mixer is not None:
            self.mixer.load_state_dict(state["mixer"])
            self.target_mixer.load_state_dict(state["target_mixer"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.n_updates = state["n_updates"]
        self.last_target_update = state["last_target_update"]
        self.log_stats_t = state["log_stats_t"]
        for name in ("rew_ms", "ret_ms"):
            stream = getattr(self, name)
            if stream is not None:
                stream.load_state_dict(state[name])

    def cuda(self) -> None:
        """Moves every network to the run's device (EPyMARL's name for it)."""
        self.mac.cuda()
        self.target_mac.cuda()
        for mixer in (self.mixer, self.target_mixer):
            if mixer is not None:
                mixer.to(self.device)

    def save_models(self, path) -> None:
        """Writes the controller's networks, the mixer and the optimiser's state (EPyMARL's file names)."""
        self.mac.save_models(path)
        if self.mixer is not None:
            torch.save(self.mixer.state_dict(), Path(path) / "mixer.th")
        torch.save(self.optimiser.state_dict(), Path(path) / "opt.th")

    def load_models(self, path) -> None:
        """Reads what ``save_models`` wrote, into the online and the target networks.

        A folder without ``opt.th`` leaves the optimiser as it is.
        """
        self.mac.load_models(path)
        self.target_mac.load_models(path)
        if self.mixer is not None and self.target_mixer is not None:
            weights = torch.load(Path(path) / "mixer.th", map_location="cpu", weights_only=True)
            self.mixer.load_state_dict(weights)
            self.target_mixer.load_state_dict(weights)
        optimiser = Path(path) / "opt.th"
        if optimiser.is_file():
            self.optimiser.load_state_dict(torch.load(optimiser, map_location="cpu", weights_only=True))
