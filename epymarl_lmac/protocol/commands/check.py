"""Checks one text by all layers and says what was found, for people and for machines."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from epymarl_lmac.errors import BundleError, ProtocolRejected
from epymarl_lmac.protocol.analysis.profile import Profile, profile_program
from epymarl_lmac.protocol.engine.build import Limits, build_program, text_hash
from epymarl_lmac.protocol.engine.contract import check_contract
from epymarl_lmac.protocol.engine.grammar import check_grammar
from epymarl_lmac.protocol.engine.program import Program
from epymarl_lmac.protocol.engine.spec import ProtocolSpec

EXPLAINED = {
    "grammar": "The text contains something that is not on the list of accepted syntax and names; nothing was run.",
    "sandbox": "The child process broke a limit, died, or could not be isolated as asked.",
    "run": "The text fails when it is run on sample input.",
    "extraction": "The text runs, but cannot be written down as a fixed list of tensor operations.",
    "contract": "The program exists, but its result is not what every protocol must return.",
}


@dataclass
class Verdict:
    """The outcome of a check."""

    accepted: bool
    sha256: str
    layer: str | None = None
    line: int | None = None
    column: int | None = None
    snippet: str = ""
    reason: str = ""
    message_dim: int | None = None
    operations: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    program: Program | None = None
    profile: Profile | None = None
    no_profile: str = ""  # why an accepted text has no profile

    @property
    def explanation(self) -> str:
        """Returns what the verdict means, in a sentence."""
        if self.accepted:
            return "Every layer accepts the text."
        return EXPLAINED.get(self.layer or "", "A layer refused the text.")

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "verdict": "accepted" if self.accepted else "rejected",
            "layer": self.layer,
            "line": self.line,
            "column": self.column,
            "snippet": self.snippet,
            "reason": self.reason,
            "explanation": self.explanation,
            "message_dim": self.message_dim,
            "operations": self.operations,
            "sha256": self.sha256,
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "no_profile": self.no_profile,
            "profile": None if self.profile is None else self.profile.as_dict(),
        }


def check_text(
    text: str,
    spec: ProtocolSpec,
    limits: Limits | None = None,
    real: Tensor | None = None,
    data_name: str = "",
) -> Verdict:
    """Runs every layer on a text; a refusal is a verdict, not an exception.

    Args:
        text: the protocol.
        spec: sizes it must be for.
        limits: bounds; the defaults if None.
        real: recorded inputs of the protocol's shape, for the contract and the profile.
        data_name: what to call them.

    Returns:
        The verdict. ``seconds`` has "grammar", "child and extraction" (start of the child, run, trace, transfer,
        comparison), "contract", "flow and profile" and "total"; a refused text has those it came to. ``total`` is
        the time from text to callable, the profile left out.
    """
    limits = limits or Limits()
    verdict = Verdict(accepted=False, sha256=text_hash(text))
    start = time.perf_counter()
    seconds = verdict.seconds
    try:
        check_grammar(text, limits.text)
        seconds["grammar"] = time.perf_counter() - start
        program = build_program(text, spec, limits, real)
        total = time.perf_counter() - start - seconds["grammar"]
        again = time.perf_counter()
        check_contract(program, limits.max_message_dim, real)
        seconds["contract"] = time.perf_counter() - again
        seconds["child and extraction"] = max(0.0, total - seconds["contract"] - seconds["grammar"])
        seconds["total"] = total
    except ProtocolRejected as err:
        verdict.layer, verdict.line, verdict.column = err.layer, err.line, err.column
        verdict.snippet, verdict.reason = err.snippet, err.reason
        seconds["total"] = time.perf_counter() - start
        return verdict
    verdict.accepted, verdict.program = True, program
    verdict.message_dim, verdict.operations = program.message_dim, len(program.operations)
    again = time.perf_counter()
    try:
        verdict.profile = profile_program(program, real, data_name)
    except BundleError as err:  # the verdict stands
        verdict.no_profile = str(err)
    seconds["flow and profile"] = time.perf_counter() - again
    return verdict
