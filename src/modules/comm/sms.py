"""SMS: every agent asks only those teammates whose message is likely to raise the team's value.

Two forms, trained by two learners: utilities under a mixer (ours), and the released actor-critic.

Letters: R rows, V transitions, N receivers, S senders (S = N), W what encoder and selector read, M numbers of a
message, A actions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.optimiser import OptimiserChoice
from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import CHOOSING, Comm, Kept, LossContext, Team, follow, no_gradient
from modules.comm.link import LinkSettings
from modules.comm.sms_shapley import Worth, shapley_values, utility_worth
from modules.comm.steps import LEARN, TEST, Steps

POLICY = "actor_critic"  # the form that trains a policy


@dataclass(frozen=True)
class SmsSettings(LinkSettings):
    """SMS's own settings."""

    sms_form: str = setting(
        "qmix",
        "what is trained: qmix (utilities under a mixer, by learner=q_learner) or actor_critic (the released form: a "
        "policy under two critics, by learner=twin_critic_learner)",
        choices=("qmix", POLICY),
    )
    sms_message_dim: int = setting(8, "numbers of a message to one receiver", low=1)
    sms_message_hidden_dim: int = setting(32, "width of the message encoder's hidden layer", low=1)
    sms_selector_hidden_dim: int = setting(32, "width of the selector's hidden layer", low=1)
    sms_selector_lr: float = setting(0.0001, "learning rate of the selector's own Adam", above=0)
    sms_select_from: int = setting(
        300000, "step from which agents ask only selected teammates; before it everyone is heard", low=0
    )
    sms_dropout: float = setting(
        0.5, "probability that an update leaves out the message of an ordered pair", low=0, high=1
    )
    sms_dropout_share: float = setting(
        0.5,
        "qmix form: share of an update's steps with such dropout once teammates are selected; before that it is all",
        low=0,
        high=1,
    )
    sms_orderings: int = setting(2, "random orderings of the senders that a Shapley value is averaged over", low=1)
    sms_worth: str = setting(
        "judged",
        "qmix form: worth of a set of messages to a receiver: judged (its utility given all messages of the action "
        "that the set chooses), best (its largest utility given the set) or full_action (its utility given the set of "
        "the action that all messages choose)",
        choices=("judged", "best", "full_action"),
    )
    sms_noise: float = setting(0.0, "standard deviation of noise on message numbers, except in tests", low=0)
    sms_noisy_labels: bool = setting(False, "whether Shapley values are computed from noisy messages (as released)")


