"""MAIC: every agent models how its teammates will act, and sends each numbers that are added to its Q-values.

    h_i -> Gaussian model z_ij of every teammate j -> incentive v_ij, weight a_ij -> Q_j = own Q_j + sum_i a_ij v_ij

Letters: R rows, V transitions, N receivers (the teammates that are modelled), S senders (S = N), H hidden, Z numbers of
a model, K attention, A actions. Pairs are [receiver, sender].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, LossContext, Team, weighted_mean
from modules.comm.link import LinkSettings
from modules.comm.steps import TEST, Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs

ENTROPY_FLOOR = 1e-4  # smallest attention that the entropy reads, as released
NORMS = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d, "none": nn.Identity}


@dataclass(frozen=True)
class MaicSettings(LinkSettings):
    """MAIC's own settings."""

    maic_latent_dim: int = setting(8, "numbers of the model of a teammate", low=1)
    maic_attention_dim: int = setting(32, "width of queries and keys", low=1)
    maic_hidden_dim: int = setting(64, "hidden width of the model, inference and message networks", low=1)
    maic_var_floor: float = setting(0.002, "smallest variance of a model", above=0)
    maic_mi_coef: float = setting(0.001, "weight of the mutual-information loss", low=0)
    maic_entropy_coef: float = setting(0.01, "weight of the attention's entropy, in bits", low=0)
    maic_cut: float = setting(
        0.25,
        "tests send nothing where the attention is below this number divided by the agents' number; 0: nothing is cut",
        low=0,
        resume=True,
    )
    maic_sender_hidden: bool = setting(
        True,
        "whether the sender's state makes the incentive (the paper), or the receiver's, which is sent model and "
        "attention in its place (as released)",
    )
    maic_norm: str = setting(
        "layer", "normalisation in the model and inference networks; batch: as released", choices=tuple(NORMS)
    )
    maic_self_pairs: bool = setting(
        False, "whether an agent's model of itself counts in the mutual-information loss (as released)"
    )
    maic_mi_action: str = setting(
        "buffer",
        "the teammate's action that is inferred: buffer (that it took, the paper) or greedy (its best available one)",
        choices=("buffer", "greedy"),
    )
    maic_entropy_of: str = setting(
        "applied",
        "attention whose entropy is kept low: applied (that which weighs messages) or raw (unscaled scores, the agent "
        "itself included, as released)",
        choices=("applied", "raw"),
    )


class Gaussian(NamedTuple):
    """Independent normal distributions, of one shape."""

    mean: Tensor
    variance: Tensor

    def draw(self) -> Tensor:
        """Returns a sample that passes gradients on to mean and variance."""
        return self.mean + self.variance.sqrt() * torch.randn_like(self.mean)

    def divergence(self, other: Gaussian) -> Tensor:
        """Returns KL(self || other), summed over the last axis."""
        ratio = self.variance / other.variance
        distance = (self.mean - other.mean).square() / other.variance
        return 0.5 * (ratio + distance - 1 - ratio.log()).sum(-1)


class GaussianNet(nn.Module):
    """Linear, normalisation, LeakyReLU, Linear to the means and log-variances of Gaussians.

    Args:
        inputs: width of the input.
        hidden: width of the hidden layer.
        n_gaussians: how many Gaussians an input gives.
        settings: see ``MaicSettings``.
    """

    def __init__(self, inputs: int, hidden: int, n_gaussians: int, settings: MaicSettings) -> None:
        super().__init__()
        self.first = Linear(inputs, hidden)
        self.norm = NORMS[settings.maic_norm](hidden)
        self.last = Linear(hidden, 2 * n_gaussians * settings.maic_latent_dim)
        self.floor = settings.maic_var_floor

    def forward(self, *parts: Tensor) -> Gaussian:
        """Returns Gaussians of width n_gaussians * Z.

        Args:
            parts: the input's columns in pieces, whose axes before the last broadcast.
        """
        hidden = linear_of_parts(self.first, *parts)
        hidden = self.norm(hidden.flatten(0, -2)).view_as(hidden)
        mean, log_variance = self.last(nn.functional.leaky_relu(hidden)).chunk(2, dim=-1)
        return Gaussian(mean, log_variance.exp().clamp(min=self.floor))


