"""Layer 6: what every protocol's result must satisfy, checked on the rebuilt program."""

from __future__ import annotations

import torch
from torch import Tensor

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol.engine.outputs import LAYER
from epymarl_lmac.protocol.engine.program import Program
from epymarl_lmac.protocol.engine.signature import MESSAGE, Signature

BATCHES = (1, 2, 5)


def _inputs(program: Program) -> dict[str, Tensor]:
    """Returns inputs of every kind that checks run on, seeded."""
    shape = program.spec.input_shape(max(BATCHES))
    generator = torch.Generator().manual_seed(20)
    uniform = torch.rand(shape, generator=generator)
    return {
        "zeros": torch.zeros(shape),
        "ones": torch.ones(shape),
        "minus one (steps before the episode)": torch.full(shape, -1.0),
        "random": torch.randn(shape, generator=generator),
        "0/1": (uniform > 0.7).float(),
        "large": torch.randn(shape, generator=generator) * 1e3,
    }


def _refuse(reason: str) -> ProtocolRejected:
    return ProtocolRejected(LAYER, reason)


def check_contract(
    program: Program,
    max_message_dim: int | None = None,
    real: Tensor | None = None,
    signature: Signature = MESSAGE,
) -> None:
    """Runs every check.

    Args:
        program: the rebuilt program.
        max_message_dim: most columns one receiver may get; None for no limit.
        real: further input, e.g. rows of a buffer, of the program's input shape.
        signature: the kind of program.

    Raises:
        ProtocolRejected: layer "contract", naming the check, the kind of input and what is expected.
    """
    spec = program.spec
    D, N = spec.x_dim, spec.n_agents
    cases = _inputs(program)
    if real is not None:
        cases["recorded observations"] = real
    for kind, o in cases.items():
        before = o.clone()
        result = program(o)
        if not torch.equal(o, before):
            raise _refuse(f"the input is modified ({kind}); work on a copy.")
        if result.dtype != torch.float32:
            raise _refuse(f"the result is {result.dtype}; it must be float32.")
        expected = (len(o), N, D + program.message_dim)
        if tuple(result.shape) != expected:
            raise _refuse(f"the result has shape {tuple(result.shape)} on {kind} input; expected {expected}.")
        signature.output.check(spec, o, result, kind)
        if not torch.isfinite(result).all():
            raise _refuse(f"the result is not finite on {kind} input; guard divisions, logarithms and powers.")
        if not torch.equal(program(o), result):
            raise _refuse(f"the same {kind} input gives different results; use no random numbers.")
        if not torch.equal(program.message(o), result[..., D:]):
            raise _refuse(f"the message columns alone differ from those of the whole result ({kind} input).")
        _check_rows(program, o, result, kind)
    if max_message_dim is not None and program.message_dim > max_message_dim:
        raise _refuse(f"each receiver gets {program.message_dim} numbers; at most {max_message_dim} are allowed.")


def _check_rows(program: Program, o: Tensor, result: Tensor, kind: str) -> None:
    """Refuses a program in which one episode's result depends on the others in the batch."""
    order = torch.arange(len(o) - 1, -1, -1)
    pieces = {"another order of episodes": (program(o[order]), result[order])}
    for batch in BATCHES:
        pieces[f"a batch of {batch}"] = (program(o[:batch]), result[:batch])
    for what, (found, expected) in pieces.items():
        close = found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
        if not close:
            raise _refuse(
                f"an episode's result changes with {what} ({kind} input); an episode must not depend on the others: "
                "reduce over agents or steps, never over dimension 0."
            )
