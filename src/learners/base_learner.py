"""What all learners here share: networks and their targets, optimisers, transitions, a method's own losses, state.

A learner adds its networks beside the controller's and says what a gradient step minimises: ``value_learner.py`` trains
Q-values, ``twin_critic_learner.py`` a policy.

Letters: P existing steps of all episodes, V transitions, N agents, A actions, S state.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.batches import BatchRequest
from epymarl_lmac.learning.optimiser import FlatOptimiser, OptimiserChoice, make_optimiser
from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.learning.running_stats import RunningMeanStd
from modules.comm.base import LossContext, follow
from modules.mixers import REGISTRY as mixer_REGISTRY

if TYPE_CHECKING:
    from controllers.sequence_controller import SequenceMac
    from epymarl_lmac.seam import Episodes, LearnerArgs, Scheme, StatLogger

MAIN = "main"  # the optimiser of what nobody claims
OUTPUTS = {"values": "Q-values", "policy": "a policy's logits"}  # what a controller may put out, for messages


class Transitions(NamedTuple):
    """The transitions of a batch, V of them, without padding."""

    packing: Packing
    reward_V1: Tensor  # as the loss sees them: standardised where the run asks for it
    raw_reward_V1: Tensor  # as the environment gave them
    actions_VN1: Tensor
    terminated_V1: Tensor
    avail_next_VNA: Tensor
    state_VS: Tensor
    state_next_VS: Tensor


class Learner(abc.ABC):
    """Base of the learners.

    Class attributes that a learner sets:
        trains: what the controller's outputs are to it, "values" (Q-values) or "policy" (logits); a communication
            method says which of them it is made for.
        SETTINGS: settings of its own, a frozen dataclass of ``setting`` fields; None for none.
        needs_own_host: why it cannot learn inside a foreign host; "" where it can.

    ``own`` and ``target_own`` hold the networks beside the controller's, the mixer among them, by their file's name.

    Args:
        mac: the controller to train.
        scheme: the buffer's scheme.
        logger: has ``log_stat(key, value, t_env)``.
        args: the run's settings.

    Raises:
        SettingsError: the communication method is made for another kind of learner.
    """

    trains = "values"
    SETTINGS: type | None = None
    needs_own_host = ""

    def __init__(self, mac: SequenceMac, scheme: Scheme, logger: StatLogger, args: LearnerArgs) -> None:
        self.args = args
        self.mac = mac
        self.logger = logger
        self.device = torch.device(args.device)
        self._refuse_other_methods()
        self.mac.cuda()
        self.own = {name: network.to(self.device) for name, network in self._make_networks(scheme).items()}
        self.target_mac = copy.deepcopy(mac)
        self.target_own = copy.deepcopy(self.own)
        self.params = [*mac.parameters(), *(p for network in self.own.values() for p in network.parameters())]
        self.optimisers = self._make_optimisers()
        self.n_updates = 0
        self.last_target_update = 0
        self.log_stats_t = -args.learner_log_interval - 1
        self.ret_ms = RunningMeanStd(shape=(1,), device=self.device) if args.standardise_returns else None
        self.rew_ms = RunningMeanStd(shape=(1,), device=self.device) if args.standardise_rewards else None
        self.mac.train(False)
        self.target_mac.train(False)

    def _refuse_other_methods(self) -> None:
        comm = self.mac.comm
        if comm is not None and comm.trained_as != self.trains:
            form = f" with {comm.form}" if comm.form else ""
            raise SettingsError(
                f"learner={self.args.learner} trains {OUTPUTS[self.trains]}, but comm={self.args.comm}{form} puts out "
                f"{OUTPUTS[comm.trained_as]}; change one of them (docs/methods/{self.args.comm}.md).",
                "learner",
            )

    # -- networks and optimisers -------------------------------------------------------------------------

    def _make_networks(self, scheme: Scheme) -> dict[str, nn.Module]:
        """Returns the networks beside the controller's by the name of their file; the base has the mixer only."""
        return {} if self.args.mixer is None else {"mixer": mixer_REGISTRY[self.args.mixer](self.args)}

    @property
    def mixer(self) -> nn.Module | None:
        """The mixer, None where every agent learns alone."""
        return self.own.get("mixer")

    @property
    def target_mixer(self) -> nn.Module | None:
        """The mixer's target."""
        return self.target_own.get("mixer")

    def _groups(self) -> dict[str, tuple[Iterable[nn.Parameter], OptimiserChoice]]:
        """Returns the learner's own optimisers by name, with the parameters of each."""
        return {MAIN: (self.params, OptimiserChoice.of(self.args))}

    def _make_optimisers(self) -> dict[str, tuple[FlatOptimiser, float]]:
        """Returns every optimiser with its largest gradient norm; the learner's own train what no method claims."""
        claims = {} if self.mac.comm is None else self.mac.comm.optimisers()
        claimed = {id(p) for params, _ in claims.values() for p in params}
        own = {name: ([p for p in params if id(p) not in claimed], c) for name, (params, c) in self._groups().items()}
        groups = {**own, **claims}
        return {name: (make_optimiser(list(params), choice), choice.clip) for name, (params, choice) in groups.items()}

    # -- one update --------------------------------------------------------------------------------------

    @property
    def shares_rows(self) -> bool:
        """Whether an update's threads best share out rows (``epymarl_lmac.learning.products``)."""
        return self.mac.comm is None or self.mac.comm.shares_rows

    @property
    def requests(self) -> tuple[BatchRequest, ...]:
        """The batches that an update takes."""
        return (BatchRequest(self.args.batch_size),)

    @abc.abstractmethod
    def train(self, batch: Episodes, t_env: int, episode_num: int) -> None:
        """Takes one gradient step on a batch of episodes.

        Args:
            batch: ``EpisodeBatch`` of B episodes on this learner's device.
            t_env: environment steps so far; decides when to log, and drives schedules.
            episode_num: episodes so far; kept for EPyMARL's signature.
        """

    def _should_log(self, t_env: int) -> bool:
        return t_env - self.log_stats_t >= self.args.learner_log_interval

    def _step(self, loss: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Takes a gradient step with some optimisers; returns their gradients' norms by name."""
        chosen = {name: self.optimisers[name] for name in names}
        for optimiser, _ in chosen.values():
            optimiser.zero_grad()
        loss.backward()
        return {name: optimiser.clip_and_step(clip) for name, (optimiser, clip) in chosen.items()}

    def _finish_update(self, t_env: int) -> None:
        """Counts an update and moves what follows the trained networks."""
        self.n_updates += 1
        if self.mac.comm is not None:
            self.mac.comm.after_update(t_env)
        self._update_targets()

    def _log(self, stats: dict[str, Any], norms: dict[str, Tensor], t_env: int) -> None:
        """Logs the metrics of an update and the norms of its gradients."""
        named = {"grad_norm" if name == MAIN else f"grad_norm_{name}": norm for name, norm in norms.items()}
        for key, value in {**stats, **named}.items():
            self.logger.log_stat(key, float(value), t_env)

    def _transitions(self, batch: Episodes, packing: Packing) -> Transitions:
        now, following = packing.rows_P[packing.now_V], packing.rows_P[packing.next_V]

        def take(key: str, rows: Tensor) -> Tensor:
            value = batch[key]
            return value.reshape(-1, *value.shape[2:]).index_select(0, rows)

        raw_reward = reward = take("reward", now)
        if self.rew_ms is not None:
            self.rew_ms.update(reward)
            reward = (reward - self.rew_ms.mean) / self.rew_ms.var.sqrt().clamp(min=self.args.reward_std_floor)
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

    def _method_losses(self, loss: Tensor, stats: dict[str, Any], **seen: Any) -> Tensor:
        """Returns a loss with the communication method's own losses added, which join the metrics.

        Args:
            loss: a scalar.
            stats: metrics to log; the method adds its own.
            seen: the rest of what ``LossContext`` holds.
        """
        if self.mac.comm is None:
            return loss
        context = LossContext(
            mac=self.mac,
            target_mac=self.target_mac,
            mixer=self.mixer,
            target_mixer=self.target_mixer,
            stats=stats,
            **seen,
        )
        for name, (weight, value) in self.mac.comm.losses(context).items():
            loss = loss + weight * value
            stats[name] = value.detach()
        return loss

    @staticmethod
    def _mix(mixer: nn.Module | None, q_VN: Tensor, state_VS: Tensor) -> Tensor:
        """Returns Q_tot (V, 1); mixers take (B, T, N), here one episode of V steps."""
        assert mixer is not None
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
        for name, network in self.own.items():
            follow(self.target_own[name], network, rate)

    # -- state -------------------------------------------------------------------------------------------

    def n_parameters(self) -> dict[str, int]:
        """Returns how many parameters there are, by part."""
        parts = {name: sum(p.numel() for p in network.parameters()) for name, network in self.own.items()}
        return {"agents": sum(p.numel() for p in self.mac.parameters()), "mixer": 0, **parts}

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that later updates depend on."""
        return {
            "mac": self.mac.state_dict(),
            "target_mac": self.target_mac.state_dict(),
            **{name: network.state_dict() for name, network in self.own.items()},
            **{f"target_{name}": network.state_dict() for name, network in self.target_own.items()},
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
        for name, network in self.own.items():
            network.load_state_dict(state[name])
            self.target_own[name].load_state_dict(state[f"target_{name}"])
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
        for network in (*self.own.values(), *self.target_own.values()):
            network.to(self.device)

    def save_models(self, path: str | Path) -> None:
        """Writes the controller's networks, the learner's and the optimisers' state (EPyMARL's file names)."""
        self.mac.save_models(path)
        for name, network in self.own.items():
            torch.save(network.state_dict(), Path(path) / f"{name}.th")
        states = {name: optimiser.state_dict() for name, (optimiser, _) in self.optimisers.items()}
        torch.save(states, Path(path) / "opt.th")

    def load_models(self, path: str | Path) -> None:
        """Reads what ``save_models`` wrote, into the online and the target networks.

        A folder without ``opt.th`` leaves the optimiser as it is.
        """
        self.mac.load_models(path)
        self.target_mac.load_models(path)
        for name, network in self.own.items():
            weights = torch.load(Path(path) / f"{name}.th", map_location="cpu", weights_only=True)
            network.load_state_dict(weights)
            self.target_own[name].load_state_dict(weights)
        optimisers = Path(path) / "opt.th"
        if optimisers.is_file():
            states = torch.load(optimisers, map_location="cpu", weights_only=True)
            for name, (optimiser, _) in self.optimisers.items():
                optimiser.load_state_dict(states[name])
