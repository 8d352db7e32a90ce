"""The learner that all value-based methods share.

    batch -> steps -> online and target unroll -> mixer -> TD loss + the communication method's own losses

Sequences come from the controller's ``unroll``; what depends on no trained parameter is computed once and shared by the
online and the target network.

Letters: P existing steps of all episodes, V transitions, N agents, A actions, S state.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from epymarl_lmac.learning.optimiser import FlatOptimiser, OptimiserChoice, make_optimiser
from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.learning.running_stats import RunningMeanStd
from modules.comm.base import CHOOSING, LossContext, follow
from modules.mixers import REGISTRY as mixer_REGISTRY

if TYPE_CHECKING:
    from torch import nn

    from controllers.sequence_controller import SequenceMac
    from epymarl_lmac.seam import Episodes, LearnerArgs, Scheme, StatLogger

UNAVAILABLE = -9999999.0  # Q-value of an action that cannot be taken


class Transitions(NamedTuple):
    """The transitions of a batch, V of them, without padding."""

    packing: Packing
    reward_V1: Tensor  # as the TD loss sees them: standardised where the run asks for it
    raw_reward_V1: Tensor  # as the environment gave them
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

    def __init__(self, mac: SequenceMac, scheme: Scheme, logger: StatLogger, args: LearnerArgs) -> None:
        self.args = args
        self.mac = mac
        self.logger = logger
        self.device = torch.device(args.device)
        self.mac.cuda()
        self.mixer = None if args.mixer is None else mixer_REGISTRY[args.mixer](args).to(self.device)
        self.target_mac = copy.deepcopy(mac)
        self.target_mixer = copy.deepcopy(self.mixer)
        self.params = list(mac.parameters()) + ([] if self.mixer is None else list(self.mixer.parameters()))
        self.optimisers = self._make_optimisers()
        self.n_updates = 0
        self.last_target_update = 0
        self.log_stats_t = -args.learner_log_interval - 1
        self.ret_ms = RunningMeanStd(shape=(1,), device=self.device) if args.standardise_returns else None
        self.rew_ms = RunningMeanStd(shape=(1,), device=self.device) if args.standardise_rewards else None
        self.mac.train(False)
        self.target_mac.train(False)

    def _make_optimisers(self) -> dict[str, tuple[FlatOptimiser, float]]:
        """Returns every optimiser with its largest gradient norm; "main" trains what no method claims."""
        own = {} if self.mac.comm is None else self.mac.comm.optimisers()
        claimed = {id(p) for params, _ in own.values() for p in params}
        main = OptimiserChoice.of(self.args)
        groups = {"main": ([p for p in self.params if id(p) not in claimed], main), **own}
        return {name: (make_optimiser(list(params), choice), choice.clip) for name, (params, choice) in groups.items()}

    # -- one update --------------------------------------------------------------------------------------

    def train(self, batch: Episodes, t_env: int, episode_num: int) -> None:
        """Takes one gradient step on a batch of episodes.

        Args:
            batch: ``EpisodeBatch`` of B episodes on this learner's device.
            t_env: environment steps so far; decides when to log, and drives schedules.
            episode_num: episodes so far; kept for EPyMARL's signature.
        """
        should_log = t_env - self.log_stats_t >= self.args.learner_log_interval
        self.mac.train(True)
        loss, stats = self.loss(batch, should_log, t_env)
        self.mac.train(False)
        for optimiser, _ in self.optimisers.values():
            optimiser.zero_grad()
        loss.backward()
        norms = {name: optimiser.clip_and_step(clip) for name, (optimiser, clip) in self.optimisers.items()}
        self.n_updates += 1
        if self.mac.comm is not None:
            self.mac.comm.after_update(t_env)
        self._update_targets()
        if should_log:
            stats["grad_norm"] = norms.pop("main")
            stats |= {f"grad_norm_{name}": norm for name, norm in norms.items()}
            for key, value in stats.items():
                self.logger.log_stat(key, float(value), t_env)
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
        if self.mac.comm is None:
            return loss, stats
        context = LossContext(
            batch=batch,
            steps=steps,
            transitions=transitions,
            online=online,
            target=target,
            mac=self.mac,
            target_mac=self.target_mac,
            mixer=self.mixer,
            target_mixer=self.target_mixer,
            t_env=t_env,
            with_stats=with_stats,
            stats=stats,
        )
        for name, (weight, value) in self.mac.comm.losses(context).items():
            loss = loss + weight * value
            stats[name] = value.detach()
        return loss, stats

    def _transitions(self, batch: Episodes, packing: Packing) -> Transitions:
        now, following = packing.rows_P[packing.now_V], packing.rows_P[packing.next_V]

        def take(key: str, rows: Tensor) -> Tensor:
            value = batch[key]
            return value.reshape(-1, *value.shape[2:]).index_select(0, rows)

        raw_reward = reward = take("reward", now)
        if self.rew_ms is not None:
            self.rew_ms.update(reward)
            reward = (reward - self.rew_ms.mean) / self.rew_ms.var.sqrt()
        return Transitions(
            packing=packing,
            reward_V1=reward.float(),
            raw_reward_V1=raw_reward.float(),
            actions_VN1=take("actions", now),
            terminated_V1=take("terminated", now).float(),
            avail_next_VNA=take("avail_actions", following),
            state_VS=take("state", now),
            state_next_VS=take("state", following),
        )

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
        chosen = q_PNA[packing.now_V].gather(2, transitions.actions_VN1).squeeze(2)
        with torch.no_grad():
            unavailable = transitions.avail_next_VNA == 0
            next_q = target_q_PNA[packing.next_V].masked_fill(unavailable, UNAVAILABLE)
            if self.args.double_q:
                best = choosing_PNA[packing.next_V].masked_fill(unavailable, UNAVAILABLE).argmax(2, keepdim=True)
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
    def _mix(mixer: nn.Module, q_VN: Tensor, state_VS: Tensor) -> Tensor:
        """Returns Q_tot (V, 1); mixers take (B, T, N), here one episode of V steps."""
        return mixer(q_VN.unsqueeze(0), state_VS.unsqueeze(0)).squeeze(0)

    def _update_targets(self) -> None:
        """Copies parameters and buffers into the target networks every so many updates, or moves them a little."""
        interval_or_tau = self.args.target_update_interval_or_tau
        rate = 1.0 if interval_or_tau > 1 else interval_or_tau
        if interval_or_tau > 1 and self.n_updates - self.last_target_update < interval_or_tau:
            return
        self.last_target_update = self.n_updates
        if self.mac.comm is not None:
            self.mac.comm.before_target_update()
        for name, network in self.mac.networks().items():
            follow(self.target_mac.networks()[name], network, rate)
        if self.mixer is not None and self.target_mixer is not None:
            follow(self.target_mixer, self.mixer, rate)

    # -- state -------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that later updates depend on."""
        return {
            "mac": self.mac.state_dict(),
            "target_mac": self.target_mac.state_dict(),
            "mixer": None if self.mixer is None else self.mixer.state_dict(),
            "target_mixer": None if self.target_mixer is None else self.target_mixer.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, (optimiser, _) in self.optimisers.items()},
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
        for name, (optimiser, _) in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
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

    def save_models(self, path: str | Path) -> None:
        """Writes the controller's networks, the mixer and the optimiser's state (EPyMARL's file names)."""
        self.mac.save_models(path)
        if self.mixer is not None:
            torch.save(self.mixer.state_dict(), Path(path) / "mixer.th")
        states = {name: optimiser.state_dict() for name, (optimiser, _) in self.optimisers.items()}
        torch.save(states, Path(path) / "opt.th")

    def load_models(self, path: str | Path) -> None:
        """Reads what ``save_models`` wrote, into the online and the target networks.

        A folder without ``opt.th`` leaves the optimiser as it is.
        """
        self.mac.load_models(path)
        self.target_mac.load_models(path)
        if self.mixer is not None and self.target_mixer is not None:
            weights = torch.load(Path(path) / "mixer.th", map_location="cpu", weights_only=True)
            self.mixer.load_state_dict(weights)
            self.target_mixer.load_state_dict(weights)
        optimisers = Path(path) / "opt.th"
        if optimisers.is_file():
            states = torch.load(optimisers, map_location="cpu", weights_only=True)
            for name, (optimiser, _) in self.optimisers.items():
                optimiser.load_state_dict(states[name])
