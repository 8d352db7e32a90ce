"""Assembles prompts from the task card and from what was measured. The texts are files in ``prompts/``.

A prompt file has named placeholders (``$name``) and a version in its first line.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from epymarl_lmac.awareness.ceiling import LEARNED, Ceiling, share
from epymarl_lmac.awareness.measure import QUINTILES, Recovery
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks import Dimension, TaskCard
from epymarl_lmac.tasks.posterior import EXACT, SAMPLED
from protocol_gen.score import groups_of

FOLDER = Path(__file__).resolve().parent / "prompts"
NAMES = (
    "system",
    "task",
    "select_state",
    "format",
    "design_k0",
    "analyse_k1",
    "analyse_k2",
    "design_next",
    "rejected",
)
MISSING_ROWS = 20  # dimensions named as the least told
TABLE_ROWS = 60  # dimensions shown one by one in a prompt, the least known first
MEASURED_LATER = "(measured when the tool runs)"


def load_prompt(name: str) -> tuple[str, int]:
    """Returns a prompt's text and version.

    Raises:
        ValueError: the first line does not name a version.
    """
    head, _, body = (FOLDER / f"{name}.md").read_text(encoding="utf-8").partition("\n")
    found = re.fullmatch(r"<!-- version: (\d+) -->", head.strip())
    if found is None:
        raise ValueError(f"prompts/{name}.md must start with <!-- version: NUMBER -->, got {head!r}.")
    return body, int(found.group(1))


def versions() -> dict[str, int]:
    """Returns the version of every prompt."""
    return {name: load_prompt(name)[1] for name in NAMES}


def fill(name: str, **values: Any) -> str:
    """Returns a prompt with its placeholders filled.

    Raises:
        KeyError: a placeholder has no value.
    """
    return string.Template(load_prompt(name)[0]).substitute(values).strip() + "\n"


# -- the task card -------------------------------------------------------------------------------------------


def card_from_yaml(path: Path) -> TaskCard:
    """Reads a user's card.

    The file holds env, task, goal, n_agents, episode_limit, actions (names), state and obs (lists of name, meaning,
    low, high, unit and, for the state, observable), and optionally settings.

    Raises:
        TaskError: naming what is missing or wrong.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as err:
        raise TaskError(f"The card {path} cannot be read: {err}") from err
    required = {"env", "task", "goal", "n_agents", "episode_limit", "actions", "state", "obs"}
    if not isinstance(values, Mapping) or not required <= set(values) <= required | {"settings"}:
        have = sorted(values) if isinstance(values, Mapping) else type(values).__name__
        raise TaskError(
            f"The card {path} must have the keys {sorted(required)} (and may have settings); it has {have}."
        )
    try:
        dims = {
            key: tuple(Dimension(**{"index": i, **entry}) for i, entry in enumerate(values[key]))
            for key in ("state", "obs")
        }
    except TypeError as err:
        raise TaskError(f"The card {path}: {err}; a dimension has name, meaning, low, high, unit, observable.") from err
    for key, entries in dims.items():
        wrong = [i for i, d in enumerate(entries) if d.index != i]
        if wrong:
            raise TaskError(f"The card {path}: {key}[{wrong[0]}] says index {entries[wrong[0]].index}.")
    return TaskCard(
        env=str(values["env"]),
        task=str(values["task"]),
        goal=str(values["goal"]),
        n_agents=int(values["n_agents"]),
        episode_limit=int(values["episode_limit"]),
        actions=tuple(map(str, values["actions"])),
        state=dims["state"],
        obs=dims["obs"],
        settings=dict(values.get("settings", {})),
    )


def check_card(card: TaskCard, env_info: Mapping[str, int]) -> None:
    """Refuses a card whose sizes are not the environment's.

    Args:
        card: the card.
        env_info: n_agents, n_actions, obs_shape, state_shape, episode_limit.

    Raises:
        TaskError: naming the first difference.
    """
    claims = {
        "n_agents": card.n_agents,
        "n_actions": len(card.actions),
        "obs_shape": len(card.obs),
        "state_shape": len(card.state),
        "episode_limit": card.episode_limit,
    }
    for key, claimed in claims.items():
        if claimed != env_info[key]:
            raise TaskError(
                f"The card does not match the environment: {key} is {env_info[key]}, the card says {claimed}."
            )


