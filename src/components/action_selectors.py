"""Action selectors: from Q-values to actions, with exploration.

Letters: B episodes, N agents, A actions.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from components.epsilon_schedules import DecayThenFlatSchedule
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.seeding import derive_seed

if TYPE_CHECKING:
    from epymarl_lmac.seam import SelectorArgs


def _generator(seed: int, name: str) -> torch.Generator:
    """Returns a generator of its own stream, on the CPU, so that a run explores alike on any device."""
    generator = torch.Generator(device="cpu")
    generator.manual_seed(derive_seed(seed, name))
    return generator


class ActionSelector(abc.ABC):
    """Base of all action selectors.

    Attributes:
        fixed_epsilon: exploration of training steps in place of the schedule's; None: the schedule's. A runner sets it
            for single rounds of episodes (``Runner.run``).
    """

    fixed_epsilon: float | None = None

    @abc.abstractmethod
    def select_action(self, agent_inputs: Tensor, avail_actions: Tensor, t_env: int, test_mode: bool = False) -> Tensor:
        """Chooses an action for every agent; see ``EpsilonGreedyActionSelector.select_action``."""


class EpsilonGreedyActionSelector(ActionSelector):
    """Takes the best available action, or with probability epsilon any available one, all equally likely.

    Training and evaluation draw from generators of their own, so that evaluating never changes training.

    Args:
        args: epsilon_start, epsilon_finish, epsilon_anneal_time (environment steps), evaluation_epsilon,
            test_greedy (False: evaluate with the training's epsilon), seed.

    Raises:
        SettingsError: an epsilon outside [0, 1], or a finish above the start.
    """

    def __init__(self, args: SelectorArgs) -> None:
        for key in ("epsilon_start", "epsilon_finish", "evaluation_epsilon"):
            value = getattr(args, key)
            if not 0 <= value <= 1:
                raise SettingsError(f"{key}={value} is no probability; choose a value from 0 to 1.", key)
        self.schedule = DecayThenFlatSchedule(
            args.epsilon_start, args.epsilon_finish, args.epsilon_anneal_time, decay="linear"
        )
        self.evaluation_epsilon = args.evaluation_epsilon
        self.test_greedy = args.test_greedy
        self.epsilon = self.schedule.eval(0)  # of the latest training step
        self._train_generator = _generator(args.seed, "exploration")
        self._test_generator = _generator(args.seed, "test_exploration")

    def select_action(self, agent_inputs: Tensor, avail_actions: Tensor, t_env: int, test_mode: bool = False) -> Tensor:
        """Chooses an action for every agent.

        Args:
            agent_inputs: Q-values (B, N, A).
            avail_actions: 0 where an action cannot be taken, (B, N, A).
            t_env: environment steps so far; sets epsilon.
            test_mode: evaluate (with ``evaluation_epsilon``) instead of training.

        Returns:
            Actions, long (B, N), on the device of the Q-values.
        """
        epsilon = self.schedule.eval(t_env)
        if not test_mode:
            epsilon = epsilon if self.fixed_epsilon is None else self.fixed_epsilon
            self.epsilon = epsilon
        elif self.test_greedy:
            epsilon = self.evaluation_epsilon
        is_unavailable = avail_actions == 0
        chosen = agent_inputs.masked_fill(is_unavailable, -torch.inf).argmax(-1)
        if epsilon <= 0:
            return chosen
        B, N, A = agent_inputs.shape
        generator = self._test_generator if test_mode else self._train_generator
        # One draw an action (the largest available one is a uniform choice) and one for whether to explore.
        draws = torch.rand(B, N, A + 1, generator=generator).to(agent_inputs.device)
        explored = draws[..., :A].masked_fill(is_unavailable, -1.0).argmax(-1)
        return torch.where(draws[..., A] < epsilon, explored, chosen)

    def state_dict(self) -> dict[str, Any]:
        """Returns what later choices depend on."""
        return {
            "epsilon": self.epsilon,
            "train_generator": self._train_generator.get_state(),
            "test_generator": self._test_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.epsilon = state["epsilon"]
        self._train_generator.set_state(state["train_generator"].cpu())
        self._test_generator.set_state(state["test_generator"].cpu())

    def __deepcopy__(self, memo: dict[int, Any]) -> EpsilonGreedyActionSelector:
        """Copies the generators by their state: not every torch version can deep-copy a generator."""
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(self.__dict__)
        for name in ("_train_generator", "_test_generator"):
            generator = torch.Generator(device="cpu")
            generator.set_state(getattr(self, name).get_state())
            setattr(twin, name, generator)
        return twin


REGISTRY: dict[str, Callable[[Any], ActionSelector]] = {"epsilon_greedy": EpsilonGreedyActionSelector}
