"""Errors that a user can meet; the command line prints their one message and exits with their code.

Every message names what failed, the value, what was expected and what to do next.
"""

from __future__ import annotations


class UserError(Exception):
    """Base of every error whose message is meant for the user, not for a traceback."""

    exit_code = 2


class SettingsError(UserError):
    """A configuration key or value that does not fit.

    Args:
        message: the whole sentence shown to the user.
        key: the dotted key it is about, for callers and tests.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class TaskError(UserError):
    """Environment settings that describe no playable task."""


class ActionError(UserError, ValueError):
    """An action that an environment refuses.

    Args:
        message: the whole sentence shown to the user.
        battle: index of the environment copy it was given to, or None where no single one is meant.
        agent: index of the agent, or None.
    """

    def __init__(self, message: str, battle: int | None = None, agent: int | None = None) -> None:
        super().__init__(message)
        self.battle = battle
        self.agent = agent


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, of another run, or in use."""


class BundleError(UserError):
    """A protocol bundle that is missing, damaged, or made for another task."""


class RecordError(UserError):
    """The run record cannot be written or read (full disk, foreign directory)."""


class AttachError(UserError):
    """A host that cannot be attached to or detached from, with what stands in the way."""


class ProtocolRejected(UserError):
    """A protocol text that a layer of the engine refused.

    Args:
        layer: name of the layer that refused it, e.g. ``"grammar"``.
        reason: what is wrong and what would be accepted.
        line: 1-based line in the text, or None where no line applies.
        column: 1-based column, or None.
        snippet: the offending text, or "".
    """

    def __init__(
        self,
        layer: str,
        reason: str,
        line: int | None = None,
        column: int | None = None,
        snippet: str = "",
    ) -> None:
        where = "" if line is None else f", line {line}" + ("" if column is None else f", column {column}")
        shown = f" {snippet!r}:" if snippet else ""
        super().__init__(f"Protocol rejected at layer {layer}{where}:{shown} {reason}")
        self.layer = layer
        self.reason = reason
        self.line = line
        self.column = column
        self.snippet = snippet