def check_card_values(card: TaskCard, obs: np.ndarray, state: np.ndarray) -> None:
    """Refuses a card that does not describe recorded arrays.

    Args:
        card: the card.
        obs: recorded observations, (..., O).
        state: recorded states, (..., S).

    Raises:
        TaskError: naming the first column that is missing or leaves its range.
    """
    for what, dims, values in (("obs", card.obs, obs), ("state", card.state, state)):
        if values.shape[-1] != len(dims):
            raise TaskError(
                f"The card does not match the arrays: {what} has {values.shape[-1]} columns, the card says {len(dims)}."
            )
        flat = values.reshape(-1, values.shape[-1])
        low, high = flat.min(0), flat.max(0)
        for d in dims:
            if low[d.index] < d.low - 1e-5 or high[d.index] > d.high + 1e-5:
                raise TaskError(
                    f"The card does not match the arrays: {what}[{d.index}] {d.name!r} lies between "
                    f"{low[d.index]:g} and {high[d.index]:g}, the card says {d.low:g} to {d.high:g}."
                )


# -- pieces of prompts -----------------------------------------------------------------------------------------


def _dimension_lines(dims: Sequence[Dimension]) -> str:
    constant = [str(d.index) for d in dims if d.low == d.high]
    lines = [
        f"{d.index}: {d.name} - {d.meaning} ({d.low:g} to {d.high:g}, {d.unit}"
        + ("" if d.observable else ", no agent ever perceives it")
        + ")"
        for d in dims
        if d.low != d.high
    ]
    if constant:
        lines.append(f"Always the same value: {', '.join(constant)}.")
    return "\n".join(lines)


def task_description(card: TaskCard, obs_last_action: bool, obs_agent_id: bool) -> str:
    """Returns the part of prompts that says what the task is."""
    x = card.x_dims(obs_last_action, obs_agent_id)
    return fill(
        "task",
        env=card.env,
        task=card.task,
        goal=card.goal,
        n_agents=card.n_agents,
        episode_limit=card.episode_limit,
        actions=", ".join(f"{i} {name}" for i, name in enumerate(card.actions)),
        x_dim=len(x),
        x_dimensions=_dimension_lines(x),
        state_dim=len(card.state),
        state_dimensions=_dimension_lines(card.state),
    )


def format_description(card: TaskCard, x_dim: int, history: int | None, max_message_dim: int | None) -> str:
    """Returns the part of prompts that says how to answer."""
    limit = "" if max_message_dim is None else f", at most {max_message_dim}"
    note = "- o holds the current step."
    shape = f"(B, {card.n_agents}, {x_dim})"
    if history is not None:
        shape = f"(B, {history}, {card.n_agents}, {x_dim})"
        note = (
            f"- o holds the last {history} steps, the newest last: o[:, -1] is now. Steps before the episode began are "
            "-1 in all columns but the agent's own number."
        )
    return fill(
        "format", n_agents=card.n_agents, x_dim=x_dim, input_shape=shape, message_limit=limit, history_note=note
    )


def important_description(card: TaskCard, important: Sequence[int]) -> str:
    """Returns the chosen state dimensions in words."""
    return _dimension_lines([card.state[i] for i in important])


def _rates(values: Iterable[float]) -> str:
    return " ".join("-" if v != v else f"{v:.2f}" for v in values)


def recovery_table(names: Sequence[str], kinds: Mapping[str, Recovery], known: Ceiling | None = None) -> str:
    """Returns success and R2 of every agent by kind: a summary by group, then dimensions, the least known first.

    Args:
        names: of the important columns.
        kinds: what decoders hear -> what they recover.
        known: what can be known.
    """
    lines = ["Success: share of steps at which the squared error is within tolerance. R2: 1 - MSE / variance of the"]
    lines += [
        "dimension; 0 is a constant guess, 1 is certainty, - a dimension that never varies. Off the majority value:"
    ]
    lines += [
        "success on entries that are not their dimension's most frequent value. Guessing that value fails on all of "
        "them; another constant can be right on some, above all where a dimension has more than two values.",
        "",
    ]
    for kind, r in kinds.items():
        flag = "" if r.converged else f"; {r.n_unconverged} decoders had not converged, so figures are lower bounds"
        lines.append(
            f"{kind}: success {r.success:.3f} +- {r.success_spread:.3f}, off the majority value "
            f"{r.recall:.3f}, R2 {r.r2:.3f} +- {r.r2_spread:.3f}, "
            f"variance of success over agents {r.imbalance:.4f}{flag}"
        )
        for group, columns in groups_of(names).items():
            by_agent = [float(np.mean([row[c] for c in columns])) for row in r.success_NI]
            lines.append(
                f"  {group}: R2 {r.r2_by_group[group]:.2f}; off the majority value "
                f"{r.recall_by_group[group]:.2f}; success by agent {_rates(by_agent)}"
            )
    last = list(kinds.values())[-1]
    if known is not None:
        lines += ["", missing_part(names, last, known)]
    order = np.argsort(np.nan_to_num(np.asarray(last.r2_NI, dtype=float), nan=1.0).mean(0), kind="stable")[:TABLE_ROWS]
    lines += ["", f"By dimension ({len(order)} of {len(names)}, least known first); numbers by agent 0, 1, ...:"]
    for c in order:
        for kind, r in kinds.items():
            success, r2 = [row[c] for row in r.success_NI], [row[c] for row in r.r2_NI]
            lines.append(f"{names[c]} | {kind} | success {_rates(success)} | R2 {_rates(r2)}")
    return "\n".join(lines)