def linear_of_parts(layer: nn.Linear, *parts: Tensor) -> Tensor:
    """Returns a linear layer of inputs that lie side by side, without building the joint input.

    What is the same for all pairs of an agent is then multiplied once an agent, not once a pair.

    Args:
        layer: reads all columns of the parts, in their order.
        parts: (..., columns) each; the axes before the last broadcast.
    """
    weights = layer.weight.split([part.shape[-1] for part in parts], dim=1)
    result = nn.functional.linear(parts[0], weights[0], layer.bias)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        result = result + nn.functional.linear(part, weight)
    return result


class MaicComm(Comm):
    """Agent i sends agent j the numbers a_ij v_ij, one an action of j, which j adds to its own Q-values.

    z_ij ~ N(mu_ij, var_ij), a function of h_i, models how j will act; tests take mu_ij. The incentive v_ij is a
    function of [h_i, z_ij]. The weights a_ij are a softmax over the receivers j != i of <query(h_i), key(z_ij)> /
    sqrt(K), so every sender shares out 1. Messages are added after the Q layer: they never reach a GRU.

        L = L_TD + mi_coef * L_MI + entropy_coef * L_H

    L_MI is KL(N(mu_ij, var_ij) || inference network of [h_i, action of j]), summed over z, a mean over transitions and
    pairs. L_H is the entropy of a_i in bits, a mean over transitions and senders; only query and key learn from it.
    Pairs with a dead agent do not count.

    Message: A numbers an ordered pair a step, less the links that tests cut. The released code makes v_ij of the
    receiver's state (``maic_sender_hidden=False``): then Z + 1 numbers travel. Outputs of the model network belong to
    receivers, so the method is slotted.

    Source: Yuan et al., "Multi-Agent Incentive Communication via Decentralized Teammate Modeling", AAAI 2022; layers as
    in the released code.
    """

    SETTINGS = MaicSettings
    settings: MaicSettings
    is_slotted = True
    samples = True

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        s = self.settings
        H, Z, width = team.hidden_dim, s.maic_latent_dim, s.maic_hidden_dim
        self.model = GaussianNet(H, width, team.n_agents, s)
        self.inference = GaussianNet(H + team.n_actions, width, 1, s)
        self.message_hidden = Linear(H + Z, width)
        self.message_out = Linear(width, team.n_actions)
        self.query = Linear(H, s.maic_attention_dim)
        # A bias of the keys adds the same number to all scores of a query, which the softmax takes away again.
        self.key = Linear(Z, s.maic_attention_dim, bias=False)
        self.scale = 1 / math.sqrt(s.maic_attention_dim)

    def floats_per_pair(self) -> float:
        s = self.settings
        return self.team.n_actions if s.maic_sender_hidden else 1 + s.maic_latent_dim

    # -- messages ----------------------------------------------------------------------------------------

    def values(self, steps: Steps, h_RNH: Tensor, q_RNA: Tensor, kept: Kept) -> Tensor:
        model = self.models(h_RNH)
        z_RNSZ = model.mean if steps.mode == TEST else model.draw()
        attention_RNS = self.attention(h_RNH, z_RNSZ)
        heard_RNSA = self._send(steps, h_RNH, z_RNSZ, attention_RNS)
        kept.update(mean=model.mean, variance=model.variance, latent=z_RNSZ, heard=heard_RNSA)
        return q_RNA + heard_RNSA.sum(2)

    def models(self, h_RSH: Tensor) -> Gaussian:
        """Returns what every agent thinks of every agent, (R, N, S, Z): agent N in the eyes of agent S."""
        mean, variance = (part.unflatten(-1, (self.team.n_agents, -1)).transpose(1, 2) for part in self.model(h_RSH))
        return Gaussian(mean, variance)

    def attention(self, h_RSH: Tensor, z_RNSZ: Tensor) -> Tensor:
        """Returns how every sender shares out its attention, (R, N, S): 1 over N, 0 for itself."""
        others_NS = self.others(h_RSH)
        scores = self._scores(h_RSH, z_RNSZ) * self.scale
        lowest = torch.finfo(scores.dtype).min
        return torch.softmax(scores.masked_fill(others_NS == 0, lowest), dim=1) * others_NS

    def _scores(self, h_RSH: Tensor, z_RNSZ: Tensor) -> Tensor:
        """Returns <query, key> of all pairs, (R, N, S)."""
        return torch.einsum("rsk,rnsk->rns", self.query(h_RSH), self.key(z_RNSZ))

    def incentives(self, h: Tensor, z_RNSZ: Tensor) -> Tensor:
        """Returns a number for every action of every receiver, (R, N, S, A).

        Args:
            h: states, (R, 1, S, H) of the senders or (R, N, 1, H) of the receivers.
            z_RNSZ: models of the receivers.
        """
        return self.message_out(nn.functional.leaky_relu(linear_of_parts(self.message_hidden, h, z_RNSZ)))

    def _send(self, steps: Steps, h_RNH: Tensor, z_RNSZ: Tensor, attention_RNS: Tensor) -> Tensor:
        """Returns what arrives of every sender's weighted incentives, (R, N, S, A)."""
        gate = self._uncut(steps, attention_RNS)
        weight = attention_RNS.unsqueeze(-1)
        if self.settings.maic_sender_hidden:
            message = weight * self.incentives(h_RNH.unsqueeze(1), z_RNSZ)
            return self.link.pairs(steps, message, gate).values
        heard = self.link.pairs(steps, torch.cat([weight, z_RNSZ], dim=-1), gate).values
        return heard[..., :1] * self.incentives(h_RNH.unsqueeze(2), heard[..., 1:])

    def _uncut(self, steps: Steps, attention_RNS: Tensor) -> Tensor | None:
        """Returns which links a test uses, bool (R, N, S); None: all."""
        s = self.settings
        if steps.mode != TEST or s.maic_cut == 0:
            return None
        return (attention_RNS >= s.maic_cut / self.team.n_agents) | (self.others(attention_RNS) == 0)

    # -- losses ------------------------------------------------------------------------------------------

    def losses(self, context: LossContext) -> dict[str, tuple[float, Tensor]]:
        s, online = self.settings, context.online
        now_V = context.transitions.packing.now_V
        h_VNH, kept = online.hidden_PNH[now_V], {name: value[now_V] for name, value in online.kept.items()}
        alive_PN = context.steps.alive_RN
        alive_VN = h_VNH.new_ones(h_VNH.shape[:2]) if alive_PN is None else alive_PN[now_V].to(h_VNH.dtype)
        divergence_VNS = self._divergence(context, h_VNH, Gaussian(kept["mean"], kept["variance"]))
        pairs_VNS = alive_VN.unsqueeze(2) * alive_VN.unsqueeze(1)
        if not s.maic_self_pairs:
            pairs_VNS = pairs_VNS * self.others(pairs_VNS)
        if context.with_stats:
            context.stats["incentive_abs"] = kept["heard"].detach().sum(2).abs().mean()
        return {
            "mutual_information_loss": (s.maic_mi_coef, weighted_mean(divergence_VNS, pairs_VNS)),
            "attention_entropy": (s.maic_entropy_coef, weighted_mean(self._entropy(h_VNH, kept["latent"]), alive_VN)),
        }

    def _divergence(self, context: LossContext, h_VNH: Tensor, model: Gaussian) -> Tensor:
        """Returns KL of the models and of what is inferred with the teammates' actions, (V, N, S)."""
        action_VN = self._modelled_action(context)
        onehot_VNA = nn.functional.one_hot(action_VN, self.team.n_actions).to(h_VNH.dtype)
        return model.divergence(self.inference(h_VNH.unsqueeze(1), onehot_VNA.unsqueeze(2)))

    def _modelled_action(self, context: LossContext) -> Tensor:
        """Returns the actions that models should tell of, long (V, N)."""
        if self.settings.maic_mi_action == "buffer":
            return context.transitions.actions_VN1.squeeze(-1)
        now_V = context.transitions.packing.now_V
        available = context.steps.stored("avail_actions")[now_V] > 0
        return context.online.q_PNA.detach()[now_V].masked_fill(~available, -math.inf).argmax(-1)

    def _entropy(self, h_VSH: Tensor, z_VNSZ: Tensor) -> Tensor:
        """Returns the entropy of every sender's attention, bits (V, S), from states and models without gradient."""
        h, z = h_VSH.detach(), z_VNSZ.detach()
        applied = self.settings.maic_entropy_of == "applied"
        attention = self.attention(h, z) if applied else torch.softmax(self._scores(h, z), dim=1)
        attention = attention.clamp(min=ENTROPY_FLOOR)
        return -(attention * attention.log2()).sum(1)
