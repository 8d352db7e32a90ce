"""Asks until an answer is accepted: every refused one goes back with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from epymarl_lmac.errors import ProtocolRejected, UserError
from epymarl_lmac.tasks import TaskCard
from protocol_gen.answers import LAYER, json_of
from protocol_gen.build_bundle import important_columns
from protocol_gen.describe import fill
from protocol_gen.designers import Reply
from protocol_gen.ledger import Ledger, as_unicode

Accepted = TypeVar("Accepted")
CRITIQUE = ("Evaluation", "Missing_Information_Hypothesis", "Improvement_Suggestions")


class DesignStopped(UserError):
    """No answer of a step was accepted; everything so far is kept."""

    exit_code = 4


def ask(
    ledger: Ledger,
    prefix: str,
    prompt: str,
    read: Callable[[Reply], Accepted],
    max_attempts: int,
    watch: Callable[[str], None],
) -> tuple[Accepted, int]:
    """Returns the first accepted answer and the number of attempts.

    Args:
        ledger: makes and keeps the calls.
        prefix: of the calls' keys; attempt 3 is ``<prefix>/a3``.
        prompt: what is asked.
        read: returns what the answer says, or raises ProtocolRejected.
        max_attempts: answers that may be refused.
        watch: told of every event.

    Raises:
        DesignStopped: the last attempt was refused as well, or an answer that was accepted before fails now.
        SandboxUnavailable: this machine cannot run texts; no answer is refused for that.
    """
    reasons: list[str] = []
    text, last = prompt, ""
    for attempt in range(1, max_attempts + 1):
        key = f"{prefix}/a{attempt}"
        if reasons:
            listed = "\n".join(f"{n}. {reason}" for n, reason in enumerate(reasons, 1))
            text = fill("rejected", prompt=prompt, reasons=listed, answer=last)
        reply = ledger.call(key, [{"role": "system", "content": fill("system")}, {"role": "user", "content": text}])
        watch(f"{key}: answered")
        was_accepted, refusal = ledger.accepted(key), ledger.refusal(key)
        if refusal is None:
            try:
                accepted = read(reply)
            except ProtocolRejected as err:
                if was_accepted:
                    raise DesignStopped(
                        f"{key}: this answer was accepted before and fails now. {err} Nothing more is asked. Restore "
                        "the data and the version of the first run, or remove the verdict.json of this call to have "
                        "the answer judged anew."
                    ) from err
                refusal = str(err)
                ledger.verdict(key, False, refusal)
                watch(f"{key}: refused. {refusal}")
        if refusal is not None:
            reasons.append(refusal)
            last = as_unicode(reply.text)
            continue
        ledger.verdict(key, True)
        watch(f"{key}: accepted")
        return accepted, attempt
    raise DesignStopped(
        f"{prefix}: none of {max_attempts} answers was accepted; the last reason: {reasons[-1]} Everything is kept: "
        "the same command with a larger --max-attempts goes on."
    )


def read_selection(card: TaskCard, reply: Reply) -> dict[str, Any]:
    """Returns the chosen state columns.

    Raises:
        ProtocolRejected: indices or names that are no state columns, or none at all.
    """
    values = json_of(reply.text, ("indices",), reply.finish_reason)
    indices, names = values["indices"], values.get("names", [])
    if not isinstance(indices, list) or not isinstance(names, list):
        raise ProtocolRejected(LAYER, "indices and names must be lists.")
    wrong = [i for i in indices if type(i) is not int or not 0 <= i < len(card.state)]
    if wrong:
        raise ProtocolRejected(LAYER, f"{wrong[:5]} are no state dimensions; they are 0 to {len(card.state) - 1}.")
    chosen = set(indices)
    if names:
        try:
            chosen |= set(important_columns(card, [str(name) for name in names]))
        except UserError as err:
            raise ProtocolRejected(LAYER, str(err)) from err
    constant = sorted(i for i in chosen if card.state[i].low == card.state[i].high)
    chosen -= set(constant)
    if not chosen:
        raise ProtocolRejected(LAYER, "no state dimension that ever changes was chosen.")
    return {"important": sorted(chosen), "left_out_as_constant": constant, "reason": str(values.get("reason", ""))}


def read_critique(reply: Reply) -> dict[str, str]:
    """Returns the analyst's three texts.

    Raises:
        ProtocolRejected: no JSON object with these keys.
    """
    values = json_of(reply.text, CRITIQUE, reply.finish_reason)
    return {k: values[k] if isinstance(values[k], str) else json.dumps(values[k]) for k in CRITIQUE}
