"""An actor-critic for teams: a stochastic policy, two central critics, one mixer.

    off-policy batch -> relabelled actions of the target policy -> TD(0) ------\
    on-policy batch  -> actions that were taken -> TD(lambda) ------------------+-> both critics and the mixer
    on-policy batch  -> policy -> first critic -> mixer -> Q_tot + entropy + the method's own losses -> the policy

The controller's outputs are logits. An update takes two batches: episodes of the whole buffer, then the latest ones.

Letters: P existing steps of all episodes, V transitions, N agents, A actions, S state, Z what a critic reads, C
probability vectors.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.batches import BatchRequest
from epymarl_lmac.learning.optimiser import OptimiserChoice
from epymarl_lmac.learning.q_values import UNAVAILABLE
from epymarl_lmac.learning.returns import lambda_returns
from epymarl_lmac.settings.fields import setting
from learners.base_learner import MAIN, Learner, Transitions
from modules.comm.base import weighted_mean
from modules.comm.steps import Steps
from modules.critics.twin_critic import TwinCritic

if TYPE_CHECKING:
    from controllers.sequence_controller import SequenceMac
    from epymarl_lmac.seam import Episodes, Scheme, StatLogger, TwinCriticArgs

CRITIC = "critic"
SELECTOR = "softmax"  # the action selector that draws from a policy


@dataclasses.dataclass(frozen=True)
class TwinCriticSettings:
    """The actor-critic's own settings; their defaults are those of the released SMS."""

    critic_lr: float = setting(0.001, "learning rate of critics and mixer", above=0)
    critic_hidden_dim: int = setting(128, "width of the critics' two hidden layers", low=1)
    adam_eps: float = setting(1e-7, "Adam's epsilon for policy, critics and mixer", above=0)
    td_lambda: float = setting(0.6, "lambda of the critics' returns on the latest episodes", low=0, high=1)
    entropy_coef: float = setting(
        0.03, "weight of the policy's entropy, divided by its own value, so that only its direction matters", low=0
    )
    on_policy_batch_size: int = setting(32, "latest episodes in an update's second, on-policy step", low=1)
    learn_from_episodes: int = setting(128, "episodes that are stored before the first update", low=1)


