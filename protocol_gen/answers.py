"""Reads answers: the code of a protocol, or one JSON object. Whatever is wrong becomes a rejection with a reason."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol import Bundle, Program, build_program
from epymarl_lmac.protocol.engine.signature import MESSAGE, Signature
from protocol_gen.designers import decode_answer

LAYER = "answer"
MAX_NESTING = 20  # of lists and objects in a JSON answer
_SURROGATE = re.compile("[\ud800-\udfff]")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_OPEN = re.compile(r"^[ \t]*(?:`{3,}|~{3,})", re.MULTILINE)


def _reject(reason: str) -> ProtocolRejected:
    return ProtocolRejected(LAYER, reason)


def _check_whole(text: str, finish_reason: str) -> None:
    if not text.strip():
        raise _reject("the answer is empty.")
    _check_characters(text)
    if finish_reason == "length":
        raise _reject("the answer was cut off at the length limit; write a shorter one, with less prose.")


def _check_characters(text: str) -> None:
    wrong = _SURROGATE.search(text)
    if wrong:
        raise _reject(f"the answer holds {wrong[0]!a}, half of a character; write whole Unicode characters.")


def _check_values(value: Any) -> None:
    """Refuses JSON values that no file or prompt can hold, without recursion."""
    todo = [(value, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > MAX_NESTING:
            raise _reject(f"the JSON object is nested more than {MAX_NESTING} deep; write it flat.")
        if isinstance(value, str):
            _check_characters(value)
        elif isinstance(value, dict):
            todo += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list):
            todo += [(item, depth + 1) for item in value]


def _is_complete(code: str, signature: Signature) -> bool:
    return all(re.search(rf"^def {name}\b", code, re.MULTILINE) for name in signature.functions)


def code_of(text: str, finish_reason: str = "stop", signature: Signature = MESSAGE) -> str:
    """Returns the protocol in an answer: the last code block that defines both functions of its kind.

    Raises:
        ProtocolRejected: layer "answer": empty, cut off, no code, or no block with both functions.
    """
    _check_whole(text, finish_reason)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    blocks = [match.group(3) for match in _FENCE.finditer(text + "\n")]
    complete = [block for block in blocks if _is_complete(block, signature)]
    if complete:
        return complete[-1].strip() + "\n"
    if len(_OPEN.findall(text)) % 2:
        raise _reject("the last code block is not closed, so the answer was probably cut off; write a shorter one.")
    if blocks:
        raise _reject(f"no code block defines both {' and '.join(signature.functions)} at its top level.")
    if _is_complete(text, signature):
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise _reject("code and prose are mixed; put the module into one ```python code block.") from None
        return text.strip() + "\n"
    raise _reject("there is no code in the answer; put the module into one ```python code block.")


def step_of_design(bundle: Bundle, k: int, answers: Path) -> Program:
    """Returns one step of a design: of its bundle, or the kept answer of a step that was left out of the bundle.

    Args:
        bundle: what was shipped.
        k: number of the step.
        answers: folder of the design's answers.

    Raises:
        OSError: the step is not in the bundle, and ``k<k>-c1-a1.md`` not among the answers.
        DesignerError: that file is not UTF-8.
        ProtocolRejected: the kept answer fails a check.
    """
    if k in bundle.steps:
        return bundle.programs[bundle.steps.index(k)]
    schema = bundle.manifest["task_schema"]
    spec = MESSAGE.spec(k, schema["n_agents"], bundle.programs[0].spec.x_dim, bundle.history)
    path = answers / f"k{k}-c1-a1.md"
    return build_program(code_of(decode_answer(path.read_bytes(), path)), spec)


def json_of(text: str, keys: Sequence[str], finish_reason: str = "stop") -> dict[str, Any]:
    """Returns the first JSON object in an answer that has all keys; text around it is ignored.

    Raises:
        ProtocolRejected: layer "answer": empty, cut off, or no such object.
    """
    _check_whole(text, finish_reason)
    decoder, found, position = json.JSONDecoder(strict=False), [], 0
    while (start := text.find("{", position)) >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except ValueError:
            position = start + 1
            continue
        except RecursionError:
            raise _reject(f"a JSON object is nested more than {MAX_NESTING} deep; write it flat.") from None
        if isinstance(value, dict):
            if set(keys) <= set(value):
                _check_values(value)
                return value
            found.append(sorted(value))
        position = end
    what = f"the objects found have the keys {found[:3]}" if found else "no JSON object could be read"
    raise _reject(f"one JSON object with the keys {list(keys)} is expected; {what}.")
