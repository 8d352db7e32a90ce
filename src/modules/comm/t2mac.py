"""T2MAC: agents send evidence about the receiver's actions to chosen teammates, who fuse it by Dempster's rule.

Letters: R rows, N receivers, S senders (S = N), K actions (the classes of an opinion), H hidden, F features, V
transitions. Pairs are [receiver, sender].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, LossContext, Team, no_gradient, weighted_mean
from modules.comm.link import Heard, LinkSettings
from modules.comm.steps import Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs

RELEASED_WEIGHT = 0.1  # of received evidence, a constant of the released code
OPEN_BIAS = 2.0  # of an untrained selector, probability 0.88: evidence on a closed link would get no gradient


@dataclass(frozen=True)
class T2macSettings(LinkSettings):
    """T2MAC's own settings."""

    t2mac_mode: str = setting(
        "paper",
        "paper (evidence for each receiver, a trained selector) or release (the published code: one evidence for all, "
        "a selector that never learns, and keys and values of everybody for everybody)",
        choices=("paper", "release"),
    )
    t2mac_gate: float = setting(0.5, "a message is sent where the selector's probability exceeds this", low=0, high=1)
    t2mac_min_gain: float = setting(
        0.1,
        "t2mac_mode=paper: a message is worth sending if it lowers the receiver's uncertainty by more than this "
        "(uncertainty is between 0 and 1)",
        low=0,
        high=1,
    )
    t2mac_selector_coef: float = setting(1.0, "t2mac_mode=paper: weight of the selector's loss", low=0)
    t2mac_feature_dim: int = setting(64, "t2mac_mode=release: width of keys, values and queries", low=1)


def uncertainty(evidence: Tensor) -> Tensor:
    """Returns the uncertainty of opinions, (...), between 0 and 1, from their evidence (..., K)."""
    K = evidence.shape[-1]
    return K / (K + evidence.sum(-1))


def fused(evidence_RNSK: Tensor) -> Tensor:
    """Fuses the evidence of all senders by Dempster's rule; no evidence (zeros) changes nothing.

    With evidence e_k = K b_k / u the rule's normaliser cancels, and two opinions a and b become

        1 + e_k / K = (1 + a_k / K) (1 + b_k / K),

    so any number of senders needs one product instead of a fold.

    Args:
        evidence_RNSK: at least 0.

    Returns:
        The evidence after fusion, (R, N, K).
    """
    K = evidence_RNSK.shape[-1]
    return K * torch.expm1(torch.log1p(evidence_RNSK / K).sum(-2))


class FeatureAttention(nn.Module):
    """The released code's exchange before the Q layer: attention over everybody's keys and values.

    Its scores are one linear layer of the own query and the keys of all agents side by side, not inner products.

    Args:
        team: sizes.
        width: F.
    """

    def __init__(self, team: Team, width: int) -> None:
        super().__init__()
        H, N = team.hidden_dim, team.n_agents
        self.query = Linear(H, width)
        self.key = Linear(H, width)
        self.value = Linear(H, width)
        self.score = Linear(width + N * width, N)
        self.combine = Linear(width + H, H)

    def features(self, h_RNH: Tensor) -> Tensor:
        """Returns what an agent tells all others, key and value, (R, N, 2F)."""
        return torch.cat([self.key(h_RNH), self.value(h_RNH)], dim=-1)

    def forward(self, h_RNH: Tensor, heard: Heard) -> Tensor:
        """Returns what the Q layer reads, (R, N, H), from the agents' states and the features that arrived."""
        R, N, _ = h_RNH.shape
        key, value = heard.values.chunk(2, dim=-1)  # (R, N or 1, S, F) each
        keys = key.flatten(2).expand(R, N, -1)
        scores_RNS = self.score(torch.cat([self.query(h_RNH), keys], dim=-1))
        if heard.open_RNS is not None:
            scores_RNS = scores_RNS.masked_fill(~heard.open_RNS, -math.inf)
        attention_RNS = torch.softmax(scores_RNS, dim=-1)
        seen = torch.einsum("rns,rnsf->rnf", attention_RNS, value.expand(R, N, -1, -1))
        return torch.relu(self.combine(torch.cat([seen, h_RNH], dim=-1)))