class TwinCriticLearner(Learner):
    """A decomposed actor-critic with pessimistic critics, as SMS was released with.

    Args:
        mac: the controller to train; its outputs are the policy's logits.
        scheme: the buffer's scheme.
        logger: has ``log_stat(key, value, t_env)``.
        args: the run's settings.

    Raises:
        SettingsError: no mixer, an action selector that draws from no policy, standardised returns, a buffer that is
            too small, or a communication method that is trained as values.

    Source: Xue, Yuan, Zhang, Yu, IJCAI 2022, equations 2 and 8 to 10, and the released settings. The decomposition is
    DOP's (Wang et al., ICLR 2021), the smaller of two critics TD3's (Fujimoto et al., ICML 2018).
    """

    trains = "policy"
    SETTINGS = TwinCriticSettings
    needs_own_host = (
        "it takes two batches an update, one of the whole buffer and one of the latest episodes, and a host's loop "
        "gives one"
    )

    args: TwinCriticArgs

    def __init__(self, mac: SequenceMac, scheme: Scheme, logger: StatLogger, args: TwinCriticArgs) -> None:
        _refuse_misfits(args)
        super().__init__(mac, scheme, logger, args)

    # -- networks and optimisers -------------------------------------------------------------------------

    def _make_networks(self, scheme: Scheme) -> dict[str, nn.Module]:
        width = self.mac.obs_dim + int(self.args.state_shape)
        width += self.args.n_agents if self.mac.layout.agent_id else 0
        critic = TwinCritic(width, self.args.n_actions, self.args.critic_hidden_dim)
        return {**super()._make_networks(scheme), CRITIC: critic}

    @property
    def critic(self) -> TwinCritic:
        """Both critics."""
        return self.own[CRITIC]  # type: ignore[return-value]

    @property
    def target_critic(self) -> TwinCritic:
        """Both critics' targets."""
        return self.target_own[CRITIC]  # type: ignore[return-value]

    def _judges(self) -> list[nn.Parameter]:
        """Returns the parameters of critics and mixer."""
        return [p for network in self.own.values() for p in network.parameters()]

    def _groups(self) -> dict[str, tuple[Iterable[nn.Parameter], OptimiserChoice]]:
        actor = dataclasses.replace(OptimiserChoice.of(self.args), adam_eps=self.args.adam_eps)
        critic = dataclasses.replace(actor, lr=self.args.critic_lr)
        return {MAIN: (self.mac.parameters(), actor), CRITIC: (self._judges(), critic)}

    # -- one update --------------------------------------------------------------------------------------

    @property
    def requests(self) -> tuple[BatchRequest, ...]:
        """Episodes of the whole buffer for the critics, then the latest ones for critics and policy."""
        s = self.args
        return (
            BatchRequest(s.batch_size, method="train_off_policy", stored=s.learn_from_episodes),
            BatchRequest(s.on_policy_batch_size, latest=True, method="train", stored=s.learn_from_episodes),
        )

    def train_off_policy(self, batch: Episodes, t_env: int, episode_num: int) -> None:
        """Takes a gradient step of critics and mixer on episodes of older policies; arguments as for ``train``."""
        loss, stats = self.off_policy_loss(batch)
        norms = self._step(loss, [CRITIC])
        if self._should_log(t_env):
            named = {f"off_policy_{name}": value for name, value in stats.items()}
            self._log(named, {f"off_policy_{name}": norm for name, norm in norms.items()}, t_env)

    def train(self, batch: Episodes, t_env: int, episode_num: int) -> None:
        """Takes a gradient step of critics and mixer, then one of the policy, on the latest episodes.

        Args:
            batch: ``EpisodeBatch`` of B episodes on this learner's device.
            t_env: environment steps so far; decides when to log, and drives schedules.
            episode_num: episodes so far; kept for EPyMARL's signature.
        """
        should_log = self._should_log(t_env)
        steps = self.mac.steps(batch)
        assert steps.packing is not None
        transitions = self._transitions(batch, steps.packing)
        critic_loss, stats = self.on_policy_loss(steps, transitions)
        norms = self._step(critic_loss, [CRITIC])
        with _without_gradient(self._judges()):
            loss, actor_stats = self.actor_loss(batch, steps, transitions, should_log, t_env)
            norms |= self._step(loss, [name for name in self.optimisers if name != CRITIC])
        self._finish_update(t_env)
        if should_log:
            self._log({**stats, **actor_stats}, norms, t_env)
            self.log_stats_t = t_env

    # -- critics -----------------------------------------------------------------------------------------

    def off_policy_loss(self, batch: Episodes) -> tuple[Tensor, dict[str, Any]]:
        """Returns the critics' TD(0) loss, with the target policy's probabilities in place of the next actions."""
        steps = self.mac.steps(batch)
        assert steps.packing is not None
        with torch.no_grad():
            logits_PNA = self.target_mac.unroll(batch, steps).q_PNA
            value_P1 = self._target_value(steps, log_policy(logits_PNA, steps.stored("avail_actions")).exp())
        return self._critic_loss(steps, self._transitions(batch, steps.packing), value_P1, 0.0)

    def on_policy_loss(self, steps: Steps, transitions: Transitions) -> tuple[Tensor, dict[str, Any]]:
        """Returns the critics' TD(lambda) loss at the actions that were taken."""
        with torch.no_grad():
            value_P1 = self._target_value(steps, steps.stored("actions_onehot").float())
        return self._critic_loss(steps, transitions, value_P1, self.args.td_lambda)

    def _critic_loss(
        self, steps: Steps, transitions: Transitions, value_P1: Tensor, lam: float
    ) -> tuple[Tensor, dict[str, Any]]:
        """Returns half the sum of both critics' mean squared errors, and the metrics.

        Args:
            steps: all existing steps.
            transitions: of the same batch.
            value_P1: the target networks' value of every step.
            lam: lambda of the returns.
        """
        t = transitions
        target_V1 = lambda_returns(t.packing, t.reward_V1, t.terminated_V1, value_P1, self.args.gamma, lam)
        taken_VNA = steps.stored("actions_onehot")[t.packing.now_V].float()
        both = self.critic(_critic_input(steps)[t.packing.now_V], taken_VNA.unsqueeze(2))
        totals = [self._mix(self.mixer, q_VN1.squeeze(2), t.state_VS) for q_VN1 in both]
        loss = 0.5 * torch.stack([(total_V1 - target_V1).square().mean() for total_V1 in totals]).sum()
        stats = {
            "critic_loss": loss.detach(),
            "q_taken_mean": totals[0].detach().mean(),
            "target_mean": target_V1.mean(),
        }
        return loss, stats

    def _target_value(self, steps: Steps, p_PNA: Tensor) -> Tensor:
        """Returns what the target networks think of all steps with these probabilities, (P, 1)."""
        q_PN1 = self.target_critic.smaller(_critic_input(steps), p_PNA.unsqueeze(2))
        return self._mix(self.target_mixer, q_PN1.squeeze(2), steps.stored("state"))

    # -- policy ------------------------------------------------------------------------------------------

    def actor_loss(
        self, batch: Episodes, steps: Steps, transitions: Transitions, with_stats: bool, t_env: int = 0
    ) -> tuple[Tensor, dict[str, Any]]:
        """Returns what the policy minimises, the method's own losses included, and the metrics.

        The first critic's Q_tot of the policy's probabilities is raised, and the entropy divided by its own value.
        """
        now_V = transitions.packing.now_V
        self.mac.train(True)
        online = self.mac.unroll(batch, steps)
        self.mac.train(False)
        log_p_VNA = log_policy(online.q_PNA[now_V], steps.stored("avail_actions")[now_V])
        p_VNA = log_p_VNA.exp()
        z_VNZ = _critic_input(steps)[now_V]
        q_VN = self.critic.first(z_VNZ, p_VNA.unsqueeze(2)).squeeze(2)
        total_V1 = self._mix(self.mixer, q_VN, transitions.state_VS)
        entropy = self._entropy(log_p_VNA, steps, now_V)
        loss = -total_V1.mean()
        stats = {"actor_loss": loss.detach(), "entropy": entropy.detach(), "pi_max": p_VNA.detach().amax(-1).mean()}
        if self.args.entropy_coef > 0:
            loss = loss - self.args.entropy_coef * entropy / entropy.detach().clamp(min=1e-8)
        if self.mac.comm is None:
            return loss, stats
        with torch.no_grad():
            target = self.target_mac.unroll(batch, steps)
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
            judge=lambda p_VNCA: self.critic.smaller(z_VNZ, p_VNCA),
        )
        return loss, stats

    @staticmethod
    def _entropy(log_p_VNA: Tensor, steps: Steps, now_V: Tensor) -> Tensor:
        """Returns the mean entropy of living agents' policies, nats."""
        entropy_VN = -(log_p_VNA.exp() * log_p_VNA).sum(-1)
        if steps.alive_RN is None:
            return entropy_VN.mean()
        return weighted_mean(entropy_VN, steps.alive_RN[now_V].to(entropy_VN.dtype))


