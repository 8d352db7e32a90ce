"""What a kind of generated program is: its entry point, what it gets at each step of a design, and what it must return.

There is one kind so far, a message function. Another kind is one more ``Signature`` and a folder of prompts: grammar,
child process, contract and the reading of answers take everything that depends on the kind from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.engine.outputs import MessageOutput, Output
from epymarl_lmac.protocol.engine.spec import ProtocolSpec


@dataclass(frozen=True)
class DesignStep:
    """One step k of a design."""

    k: int
    sees_history: bool  # whether the program gets the last L steps instead of the current one
    goal: str  # what the designer is asked for, beyond what the prompts of the step say


@dataclass(frozen=True)
class Signature:
    """A kind of generated program."""

    name: str
    entry: str  # function that computes
    instruction: str  # function that says in words what is computed
    parameters: tuple[str, ...]  # what the entry function is called with, by position
    output: Output  # what the entry function must return
    forward_all: str  # text that sends everything to everybody, AGENTS standing for N: what any other is compared with
    steps: tuple[DesignStep, ...]  # in order; a design may leave some of them out

    @property
    def functions(self) -> tuple[str, str]:
        """Returns the functions that a text must define."""
        return (self.instruction, self.entry)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Returns every k, in order."""
        return tuple(step.k for step in self.steps)

    def step(self, k: int) -> DesignStep:
        """Returns step k.

        Raises:
            BundleError: there is no such step.
        """
        for step in self.steps:
            if step.k == k:
                return step
        raise BundleError(f"k={k} is no step of a {self.name}; these are: {', '.join(map(str, self.numbers))}.")

    def spec(self, k: int, n_agents: int, x_dim: int, history: int) -> ProtocolSpec:
        """Returns the sizes that the program of step k is written for.

        Args:
            k: the step.
            n_agents: N.
            x_dim: D.
            history: L, used where the step sees the history.
        """
        return ProtocolSpec(n_agents, x_dim, history if self.step(k).sees_history else None)

    def text_name(self, k: int) -> str:
        """Returns the name of the file that holds the text of step k."""
        return f"k{self.step(k).k}.py"


MESSAGE = Signature(
    name="message function",
    entry="communication",
    instruction="message_design_instruction",
    parameters=("o",),
    output=MessageOutput(),
    forward_all="""import torch


def message_design_instruction():
    return "everything that everybody perceives"


def communication(o):
    everything = o.flatten(1).unsqueeze(1).expand(-1, AGENTS, -1)
    return torch.cat([o, everything], dim=-1)
""",
    steps=(
        DesignStep(0, False, ""),
        DesignStep(1, False, "It should make known what all agents still miss."),
        DesignStep(2, True, "It should even out knowledge between agents, with the help of the last steps."),
    ),
)
