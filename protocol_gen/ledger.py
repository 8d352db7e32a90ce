"""Calls of a design: each is made once, kept in a folder of its own, and accounted for.

``calls/<key>/`` holds ``prompt.md`` (before the call), ``reply.json`` (the moment there is an answer) and
``answer.md`` (the same text, for people).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from epymarl_lmac.errors import RecordError, SettingsError
from epymarl_lmac.record.provenance import write_json
from protocol_gen.describe import prompt_hash
from protocol_gen.designers import Designer, Messages, Reply, reply_of

PRICES = Path(__file__).resolve().parent / "prices.yaml"
CHARACTERS_PER_TOKEN = 3.5  # of English and code, for forecasts only


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all.

    Raises:
        RecordError: it cannot be written.
    """
    temporary = path.with_suffix(path.suffix + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as err:
        raise RecordError(f"Cannot write {path}: {err.strerror}.") from err


def as_unicode(text: str) -> str:
    r"""Returns a text that any file and endpoint takes: lone surrogates are spelled out.

    >>> as_unicode("a \ud800")
    'a \\ud800'
    """
    return text.encode(errors="backslashreplace").decode()


def read_json(path: Path) -> Any:
    """Reads a file of ours.

    Raises:
        RecordError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise RecordError(f"{path} cannot be read: {err}. Remove it to make it again.") from err


def read_prices(path: Path | None) -> dict[str, dict[str, float]]:
    """Reads a price table: model -> input and output, USD for a million tokens.

    Raises:
        SettingsError: it cannot be read, or has another form.
    """
    path = PRICES if path is None else path
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {str(k): {"input": float(v["input"]), "output": float(v["output"])} for k, v in table.items()}
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as err:
        raise SettingsError(
            f"The price table {path} cannot be read ({err}); each line is `MODEL: {{input: USD, output: USD}}`.",
            "--prices",
        ) from err


def cost_of(
    model: str, prompt_tokens: int | None, completion_tokens: int | None, prices: Mapping[str, Mapping[str, float]]
) -> float | None:
    """Returns what a call cost, USD; None where tokens or price are not known."""
    names = [name for name in prices if model.startswith(name)]
    if not names:
        return None
    price = prices[max(names, key=len)]
    if price["input"] == price["output"] == 0:
        return 0.0
    if prompt_tokens is None or completion_tokens is None:
        return None
    return (prompt_tokens * price["input"] + completion_tokens * price["output"]) / 1e6


class Ledger:
    """Makes calls and keeps them.

    Args:
        folder: the design's work folder.
        designer: who answers.
        prices: USD for a million tokens by model.
    """

    def __init__(self, folder: Path, designer: Designer, prices: Mapping[str, Mapping[str, float]]) -> None:
        self._calls, self._designer, self._prices = folder / "calls", designer, prices

    def call(self, key: str, messages: Messages) -> Reply:
        """Returns the answer to a call: the kept one if there is one, else the designer's.

        Raises:
            DesignerError: the designer cannot answer.
        """
        folder = self._calls / key
        path = folder / "reply.json"
        if path.is_file():
            return reply_of(read_json(path), path)
        shown = "\n\n".join(f"<!-- {m['role']} -->\n\n{m['content'].strip()}" for m in messages)
        write_text(folder / "prompt.md", shown + "\n")
        reply = self._designer.answer(key, messages, folder)
        record = reply.as_dict() | {
            "designer": self._designer.name,
            "prompt_sha256": prompt_hash(messages),
            "reply_sha256": hashlib.sha256(reply.text.encode(errors="surrogatepass")).hexdigest(),
            "cost_usd": cost_of(reply.model, reply.prompt_tokens, reply.completion_tokens, self._prices),
        }
        write_json(path, record)
        if self._designer.name != "manual":
            write_text(folder / "answer.md", as_unicode(reply.text))
        return reply

    def verdict(self, key: str, accepted: bool, reason: str = "") -> None:
        """Keeps what became of an answer."""
        write_json(self._calls / key / "verdict.json", {"accepted": accepted, "reason": reason})

    def accepted(self, key: str) -> bool:
        """Returns whether a kept answer was accepted; False also if it was not judged yet."""
        path = self._calls / key / "verdict.json"
        return path.is_file() and bool(read_json(path)["accepted"])

    def refusal(self, key: str) -> str | None:
        """Returns why a kept answer was refused; None if it was accepted, or not judged yet."""
        path = self._calls / key / "verdict.json"
        verdict = read_json(path) if path.is_file() else {"accepted": True}
        return None if verdict["accepted"] else str(verdict["reason"])

    def calls(self) -> list[dict[str, Any]]:
        """Returns all answered calls: key, step, tokens, cost, time, retries, hashes and verdict, without texts."""
        found = []
        for path in sorted(self._calls.rglob("reply.json")):
            values = read_json(path)
            key = path.parent.relative_to(self._calls).as_posix()
            verdict = path.with_name("verdict.json")
            found.append(
                {"key": key, "step": key.split("/")[0]}
                | {k: v for k, v in values.items() if k != "text"}
                | {"verdict": read_json(verdict) if verdict.is_file() else None}
            )
        return found

    def by_step(self) -> list[dict[str, Any]]:
        """Returns calls, rejections, tokens, cost, seconds and retries by step, and of all.

        A sum is None where one of its calls does not know it.
        """
        calls = self.calls()
        steps = list(dict.fromkeys(["select", *sorted({c["step"] for c in calls})]))
        rows = []
        for step in [*steps, "all"]:
            mine = [c for c in calls if step in (c["step"], "all")]
            row: dict[str, Any] = {"step": step, "calls": len(mine)}
            row["rejected"] = sum(c["verdict"] is not None and not c["verdict"]["accepted"] for c in mine)
            for name in ("prompt_tokens", "completion_tokens", "cost_usd", "seconds", "retries"):
                values = [c[name] for c in mine]
                row[name] = None if None in values else round(sum(values), 6)
            rows.append(row)
        return rows

    def table(self) -> str:
        """Returns ``by_step`` as a markdown table."""
        rows = self.by_step()
        lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
        for row in rows:
            cells = ["unknown" if v is None else f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)
