"""Who answers prompts: a chat-completions endpoint, a person with files, or recorded answers.

A designer turns messages into one ``Reply``. It neither checks nor repeats; ``pipeline.py`` does.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from epymarl_lmac.errors import UserError
from protocol_gen.describe import prompt_hash

Messages = Sequence[Mapping[str, str]]
REASONING = re.compile(r"^(o\d|gpt-5)")  # models that take no temperature, by the names of their maker
MODEL, TEMPERATURE = "gpt-4.1-2025-04-14", 0.6  # as published


class DesignerError(UserError):
    """A designer that cannot answer: wrong key, unknown model, endpoint out of reach, no recorded answer."""


class AnswerPending(UserError):
    """A manual answer that is not there yet; the same command goes on once it is."""

    exit_code = 3


@dataclass(frozen=True)
class Reply:
    """One answer and what it cost."""

    text: str
    model: str
    finish_reason: str  # "stop", "length" (cut off), ...
    prompt_tokens: int | None  # None where the designer does not count
    completion_tokens: int | None
    seconds: float
    retries: int  # requests that failed before this answer
    temperature: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def reply_of(values: Any, path: Path) -> Reply:
    """Returns a kept reply.

    Args:
        values: what was read from its file.
        path: of that file.

    Raises:
        DesignerError: it is no reply.
    """
    fields = Reply.__dataclass_fields__
    missing = [name for name in fields if name not in values] if isinstance(values, dict) else list(fields)
    if missing or not isinstance(values["text"], str):
        what = f"it lacks {', '.join(missing)}" if missing else f"its text is a {type(values['text']).__name__}"
        raise DesignerError(f"{path} is no kept reply: {what}. Restore it, or remove it to ask again.")
    return Reply(**{name: values[name] for name in fields})


def decode_answer(data: bytes, path: Path) -> str:
    """Returns the text of an answer's file, without a byte order mark.

    Raises:
        DesignerError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise DesignerError(
            f"{path} is not UTF-8: byte 0x{data[err.start]:02x} at place {err.start}. Save it as UTF-8 and run the "
            "same command again."
        ) from err


def _content_of(completion: Any) -> tuple[str, str]:
    """Returns text and finish reason of a completion's first choice.

    Raises:
        ValueError: there is none, naming what came instead.
    """
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"it holds no choices, but {_shown(choices if choices is not None else completion)}")
    message = getattr(choices[0], "message", None)
    if message is None or not hasattr(message, "content"):
        raise ValueError(f"its first choice holds no message with a content, but {_shown(choices[0])}")
    content = message.content
    if content is not None and not isinstance(content, str):
        raise ValueError(f"its content is no text, but {_shown(content)}")
    return content or "", str(getattr(choices[0], "finish_reason", None) or "unknown")


def _shown(value: Any) -> str:
    """Returns a value's kind and the beginning of the value."""
    return f"{type(value).__name__} {ascii(value)[:80]}"


def _tokens(usage: Any, name: str) -> int | None:
    """Returns a number of tokens; None where the endpoint gives none."""
    n = getattr(usage, name, None)
    return n if type(n) is int else None


class Designer(Protocol):
    """Answers prompts."""

    name: str

    def answer(self, key: str, messages: Messages, folder: Path) -> Reply:
        """Returns the answer to one call.

        Args:
            key: what the call is, e.g. ``k1/analyst/a1``; no two calls of a design share it.
            messages: role and content.
            folder: the call's own folder, which exists.

        Raises:
            DesignerError: there will be no answer.
            AnswerPending: there is none yet.
        """
        ...


