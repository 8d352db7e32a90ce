"""CSV and LaTeX hold the same numbers as the page."""

import csv
import io

import pytest
from fake_records import comparison, curve

from epymarl_lmac.compare.results import summarise
from epymarl_lmac.compare.statistics import Estimate
from epymarl_lmac.compare.tables import all_tables, shown, steps_shown


@pytest.fixture(scope="module")
def tables():
    one = comparison()
    return all_tables(one, summarise(one))


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_scores_have_a_line_a_task_and_algorithm(tables):
    found = rows(tables["scores.csv"])
    assert [(row["environment"], row["algorithm"], row["n"]) for row in found] == [
        ("a", "good", "3"), ("a", "bad", "3"), ("b", "good", "3"), ("b", "bad", "3"),
    ]  # fmt: skip
    assert float(found[0]["mean"]) == pytest.approx(0.95 * 0.82, abs=1e-9)  # tests at 90 and 100 % of a straight climb
    assert found[0]["seeds"] == "1 2 3" and found[0]["n_parameters"] == "15" and found[0]["wall_s"] == "60.0"


def test_the_area_of_a_straight_climb_is_half_its_height(tables):
    assert float(rows(tables["scores.csv"])[0]["area"]) == pytest.approx(0.41)


def test_curves_have_every_test(tables):
    assert len(rows(tables["curves.csv"])) == 12 * 11


def test_aggregates_have_every_algorithm_and_pair(tables):
    found = {(row["what"], row["algorithm"], row["over"]): row for row in rows(tables["aggregates.csv"])}
    assert float(found["improvement", "good", "bad"]["value"]) == 1.0
    assert float(found["mean", "good", ""]["value"]) == pytest.approx(0.95 * 0.82)
    assert found["iqm", "bad", ""]["n"] == "6"


def test_an_algorithm_that_lacks_a_task_is_in_no_aggregate():
    one = comparison()
    one.algs.append("part")
    one.curves.append(curve("part", "a", 1, 0.5))
    summary = summarise(one)
    assert [row.alg for row in summary.rows if row.env == "a"] == ["good", "bad", "part"]
    assert [aggregate.alg for aggregate in summary.aggregates] == ["good", "bad"]


def test_latex_marks_the_best_and_escapes_names():
    one = comparison()
    one.envs = ["a"]
    for run in one.curves:
        object.__setattr__(run, "alg", run.alg.replace("good", "lmac_qmix"))
    one.algs[0] = "lmac_qmix"
    text = all_tables(one, summarise(one))["table.tex"]
    assert r"lmac\_qmix" in text and text.count(r"\mathbf") == 1 and text.index(r"\mathbf") < text.index("0.39")


def test_numbers_read_well():
    assert shown(Estimate(0.5, float("nan"), float("nan"), 1)) == "0.500"
    assert shown(Estimate(0.5, 0.4, 0.6, 3)) == "0.500 [0.400, 0.600]"
    assert [steps_shown(n) for n in (float("inf"), 1_250_000, 40_000, 7)] == ["never", "1.25M", "40k", "7"]
