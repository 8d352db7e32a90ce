"""The design of one bundle, stage by stage.

    collect -> select state -> measure without messages -> what can be known
            -> [analyse ->] design -> check -> measure -> choose -> confirm, for k = 0, 1, 2 -> bundle -> report

Candidates are compared on one half of the held-out episodes; the other half confirms the choice and is reported. A step
that gains nothing there is left out.

Every stage writes its artefacts into the work folder before the next starts; a stage whose artefact is there is not
done again, and an answered call is not asked again. So the same command goes on wherever it was stopped.

    design.json  collect.json  trajectories.h5  selection.json  none.json  ceiling.json
    calls/<key>/{prompt.md, reply.json, answer.md, verdict.json}
    k<k>/critique.json  k<k>/c<candidate>/{protocol.py, recovery.json}  k<k>/chosen.json
    bundle.json  stages.json  report.html
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from epymarl_lmac.awareness.ceiling import LEARNED, Ceiling, ceiling_of
from epymarl_lmac.awareness.inputs import extended_obs
from epymarl_lmac.awareness.measure import QUINTILES, Budget, Recovery
from epymarl_lmac.checkpoint import RunLock
from epymarl_lmac.errors import BundleError, ProtocolRejected, TaskError
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.protocol import Bundle, Program, build_program, write_bundle
from epymarl_lmac.protocol.engine.build import Limits
from epymarl_lmac.protocol.engine.bundle import check_replaceable
from epymarl_lmac.protocol.engine.signature import MESSAGE
from epymarl_lmac.record.provenance import write_json
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import TaskCard, task_card
from epymarl_lmac.tasks.posterior import posterior_of
from protocol_gen import describe
from protocol_gen.answers import LAYER, code_of
from protocol_gen.asking import CRITIQUE, DesignStopped, ask, read_critique, read_selection
from protocol_gen.build_bundle import default_folder, important_columns, schema_of, split_patterns
from protocol_gen.designers import Designer, Reply
from protocol_gen.flow_data import describe_profile, profile
from protocol_gen.ledger import Ledger, read_json, write_text
from protocol_gen.options import Options, claim
from protocol_gen.recorded_episodes import RecordedEpisodes
from protocol_gen.results import ASKED, NONE, PROFILED_EPISODES, STEPS, ceiling_from, kind_of, known_scores
from protocol_gen.score import (
    Data,
    Measured,
    check_messages,
    gain_of,
    groups_of,
    halves,
    learned_bound,
    measure_programs,
    score_of,
)

BOUND_FACTOR = 3  # times the decoders' budget for the learned bound of the ceiling
CHECKED_EPISODES = 4  # recorded episodes on which a protocol's contract is checked
NO_SCORE = (
    "the score is not a number: no chosen column varies on the held-out episodes, or the decoders' estimates are not "
    "finite. Use --sai-metric success or other --important columns for the first, a smaller --decoder-lr for the "
    "second, in another --work folder."
)
Builder = Callable[..., Program]


def card_of(options: Options) -> tuple[TaskCard, dict[str, Any]]:
    """Returns the task's card and the merged settings of ``lmac_qmix`` on it."""
    values = merge("lmac_qmix", options.env, options.updates)
    if options.card is not None:
        card = describe.card_from_yaml(Path(options.card))
        if card.env != values["env"]:
            raise TaskError(f"The card {options.card} is for env {card.env!r}, the run for {values['env']!r}.")
        return card, values
    return task_card(values["env"], values["env_args"]), values


@dataclass
class SoFar:
    """What a design has at some step."""

    steps: list[int]  # that are shipped
    texts: list[str]
    programs: list[Program]
    measured: dict[str, Measured]  # what decoders hear -> what they recover
    ceiling: Ceiling | None

    @property
    def reported(self) -> dict[str, Recovery]:
        """Returns what is recovered on the episodes that chose no candidate."""
        return {kind: measured.confirming for kind, measured in self.measured.items()}

    @property
    def last(self) -> Measured:
        """Returns what is recovered with all that is shipped so far."""
        return list(self.measured.values())[-1]


