"""NDQ: short Gaussian messages to every teammate, kept useful and few by two information terms.

Letters: R rows, N receivers, S senders (S = N), M numbers of a message, W width of what an agent reads with its
messages, V transitions, A actions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, LossContext, Sizes, Team
from modules.comm.link import LinkSettings
from modules.comm.steps import TEST, Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class NdqSettings(LinkSettings):
    """NDQ's own settings."""

    ndq_message_dim: int = setting(3, "numbers of a message to one receiver", low=1)
    ndq_c_beta: float = setting(0.1, "weight of all message losses together", low=0)
    ndq_comm_beta: float = setting(0.0001, "weight of the KL term among the message losses", low=0)
    ndq_entropy_beta: float = setting(
        0.0, "weight of the samples' entropy term among the message losses (released code only, off in its runs)", low=0
    )
    ndq_ramp_start: int = setting(0, "step at which ndq_comm_beta and ndq_entropy_beta start to change", low=0)
    ndq_ramp_end: int = setting(0, "step from which they have their targets; 0: they never change", low=0)
    ndq_comm_beta_target: float = setting(0.01, "ndq_comm_beta at the end of the ramp", low=0)
    ndq_entropy_beta_target: float = setting(0.0, "ndq_entropy_beta at the end of the ramp", low=0)
    ndq_self_message: bool = setting(
        False, "whether an agent also draws a message to itself, which counts in the losses (as released)"
    )
    ndq_sample_tests: bool = setting(
        False, "whether tests draw messages as training does (as released) or send their means"
    )
    ndq_cut: str = setting(
        "none",
        "numbers that tests do not send: none; rank (the share ndq_cut_at with the smallest absolute means among all "
        "running episodes of a step, which the main process then plays side by side); threshold (absolute mean below "
        "ndq_cut_at)",
        choices=("none", "rank", "threshold"),
        resume=True,
    )
    ndq_cut_at: float = setting(
        0.0,
        "percent for ndq_cut=rank (published: 80 to 98), absolute mean for threshold; above 0 where one of them is on",
        low=0,
        resume=True,
    )