def missing_part(names: Sequence[str], recovery: Recovery, known: Ceiling) -> str:
    """Returns how much of what can be known is told, and where the rest is: groups, quintiles, agents, dimensions."""
    alone, together = known.alone, known.together
    what = {EXACT: "exact", SAMPLED: "sampled", LEARNED: "a lower bound of the ceiling"}[known.form]
    lines = [
        f"What can be known ({what}): R2 {alone.r2:.3f} from an agent's own history, {together.r2:.3f} from the "
        f"histories of all. Told so far: {recovery.r2:.3f}, {_percent(known.share(recovery))} of the way. Where the "
        "rest is:"
    ]
    lines += [
        f"  {group}: R2 {value:.3f} of {together.r2_by_group[group]:.3f}, "
        f"{_percent(share(value, alone.r2_by_group[group], together.r2_by_group[group]))}"
        for group, value in recovery.r2_by_group.items()
    ]
    for quintile, told, ends in zip(QUINTILES, recovery.r2_Q, together.r2_Q, strict=False):
        lines.append(f"  {quintile} part of the episode: R2 {told:.3f} of {ends:.3f}")
    error, least = np.asarray(recovery.mse_NI), np.asarray(together.mse_NI)
    if error.size and error.shape == least.shape:
        total = max(float(np.sum(recovery.variance_I)), 1e-9)
        by_agent = ", ".join(f"agent {i} {gap:.3f}" for i, gap in enumerate((error - least).sum(1) / total))
        lines.append(f"  R2 that is still missing, by agent: {by_agent}")
        gap_I = (error - least).mean(0)
        worst = [f"{names[c]} {gap_I[c]:.4f}" for c in np.argsort(-gap_I, kind="stable")[:MISSING_ROWS]]
        lines.append(f"  squared error above the least possible, largest first: {', '.join(worst)}")
    return "\n".join(lines)


def _percent(value: float) -> str:
    return "-" if value != value else f"{100 * value:.0f} %"


def imbalance_table(names: Sequence[str], recovery: Recovery) -> str:
    """Returns success by quintile of the episode with its variance over agents, the most uneven first."""
    table = np.asarray(recovery.success_QNI, dtype=float)  # (Q, N, I)
    variance = table.var(1)
    order = np.argsort(-np.nan_to_num(variance).mean(0), kind="stable")[: TABLE_ROWS // 2]
    lines = [f"Variance of success over agents, mean over dimensions: {recovery.imbalance:.5f}."]
    for f, quintile in enumerate(QUINTILES):
        if not np.isnan(table[f]).any():
            lines.append(f"{quintile}: variance {variance[f].mean():.5f}, success by agent {_rates(table[f].mean(1))}")
    lines.append(f"By dimension ({len(order)} of {len(names)}, most uneven first):")
    for c in order:
        for f, quintile in enumerate(QUINTILES):
            if not np.isnan(table[f, :, c]).any():
                lines.append(
                    f"{names[c]} | {quintile} | success {_rates(table[f, :, c])} | variance {variance[f, c]:.4f}"
                )
    return "\n".join(lines)


def sources_description(texts: Sequence[str], steps: Sequence[int]) -> str:
    """Returns the texts of earlier protocols as code blocks."""
    blocks = [f"k = {k}:\n\n```python\n{text.strip()}\n```" for k, text in zip(steps, texts, strict=True)]
    return "\n\n".join(blocks) or "Nothing is sent yet."


def prompt_hash(messages: Sequence[Mapping[str, str]]) -> str:
    """Returns the SHA-256 of what a designer is sent."""
    text = "\n\n".join(f"{m['role']}:\n{m['content']}" for m in messages)
    return hashlib.sha256(text.encode()).hexdigest()