class SmsComm(Comm):
    """A message enters the Q layer only, so what agents make of any set C of messages is cheap to evaluate:

        Q_i(h_i, C) = Linear(h_i) + sum over j in C of Linear_j(c_ij)

    The Shapley message value of sender j for receiver i is the mean gain in worth when j's message joins those of the
    senders before it in a random ordering. The selector predicts dQ_tot/dQ_i times this value from what i sees itself;
    i asks the teammates with a positive prediction. Training leaves messages out at random, so that every set is
    usable.

    The released form (``sms_form=actor_critic``) trains a policy, whose logits stand above in place of Q_i. Its worth
    of a set is the smaller of two critics' value of the action probabilities that the target policy has given the set.
    Its update hears everyone, without noise and with dropout; the critics' targets hear what agents would.

    In the form on QMIX (``sms_form=qmix``, ours) the worth of a set is how good the action is that it chooses, by the
    utility given all messages. The utility given the set is a poor judge: recorded actions were chosen with messages
    that it does not see, so that they look good whatever was heard. docs/methods/sms.md has a run with each. Next
    actions are chosen and valued with the messages that agents would hear.

    Messages are a function of the sender's observation and id. Acting asks a copy of the selector that follows it when
    the target network is copied. Dead agents neither send nor ask, and their pairs are left out of the selector's loss.

    Message: M numbers an ordered pair a step, only on links that were asked for. A request itself is not counted.
    Encoder and selector have outputs for every teammate, so the method is slotted.

    Source: Xue, Yuan, Zhang, Yu, "Efficient Multi-Agent Communication via Shapley Message Value", IJCAI 2022, equations
    4 to 6, 11 and 12, and section 3.4.
    """

    SETTINGS = SmsSettings
    is_slotted = True
    fits_any_agent = True

    is_selecting: Tensor

    def __init__(self, team: Team, args: Any) -> None:
        super().__init__(team, args)
        s = self.settings
        self.is_policy = s.sms_form == POLICY
        self.trained_as = "policy" if self.is_policy else "values"
        self.form = f"sms_form={s.sms_form}"
        self.samples = s.sms_noise > 0
        N, M = team.n_agents, s.sms_message_dim
        width = team.obs_dim + (N if team.layout.agent_id else 0)
        self.encoder = _mlp(width, s.sms_message_hidden_dim, N * M)
        self.head = Linear(N * M, team.n_actions, bias=False)  # the Q layer's columns for messages
        self.selector = _mlp(width, s.sms_selector_hidden_dim, N)
        self.acting_selector = no_gradient(copy.deepcopy(self.selector))
        self.register_buffer("is_selecting", torch.tensor(s.sms_select_from == 0))
        self.selector_optimiser = OptimiserChoice("adam", s.sms_selector_lr, args.grad_norm_clip)

    def floats_per_pair(self) -> float:
        return self.settings.sms_message_dim

    # -- acting ------------------------------------------------------------------------------------------

    def values(self, steps: Steps, h_RNH: Tensor, q_RNA: Tensor, kept: Kept) -> Tensor:
        message = self.messages(steps)
        if steps.mode == LEARN:
            kept.update({"own": q_RNA, "message": message})
            if self.training and self.is_policy:
                return q_RNA + self.head(self._thinned(self._heard(steps, message)).flatten(2))
        sent = self._noisy(steps, message)
        gate = self._gate(steps)
        heard = self._heard(steps, sent, gate)
        played = q_RNA + self.head(heard.flatten(2))
        if steps.mode != LEARN or self.is_policy:
            return played
        kept[CHOOSING] = played
        if not self.training or self.settings.sms_dropout == 0:
            return played
        everything = heard if gate is None else self._heard(steps, sent)
        return q_RNA + self.head(self._with_dropout(heard, everything, gate is not None).flatten(2))

    def _heard(self, steps: Steps, message_RNSM: Tensor, gate_RNS: Tensor | None = None) -> Tensor:
        """Returns what every agent hears of its teammates, (R, N, S, M); 0 where it hears nothing."""
        return self.link.pairs(steps, message_RNSM, gate_RNS).values * self.others(message_RNSM).unsqueeze(-1)

    def messages(self, steps: Steps) -> Tensor:
        """Returns what every agent would tell every other, (R, N, S, M), receiver by sender."""
        R, N = steps.n_rows, steps.n_agents
        return self.encoder(_read(steps)).view(R, N, N, -1).transpose(1, 2)

    def _noisy(self, steps: Steps, message_RNSM: Tensor) -> Tensor:
        """Returns messages with the noise of training."""
        if self.settings.sms_noise == 0 or steps.mode == TEST:
            return message_RNSM
        return message_RNSM + self.settings.sms_noise * torch.randn_like(message_RNSM)

    def _gate(self, steps: Steps) -> Tensor | None:
        """Returns whom every agent asks, bool (R, N, S); None: everyone."""
        if not self.is_selecting:
            return None
        return self.acting_selector(_read(steps)) > 0

    def _with_dropout(self, heard: Tensor, everything: Tensor, is_selected: bool) -> Tensor:
        """Returns the messages that an update reads, (R, N, S, M).

        Args:
            heard: those that agents would hear.
            everything: those of all senders.
            is_selected: whether agents select; then only a share of the steps has dropout.
        """
        dropped = self._thinned(everything)
        if not is_selected:
            return dropped
        chosen_R111 = torch.rand(len(heard), 1, 1, 1, device=heard.device) < self.settings.sms_dropout_share
        return torch.where(chosen_R111, dropped, heard)

    def _thinned(self, message_RNSM: Tensor) -> Tensor:
        """Returns messages of which those of some pairs are left out."""
        kept_RNS1 = torch.rand(*message_RNSM.shape[:3], 1, device=message_RNSM.device) >= self.settings.sms_dropout
        return message_RNSM * kept_RNS1

    # -- learning whom to ask ----------------------------------------------------------------------------

    def losses(self, context: LossContext) -> dict[str, tuple[float, Tensor]]:
        now_V = context.transitions.packing.now_V
        label_VNS = self._labels(context)
        predicted_VNS = self.selector(_read(context.steps)[now_V])
        weight_VNS = self._pairs_that_count(context.steps, predicted_VNS, now_V)
        n_pairs = weight_VNS.sum().clamp(min=1)
        if context.with_stats:
            context.stats["shapley_mean"] = (label_VNS * weight_VNS).sum() / n_pairs
            context.stats["asked_share"] = ((predicted_VNS > 0) * weight_VNS).sum() / n_pairs
        return {"selector_loss": (1.0, ((predicted_VNS - label_VNS).square() * weight_VNS).sum() / n_pairs)}

    def _pairs_that_count(self, steps: Steps, like_VNS: Tensor, now_V: Tensor) -> Tensor:
        """Returns 1 for ordered pairs of two living agents, else 0, (V, N, S)."""
        weight = self.others(like_VNS).expand_as(like_VNS)
        if steps.alive_RN is None:
            return weight
        alive_VN = steps.alive_RN[now_V]
        return weight * (alive_VN.unsqueeze(2) & alive_VN.unsqueeze(1))

    @torch.no_grad()
    def _labels(self, context: LossContext) -> Tensor:
        """Returns what the selector should predict at every transition, (V, N, S)."""
        now_V = context.transitions.packing.now_V
        comm, unrolled = (context.target_mac.comm, context.target) if self.is_policy else (self, context.online)
        assert isinstance(comm, SmsComm)
        own_VNA = unrolled.kept["own"][now_V]
        part_VNSA = comm.parts(context.steps, unrolled.kept["message"])[now_V]
        available_VNA = context.steps.stored("avail_actions")[now_V] > 0
        if self.is_policy:
            worth = _policy_worth(context, available_VNA)
        else:
            worth = utility_worth(self.settings.sms_worth, own_VNA + part_VNSA.sum(2), available_VNA)
        value_VNS = shapley_values(own_VNA, part_VNSA, worth, self.settings.sms_orderings)
        return self._sensitivity(context).unsqueeze(2) * value_VNS

    def parts(self, steps: Steps, message_RNSM: Tensor) -> Tensor:
        """Returns what every message adds to its receiver's Q-values or logits, (R, N, S, A)."""
        message = self._noisy(steps, message_RNSM) if self.settings.sms_noisy_labels else message_RNSM
        weight_SMA = self.head.weight.t().view(self.team.n_agents, -1, self.team.n_actions)
        return torch.einsum("rnsm,sma->rnsa", self._heard(steps, message), weight_SMA)

    def _sensitivity(self, context: LossContext) -> Tensor:
        """Returns dQ_tot/dQ_i at the actions taken and the messages heard, (V, N); 1 without a mixer."""
        transitions = context.transitions
        if context.judge is not None:
            taken_VNA = context.steps.stored("actions_onehot")[transitions.packing.now_V].float()
            taken_VN = context.judge(taken_VNA.unsqueeze(2)).squeeze(2).detach()
        else:
            played_VNA = context.online.kept[CHOOSING][transitions.packing.now_V].detach()
            taken_VN = played_VNA.gather(2, transitions.actions_VN1).squeeze(2)
        if context.mixer is None:
            return torch.ones_like(taken_VN)
        with torch.enable_grad():
            taken_VN.requires_grad_()
            total = context.mixer(taken_VN.unsqueeze(0), transitions.state_VS.unsqueeze(0)).sum()
            return torch.autograd.grad(total, taken_VN)[0]

    # -- training ----------------------------------------------------------------------------------------

    def optimisers(self) -> dict[str, tuple[Sequence[nn.Parameter], OptimiserChoice]]:
        return {"selector": (list(self.selector.parameters()), self.selector_optimiser)}

    def after_update(self, t_env: int) -> None:
        if t_env >= self.settings.sms_select_from:
            self.is_selecting.fill_(True)

    def before_target_update(self) -> None:
        follow(self.acting_selector, self.selector, 1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Returns Linear, ReLU, Linear."""
    return nn.Sequential(Linear(inputs, hidden), nn.ReLU(), Linear(hidden, outputs))


def _read(steps: Steps) -> Tensor:
    """Returns what encoder and selector read, (R, N, W): observation and id."""
    return steps.once("observation and id", lambda: torch.cat([steps.obs_RNO, steps.id_RNN], dim=-1))


def _policy_worth(context: LossContext, available_VNA: Tensor) -> Worth:
    """Returns the function from a policy's logits given a set of messages to what the critics think of it."""
    judge = context.judge
    assert judge is not None

    def worth(logits_VNCA: Tensor) -> Tensor:
        return judge(logits_VNCA.masked_fill(~available_VNA.unsqueeze(2), -math.inf).softmax(-1))

    return worth
