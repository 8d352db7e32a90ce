"""What messages cost and are worth: read from records, shown on the page and in the tables."""

import csv
import dataclasses
import io
import json
import math

import numpy as np
import pytest
from fake_records import cell, comparison, curve, write_run

from epymarl_lmac.compare.gather import gather
from epymarl_lmac.compare.messages import (
    awareness_rows,
    control_rows,
    mean_cost,
    message_cost,
    pair_floats,
    read_evaluation,
)
from epymarl_lmac.compare.page import page_html
from epymarl_lmac.compare.results import summarise
from epymarl_lmac.compare.tables import all_tables

PAIRS = {
    "settings": {"n_agents": 3},
    "communication": {},
    "end_metrics": {"test_message_floats": 2.0, "test_message_bits": 64.0, "test_links_open": 0.5},
    "messages": {"floats": [[0, 1, 3], [2, 0, 2], [4, 0, 0]]},
}
MESSENGER = {"settings": {"n_agents": 3}, "end_metrics": {"test_uplink_floats": 5.0, "test_downlink_floats": 1.0}}
SILENT = {"communication": None, "end_metrics": {"test_return_mean": 1.0}}


def evaluation(intact, zeroed):
    rows = [{"control": "intact", "score_mean": intact}, {"control": "zeroed", "score_mean": zeroed}]
    return {"score": "test_return_mean", "episodes": 100, "rows": rows}


def test_cost_of_pairs_is_what_the_last_tests_measured():
    cost = message_cost(PAIRS)
    assert (cost.floats, cost.bits, cost.links_open) == (2.0, 64.0, 0.5)
    assert cost.bits_per_agent == 128.0
    assert str(cost) == "2 floats (64 bits) a pair and step, 50% of links"


def test_cost_of_a_messenger_counts_both_directions():
    cost = message_cost(MESSENGER)
    assert cost.bits_per_agent == 6 * 32
    assert str(cost) == "5 floats to and 1 from a messenger, an agent and step"


def test_silence_and_a_record_that_does_not_say_differ():
    assert message_cost(SILENT).bits_per_agent == 0 and str(message_cost(SILENT)) == "sends nothing"
    assert math.isnan(message_cost({}).bits_per_agent) and str(message_cost({})) == "not recorded"


def test_the_cost_of_an_algorithm_is_the_mean_over_its_runs():
    cost = mean_cost([message_cost(PAIRS), dataclasses.replace(message_cost(PAIRS), floats=4.0, links_open=1.0)])
    assert (cost.floats, cost.bits, cost.links_open, cost.n_agents) == (3.0, 64.0, 0.75, 3)
    assert math.isnan(mean_cost([message_cost(PAIRS), message_cost({})]).bits_per_agent)


def test_pairs_are_read_receiver_by_sender():
    assert np.array_equal(pair_floats(PAIRS), [[0, 1, 3], [2, 0, 2], [4, 0, 0]])
    assert pair_floats({}) is None


def test_controls_take_runs_as_replicates():
    intact, zeroed = control_rows("good", "a", [evaluation(0.9, 0.2), evaluation(0.7, 0.4)])
    assert (intact.control, intact.mean.n) == ("intact", 2)
    assert intact.mean.value == pytest.approx(0.8) and zeroed.mean.value == pytest.approx(0.3)
    assert control_rows("good", "a", []) == []


def evaluated(run, intact=0.9, **changes):
    return {**evaluation(intact, 0.2), "run": run, "t_env": 1000, **changes}


@pytest.mark.parametrize("change", [{"score": "win_rate"}, {"episodes": 20}, {"t_env": 500}])
def test_only_evaluations_of_one_kind_are_pooled_and_the_others_are_named(change):
    runs = [evaluated("odd", 0.1, **change), evaluated("one", 0.8), evaluated("two", 0.9, t_env=1004)]
    rows = control_rows("good", "a", runs)
    assert [(row.mean.n, row.episodes, row.score) for row in rows] == [(2, 100, "test_return_mean")] * 2
    assert rows[0].mean.value == pytest.approx(0.85)
    assert len(rows[0].left_out) == 1 and rows[0].left_out[0].startswith("odd (")


def test_awareness_leaves_out_the_same_evaluations():
    runs = [{**aware(r2), "t_env": t_env, "run": f"of {t_env}"} for r2, t_env in ((0.1, 500), (0.5, 1000))]
    (intact, _) = awareness_rows("good", "a", runs)
    assert (intact.r2.n, intact.r2.value) == (1, 0.5)  # of groups of one size the later step
    assert intact.left_out == ("of 500 (test_return_mean, 100 episodes, step 500)",)


def test_the_page_and_the_table_name_evaluations_that_are_left_out(made):
    one = made[0]
    several = (evaluated("odd", episodes=20), evaluated("one"), evaluated("two"))
    one.curves = [
        dataclasses.replace(curve("good", "a", seed, 0.8), evaluation=found) for seed, found in enumerate(several)
    ]
    summary = summarise(one)
    sentence = "odd (test_return_mean, 20 episodes, step 1,000)"
    assert f"good on a: {sentence}" in page_html(one, summary)
    rows = list(csv.DictReader(io.StringIO(all_tables(one, summary)["controls.csv"])))
    assert [row["left_out"] for row in rows] == [sentence] * 2