class T2macComm(Comm):
    """Values are evidence: Q_j = softplus(own Q layer) + what j's teammates told it, fused by Dempster's rule.

    Every agent has, from its state h_i, evidence for each receiver's actions and a probability that sending it is
    worth it. The message from i to j is sent where that probability exceeds ``t2mac_gate``. The selector learns from
    labels: 1 where the message alone, fused with the receiver's own opinion, lowers the receiver's uncertainty
    K / (K + sum of evidence) by more than ``t2mac_min_gain``.

        L = L_TD + selector_coef * BCE(p_ij, label_ij), a mean over transitions and ordered pairs of living agents

    The TD loss reaches the senders through the messages that were sent. Nothing is sampled. A closed link gets no
    gradient: where all gains fall below ``t2mac_min_gain``, the selector closes every link and they stay closed. On LBF
    this happens with the released 0.1 (docs/methods/t2mac.md).

    Message: K numbers an ordered pair whose link was chosen at that step, else none. An opinion is K + 1 numbers that
    sum to 1; its K numbers of evidence say the same. ``t2mac_mode=release`` adds keys and values, 2F numbers an
    ordered pair, always. Heads belong to receivers (attention inputs to senders), so the method is slotted.

    ``t2mac_mode=release`` is the published code without its crash. Its selector gets no gradient (the label is always
    0 and the loss then constant), so here it is not trained at all; Q = 2 max(q, 0) + 0.1 * fused evidence with the
    gradient of max(q, 0) alone.

    Source: Sun et al., "T2MAC: Targeted and Trusted Multi-Agent Communication through Selective Engagement and
    Evidence-Driven Integration", AAAI 2024, equations 2 to 9. Threshold, loss weight and widths are not stated there;
    the threshold is the released code's.
    """

    SETTINGS = T2macSettings
    settings: T2macSettings
    is_slotted = True

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        N, H = team.n_agents, team.hidden_dim
        self.attention: FeatureAttention | None = None
        self.tailored: nn.Linear | None = None
        self.selector: nn.Module
        if self.settings.t2mac_mode == "release":
            self.attention = FeatureAttention(team, self.settings.t2mac_feature_dim)
            self.selector = no_gradient(nn.Sequential(Linear(team.x_dim, H), Linear(H, N)))
        else:
            self.tailored = Linear(H, N * team.n_actions)
            self.selector = Linear(H, N)
            nn.init.constant_(self.selector.bias, OPEN_BIAS)

    def floats_per_pair(self) -> float:
        features = 0 if self.attention is None else 2 * self.settings.t2mac_feature_dim
        return features + self.team.n_actions

    # -- messages ----------------------------------------------------------------------------------------

    def hidden(self, steps: Steps, h_RNH: Tensor, kept: Kept) -> Tensor:
        if self.attention is None:
            return h_RNH
        heard = self.link.broadcast(steps, self.attention.features(h_RNH), name="features")
        return self.attention(h_RNH, heard)

    def values(self, steps: Steps, h_RNH: Tensor, q_RNA: Tensor, kept: Kept) -> Tensor:
        if self.tailored is None:
            return self._released(steps, q_RNA, kept)
        return self._targeted(steps, h_RNH, q_RNA, kept)

    def _targeted(self, steps: Steps, h_RNH: Tensor, q_RNA: Tensor, kept: Kept) -> Tensor:
        """Returns the values of the paper's form, (R, N, K)."""
        own = nn.functional.softplus(q_RNA)
        message, logit = self.messages(h_RNH)
        gate = self._chosen(torch.sigmoid(logit))
        kept.update(own=own, message=message, logit=logit, gate=gate)
        return own + fused(self._from_others(self.link.pairs(steps, message, gate)))

    def messages(self, h_RNH: Tensor) -> tuple[Tensor, Tensor]:
        """Returns every agent's evidence for every receiver (R, N, S, K) and the selector's logits (R, N, S).

        Args:
            h_RNH: the senders' states after the step.
        """
        assert self.tailored is not None
        message = nn.functional.softplus(self.tailored(h_RNH)).unflatten(-1, (self.team.n_agents, -1))
        return message.transpose(1, 2), self.selector(h_RNH).transpose(1, 2)

    @torch.no_grad()
    def _gate_of_release(self, steps: Steps) -> Tensor:
        """Returns the links that the released selector opens, bool (R, N, S): a softmax over receivers, itself too."""
        return self._chosen(torch.softmax(self.selector(steps.x_RND), dim=-1).transpose(1, 2))

    def _released(self, steps: Steps, q_RNA: Tensor, kept: Kept) -> Tensor:
        """Returns the values of the released form, (R, N, K)."""
        own = q_RNA.clamp(min=0)
        gate = self._gate_of_release(steps)
        kept.update(own=own, gate=gate)
        with torch.no_grad():
            received = self.link.broadcast(steps, own, gate, name="opinions")
            more = own + RELEASED_WEIGHT * fused(self._from_others(received))
        return own + more

    def _chosen(self, probability_RNS: Tensor) -> Tensor:
        """Returns where a message is sent, bool (R, N, S)."""
        return probability_RNS.detach() > self.settings.t2mac_gate

    def _from_others(self, heard: Heard) -> Tensor:
        """Returns the evidence that arrived from teammates, (R, N, S, K); a noisy channel can make none negative."""
        values = heard.values.clamp(min=0)
        return values * self.others(values).unsqueeze(-1)

    # -- losses ------------------------------------------------------------------------------------------

    def losses(self, context: LossContext) -> dict[str, tuple[float, Tensor]]:
        now_V = context.transitions.packing.now_V
        kept = {name: value[now_V] for name, value in context.online.kept.items()}
        weight_VNS = self._counted(context)
        if context.with_stats:
            context.stats["gate_open"] = weighted_mean(kept["gate"].to(weight_VNS.dtype), weight_VNS)
            context.stats["own_uncertainty"] = uncertainty(kept["own"].detach()).mean()
        if self.tailored is None:
            return {}
        gain = self.gain(kept["own"], kept["message"])
        label = (gain > self.settings.t2mac_min_gain).to(gain.dtype)
        errors = nn.functional.binary_cross_entropy_with_logits(kept["logit"], label, reduction="none")
        if context.with_stats:
            context.stats["message_gain"] = weighted_mean(gain, weight_VNS)
            context.stats["worth_sending"] = weighted_mean(label, weight_VNS)
        return {"selector_loss": (self.settings.t2mac_selector_coef, weighted_mean(errors, weight_VNS))}

    @torch.no_grad()
    def gain(self, own_RNK: Tensor, message_RNSK: Tensor) -> Tensor:
        """Returns by how much every message alone would lower its receiver's uncertainty, (R, N, S), at least 0."""
        own = own_RNK.unsqueeze(2)
        both = torch.stack([own.expand_as(message_RNSK), message_RNSK], dim=-2)
        return uncertainty(own) - uncertainty(fused(both))

    def _counted(self, context: LossContext) -> Tensor:
        """Returns which pairs count at every transition, (V, N, S): ordered pairs of two living agents."""
        packing, alive_RN = context.transitions.packing, context.steps.alive_RN
        counted = self.others(context.steps.x_RND).expand(len(packing.now_V), -1, -1)
        if alive_RN is None:
            return counted
        alive_VN = alive_RN[packing.now_V].to(counted.dtype)
        return counted * alive_VN.unsqueeze(2) * alive_VN.unsqueeze(1)