class OpenAiDesigner:
    """Any endpoint that speaks chat completions, through the official client.

    Rate limits, server errors, time-outs and lost connections are repeated with growing pauses; a wrong key, an unknown
    model or a refused request is not.

    Args:
        model: the model's name.
        base_url: the endpoint; None takes OPENAI_BASE_URL or the client's own default.
        api_key: the key; None takes OPENAI_API_KEY. An own ``base_url`` needs none.
        temperature: None sends none, as reasoning models want it.
        max_tokens: longest answer; None leaves it to the endpoint.
        timeout_s: of one request, seconds.
        max_retries: requests repeated at most.

    Raises:
        DesignerError: no key, or the client is not installed.
    """

    name = "openai"

    def __init__(
        self,
        model: str = MODEL,
        base_url: str | None = None,
        api_key: str | None = None,
        temperature: float | None = TEMPERATURE,
        max_tokens: int | None = None,
        timeout_s: float = 300.0,
        max_retries: int = 5,
    ) -> None:
        try:
            import openai
        except ImportError as err:
            raise DesignerError("The openai client is missing: pip install 'epymarl-lmac[designer]'.") from err
        base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        key = api_key or os.environ.get("OPENAI_API_KEY") or ("none" if base_url else None)
        if key is None:
            raise DesignerError("No API key: set OPENAI_API_KEY, or name another variable with --key-env.")
        self._client = openai.OpenAI(api_key=key, base_url=base_url, timeout=timeout_s, max_retries=max_retries)
        self._model, self._max_tokens = model, max_tokens
        self._temperature = None if REASONING.match(model) else temperature
        self._max_retries, self._timeout_s = max_retries, timeout_s

    def _request(self, messages: Messages) -> Any:
        options: dict[str, Any] = {}
        if self._temperature is not None:
            options["temperature"] = self._temperature
        if self._max_tokens is not None:
            plain = self._temperature is not None
            options["max_tokens" if plain else "max_completion_tokens"] = self._max_tokens
        texts: Any = [dict(m) for m in messages]
        return self._client.chat.completions.with_raw_response.create(model=self._model, messages=texts, **options)

    def answer(self, key: str, messages: Messages, folder: Path) -> Reply:
        import openai

        began = time.perf_counter()
        try:
            try:
                raw = self._request(messages)
            except openai.BadRequestError as err:
                if self._temperature is None or "temperature" not in str(err):
                    raise
                print(f"designer: {self._model} takes no temperature; asking without one from now on", file=sys.stderr)
                self._temperature = None
                raw = self._request(messages)
        except openai.OpenAIError as err:
            raise DesignerError(self._explain(err, key)) from err
        try:
            completion = raw.parse()
            text, finish_reason = _content_of(completion)
        except (openai.OpenAIError, ValueError, RecursionError) as err:
            kept = folder / f"malformed-{len(list(folder.glob('malformed-*.txt'))) + 1}.txt"
            kept.write_bytes(raw.content)
            raise DesignerError(
                f"{key}: the endpoint's answer is no chat completion: {str(err)[:300] or type(err).__name__}. It is "
                f"kept in {kept}. Check that --base-url speaks chat completions; the same command asks again."
            ) from err
        usage, model = getattr(completion, "usage", None), getattr(completion, "model", None)
        return Reply(
            text=text,
            model=model if model and isinstance(model, str) else self._model,
            finish_reason=finish_reason,
            prompt_tokens=_tokens(usage, "prompt_tokens"),
            completion_tokens=_tokens(usage, "completion_tokens"),
            seconds=time.perf_counter() - began,
            retries=raw.retries_taken,
            temperature=self._temperature,
        )

    def _explain(self, err: Exception, key: str) -> str:
        """Returns what failed, with what, and what to do."""
        import openai

        base, tried = self._client.base_url, f"after {self._max_retries + 1} requests"
        kinds: list[tuple[type[Exception], str]] = [
            (openai.AuthenticationError, f"{base} refused the key. Check OPENAI_API_KEY or the variable of --key-env."),
            (openai.PermissionDeniedError, f"{base} does not let this key use model {self._model!r}."),
            (openai.NotFoundError, f"{base} knows no model {self._model!r}, or is not the right address; see --model."),
            (openai.RateLimitError, f"{base} still limits requests {tried}. Wait, or raise --retries."),
            (openai.APITimeoutError, f"{base} gave no answer in {self._timeout_s:g} s {tried}; see --timeout."),
            (openai.APIConnectionError, f"{base} could not be reached, or hung up, {tried}. Is it running?"),
            (openai.InternalServerError, f"{base} still fails {tried}."),
        ]
        text = next((text for kind, text in kinds if isinstance(err, kind)), f"{base} refused the request.")
        return f"{key}: {text} What is done is kept; the same command goes on. ({str(err)[:300]})"


class ManualDesigner:
    """A person: the prompt goes to ``prompt.md``, the answer is read from ``answer.md`` beside it.

    Args:
        wait_s: how long to wait for an answer; 0 stops at once, None waits for ever.
        poll_s: pause between looks, seconds.
        sleep: how to pause.
    """

    name = "manual"

    def __init__(
        self, wait_s: float | None = None, poll_s: float = 1.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._wait_s, self._poll_s, self._sleep = wait_s, poll_s, sleep

    def answer(self, key: str, messages: Messages, folder: Path) -> Reply:
        path = folder / "answer.md"
        began, told, before = time.monotonic(), False, b""
        while True:
            data = path.read_bytes() if path.is_file() else b""
            # An editor may still be writing; a text counts once two looks agree, or if it was there at the start.
            if data.strip() and (not told or data == before):
                text = decode_answer(data, path)
                if text.strip():
                    return Reply(text, "manual", "stop", None, None, time.monotonic() - began, 0)
            before = data
            if not told:
                print(f"{key}: read {folder / 'prompt.md'} and write the answer to {path}", flush=True)
                told = True
            if self._wait_s is not None and time.monotonic() - began >= self._wait_s:
                raise AnswerPending(f"{key}: no answer in {path} yet. Write it and run the same command again.")
            self._sleep(self._poll_s)


class ReplayDesigner:
    """Recorded answers: the work folder of a design, or a folder of ``k0-c1-a1.md`` files.

    Args:
        folder: where they are.

    Raises:
        DesignerError: no such folder.
    """

    name = "replay"

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DesignerError(f"--replay {folder} is no folder.")
        self._folder = folder

    def answer(self, key: str, messages: Messages, folder: Path) -> Reply:
        recorded = self._folder / "calls" / key / "reply.json"
        if recorded.is_file():
            try:
                values = json.loads(recorded.read_bytes())
            except (ValueError, RecursionError) as err:
                raise DesignerError(f"{recorded} cannot be read: {err}. Restore it, or replay another folder.") from err
            reply = reply_of(values, recorded)
            if values.get("prompt_sha256") != prompt_hash(messages):
                print(f"{key}: replayed, though its prompt differs from the recorded one", file=sys.stderr)
            return replace(reply, seconds=0.0, retries=0)
        plain = self._folder / f"{key.replace('/', '-')}.md"
        if plain.is_file():
            return Reply(decode_answer(plain.read_bytes(), plain), "replay", "stop", None, None, 0.0, 0)
        raise DesignerError(f"{key}: no recorded answer at {recorded} or {plain}.")
