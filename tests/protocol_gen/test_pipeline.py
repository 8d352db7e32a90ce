"""A design from the first prompt to the bundle, against a scripted endpoint and the real client."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import yaml
from chat_server import ChatServer, Turn
from designs import GOOD, KEYS, SELECTION, TEXTS, critique, design, fenced, openai_designer, options, protocol

from epymarl_lmac.errors import RecordError, SettingsError, TaskError
from epymarl_lmac.protocol import Bundle
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import task_card
from protocol_gen import pipeline, recorded_episodes
from protocol_gen.asking import DesignStopped
from protocol_gen.designers import ReplayDesigner
from protocol_gen.options import Options, claim
from protocol_gen.results import results, summary
from protocol_gen.score import Measured

BAD_JSON = ['{"indices": [0, 99]}', "no object here"], ["{", ""], ["{}", '{"Evaluation": 1}']
BAD_CODE = (
    [fenced("import os\n" + TEXTS[0]), fenced(protocol("return o["))],  # hostile, syntax error
    [fenced(protocol("return o[..., :3]")), "I would rather not."],  # wrong shape, no code
    [
        fenced(protocol("return th.cat([o[:, -1], o[:, -1] - o[:, -1].mean(0)], -1)")),
        "```python\nimport torch",
    ],  # batch
)
BAD = [BAD_JSON[0], BAD_CODE[0], BAD_JSON[1], BAD_CODE[1], BAD_JSON[2], BAD_CODE[2]]


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_bad_bad_good_at_every_step_ends_in_a_bundle(buffer, builder, tmp_path):
    turns = [Turn(text) for bad, good in zip(BAD, GOOD, strict=True) for text in (*bad, good)]
    with ChatServer(turns) as server:
        made = design(options(buffer, tmp_path), tmp_path, openai_designer(server), builder)
        bundle = made.run()
        assert len(server.requests) == 18
    assert bundle.texts == TEXTS and bundle.important_state == [0, 1, 2, 3]
    assert [choice["attempts"] for _, _, choice in results(made.work)[1:]] == [3, 3, 3]
    notes = yaml.safe_load((bundle.path / "manifest.yaml").read_text())["notes"]
    assert [step["attempts"] for step in notes["steps"]] == [3, 3, 3]
    assert len(notes["calls"]) == 18 and {len(call["reply_sha256"]) for call in notes["calls"]} == {64}
    total = notes["design_cost"][-1]
    assert (total["calls"], total["rejected"], total["prompt_tokens"], total["completion_tokens"]) == (
        18,
        12,
        18000,
        3600,
    )
    scores = yaml.safe_load((bundle.path / "manifest.yaml").read_text())["scores"]
    assert scores["conditions"]["heldout_episodes"] == 32 and set(scores) >= {"no messages", "k = 0, 1, 2"}
    second = server.requests[4]["messages"][-1]["content"]  # after the hostile first answer at k = 0
    assert "layer grammar, line 1" in second and "import os" in second
    third = server.requests[5]["messages"][-1]["content"]
    assert "1. Protocol rejected" in third and "2. Protocol rejected" in third


def test_prompts_carry_tables_r2_profile_and_critique(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        design(options(buffer, tmp_path), tmp_path, openai_designer(server), builder).run()
        select, k0, analyst1, k1, analyst2, k2 = (r["messages"][-1]["content"] for r in server.requests)
    assert "scout[0]" in select and "(B, 3, 12)" in k0 and "(B, 10, 3, 12)" in k2
    assert "target[0] | no messages | success" in k0 and "R2" in k0
    assert "target[0] | k = 0 | success" in analyst1 and "sender 0: to 0:" in analyst1 and TEXTS[0].strip() in analyst1
    assert "Improvement_Suggestions one" in k1 and TEXTS[0].strip() in k1
    assert "target[0] | early | success" in analyst2 and "variance" in analyst2
    # The ids sent at k = 1 are known: the scout is always agent 0, so these columns never change.
    assert "Columns that never change (they tell nothing): k1[0], k1[1], k1[2]." in k2 and "two" in k2
    assert all("$" not in text for text in (select, k0, analyst1, k1, analyst2, k2))


class Killed(BaseException):
    """Stands for a process that ends without a word."""


def test_killed_at_every_event_it_goes_on_and_asks_nothing_twice(buffer, builder, tmp_path):
    turns = [Turn(text) for text in (SELECTION, *BAD_CODE[0], *GOOD[1:])]
    settings = options(buffer, tmp_path)
    seen, runs = set(), 0
    with ChatServer(turns) as server:

        def kill_at_a_new_event(event):
            name = event.split(" in ")[0]  # without the seconds it took
            if name not in seen:
                seen.add(name)
                raise Killed(event)

        while True:
            runs += 1
            try:
                bundle = design(settings, tmp_path, openai_designer(server), builder, kill_at_a_new_event).run()
                break
            except Killed:
                continue
        assert len(server.requests) == len(server.answered) == 8
        assert len(set(server.answered)) == 8
    assert runs == len(seen) + 1 > 30
    stages = {"collect", "select", "none/measure", "k0/choose", "k1/analyse", "k2/c1/measure", "bundle"}
    assert {f"{stage}: {what}" for stage in stages for what in ("begins", "done")} <= seen
    assert bundle.texts == TEXTS
    uninterrupted = tmp_path / "other"
    with ChatServer(turns) as server:
        design(options(buffer, uninterrupted), uninterrupted, openai_designer(server), builder).run()
    here, there = tree(tmp_path / "work"), tree(uninterrupted / "work")
    assert {n for n in here if not n.endswith(".part")} == set(there)
    for name in there:
        if name.endswith(("recovery.json", "none.json", "chosen.json", "prompt.md", "protocol.py", "critique.json")):
            assert here[name] == there[name], name


@pytest.mark.parametrize("victim", ["measure_programs", "write_bundle", "profile", "extended_obs"])
def test_killed_in_the_middle_of_a_stage_it_goes_on_and_asks_nothing_twice(
    buffer, builder, tmp_path, monkeypatch, victim
):
    """Each of the victim's first uses ends the process once, after its work and before an artefact is written."""
    real, deaths = getattr(pipeline, victim), [0]

    def dies_after_its_work(*words):
        found = real(*words)
        if deaths[0] < 4:
            deaths[0] += 1
            raise Killed
        return found

    monkeypatch.setattr(pipeline, victim, dies_after_its_work)
    with ChatServer([Turn(text) for text in GOOD]) as server:
        while True:
            try:
                bundle = design(options(buffer, tmp_path), tmp_path, openai_designer(server), builder).run()
                break
            except Killed:
                continue
        assert deaths == [4] and len(server.requests) == 6 and bundle.texts == TEXTS