@pytest.mark.parametrize("text", [None, "{", "[]", json.dumps({"rows": [{}]})])
def test_a_damaged_evaluation_is_none(tmp_path, text):
    if text is not None:
        (tmp_path / "evaluation.json").write_text(text)
    assert read_evaluation(tmp_path) is None


def test_gather_finds_the_controls_beside_a_run(tmp_path):
    one = cell()
    (write_run(tmp_path, one) / "evaluation.json").write_text(json.dumps(evaluation(0.9, 0.2)))
    found = gather([one], [tmp_path], "test_return_mean", {})
    assert [row.control for row in summarise(found).controls] == ["intact", "zeroed"]


def test_gather_finds_the_programs_of_a_run(tmp_path):
    one = cell()
    folder = write_run(tmp_path, one) / "protocol"
    folder.mkdir()
    (folder / "k0.py").write_text("def design(o): ...")
    found = gather([one], [tmp_path], "test_return_mean", {})
    assert found.curves[0].protocol == "# k0.py\n\ndef design(o): ...\n"
    assert "def design(o)" in page_html(found, summarise(found))


def test_a_program_that_cannot_be_read_marks_its_run_as_damaged(tmp_path):
    one = cell()
    folder = write_run(tmp_path, one) / "protocol"
    folder.mkdir()
    (folder / "k0.py").write_bytes(b"\xff\xfe")
    found = gather([one], [tmp_path], "test_return_mean", {})
    assert not found.curves and found.unfinished[0][1] == "damaged" and "protocol" in found.unfinished[0][2][0]


@pytest.fixture
def made():
    one = comparison()
    one.curves = [
        curve("good", "a", 1, 0.8, **PAIRS),
        dataclasses.replace(curve("good", "a", 2, 0.9, **PAIRS), evaluation=evaluation(0.9, 0.2)),
        curve("bad", "a", 1, 0.4, **SILENT),
        curve("bad", "b", 1, 0.4),
    ]
    return one, summarise(one)


def test_the_page_shows_cost_pairs_and_controls(made):
    text = page_html(*made)
    assert "bits that an agent sends at a step" in text and "2 floats (64 bits) a pair and step" in text
    assert "agent 2 to agent 0: 3 floats a step" in text
    assert "<td>zeroed</td><td>1</td><td>100</td>" in text
    assert "Not recorded: bad on b" in text


def test_a_page_without_controls_says_how_to_make_them():
    one = comparison()
    assert "epymarl-lmac evaluate RUN --controls" in page_html(one, summarise(one))


def test_the_tables_have_the_same_numbers(made):
    tables = all_tables(*made)
    first = next(csv.DictReader(io.StringIO(tables["scores.csv"])))
    assert (first["message_floats"], first["bits_per_agent"]) == ("2.0", "128.0")
    controls = list(csv.DictReader(io.StringIO(tables["controls.csv"])))
    assert [(row["messages"], row["mean"]) for row in controls] == [("intact", "0.9"), ("zeroed", "0.2")]


AWARE = {"r2": 0.5, "recall": 0.25, "r2_by_column": {"food[-1,0]": 0.75, "food[0,1]": None, "step": 0.25}}


def aware(r2):
    """An evaluation with an estimated state."""
    one = evaluation(0.9, 0.2)
    for row, value in zip(one["rows"], (r2, 0.0), strict=True):
        row["awareness"] = {**AWARE, "r2": value}
    return one


def test_awareness_takes_runs_as_replicates_and_keeps_columns_that_never_vary():
    intact, zeroed = awareness_rows("good", "a", [aware(0.5), aware(0.7)])
    assert (intact.control, intact.r2.n) == ("intact", 2)
    assert intact.r2.value == pytest.approx(0.6) and zeroed.r2.value == 0.0
    assert intact.by_column["food[-1,0]"] == 0.75 and math.isnan(intact.by_column["food[0,1]"])


def test_runs_that_estimate_nothing_or_other_columns_have_no_awareness():
    assert awareness_rows("good", "a", [evaluation(0.9, 0.2)]) == []
    other = aware(0.5)
    for row in other["rows"]:
        row["awareness"] = {**AWARE, "r2_by_column": {"else": 0.1}}
    assert awareness_rows("good", "a", [aware(0.5), other]) == []


def test_the_page_draws_what_is_known_of_the_state(made):
    one = made[0]
    one.curves[1] = dataclasses.replace(one.curves[1], evaluation=aware(0.5))
    text = page_html(one, summarise(one))
    assert "<title>food[-1,0]: R2 0.750</title>" in text and "<title>food[0,1]: never varies</title>" in text
    assert "What agents know of the state" in text


def test_a_single_treatment_is_no_control():
    one = evaluation(0.9, 0.2)
    assert control_rows("good", "a", [{**one, "rows": one["rows"][:1]}]) == []


def test_protocol_texts_are_shown_once(made):
    one = made[0]
    one.curves = [dataclasses.replace(run, protocol="import torch  # a < b") for run in one.curves[:2]]
    text = page_html(one, summarise(one))
    assert text.count("import torch  # a &lt; b") == 1 and "good, seed 1; good, seed 2" in text