class Design:
    """One design and its work folder.

    Args:
        options: what is asked for.
        work: its folder.
        designer: who answers.
        prices: USD for a million tokens by model.
        watch: told of every event, in words.
        builder: turns a text into a checked program.
        n_processes: decoders trained at the same time, each on one core.
    """

    def __init__(
        self,
        options: Options,
        work: Path,
        designer: Designer,
        prices: Mapping[str, Mapping[str, float]],
        watch: Callable[[str], None] = lambda event: None,
        builder: Builder = build_program,
        n_processes: int = 1,
    ) -> None:
        options.check()
        self.options, self.work, self.designer = options, work, designer
        self.card, values = card_of(options)
        if options.important:  # a pattern that fits nothing is refused before anything is played
            important_columns(self.card, split_patterns(options.important))
        self.layout = XLayout(len(self.card.actions), values["obs_last_action"], values["obs_agent_id"])
        self.schema = schema_of(self.card, self.layout.last_action, self.layout.agent_id)
        self.ledger = Ledger(work, designer, prices)
        self.budget = Budget(
            options.decoder_batches,
            options.decoder_seeds,
            options.decoder_lr,
            options.steps_per_batch,
            options.decoder_form,
        )
        self._watch, self._builder, self._n_processes = watch, builder, n_processes
        self._programs: dict[tuple[int, str], Program] = {}
        self.task = describe.task_description(self.card, self.layout.last_action, self.layout.agent_id)

    # -- stages ----------------------------------------------------------------------------------------------

    def run(self) -> Bundle:
        """Does what is left to do; returns the bundle.

        Raises:
            DesignStopped: no answer of a step was accepted.
            DesignerError: the designer cannot answer.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        lock = RunLock(self.work)
        try:
            claim(self.work, self.options)
            if not (self.work / "bundle.json").is_file():
                check_replaceable(self._out())  # before anything is played or paid for
            data = self._data()
            none = self._measured("none", self.work / "none.json", data, [])
            if any(math.isnan(score_of(part, self.options.sai_metric)) for part in none):
                raise DesignStopped(f"Without messages: {NO_SCORE}")
            sofar = SoFar([], [], [], {NONE: none}, self._ceiling(data, none))
            chosen = []
            for k in STEPS:
                choice = self._step(k, data, sofar)
                chosen.append(choice)
                if not choice["dropped"]:
                    sofar.steps.append(k)
                    sofar.texts.append(choice["text"])
                    sofar.programs.append(self._build(k, choice["text"], data))
                    sofar.measured[kind_of(sofar.steps)] = Measured.from_dict(choice["measured"])
            if not sofar.steps:
                raise DesignStopped(
                    "No step gained anything confirmed, so there is nothing to ship. Ask for more --candidates, give "
                    "decoders more --decoder-batches, or ship all the same with --ship-all (in another --work folder)."
                )
            return self._bundle(data, sofar, chosen)
        finally:
            lock.release()

    def _stage(self, name: str, path: Path, make: Callable[[], Any]) -> Any:
        """Returns a stage's artefact; makes and writes it if it is not there."""
        if path.is_file():
            return read_json(path)
        self._watch(f"{name}: begins")
        began = time.perf_counter()
        content = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
        stages = self.work / "stages.json"
        seconds = read_json(stages) if stages.is_file() else {}
        write_json(stages, {**seconds, name: round(time.perf_counter() - began, 2)})
        self._watch(f"{name}: done in {time.perf_counter() - began:.1f} s")
        return content

    def _data(self) -> Data:
        episodes = RecordedEpisodes(self.options, self.card, self.work, self._watch)
        episodes.collect_again_if_gone()
        self._stage("collect", self.work / "collect.json", episodes.collect)
        train, heldout = episodes.read()
        selection = self._stage("select", self.work / "selection.json", self._select)
        important = list(selection["important"])
        names = [self.card.state[i].name for i in important]
        return Data(train, heldout, self.layout, important, names, self.options.batch_episodes)

    def _select(self) -> dict[str, Any]:
        if self.options.important:
            important = important_columns(self.card, split_patterns(self.options.important))
            return {"important": important, "reason": "given by --important"}
        prompt = describe.fill("select_state", task_description=self.task)
        found, attempts = self._ask("select", prompt, lambda reply: read_selection(self.card, reply))
        return {**found, "attempts": attempts}

    def _measured(self, name: str, path: Path, data: Data, programs: list[Program]) -> Measured:
        def make() -> dict[str, Any]:
            torch.set_num_threads(1)  # seeds share the cores instead; the metrics depend on neither
            return measure_programs(data, programs, self.budget, self.options.tolerance, self._n_processes).as_dict()

        return Measured.from_dict(self._stage(f"{name}/measure", path, make))

    def _ceiling(self, data: Data, none: Measured) -> Ceiling | None:
        """Returns what can be known; None if no episodes are to be spent on it."""
        o = self.options
        path = self.work / "ceiling.json"
        if path.is_file():
            kept = read_json(path)
            changed = kept.get(ASKED, o.ceiling_episodes) != o.ceiling_episodes  # earlier versions did not write it
            if not o.ceiling_episodes or (changed and kept["form"] != LEARNED):
                self._watch(f"ceiling: made with --ceiling-episodes {kept.get(ASKED, 'unknown')}, so it is dropped")
                path.unlink()
        if not o.ceiling_episodes:
            return None

        def make() -> dict[str, Any]:
            return {**found().as_dict(), ASKED: o.ceiling_episodes}

        def found() -> Ceiling:
            posterior = posterior_of(self.card.env, self.card.settings)
            if posterior is not None:
                confirming = halves(data.heldout)[1]
                return ceiling_of(
                    posterior, confirming, data.important, o.tolerance, groups_of(data.names), o.ceiling_episodes
                )
            budget = replace(self.budget, n_batches=BOUND_FACTOR * self.budget.n_batches)
            together = learned_bound(data, budget, o.tolerance, self._n_processes)
            note = (
                f"a lower bound of the ceiling: decoders that hear the raw inputs of all agents, {BOUND_FACTOR} times "
                "the budget of the others; alone: the decoders without messages"
            )
            n = len(halves(data.heldout)[1])
            return Ceiling(none.confirming, together, LEARNED, note, n, n)

        return ceiling_from(self._stage("ceiling", path, make))

    def _ask(self, prefix: str, prompt: str, read: Callable[[Reply], Any]) -> tuple[Any, int]:
        return ask(self.ledger, prefix, prompt, read, self.options.max_attempts, self._watch)

    # -- one step --------------------------------------------------------------------------------------------

    def _build(self, k: int, text: str, data: Data) -> Program:
        """Returns a checked program; its contract holds on recorded episodes as well."""
        if (k, text) in self._programs:
            return self._programs[k, text]
        o = self.options
        episodes = data.train.spread(CHECKED_EPISODES)
        packing = episodes.packing()
        real = extended_obs(episodes, packing, self.layout)
        spec = MESSAGE.spec(k, self.card.n_agents, self.schema.x_dim, o.history)
        if spec.history is not None:
            real = self.layout.histories(real, packing.history(spec.history)[-32:])
        program = self._builder(text, spec, Limits(max_message_dim=o.max_message_dim), real[-32:])
        self._programs[k, text] = program
        return program

    def _read_protocol(self, k: int, reply: Reply, data: Data) -> str:
        text = code_of(reply.text, reply.finish_reason)
        program = self._build(k, text, data)
        if program.message_dim == 0:
            raise ProtocolRejected(LAYER, "the protocol sends nothing; add message columns after x.")
        check_messages(data, program)
        return text

    def _step(self, k: int, data: Data, sofar: SoFar) -> dict[str, Any]:
        """Asks for candidates of one step, measures them, keeps the best and confirms it; returns the choice."""
        folder = self.work / f"k{k}"
        if (folder / "chosen.json").is_file():
            return read_json(folder / "chosen.json")
        values = self._step_values(k, data, sofar)
        if k == 0:
            prompt = describe.fill("design_k0", **values, format_description=self._format(k))
        else:
            analysis = {**values, "quintiles": ", ".join(QUINTILES), "history": self.options.history}
            critique = self._stage(
                f"k{k}/analyse", folder / "critique.json", lambda: self._critique(f"analyse_k{k}", k, analysis)
            )
            said = dict(zip(("evaluation", "hypothesis", "suggestions"), (critique[c] for c in CRITIQUE), strict=True))
            goal = MESSAGE.step(k).goal
            prompt = describe.fill(
                "design_next", **values, **said, k=k, step_goal=goal, format_description=self._format(k)
            )
        candidates = []
        for number in range(1, self.options.candidates + 1):
            candidates.append(self._candidate(k, number, prompt, data, sofar.programs))
        measured = [c for c in candidates if "score" in c]
        if not measured:
            reasons = "; ".join(c["stopped"] for c in candidates)
            raise DesignStopped(f"k{k}: all {len(candidates)} candidates failed. {reasons}")
        best = max(measured, key=lambda c: c["score"])
        return self._stage(f"k{k}/choose", folder / "chosen.json", lambda: self._choose(k, best, candidates, sofar))

    def _critique(self, name: str, k: int, values: Mapping[str, Any]) -> dict[str, Any]:
        found, attempts = self._ask(f"k{k}/analyst", describe.fill(name, **values), read_critique)
        return {**found, "attempts": attempts}

    def _step_values(self, k: int, data: Data, sofar: SoFar) -> dict[str, Any]:
        """Returns the values of the placeholders that speak of what is there already."""
        recoveries = sofar.reported
        kinds = list(recoveries)
        shown = {kind: recoveries[kind] for kind in dict.fromkeys((kinds[0], kinds[-1]))}
        tables = describe.recovery_table(data.names, shown, sofar.ceiling)
        if MESSAGE.step(k).sees_history:
            tables = describe.imbalance_table(data.names, recoveries[kinds[-1]]) + "\n\n" + tables
        x_names = [d.name for d in self.card.x_dims(self.layout.last_action, self.layout.agent_id)]
        found = profile(sofar.programs, data.train.spread(PROFILED_EPISODES), self.layout, sofar.steps)
        return {
            "task_description": self.task,
            "important_dimensions": describe.important_description(self.card, data.important),
            "tables": tables,
            "previous_sources": describe.sources_description(sofar.texts, sofar.steps),
            "profile": describe_profile(found, x_names),
        }

    def _format(self, k: int) -> str:
        history = self.options.history if MESSAGE.step(k).sees_history else None
        return describe.format_description(self.card, self.schema.x_dim, history, self.options.max_message_dim)

    def _candidate(self, k: int, number: int, prompt: str, data: Data, programs: list[Program]) -> dict[str, Any]:
        name = f"k{k}/c{number}"
        folder = self.work / name
        try:
            text, attempts = self._ask(name, prompt, lambda reply: self._read_protocol(k, reply, data))
        except DesignStopped as err:
            if self.options.candidates == 1:
                raise
            return {"candidate": number, "stopped": str(err)}
        write_text(folder / "protocol.py", text)
        program = self._build(k, text, data)
        measured = self._measured(name, folder / "recovery.json", data, [*programs, program])
        score = score_of(measured.choosing, self.options.sai_metric)
        if math.isnan(score):
            return {"candidate": number, "stopped": f"{name}: {NO_SCORE}"}
        return {
            "candidate": number,
            "attempts": attempts,
            "score": score,
            "confirmed_score": score_of(measured.confirming, self.options.sai_metric),
            "text": text,
            "measured": measured.as_dict(),
        }

    def _choose(
        self, k: int, best: Mapping[str, Any], candidates: list[dict[str, Any]], sofar: SoFar
    ) -> dict[str, Any]:
        """Confirms the best candidate on the episodes that did not choose it; returns the choice."""
        o = self.options
        after = Measured.from_dict(best["measured"]).confirming
        gain, error = gain_of(after, sofar.last.confirming, o.sai_metric)
        confirmed = gain >= max(o.min_gain, 2 * error)
        if not confirmed:
            what = "is shipped all the same (--ship-all)" if o.ship_all else "is left out; --ship-all would ship it"
            self._watch(
                f"k{k}: no gain confirmed: the score changes by {gain:+.4f}, standard error {error:.4f}, and must rise "
                f"by at least {o.min_gain:g} and two standard errors; the step {what}"
            )
        keep = ("candidate", "attempts", "score", "confirmed_score", "stopped")
        return {
            "candidate": best["candidate"],
            "attempts": best["attempts"],
            "score": best["score"],
            "confirmed_score": best["confirmed_score"],
            "gain": gain,
            "gain_error": error,
            "confirmed": confirmed,
            "worse": gain < 0,
            "dropped": not confirmed and not o.ship_all,
            "text": best["text"],
            "measured": best["measured"],
            "recovery": best["measured"]["confirming"],
            "candidates": [{key: c.get(key) for key in keep} for c in candidates],
        }

    # -- the end ---------------------------------------------------------------------------------------------

    def _out(self) -> Path:
        """Returns the folder of the bundle."""
        return default_folder(self.card) if self.options.out is None else Path(self.options.out)

    def _bundle(self, data: Data, sofar: SoFar, chosen: list[dict[str, Any]]) -> Bundle:
        o, texts, recoveries = self.options, sofar.texts, sofar.reported
        out = self._out()
        collected = read_json(self.work / "collect.json")
        conditions = {
            "episodes": len(data.train),
            "heldout_episodes": len(data.heldout),
            "choosing_and_confirming_episodes": [len(part) for part in halves(data.heldout)],
            "behaviour": collected.get("behaviour", "a trajectory file that was given"),
            "mean_return_first_and_last_tenth": collected.get("mean_return_first_and_last_tenth"),
            "decoder_form": o.decoder_form,
            "decoder_batches": o.decoder_batches,
            "batch_episodes": o.batch_episodes,
            "steps_per_batch": o.steps_per_batch,
            "decoder_lr": o.decoder_lr,
            "decoder_seeds": o.decoder_seeds,
            "tolerance": o.tolerance,
        }
        scores = {"conditions": conditions, **{kind: r.summary() for kind, r in recoveries.items()}}
        scores |= known_scores(sofar.ceiling, recoveries)

        def make() -> dict[str, Any]:
            keep = ("key", "model", "designer", "prompt_sha256", "reply_sha256", "prompt_tokens", "completion_tokens")
            notes = {
                "designer": self.designer.name,
                "prompt_versions": describe.versions(),
                "steps": [self._outcome(k, choice) for k, choice in zip(STEPS, chosen, strict=True)],
                "design_cost": self.ledger.by_step(),
                "calls": [{k: c[k] for k in (*keep, "seconds", "retries", "cost_usd")} for c in self.ledger.calls()],
            }
            limits = Limits(max_message_dim=o.max_message_dim)
            if out.exists():
                self._watch(f"bundle: replaces the one at {out}")
            write_bundle(out, texts, self.schema, data.important, o.history, scores, notes, limits, sofar.steps)
            return {"path": str(out)}

        done = self.work / "bundle.json"
        if done.is_file():
            try:
                if Path(read_json(done)["path"]) == out:
                    bundle = Bundle.load(out, self.schema)
                    if bundle.texts == texts and bundle.manifest["scores"] == scores:
                        return bundle
            except BundleError as err:
                self._watch(f"bundle: {err} It is written again.")
            done.unlink()
        self._stage("bundle", done, make)
        return Bundle.load(out, self.schema)

    @staticmethod
    def _outcome(k: int, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what a manifest says of a step."""
        rounded = {name: round(choice[name], 5) for name in ("score", "confirmed_score", "gain", "gain_error")}
        kept = {name: choice[name] for name in ("candidate", "attempts", "confirmed", "worse", "dropped")}
        return {"k": k, **kept, **rounded}