def test_state_columns_can_be_given_instead_of_asked_for(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD[1:]]) as server:
        settings = options(buffer, tmp_path, important="target[0],scout*")
        bundle = design(settings, tmp_path, openai_designer(server), builder).run()
    assert bundle.important_state == [0, 4, 5, 6]


def test_a_finished_design_runs_again_without_calls(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        settings = options(buffer, tmp_path)
        design(settings, tmp_path, openai_designer(server), builder).run()
        design(settings, tmp_path, openai_designer(server), builder).run()
        assert len(server.requests) == 6


def test_stops_clearly_after_max_attempts_and_goes_on_with_more(buffer, builder, tmp_path):
    turns = [Turn(SELECTION), *(Turn(text) for text in BAD_CODE[0]), *(Turn(text) for text in GOOD[1:])]
    with ChatServer(turns) as server:
        with pytest.raises(DesignStopped, match=r"k0/c1: none of 2 answers was accepted.*--max-attempts"):
            design(options(buffer, tmp_path, max_attempts=2), tmp_path, openai_designer(server), builder).run()
        assert (tmp_path / "work" / "calls" / "k0" / "c1" / "a2" / "answer.md").is_file()
        bundle = design(options(buffer, tmp_path, max_attempts=3), tmp_path, openai_designer(server), builder).run()
        assert len(server.requests) == 8 and bundle.texts == TEXTS


def scored(found, choosing, confirming=None):
    """Returns what was measured with other scores on the choosing and the confirming episodes."""
    values = (choosing, choosing if confirming is None else confirming)
    changes = [{"success": v, "r2": v, "success_by_seed": [v] * 3, "r2_by_seed": [v] * 3} for v in values]
    return Measured(*(dataclasses.replace(r, **c) for r, c in zip(found, changes, strict=True)))


SILENT = protocol("return th.cat([o, o[..., :1] * 0.0], -1)")


def test_the_best_of_several_candidates_is_kept_and_all_are_archived(buffer, builder, tmp_path, monkeypatch):
    turns = [Turn(SELECTION), Turn(fenced(SILENT)), Turn(fenced(TEXTS[0]))]
    for word, text in (("one", TEXTS[1]), ("two", TEXTS[2])):
        turns += [Turn(critique(word)), Turn(fenced(text)), Turn(fenced(text))]
    real = pipeline.measure_programs

    def measured(data, programs, budget, tolerance, n_processes):
        found = real(data, [], budget, tolerance)
        success = 0.9 if any(p.message_dim == 4 for p in programs) else 0.3
        return scored(found, success)

    monkeypatch.setattr(pipeline, "measure_programs", measured)
    settings = options(buffer, tmp_path, candidates=2)
    with ChatServer(turns) as server:
        made = design(settings, tmp_path, openai_designer(server), builder)
        bundle = made.run()
    chosen = results(made.work)[1][2]
    scores = {c["candidate"]: c["score"] for c in chosen["candidates"]}
    assert chosen["candidate"] == 2 and scores == {1: 0.3, 2: 0.9}
    assert bundle.texts[0] == TEXTS[0]
    assert (made.work / "k0" / "c1" / "protocol.py").read_text() == SILENT
    assert (made.work / "k0" / "c1" / "recovery.json").is_file()


def run_with_scores(buffer, builder, tmp_path, monkeypatch, values, **changes):
    """Designs with given scores (choosing, confirming) by the sizes of what is sent; returns bundle, design, events."""
    real, events = pipeline.measure_programs, []

    def measured(data, programs, budget, tolerance, n_processes):
        found = real(data, [], budget, tolerance)
        return scored(found, *values[tuple(p.message_dim for p in programs)])

    monkeypatch.setattr(pipeline, "measure_programs", measured)
    with ChatServer([Turn(text) for text in GOOD]) as server:
        made = design(options(buffer, tmp_path, **changes), tmp_path, openai_designer(server), builder, events.append)
        return made.run(), made, events


WORSE = {(): (0.2,), (4,): (0.9,), (4, 3): (0.5,), (4, 3, 4): (0.6,), (4, 4): (0.95,)}


@pytest.mark.parametrize("ship_all", [False, True])
def test_a_step_that_gains_nothing_is_left_out_unless_all_are_shipped(buffer, builder, tmp_path, monkeypatch, ship_all):
    bundle, made, events = run_with_scores(buffer, builder, tmp_path, monkeypatch, WORSE, ship_all=ship_all)
    told = [e for e in events if "no gain confirmed" in e]
    assert len(told) == 1 and told[0].startswith("k1: no gain confirmed: the score changes by -0.4000")
    assert [p.message_dim for p in bundle.programs] == ([4, 3, 4] if ship_all else [4, 4])
    assert bundle.steps == bundle.manifest["steps"] == ([0, 1, 2] if ship_all else [0, 2])
    assert [p.spec.history for p in bundle.programs][-1] == 10
    assert [c["dropped"] for _, _, c in results(made.work)[1:]] == [False, not ship_all, False]
    names = [kind for kind, _, _ in results(made.work)]
    assert names == (
        ["no messages", "k = 0", "k = 0, 1", "k = 0, 1, 2"]
        if ship_all
        else ["no messages", "k = 0", "k = 0, 1 (left out)", "k = 0, 2"]
    )


def test_a_gain_on_the_choosing_episodes_alone_is_not_shipped(buffer, builder, tmp_path, monkeypatch):
    values = {(): (0.2,), (4,): (0.5,), (4, 3): (0.9, 0.36), (4, 4): (0.6,)}
    bundle, made, _ = run_with_scores(buffer, builder, tmp_path, monkeypatch, values, ship_all=False)
    assert bundle.steps == [0, 2]
    choice = results(made.work)[2][2]
    assert choice["score"] == 0.9 and choice["gain"] == pytest.approx(-0.14) and not choice["confirmed"]
    assert choice["candidates"][0]["confirmed_score"] == 0.36  # the table keeps the loser


def test_nothing_confirmed_at_any_step_is_said(buffer, builder, tmp_path, monkeypatch):
    values = {(): (0.5,), (4,): (0.5,), (3,): (0.5,)}
    with pytest.raises(DesignStopped, match=r"nothing to ship.*--ship-all"):
        run_with_scores(buffer, builder, tmp_path, monkeypatch, values, ship_all=False)


def test_candidates_that_all_fail_are_named(buffer, builder, tmp_path):
    turns = [Turn(SELECTION), Turn("no code"), Turn("none either")]
    with ChatServer(turns) as server, pytest.raises(DesignStopped, match=r"k0: all 2 candidates failed.*k0/c1.*k0/c2"):
        settings = options(buffer, tmp_path, candidates=2, max_attempts=1)
        design(settings, tmp_path, openai_designer(server), builder).run()


def test_too_few_episodes_to_confirm_on_are_refused():
    with pytest.raises(SettingsError, match=r"15 held-out episodes are too few to confirm on.*at least 16"):
        options(Path("buffer"), Path("folder"), heldout=15).check()


def test_what_can_be_known_is_in_manifest_prompts_and_page(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        made = design(options(buffer, tmp_path, ceiling_episodes=16), tmp_path, openai_designer(server), builder)
        scores = made.run().manifest["scores"]
        analyst = server.requests[2]["messages"][-1]["content"]
    assert scores["knowable together"]["r2"] == pytest.approx(1.0)
    share = scores["share of what can be known"]
    none = (scores["k = 0"]["r2"] - scores["known alone"]["r2"]) / (1 - scores["known alone"]["r2"])
    assert share["conditions"]["form"] == "exact" and share["k = 0"]["R2"] == pytest.approx(none, abs=1e-3)
    assert "What can be known (exact)" in analyst and "R2 that is still missing, by agent" in analyst
    assert "early part of the episode: R2" in analyst
    assert "share of what can be known" in summary(made.work)


def test_a_design_replays_from_its_own_record(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        first = design(options(buffer, tmp_path), tmp_path, openai_designer(server), builder).run()
    folder = tmp_path / "again"
    replayed = design(options(buffer, folder), folder, ReplayDesigner(tmp_path / "work"), builder).run()
    assert replayed.texts == first.texts
    assert replayed.manifest["scores"] == first.manifest["scores"]


def test_another_design_in_the_same_folder_is_refused(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        design(options(buffer, tmp_path), tmp_path, openai_designer(server), builder).run()
        with pytest.raises(RecordError, match="decoder_batches: 3 there, 4 here"):
            design(options(buffer, tmp_path, decoder_batches=4), tmp_path, openai_designer(server), builder).run()


def test_a_folder_from_before_an_option_goes_on_with_the_options_default(tmp_path):
    settings = Options("lookout", [])
    saved = {key: value for key, value in settings.fixed().items() if key != "batch_episodes"}
    (tmp_path / "design.json").write_text(json.dumps(saved))
    claim(tmp_path, settings)
    with pytest.raises(RecordError, match="batch_episodes: 32 there, 8 here"):
        claim(tmp_path, Options("lookout", [], batch_episodes=8))


def test_a_damaged_bundle_is_written_again_without_calls(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        settings = options(buffer, tmp_path)
        path = design(settings, tmp_path, openai_designer(server), builder).run().path
        (path / "program.json").write_text("{}")
        design(settings, tmp_path, openai_designer(server), builder).run()
        assert len(server.requests) == 6
    assert Bundle.load(path, None).texts == TEXTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_seeds": 2}, "--decoder-seeds=2 must be at least 3"),
        ({"candidates": 0}, "--candidates=0 must be at least 1"),
        ({"batch_episodes": 0}, "--batch-episodes=0 must be at least 1"),
        ({"sai_metric": "luck"}, "'luck'"),
        ({"from_record": "run"}, "--buffer or --from-record"),
        ({"train_steps": 0}, "--train-steps=0 must be at least 1"),
        ({"max_message_dim": 0}, "--max-message-dim=0 must be at least 1"),
        ({"tolerance": math.nan}, "--tolerance=nan must be a finite number above 0"),
        ({"tolerance": math.inf}, "--tolerance=inf must be a finite number above 0"),
        ({"decoder_lr": math.nan}, "--decoder-lr=nan must be a finite number above 0"),
        ({"min_gain": math.nan}, "--min-gain=nan must be a number of at least 0"),
        ({"ceiling_episodes": -1}, "--ceiling-episodes=-1 must be a number of at least 0"),
    ],
)
def test_options_that_make_no_design_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        options(Path("buffer"), Path("folder"), **changes).check()


def test_every_reply_is_kept_with_its_cost(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        made = design(options(buffer, tmp_path), tmp_path, openai_designer(server), builder)
        made.ledger._prices = {"scripted": {"input": 2.0, "output": 8.0}}
        made.run()
    assert sorted({c["key"].rsplit("/", 1)[0] for c in made.ledger.calls()}, key=KEYS.index) == KEYS
    assert made.ledger.by_step()[-1]["cost_usd"] == pytest.approx(6 * (1000 * 2 + 200 * 8) / 1e6)
    reply = json.loads((made.work / "calls" / "k0" / "c1" / "a1" / "reply.json").read_text())
    assert reply["text"] == GOOD[1] and reply["temperature"] == 0.6 and "right-key" not in str(tree(made.work))


def test_a_users_card_that_does_not_match_the_buffer_is_refused(buffer, builder, tmp_path):
    card = task_card("lookout", merge("qmix", "lookout")["env_args"])
    values = card.as_dict()
    values["state"][4]["name"] = "leader[0]"
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(values))
    with ChatServer([Turn(SELECTION)]) as server, pytest.raises(TaskError, match=r"state\[4\] is 'scout\[0\]'"):
        design(options(buffer, tmp_path, card=str(path)), tmp_path, openai_designer(server), builder).run()


def test_a_pattern_that_matches_no_column_is_refused_before_anything_is_played(buffer, builder, tmp_path, monkeypatch):
    monkeypatch.setattr(recorded_episodes, "collect", None)
    settings = dataclasses.replace(options(buffer, tmp_path), buffer=None, important="target*,nothing*")
    with pytest.raises(SettingsError, match=r"--important 'nothing\*' matches no state column"):
        design(settings, tmp_path, ReplayDesigner(tmp_path), builder).run()


def test_another_number_of_ceiling_episodes_is_honoured_on_resumption(buffer, builder, tmp_path):
    with ChatServer([Turn(text) for text in GOOD]) as server:
        for n in (2, 5, 0, 5):
            settings = options(buffer, tmp_path, ceiling_episodes=n)
            made = design(settings, tmp_path, openai_designer(server), builder)
            scores = made.run().manifest["scores"]
            if n:
                conditions = scores["share of what can be known"]["conditions"]
                assert conditions["episodes_alone_and_together"] == [n, 16]
            assert ("share of what can be known" in scores) == bool(n) == (made.work / "ceiling.json").is_file()
        assert len(server.requests) == 6


def test_a_trajectory_file_that_is_gone_is_collected_again(buffer, builder, tmp_path, monkeypatch):
    played = []

    def collect(path, *words, **more):
        played.append(path)
        path.write_bytes(buffer.read_bytes())

    monkeypatch.setattr(recorded_episodes, "collect", collect)
    settings = dataclasses.replace(options(buffer, tmp_path), buffer=None, episodes=64, heldout=32)
    with ChatServer([Turn(text) for text in GOOD]) as server:
        made = design(settings, tmp_path, openai_designer(server), builder)
        made.run()
        path = made.work / "trajectories.h5"
        path.write_bytes(b"damaged")
        with pytest.raises(RecordError, match=r"trajectories\.h5 cannot be read.*collects its own file again"):
            design(settings, tmp_path, openai_designer(server), builder).run()
        path.unlink()
        design(settings, tmp_path, openai_designer(server), builder).run()
        assert played == [path, path] and len(server.requests) == 6
        path.unlink()
        monkeypatch.setattr(recorded_episodes, "states_sha256", lambda train, heldout: "0" * 64)
        with pytest.raises(RecordError, match="collecting again gave other episodes"):
            design(settings, tmp_path, openai_designer(server), builder).run()
        assert not path.exists()
