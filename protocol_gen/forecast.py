"""What a design would ask and cost, without asking: ``--print-prompts`` and ``--dry-run``."""

from __future__ import annotations

from collections.abc import Mapping

from epymarl_lmac.awareness.measure import QUINTILES
from epymarl_lmac.protocol.engine.signature import MESSAGE
from protocol_gen import describe
from protocol_gen.ledger import CHARACTERS_PER_TOKEN, cost_of
from protocol_gen.options import Options
from protocol_gen.pipeline import card_of
from protocol_gen.results import STEPS
from protocol_gen.trajectories import forecast_bytes

# Tokens of a usual answer, and characters of what is only known when the tool runs.
ANSWER_TOKENS = {"select": 500, "analyst": 800, "design": 2500}
SOURCE_CHARACTERS, PROFILE_CHARACTERS = 5000, 1500


def prompts(options: Options) -> dict[str, str]:
    """Returns every prompt by call, with a remark where figures come in later."""
    card, values = card_of(options)
    last_action, agent_id = values["obs_last_action"], values["obs_agent_id"]
    x_dim = len(card.x_dims(last_action, agent_id))
    task = describe.task_description(card, last_action, agent_id)
    important = [d.index for d in card.state if d.low != d.high]
    later = describe.MEASURED_LATER
    common = {
        "task_description": task,
        "important_dimensions": describe.important_description(card, important),
        "tables": later,
        "previous_sources": later,
        "profile": later,
    }
    found = {"select": describe.fill("select_state", task_description=task)}
    for k in STEPS:
        history = options.history if MESSAGE.step(k).sees_history else None
        form = describe.format_description(card, x_dim, history, options.max_message_dim)
        if k == 0:
            found["k0/design"] = describe.fill("design_k0", **common, format_description=form)
            continue
        said = dict.fromkeys(("evaluation", "hypothesis", "suggestions"), later)
        found[f"k{k}/analyst"] = describe.fill(
            f"analyse_k{k}", **common, quintiles=", ".join(QUINTILES), history=options.history
        )
        found[f"k{k}/design"] = describe.fill(
            "design_next", **common, **said, k=k, step_goal=MESSAGE.step(k).goal, format_description=form
        )
    if options.important:
        del found["select"]
    return found


def printed_prompts(options: Options) -> str:
    """Returns all prompts for people."""
    head = ", ".join(f"{name} {version}" for name, version in describe.versions().items())
    parts = [f"prompt versions: {head}", f"===== system =====\n\n{describe.fill('system')}"]
    parts += [f"===== {key} =====\n\n{text}" for key, text in prompts(options).items()]
    return "\n\n".join(parts)


def forecast(options: Options, model: str, prices: Mapping[str, Mapping[str, float]]) -> str:
    """Returns a table of calls, tokens and cost, if every answer is accepted and if every step needs all attempts."""
    card, _ = card_of(options)
    n_rows = min(describe.TABLE_ROWS, len(card.state)) * 2
    table_characters = n_rows * (50 + 10 * card.n_agents)
    lines = ["| call | calls | prompt tokens | answer tokens | calls at most |", "| --- | --- | --- | --- | --- |"]
    total = {"calls": 0, "prompt": 0, "answer": 0, "most": 0}
    most_tokens = {"prompt": 0, "answer": 0}
    for key, text in prompts(options).items():
        kind = key.split("/")[-1]
        k = int(key[1]) if key.startswith("k") else 0
        characters = len(text) + (0 if kind == "select" else table_characters + PROFILE_CHARACTERS)
        characters += k * SOURCE_CHARACTERS
        n = options.candidates if kind == "design" else 1
        row = {
            "calls": n,
            "prompt": n * round(characters / CHARACTERS_PER_TOKEN),
            "answer": n * ANSWER_TOKENS[kind],
            "most": n * options.max_attempts,
        }
        for name, value in row.items():
            total[name] += value
        most_tokens["prompt"] += options.max_attempts * (row["prompt"] + row["answer"])
        most_tokens["answer"] += options.max_attempts * row["answer"]
        lines.append(f"| {key} | {n} | {row['prompt']:,} | {row['answer']:,} | {row['most']} |")
    lines.append(f"| all | {total['calls']} | {total['prompt']:,} | {total['answer']:,} | {total['most']} |")
    cost = cost_of(model, total["prompt"], total["answer"], prices)
    most = cost_of(model, most_tokens["prompt"], most_tokens["answer"], prices)
    shown = (
        f"{model}: no price known" if cost is None or most is None else f"{model}: {cost:.2f} USD, {most:.2f} at most"
    )
    size = forecast_bytes(card, options.episodes + options.heldout) / 2**20
    lines += ["", f"cost with {shown}", f"trajectories: at most {size:,.0f} MiB before compression"]
    lines.append(f"tokens are estimated at {CHARACTERS_PER_TOKEN} characters each")
    return "\n".join(lines)