def log_policy(logits_RNA: Tensor, avail_RNA: Tensor) -> Tensor:
    """Returns the logarithms of a policy's probabilities, (R, N, A); what cannot be taken has probability 0."""
    return logits_RNA.masked_fill(avail_RNA == 0, UNAVAILABLE).log_softmax(-1)


def _critic_input(steps: Steps) -> Tensor:
    """Returns what the critics read, (P, N, Z): observation, state and id."""

    def build() -> Tensor:
        state_PNS = steps.stored("state").unsqueeze(1).expand(-1, steps.n_agents, -1)
        return torch.cat([steps.obs_RNO, state_PNS, steps.id_RNN], dim=-1)

    return steps.once("critic input", build)


@contextlib.contextmanager
def _without_gradient(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Takes parameters out of training for a while; what is computed with them passes gradients on."""
    parameters = list(parameters)
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


def _refuse_misfits(args: TwinCriticArgs) -> None:
    """Raises SettingsError for settings of the run that an actor-critic cannot follow."""
    name = f"learner={args.learner}"
    if args.mixer is None:
        raise SettingsError(f"{name} trains a team's value, and mixer=null has none; set mixer=linear.", "mixer")
    if args.action_selector != SELECTOR:
        raise SettingsError(
            f"{name} trains a stochastic policy, and action_selector={args.action_selector} draws from none; set "
            f"action_selector={SELECTOR}.",
            "action_selector",
        )
    if args.standardise_returns:
        raise SettingsError(
            f"{name} does not standardise returns; set standardise_returns=False.", "standardise_returns"
        )
    needed = max(args.batch_size, args.on_policy_batch_size, args.learn_from_episodes)
    if args.buffer_size < needed:
        raise SettingsError(
            f"{name} starts with {needed} stored episodes (the largest of batch_size, on_policy_batch_size and "
            f"learn_from_episodes), which buffer_size={args.buffer_size} cannot hold; make it larger.",
            "buffer_size",
        )
