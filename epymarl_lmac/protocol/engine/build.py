"""From a protocol's text to a checked program."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from epymarl_lmac.errors import BundleError, ProtocolRejected
from epymarl_lmac.protocol.engine import cache
from epymarl_lmac.protocol.engine.budget import ProgramBudget, check_budget
from epymarl_lmac.protocol.engine.constant_values import TooMuchMemory
from epymarl_lmac.protocol.engine.contract import check_contract
from epymarl_lmac.protocol.engine.grammar import TextLimits, check_grammar
from epymarl_lmac.protocol.engine.program import Program
from epymarl_lmac.protocol.engine.sandbox import ChildLimits, run_child
from epymarl_lmac.protocol.engine.signature import MESSAGE, Signature
from epymarl_lmac.protocol.engine.spec import ProtocolSpec

# (batch size, scale) of the inputs on which the child also runs the text itself, to compare with the program.
PROBES = ((3, 1.0), (5, 100.0), (4, 0.0))


@dataclass(frozen=True)
class Limits:
    """Bounds on a text, its child and its messages."""

    text: TextLimits = field(default_factory=TextLimits)
    child: ChildLimits = field(default_factory=ChildLimits)
    max_message_dim: int | None = None  # numbers a receiver may get a step; None for no limit
    budget: ProgramBudget = field(default_factory=ProgramBudget)
    cache: bool = True  # keep programs on disk, by the hash of text, sizes and engine
    strict: bool = False  # refuse to run a text on a machine that lacks a measure of isolation


def text_hash(text: str) -> str:
    """Returns the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def build_program(
    text: str,
    spec: ProtocolSpec,
    limits: Limits | None = None,
    real: Tensor | None = None,
    signature: Signature = MESSAGE,
) -> Program:
    """Turns a protocol's text into a checked program, running it in a child process only.

    Args:
        text: the protocol in the published format.
        spec: the sizes it must be for.
        limits: bounds; the defaults if None.
        real: recorded inputs on which the contract is checked as well, (B, N, D) or (B, L, N, D).
        signature: the kind of program that the text must be.

    Raises:
        ProtocolRejected: naming the layer, and line and column where they apply.
        SandboxUnavailable: this machine cannot run any text as the limits ask; the text was not judged.
    """
    limits = limits or Limits()
    check_grammar(text, limits.text, signature)
    name = cache.key(text, spec, signature)
    program = cache.load(name, spec) if limits.cache and not limits.strict else None
    kept = program is not None
    probes: list[tuple[Tensor, Tensor]] = []
    try:
        if program is None:
            program, probes = _from_child(text, spec, limits, signature)
        _check(program, probes, limits, real, signature)
    except TooMuchMemory as err:
        raise ProtocolRejected("contract", str(err)) from err
    except BundleError as err:
        raise ProtocolRejected("extraction", str(err)) from err
    except (RuntimeError, IndexError, ValueError, TypeError, AttributeError) as err:
        raise ProtocolRejected("contract", f"the program fails on some input: {str(err)[:300]}") from err
    if limits.cache and not kept:
        cache.store(name, program)
    return program


def _from_child(
    text: str, spec: ProtocolSpec, limits: Limits, signature: Signature
) -> tuple[Program, list[tuple[Tensor, Tensor]]]:
    """Returns the program that a child made of a text, and inputs with the text's own results on them."""
    request = {
        "text": text,
        "entry": signature.entry,
        "instruction": signature.instruction,
        "shape": list(spec.input_shape(1)[1:]),
        "probes": [list(p) for p in PROBES],
        "strict": limits.strict,
    }
    header, tensors = run_child(request, limits.child)
    try:
        probes = [(tensors.pop(f"probe{number}"), tensors.pop(f"result{number}")) for number in range(len(PROBES))]
        operations, output = header["operations"], header["output"]
    except KeyError as err:
        raise ProtocolRejected("extraction", f"the child's answer has no {err}.") from err
    width = signature.output.extra_columns(spec, probes[0][1].shape, PROBES[0][0])
    return Program(spec, operations, output, tensors, width, constant_bytes=limits.budget.bytes), probes


def _check(
    program: Program,
    probes: list[tuple[Tensor, Tensor]],
    limits: Limits,
    real: Tensor | None,
    signature: Signature,
) -> None:
    """Refuses a program that is not what its text says, or that breaks the contract."""
    check_budget(program, limits.budget)
    with torch.no_grad():
        for probe, result in probes:
            rebuilt = program(probe)
            same = rebuilt.shape == result.shape and rebuilt.dtype == result.dtype
            if not same or not torch.allclose(rebuilt, result, rtol=0, atol=0, equal_nan=True):
                raise ProtocolRejected("extraction", "the traced program does not reproduce the text's result.")
        check_contract(program, limits.max_message_dim, real, signature)
