"""COLA: agents agree on a class of the state without sending anything.

Letters: R rows, N agents, D extended observation, H hidden, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.optimiser import OptimiserChoice
from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, LossContext, Sizes, Team, follow, no_gradient
from modules.comm.steps import Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs

CLIP = 10.0  # gradient norm of the builder's own optimiser, as released
CODE_DIM = 4  # width of the released embedding of a class


@dataclass(frozen=True)
class ColaSettings:
    """COLA's own settings. Nothing is sent, so there are none of a link."""

    cola_classes: int = setting(4, "classes that agents choose from", low=2)
    cola_hidden_dim: int = setting(64, "width of the consensus builder's layers", low=1)
    cola_student_temperature: float = setting(0.1, "softmax temperature of the student", above=0)
    cola_teacher_temperature: float = setting(0.04, "softmax temperature of the teacher", above=0)
    cola_teacher_rate: float = setting(
        0.004, "share of the student that enters the teacher at every update", above=0, high=1
    )
    cola_centre_rate: float = setting(
        0.1, "share of a batch's mean logits that enters the centre at every update", above=0, high=1
    )
    cola_lr: float = setting(0.0005, "learning rate of the builder's own optimiser (RMSprop)", above=0)
    cola_teacher_start: str = setting(
        "student",
        "what the teacher starts as: a copy of the student, or random weights of its own (as released)",
        choices=("student", "random"),
    )
    cola_code: str = setting(
        "onehot",
        "what an agent reads of its class: onehot, or embedding (a fixed random vector a class, as released)",
        choices=("onehot", "embedding"),
    )
    cola_input: str = setting(
        "obs",
        "what the builder reads: obs (x) or hidden (the agent's state, without gradient)",
        choices=("obs", "hidden"),
    )


class ColaComm(Comm):
    """A small network maps every agent's own input to one of K classes; the Q layer reads [h, encoded class].

    The builder is trained without labels: at every step the sharpened, centred output of a slow teacher on one living
    agent's input is the target of the student on every other's. Its optimiser is its own; the TD loss never reaches it.
    Dead agents have a class of their own. The metric ``consensus_classes`` is how many classes a batch uses: 1 means
    collapse.

    Nothing is sent, in training or in execution: a baseline without communication.

    Source: Xu et al., "Consensus Learning for Cooperative Multi-Agent Reinforcement Learning", AAAI 2023.
    """

    SETTINGS = ColaSettings
    settings: ColaSettings
    sends = False
    centre: Tensor  # (K,), of the teacher's logits
    code: Tensor  # (K + 1, width), what an agent reads of its class

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        s = self.settings
        self.student = self._builder(team)
        self.teacher = self._builder(team)
        no_gradient(self.teacher)
        if s.cola_teacher_start == "student":
            follow(self.teacher, self.student, 1.0)
        self.register_buffer("centre", torch.zeros(s.cola_classes))
        width = s.cola_classes + 1 if s.cola_code == "onehot" else CODE_DIM
        code = torch.eye(s.cola_classes + 1) if s.cola_code == "onehot" else torch.randn(s.cola_classes + 1, width)
        self.register_buffer("code", code)
        self.encode = nn.Sequential(Linear(width, team.hidden_dim), nn.ReLU(), Linear(team.hidden_dim, team.hidden_dim))
        self._logits_seen: Tensor | None = None  # the teacher's, of the latest update, for the centre

    def _builder(self, team: Team) -> nn.Sequential:
        """Returns encoder and projector of a student or a teacher."""
        width, inner = self.settings.cola_hidden_dim, 2 * self.settings.cola_hidden_dim
        read = team.x_dim if self.settings.cola_input == "obs" else team.hidden_dim
        return nn.Sequential(
            Linear(read, inner),
            nn.ReLU(),
            Linear(inner, width),
            Linear(width, width),
            nn.ReLU(),
            Linear(width, self.settings.cola_classes),
        )

    @classmethod
    def sizes(cls, team: Team, settings: ColaSettings) -> Sizes:
        return Sizes(team.own_dim, 2 * team.hidden_dim)

    def hidden(self, steps: Steps, h_RNH: Tensor, kept: Kept) -> Tensor:
        read = steps.x_RND if self.settings.cola_input == "obs" else h_RNH.detach()
        with torch.no_grad():
            class_RN = self.student(read).argmax(-1)
            if steps.alive_RN is not None:
                class_RN = class_RN.masked_fill(~steps.alive_RN, self.settings.cola_classes)
        kept["class"] = class_RN
        return torch.cat([h_RNH, self.encode(self.code[class_RN])], dim=-1)

    # -- training ----------------------------------------------------------------------------------------

    def optimisers(self) -> dict[str, tuple[Sequence[nn.Parameter], OptimiserChoice]]:
        return {"consensus": (list(self.student.parameters()), OptimiserChoice("rmsprop", self.settings.cola_lr, CLIP))}

    def losses(self, context: LossContext) -> dict[str, tuple[float, Tensor]]:
        steps, now = context.steps, context.transitions.packing.now_V
        from_obs = self.settings.cola_input == "obs"
        read = (steps.x_RND if from_obs else context.online.hidden_PNH.detach())[now]
        alive_VN = None if steps.alive_RN is None else steps.alive_RN[now]
        with torch.no_grad():
            teacher = self.teacher(read)
        self._logits_seen = teacher.flatten(0, 1) if alive_VN is None else teacher[alive_VN]
        if context.with_stats:
            context.stats["consensus_classes"] = float(len(torch.unique(context.online.kept["class"][now])))
        return {"consensus_loss": (1.0, self.consensus_loss(self.student(read), teacher, alive_VN))}

    def consensus_loss(self, student_VNK: Tensor, teacher_VNK: Tensor, alive_VN: Tensor | None) -> Tensor:
        """Returns the mean cross-entropy over ordered pairs of different living agents of a step.

        Args:
            student_VNK, teacher_VNK: logits.
            alive_VN: bool; None: all live.
        """
        s = self.settings
        N = student_VNK.shape[1]
        target = torch.softmax((teacher_VNK - self.centre) / s.cola_teacher_temperature, dim=-1)
        log_q = torch.log_softmax(student_VNK / s.cola_student_temperature, dim=-1)
        entropy_VNN = -torch.einsum("vik,vjk->vij", target, log_q)
        pairs = ~torch.eye(N, dtype=torch.bool, device=student_VNK.device).expand(len(student_VNK), -1, -1)
        if alive_VN is not None:
            pairs = pairs & alive_VN.unsqueeze(1) & alive_VN.unsqueeze(2)
        return (entropy_VNN * pairs).sum() / pairs.sum().clamp(min=1)

    def after_update(self, t_env: int) -> None:
        """Moves the centre towards the latest batch's mean logits and the teacher towards the student."""
        if self._logits_seen is not None and len(self._logits_seen):
            self.centre.lerp_(self._logits_seen.mean(0), self.settings.cola_centre_rate)
        follow(self.teacher, self.student, self.settings.cola_teacher_rate)
