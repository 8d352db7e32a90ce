"""What a communication method is: one class with a few hooks, each with a default that does nothing.

    x -> inputs -> agent GRU -> h -> hidden -> Q layer -> values -> Q

A method overrides the hooks it needs, sends whatever it sends through ``self.link``, and names its own losses. The
controller (``controllers/sequence_controller.py``) and the learner (``learners/value_learner.py``) are the same for all
methods; one that trains a policy has ``learners/twin_critic_learner.py``, and its Q layer gives the policy's logits.
``steps.py`` has what a hook sees, ``link.py`` what may happen to a message.

Letters: R rows (existing steps of episodes), N agents, D extended observation, I agent input, H hidden, A actions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.learning.optimiser import OptimiserChoice
from epymarl_lmac.settings.checks import check_value
from epymarl_lmac.settings.fields import settings_of
from modules.comm.link import Link, LinkSettings
from modules.comm.steps import Steps

if TYPE_CHECKING:
    from controllers.sequence_controller import SequenceMac, Unrolled
    from epymarl_lmac.seam import CommArgs, Episodes
    from learners.base_learner import Transitions


@dataclass(frozen=True)
class Team:
    """Sizes of the task and of the agents, as a method needs them."""

    n_agents: int
    n_actions: int
    obs_dim: int  # O
    state_dim: int  # S
    x_dim: int  # D, width of the extended observation
    own_dim: int  # what an agent reads without communication: x, and the state where add_state is set
    hidden_dim: int  # H of the agents' GRU
    layout: XLayout  # what x holds


class Sizes(NamedTuple):
    """Widths that a method asks of the agent network."""

    input_dim: int  # I, of what ``inputs`` returns
    head_dim: int | None  # of what ``hidden`` returns, which the Q layer reads; None: the agents' states as they are


@dataclass
class LossContext:
    """What a method's own losses may read. Rows P are all existing steps of the batch, packed."""

    batch: Episodes
    steps: Steps  # all existing steps
    transitions: Transitions
    online: Unrolled  # of the online network, with what its hooks kept
    target: Unrolled  # of the target network, without gradient
    mac: SequenceMac  # the online controller
    target_mac: SequenceMac
    mixer: nn.Module | None  # None where every agent learns alone
    target_mixer: nn.Module | None
    t_env: int  # environment steps so far
    with_stats: bool  # whether metrics are wanted
    stats: dict[str, Any]  # metrics to log; a method adds its own
    # Where a policy is trained: from action probabilities (V, N, C, A) to what the critics think of them, (V, N, C).
    judge: Callable[[Tensor], Tensor] | None = None


Kept = dict[str, Tensor]  # what hooks keep for the losses, by name; the first axis is rows
CHOOSING = "choosing"  # Q-values (R, N, A) that a method keeps if others than those it trains choose the next action


@dataclass(frozen=True)
class StoredField:
    """A value of every agent at every step that is computed when an episode is stored."""

    key: str  # its name in the replay buffer
    width: int
    compute: Callable[[Steps], Tensor]  # all steps of some episodes -> (P, N, width)


