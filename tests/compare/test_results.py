"""Which tests of a run count for a budget."""

import dataclasses

import numpy as np
import pytest
from fake_records import comparison

from epymarl_lmac.compare.results import RunCurve, row_of


def run_of(steps, t_max):
    values = np.arange(len(steps), dtype=float)
    return RunCurve("good", "a", 1, np.array(steps, dtype=float), values, {"settings": {"t_max": t_max}}, "run")


@pytest.mark.parametrize("steps", [[0, 130], [0, 60, 112], [0, 60, 100], [0, 60, 104, 130]])
def test_the_last_test_of_a_run_of_this_budget_counts(steps):
    kept, values = run_of(steps, 100).up_to(100)
    assert kept[-1] >= 100 and values[-1] >= 1
    assert kept.tolist() == steps[: len(kept)] and sum(kept >= 100) == 1


def test_the_score_of_a_small_budget_is_not_that_of_the_untrained_network():
    one = dataclasses.replace(comparison(), curves=[run_of([0, 130], 100)])
    assert row_of(one, "good", "a").scores.tolist() == [1.0]


def test_what_a_longer_run_did_after_the_budget_is_left_out():
    assert run_of([0, 60, 130, 200], 200).up_to(100)[0].tolist() == [0, 60]
    assert run_of([0, 60, 104, 200], 200).up_to(100)[0].tolist() == [0, 60, 104]


def test_a_run_that_ends_before_the_budget_keeps_its_tests():
    assert run_of([0, 60, 96], 100).up_to(100)[0].tolist() == [0, 60, 96]