class NdqComm(Comm):
    """Every agent draws a message from N(mu, 1) for each teammate; mu is a function of what it reads itself.

    A receiver reads [own, messages in the order of their senders]. Two losses shape the messages. Expressiveness: a
    posterior predicts the receiver's greedy action, of the target network at the same step, from what the receiver
    reads. Succinctness: KL(N(mu, 1) || N(0, 1)), so that numbers which help nobody have means near 0 and can be cut.
    The TD loss reaches the encoder as well.

        L = L_TD + c_beta * (L_exp + comm_beta * L_KL + entropy_beta * L_ent)

    Each is summed over agents (pairs and numbers for the last two) and is a mean over transitions.

    Message: M numbers an ordered pair a step, less what tests cut. Message heads belong to receivers and input columns
    to senders, so the method is slotted.

    Raises:
        SettingsError: a ramp that ends before it starts, a cut at 0, or a rank above 100 percent.

    Source: Wang, Wang, Zheng, Zhang, "Learning Nearly Decomposable Value Functions Via Communication Minimization",
    ICLR 2020; layers as in the released code.
    """

    SETTINGS = NdqSettings
    settings: NdqSettings
    is_slotted = True
    samples = True

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        s = self.settings
        if s.ndq_ramp_end and s.ndq_ramp_end <= s.ndq_ramp_start:
            raise SettingsError(
                f"ndq_ramp_end={s.ndq_ramp_end} must be greater than ndq_ramp_start={s.ndq_ramp_start}, or 0 for "
                "weights that never change.",
                "ndq_ramp_end",
            )
        if s.ndq_cut != "none" and s.ndq_cut_at == 0:
            raise SettingsError(
                f"ndq_cut={s.ndq_cut} cuts nothing with ndq_cut_at=0; give the percent of numbers that rank cuts "
                "(e.g. 80), or the absolute mean below which threshold cuts (e.g. 0.5).",
                "ndq_cut_at",
            )
        if s.ndq_cut == "rank" and s.ndq_cut_at > 100:
            raise SettingsError(
                f"ndq_cut_at={s.ndq_cut_at} is a percentage with ndq_cut=rank; use 0 to 100.", "ndq_cut_at"
            )
        N, H, heard = team.n_agents, team.hidden_dim, team.n_agents * s.ndq_message_dim
        self.encoder = nn.Sequential(
            Linear(team.own_dim, H), nn.ReLU(), Linear(H, H), nn.ReLU(), Linear(H, N * s.ndq_message_dim)
        )
        self.posterior = nn.Sequential(
            Linear(team.own_dim + heard, 4 * heard),
            nn.ReLU(),
            Linear(4 * heard, 4 * heard),
            nn.ReLU(),
            Linear(4 * heard, team.n_actions),
        )

    @classmethod
    def sizes(cls, team: Team, settings: NdqSettings) -> Sizes:
        return Sizes(team.own_dim + team.n_agents * settings.ndq_message_dim, team.hidden_dim)

    def compares_episodes(self, mode: str) -> bool:
        return super().compares_episodes(mode) or (mode == TEST and self.settings.ndq_cut == "rank")

    def floats_per_pair(self) -> float:
        return self.settings.ndq_message_dim

    # -- messages ----------------------------------------------------------------------------------------

    def inputs(self, steps: Steps, own_RND: Tensor, before_RNH: Tensor | None, kept: Kept) -> Tensor:
        mean = self.means(own_RND)
        is_mean = steps.mode == TEST and not self.settings.ndq_sample_tests
        message = mean if is_mean else mean + torch.randn_like(mean)
        heard = self.link.pairs(steps, message, sent_RNSM=self._uncut(steps, mean)).values
        if not self.settings.ndq_self_message:
            heard = heard * self.others(heard).unsqueeze(-1)
        read = torch.cat([own_RND, heard.flatten(2)], dim=-1)
        kept.update(mean=mean, message=message, read=read)
        return read

    def means(self, own_RND: Tensor) -> Tensor:
        """Returns the means of all messages, (R, N, S, M), receiver by sender.

        Args:
            own_RND: what every sender reads without communication.
        """
        R, N, _ = own_RND.shape
        return self.encoder(own_RND).view(R, N, N, -1).transpose(1, 2)

    def _uncut(self, steps: Steps, mean_RNSM: Tensor) -> Tensor | None:
        """Returns which numbers a test sends, bool (R, N, S, M); None: all. What agents tell themselves is kept."""
        s = self.settings
        if s.ndq_cut == "none" or steps.mode != TEST:
            return None
        size = mean_RNSM.detach().abs()
        own_NS1 = (self.others(size) == 0).unsqueeze(-1)
        if s.ndq_cut == "threshold":
            return (size >= s.ndq_cut_at) | own_NS1
        counted = (~own_NS1).expand_as(size).clone()
        if steps.running is not None:
            counted[~steps.running()] = False
        sizes = size[counted]
        n_cut = round(s.ndq_cut_at / 100 * len(sizes))
        is_sent = torch.ones_like(sizes, dtype=torch.bool)
        is_sent[sizes.argsort(stable=True)[:n_cut]] = False
        return torch.ones_like(counted).masked_scatter(counted, is_sent)

    # -- losses ------------------------------------------------------------------------------------------

    def losses(self, context: LossContext) -> dict[str, tuple[float, Tensor]]:
        now_V = context.transitions.packing.now_V
        kept = context.online.kept
        logits_VNA = self.posterior(kept["read"][now_V])
        label_VN = self._greedy(context)[now_V]
        n_transitions = len(now_V)
        unlikely = nn.functional.cross_entropy(logits_VNA.flatten(0, 1), label_VN.flatten(), reduction="sum")
        divergence = 0.5 * self._sum_of_squares(kept["mean"][now_V])
        comm_beta, entropy_beta = self.weights(context.t_env)
        c_beta = self.settings.ndq_c_beta
        result = {
            "expressiveness_loss": (c_beta, unlikely / n_transitions),
            "message_kl": (c_beta * comm_beta, divergence / n_transitions),
        }
        if entropy_beta:
            result["message_entropy_loss"] = (c_beta * entropy_beta, self._entropy(kept["message"][now_V]))
        if context.with_stats:
            predicted_VN = logits_VNA.detach().argmax(-1)
            context.stats["posterior_accuracy"] = (predicted_VN == label_VN).float().mean()
            context.stats["message_kl_weight"] = comm_beta
        return result

    def _greedy(self, context: LossContext) -> Tensor:
        """Returns the target network's best available actions at all existing steps, long (P, N)."""
        available = context.steps.stored("avail_actions") > 0
        return context.target.q_PNA.masked_fill(~available, -math.inf).argmax(-1)

    def _sum_of_squares(self, values_VNSM: Tensor) -> Tensor:
        """Returns the sum over all messages, those to oneself only where they are on."""
        squares = values_VNSM.square()
        return squares.sum() if self.settings.ndq_self_message else (squares.sum(-1) * self.others(squares)).sum()

    def _entropy(self, message_VNSM: Tensor) -> Tensor:
        """Returns the cross-entropy -log N(m; 0, 1) of drawn messages, a mean over transitions."""
        V, N, _, M = message_VNSM.shape
        numbers = (N * N if self.settings.ndq_self_message else N * (N - 1)) * M
        return 0.5 * self._sum_of_squares(message_VNSM) / V + numbers * HALF_LOG_2_PI

    def weights(self, t_env: int) -> tuple[float, float]:
        """Returns the weights of the KL and the entropy term after so many environment steps."""
        s = self.settings
        if not s.ndq_ramp_end:
            return s.ndq_comm_beta, s.ndq_entropy_beta
        share = min(1.0, max(0.0, (t_env - s.ndq_ramp_start) / (s.ndq_ramp_end - s.ndq_ramp_start)))
        return (
            s.ndq_comm_beta + share * (s.ndq_comm_beta_target - s.ndq_comm_beta),
            s.ndq_entropy_beta + share * (s.ndq_entropy_beta_target - s.ndq_entropy_beta),
        )
