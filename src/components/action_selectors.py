"""Action selectors: from Q-values or a policy's logits to actions, with exploration.

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
    """What selectors that draw random numbers share: two streams, and exploration with a probability epsilon.

    Training and evaluation draw from generators of their own, so that evaluating never changes training.
    """

    def __init__(self, args: SelectorArgs) -> None:
        self.fixed_epsilon: float | None = None  # of training steps, in place of the selector's own
        self.evaluation_epsilon = args.evaluation_epsilon
        self.test_greedy = args.test_greedy
        self._train_generator = _generator(args.seed, "exploration")
        self._test_generator = _generator(args.seed, "test_exploration")

    @abc.abstractmethod
    def select_action(self, agent_inputs: Tensor, avail_actions: Tensor, t_env: int, test_mode: bool = False) -> Tensor:
        """Chooses an action for every agent.

        Args:
            agent_inputs: what the controller puts out, Q-values or logits (B, N, A).
            avail_actions: 0 where an action cannot be taken, (B, N, A).
            t_env: environment steps so far.
            test_mode: evaluate instead of training.

        Returns:
            Actions, long (B, N), on the device of ``agent_inputs``.
        """

    def _draw(self, shape: tuple[int, ...], test_mode: bool, like: Tensor) -> Tensor:
        """Returns uniform numbers in [0, 1) on the device of ``like``."""
        generator = self._test_generator if test_mode else self._train_generator
        return torch.rand(*shape, generator=generator).to(like.device)

    def _explore(self, chosen_BN: Tensor, is_unavailable_BNA: Tensor, epsilon: float, test_mode: bool) -> Tensor:
        """Returns actions of which a share ``epsilon`` is any available one, all equally likely."""
        if epsilon <= 0:
            return chosen_BN
        B, N, A = is_unavailable_BNA.shape
        # One draw an action (the largest available one is a uniform choice) and one for whether to explore.
        draws = self._draw((B, N, A + 1), test_mode, chosen_BN)
        explored = draws[..., :A].masked_fill(is_unavailable_BNA, -1.0).argmax(-1)
        return torch.where(draws[..., A] < epsilon, explored, chosen_BN)

    def seed(self, seed: int) -> None:
        """Begins both streams anew."""
        self._train_generator.manual_seed(derive_seed(seed, "exploration"))
        self._test_generator.manual_seed(derive_seed(seed, "test_exploration"))

    def state_dict(self) -> dict[str, Any]:
        """Returns what later choices depend on."""
        return {
            "train_generator": self._train_generator.get_state(),
            "test_generator": self._test_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self._train_generator.set_state(state["train_generator"].cpu())
        self._test_generator.set_state(state["test_generator"].cpu())

    def __deepcopy__(self, memo: dict[int, Any]) -> ActionSelector:
        """Copies the generators by their state: not every torch version can deep-copy a generator."""
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(self.__dict__)
        for name in ("_train_generator", "_test_generator"):
            generator = torch.Generator(device="cpu")
            generator.set_state(getattr(self, name).get_state())
            setattr(twin, name, generator)
        return twin


class EpsilonGreedyActionSelector(ActionSelector):
    """Takes the best available action, or with probability epsilon any available one, all equally likely.

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
        super().__init__(args)
        self.schedule = DecayThenFlatSchedule(
            args.epsilon_start, args.epsilon_finish, args.epsilon_anneal_time, decay="linear"
        )
        self.epsilon = self.schedule.eval(0)  # of the latest training step

    def select_action(self, agent_inputs: Tensor, avail_actions: Tensor, t_env: int, test_mode: bool = False) -> Tensor:
        epsilon = self.schedule.eval(t_env)
        if not test_mode:
            epsilon = epsilon if self.fixed_epsilon is None else self.fixed_epsilon
            self.epsilon = epsilon
        elif self.test_greedy:
            epsilon = self.evaluation_epsilon
        is_unavailable = avail_actions == 0
        chosen = agent_inputs.masked_fill(is_unavailable, -torch.inf).argmax(-1)
        return self._explore(chosen, is_unavailable, epsilon, test_mode)

    def state_dict(self) -> dict[str, Any]:
        """Returns what later choices depend on."""
        return {"epsilon": self.epsilon, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.epsilon = state["epsilon"]
        super().load_state_dict(state)


class SoftmaxActionSelector(ActionSelector):
    """Draws actions from a stochastic policy: the softmax of its logits over the available actions.

    Tests take the most likely action, or draw as well where ``test_greedy`` is off. There is no epsilon in training but
    one that the caller sets (``fixed_epsilon``, for data of mixed quality).

    Args:
        args: evaluation_epsilon (of greedy tests), test_greedy, seed.
    """

    def select_action(self, agent_inputs: Tensor, avail_actions: Tensor, t_env: int, test_mode: bool = False) -> Tensor:
        is_unavailable = avail_actions == 0
        logits = agent_inputs.masked_fill(is_unavailable, -torch.inf)
        if test_mode and self.test_greedy:
            return self._explore(logits.argmax(-1), is_unavailable, self.evaluation_epsilon, test_mode)
        # The largest of logits plus Gumbel noise is a draw from their softmax.
        uniform = self._draw(tuple(logits.shape), test_mode, logits).clamp(min=torch.finfo(torch.float32).tiny)
        chosen = (logits - torch.log(-torch.log(uniform))).argmax(-1)
        return self._explore(chosen, is_unavailable, 0.0 if test_mode else self.fixed_epsilon or 0.0, test_mode)


REGISTRY: dict[str, Callable[[Any], ActionSelector]] = {
    "epsilon_greedy": EpsilonGreedyActionSelector,
    "softmax": SoftmaxActionSelector,
}