class Comm(nn.Module):
    """Base of all communication methods. As it is, agents send nothing and act alone.

    Class attributes that a method sets:
        SETTINGS: frozen dataclass of ``setting`` fields; a method that sends starts from ``LinkSettings``.
        trained_as: what the controller's outputs are with this method, "values" or "policy" logits (an instance may say
            so for one of its forms); the learner must train the same (``learners/base_learner.py``).
        form: the setting that decides ``trained_as``, with its value, for messages; "" where none does.
        fits_any_agent: whether agents' states may have another width than ``hidden_dim``, as those of agent=linear.
        reads_hidden: whether ``inputs`` reads the agents' states before the step, h(t - 1): "no"; "detached" (their
            values, no gradient through time); or "through".
        sends: whether anything travels between agents.
        is_slotted: whether weights belong to an agent's index, so that exchanging two agents changes the function.
        samples: whether it draws random numbers while playing to train.
        shares_rows: whether nearly all of its update lies in hand-written passes, so that threads best share out rows
            (``epymarl_lmac.learning.products``).

    Args:
        team: sizes.
        args: the run's settings; its ``SETTINGS`` are read from here into ``self.settings``.

    Raises:
        SettingsError: a value out of range, or the environment lacks what the method needs.
    """

    SETTINGS: type | None = None
    trained_as = "values"
    form = ""
    fits_any_agent = False
    reads_hidden = "no"
    sends = True
    is_slotted = False
    samples = False
    shares_rows = False

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__()
        self.team = team
        self.settings: Any = self.read_settings(args)
        link_settings = self.settings if isinstance(self.settings, LinkSettings) else LinkSettings()
        self.link = Link(link_settings, team.n_agents)

    @classmethod
    def read_settings(cls, args: CommArgs) -> Any:
        """Returns this method's settings from a run's, checked; None where it has none."""
        if cls.SETTINGS is None:
            return None
        for item in settings_of(cls.SETTINGS):
            check_value(item, getattr(args, item.key))
        return cls.SETTINGS(**{item.name: getattr(args, item.name) for item in dataclasses.fields(cls.SETTINGS)})

    @classmethod
    def sizes(cls, team: Team, settings: Any) -> Sizes:
        """Returns the widths that this method asks of the agent network."""
        return Sizes(team.own_dim, None)

    # -- hooks -------------------------------------------------------------------------------------------

    def inputs(
        self, steps: Steps, own_RND: Tensor, before_RNH: Tensor | None, kept: Kept
    ) -> Tensor | tuple[Tensor, ...]:
        """Returns what the agent network reads, (R, N, I), or its parts, which are read side by side.

        Args:
            steps: all existing steps, or one.
            own_RND: what an agent reads without communication.
            before_RNH: the agents' states before the step; None unless ``reads_hidden`` asks for them.
            kept: put here what the losses need.
        """
        return own_RND

    def hidden(self, steps: Steps, h_RNH: Tensor, kept: Kept) -> Tensor:
        """Returns what the Q layer reads, (R, N, head_dim), from the agents' states after the step."""
        return h_RNH

    def values(self, steps: Steps, h_RNH: Tensor, q_RNA: Tensor, kept: Kept) -> Tensor:
        """Returns the Q-values (R, N, A) from those that the agents' own Q layer computed."""
        return q_RNA

    def losses(self, context: LossContext) -> dict[str, tuple[float, Tensor]]:
        """Returns the method's own losses by name, each with its weight; may add metrics to ``context.stats``."""
        return {}

    # -- training ----------------------------------------------------------------------------------------

    def optimisers(self) -> dict[str, tuple[Sequence[nn.Parameter], OptimiserChoice]]:
        """Returns parameters with an optimiser of their own, by name; all others train with the run's optimiser."""
        return {}

    def after_update(self, t_env: int) -> None:
        """Called on the online network's module after every gradient step, e.g. to move an average."""

    def before_target_update(self) -> None:
        """Called on the online network's module whenever the target network is about to follow it."""

    def stored_fields(self, n_steps: int) -> list[StoredField]:
        """Returns what is computed once for every episode that enters the replay buffer.

        Hooks find it there with ``steps.look(key)``, which is None where it is not stored (acting, foreign hosts).

        Args:
            n_steps: steps the buffer has room for.
        """
        return []

    def compares_episodes(self, mode: str) -> bool:
        """Returns whether what agents hear depends on other episodes at the same step; all play side by side then.

        Args:
            mode: ACT, TEST or LEARN.
        """
        return self.link.exchanges(mode)

    def floats_per_pair(self) -> float:
        """Returns how many numbers an ordered pair of agents carries a step while all links are open; the mean over
        pairs where they differ. The link measures it; a test compares the two."""
        return 0.0

    def estimated_columns(self) -> Tensor | None:
        """Returns which state columns ``state_estimate`` gives, long (I,); None: the method estimates no state."""
        return None

    def state_estimate(self, kept: Kept) -> Tensor:
        """Returns what every agent believes of these columns, (R, N, I).

        Args:
            kept: what the other hooks kept of some rows.

        Raises:
            TypeError: the method estimates nothing, as ``estimated_columns`` says.
        """
        raise TypeError(f"{type(self).__name__} estimates no state: its estimated_columns() returns None.")

    def files(self) -> dict[str, bytes]:
        """Returns files to keep in the run's folder by their path in it, e.g. what the method was made from."""
        return {}

    def description(self) -> dict[str, Any]:
        """Returns what the run record should say about this method beyond its settings."""
        return {}

    # -- helpers -----------------------------------------------------------------------------------------

    def others(self, like: Tensor) -> Tensor:
        """Returns 1 for pairs of two agents and 0 for an agent with itself, (N, N), in the type of ``like``."""
        N = self.team.n_agents
        return 1 - torch.eye(N, dtype=like.dtype, device=like.device)

    def need_ids(self, method: str) -> None:
        """Raises SettingsError unless x holds the agent's id, one-hot."""
        if not self.team.layout.agent_id:
            raise SettingsError(f"{method} needs the agents' ids; set obs_agent_id=True.", "obs_agent_id")


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean of the values of weight 1, 0 where there are none."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


def no_gradient(module: nn.Module) -> nn.Module:
    """Takes a module's parameters out of training, e.g. a moving average's, and returns it."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


@torch.no_grad()
def follow(average: nn.Module, source: nn.Module, rate: float) -> None:
    """Moves a module's parameters and buffers towards another's: new = old + rate * (source - old); 1 copies."""
    pairs = zip(average.state_dict().values(), source.state_dict().values(), strict=True)
    for old, new in pairs:
        if rate >= 1 or not old.is_floating_point():
            old.copy_(new)
        else:
            old.lerp_(new, rate)
