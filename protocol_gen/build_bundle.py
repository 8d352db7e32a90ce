"""``python -m protocol_gen build``: three texts in, one checked bundle out."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path

from epymarl_lmac.errors import BundleError, SettingsError
from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol import Bundle, TaskSchema, write_bundle
from epymarl_lmac.protocol.engine.build import Limits
from epymarl_lmac.protocol.engine.signature import MESSAGE
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import TaskCard, task_card

TEXTS = tuple(MESSAGE.text_name(k) for k in MESSAGE.numbers)
HISTORY = 10  # steps the last protocol sees, as published


def schema_of(card: TaskCard, obs_last_action: bool, obs_agent_id: bool) -> TaskSchema:
    """Returns what a bundle for a card's task must match."""
    return TaskSchema(
        env=card.env,
        task=card.task,
        n_agents=card.n_agents,
        obs_dim=len(card.obs),
        n_actions=len(card.actions),
        state_dim=len(card.state),
        obs_last_action=obs_last_action,
        obs_agent_id=obs_agent_id,
        card_hash=card.hash(),
    )


def default_folder(card: TaskCard) -> Path:
    """Returns where the bundle of a card's task lies unless another place is named."""
    return protocols_root() / card.env / card.task / "default"


def split_patterns(text: str) -> list[str]:
    """Returns comma separated patterns; commas inside brackets belong to a name.

    >>> split_patterns("food[3,4], agent*,x")
    ['food[3,4]', 'agent*', 'x']
    """
    return [p.strip() for p in re.split(r",(?![^\[]*\])", text) if p.strip()]


def important_columns(card: TaskCard, patterns: Sequence[str]) -> list[int]:
    """Returns the state columns that can change and whose names match one of the patterns; all without patterns.

    Args:
        card: the task's card.
        patterns: names or globs, e.g. ``food*``. Brackets are literal, as columns are named ``food[3,4]``.

    Raises:
        SettingsError: a pattern matches no column, or none that can change.
    """
    varying = {d.index for d in card.state if d.low < d.high}
    if not patterns:
        return sorted(varying)
    chosen: set[int] = set()
    for pattern in patterns:
        literal = pattern.replace("[", "[[]")
        found = {d.index for d in card.state if fnmatch.fnmatchcase(d.name, literal)}
        if not found:
            names = ", ".join(d.name for d in card.state[:4])
            raise SettingsError(f"--important {pattern!r} matches no state column; they are named {names}, ...")
        if not found & varying:
            raise SettingsError(
                f"--important {pattern!r} matches columns that never change only: {len(found)} of them."
            )
        chosen |= found & varying
    return sorted(chosen)


def build(
    folder: Path,
    env: str,
    updates: Sequence[str],
    out: Path | None = None,
    important: Sequence[str] = (),
    history: int = HISTORY,
    max_message_dim: int | None = None,
) -> Bundle:
    """Builds a bundle from the texts in a folder.

    Args:
        folder: holds k0.py, k1.py, k2.py; a step without a text is left out.
        env: name of a file in ``config/envs``.
        updates: ``key=value`` settings that describe the task.
        out: folder to write; None is ``protocols/<env>/<task>/default``.
        important: patterns of the state columns to be reconstructed.
        history: L.
        max_message_dim: most numbers a receiver may get a step from one protocol.

    Raises:
        BundleError: there is no text.
        ProtocolRejected: a text was refused; nothing is written.
        SettingsError: a number below 1.
    """
    for name, value in (("--history", history), ("--max-message-dim", max_message_dim)):
        if value is not None and value < 1:
            raise SettingsError(f"{name}={value} must be at least 1.", name)
    steps = [k for k in MESSAGE.numbers if (folder / MESSAGE.text_name(k)).is_file()]
    if not steps:
        raise BundleError(f"{folder} holds no text; it must hold {', '.join(TEXTS)}, or some of them.")
    values = merge("lmac_qmix", env, updates)
    card = task_card(values["env"], values["env_args"])
    texts = [(folder / MESSAGE.text_name(k)).read_text(encoding="utf-8") for k in steps]
    return write_bundle(
        default_folder(card) if out is None else out,
        texts,
        schema_of(card, values["obs_last_action"], values["obs_agent_id"]),
        important_columns(card, important),
        history,
        limits=Limits(max_message_dim=max_message_dim),
        steps=steps,
    )
