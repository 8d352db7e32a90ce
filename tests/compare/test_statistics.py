"""The comparison's numbers against closed forms, and where too few runs allow none."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from epymarl_lmac.compare import statistics as st

THREE = np.array([1.0, 2.0, 6.0])


def test_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert st.interquartile_mean(np.array([100.0, 1.0, 3.0, -50.0])) == 2.0
    assert st.interquartile_mean(np.arange(8.0)) == np.mean([2, 3, 4, 5])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_interquartile_mean_of_fewer_than_four_runs_is_the_mean(n):
    assert st.interquartile_mean(THREE[:n]) == pytest.approx(THREE[:n].mean())


@pytest.mark.parametrize("n", range(1, 14))
def test_interquartile_mean_is_the_trimmed_mean_of_scipy(n):
    sample = np.random.default_rng(n).normal(size=n)
    assert st.interquartile_mean(sample) == pytest.approx(stats.trim_mean(sample, 0.25))


def test_interquartile_mean_of_a_normal_sample_is_near_its_centre():
    sample = stats.norm.ppf((np.arange(1000) + 0.5) / 1000, loc=3.0)
    assert st.interquartile_mean(sample) == pytest.approx(3.0, abs=1e-9)


def test_mean_weighs_tasks_and_not_runs():
    assert st.mean_of_tasks([np.array([0.0, 0.0, 0.0]), np.array([1.0])]) == 0.5


def test_median_is_over_task_means_and_of_one_task_over_runs():
    assert st.median_of_tasks([THREE, np.array([0.0]), np.array([10.0])]) == 3.0
    assert st.median_of_tasks([THREE]) == 2.0


def test_t_interval_uses_the_real_number_of_runs():
    """Textbook values of t at 97.5 %: 12.7062 for one degree of freedom, 4.3027 for two."""
    two = st.t_interval(np.array([0.0, 2.0]))
    assert (two.value, two.n) == (1.0, 2)
    assert two.high - two.value == pytest.approx(12.7062 * math.sqrt(2) / math.sqrt(2), abs=1e-3)
    three = st.t_interval(THREE)
    assert three.value - three.low == pytest.approx(4.3027 * math.sqrt(7) / math.sqrt(3), abs=1e-3)


def test_t_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [st.t_interval(rng.normal(size=3)) for _ in range(1500)]
    share = np.mean([one.low <= 0 <= one.high for one in found])
    assert share == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 1500))


def test_one_run_has_no_interval():
    for estimate in (
        st.t_interval(np.array([1.0])),
        st.bootstrap([np.array([1.0])], st.pooled_iqm),
        st.bootstrap([THREE, np.array([1.0])], st.mean_of_tasks),
        st.probability_of_improvement([np.array([1.0])], [THREE]),
    ):
        assert not estimate.has_interval and math.isfinite(estimate.value)


def test_equal_runs_have_an_interval_of_no_width():
    same = np.full(5, 0.7)
    assert st.t_interval(same)[:3] == pytest.approx((0.7, 0.7, 0.7))
    assert st.bootstrap([same, same], st.pooled_iqm)[:3] == pytest.approx((0.7, 0.7, 0.7))


def test_bootstrap_of_two_runs_spans_them():
    """Means of two draws from {0, 1} are 0, 1/2, 1 with chances 1/4, 1/2, 1/4, so both tails exceed 2.5 %."""
    assert st.bootstrap([np.array([0.0, 1.0])], st.mean_of_tasks) == st.Estimate(0.5, 0.0, 1.0, 2)


def test_bootstrap_interval_matches_the_exact_distribution_of_small_samples():
    tasks = [THREE, np.array([0.0, 4.0, 5.0])]
    exact = [np.mean([np.mean(a), np.mean(b)]) for a in product(THREE, repeat=3) for b in product(tasks[1], repeat=3)]
    low, high = np.quantile(exact, [0.025, 0.975])
    found = st.bootstrap(tasks, st.mean_of_tasks, n_resamples=5000)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15)
    assert found.n == 6


def test_bootstrap_draws_within_tasks():
    """Tasks of constant but different scores: drawing across tasks would give a width, drawing within gives none."""
    found = st.bootstrap([np.zeros(3), np.ones(3)], st.mean_of_tasks)
    assert (found.low, found.high) == (0.5, 0.5)


def test_intervals_do_not_change_from_call_to_call():
    assert st.bootstrap([THREE], st.pooled_iqm) == st.bootstrap([THREE], st.pooled_iqm)


def test_probability_of_improvement_is_mann_whitney():
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 6, 7).astype(float), rng.integers(0, 6, 5).astype(float)
    expected = stats.mannwhitneyu(x, y).statistic / (7 * 5)
    assert st.probability_of_improvement([x], [y]).value == pytest.approx(expected)


def test_probability_of_improvement_at_its_ends_and_its_middle():
    low, high = np.array([0.0, 0.1]), np.array([1.0, 1.1])
    assert st.probability_of_improvement([high], [low])[:3] == (1.0, 1.0, 1.0)
    assert st.probability_of_improvement([low], [high]).value == 0.0
    assert st.probability_of_improvement([low, high], [high, low]).value == 0.5
    assert st.probability_of_improvement([low], [low]).value == 0.5


def test_scores_between_0_and_1_stay_and_others_are_put_between():
    assert st.task_bounds([np.array([0.2]), np.array([0.9])]) == (0.0, 1.0)
    bounds = st.task_bounds([np.array([-2.0, 4.0]), np.array([8.0])])
    assert st.normalised(np.array([-2.0, 3.0, 8.0]), bounds).tolist() == [0.0, 0.5, 1.0]
    assert st.normalised(np.array([5.0, 5.0]), (5.0, 5.0)).tolist() == [0.0, 0.0]


def test_a_grid_does_not_reach_beyond_a_run():
    found = st.on_grid(np.array([0.0, 10.0]), np.array([0.0, 1.0]), np.array([5.0, 10.0, 11.0]))
    assert found[:2].tolist() == [0.5, 1.0] and math.isnan(found[2])


def test_final_score_is_over_the_last_tenth_and_at_least_the_last_test():
    steps, values = np.array([0.0, 90.0, 95.0, 100.0]), np.array([9.0, 1.0, 2.0, 6.0])
    assert st.final_score(steps, values, 100) == 3.0
    assert st.final_score(steps[:1], values[:1], 100) == 9.0


def test_area_of_a_straight_line_is_its_middle():
    steps = np.array([0.0, 3.0, 10.0])
    assert st.area_under(steps, steps / 10, 10) == pytest.approx(0.5)
    assert st.area_under(steps, np.full(3, 0.4), 10) == pytest.approx(0.4)


def test_area_ends_at_the_budget():
    steps = np.array([0.0, 10.0, 20.0])
    assert st.area_under(steps, np.array([0.0, 1.0, 100.0]), 10) == pytest.approx(0.5)
    assert math.isnan(st.area_under(steps[:1], np.array([1.0]), 10))


def test_time_to_a_threshold_counts_runs_that_never_arrive():
    steps, values = np.array([10.0, 20.0, 30.0]), np.array([0.1, 0.8, 0.5])
    assert st.steps_to(steps, values, 0.8) == 20 and st.steps_to(steps, values, 0.9) == math.inf
    assert st.time_to_threshold([20.0, math.inf, 10.0]) == st.Reach(20.0, 2, 3)
    assert st.time_to_threshold([20.0, math.inf]) == st.Reach(math.inf, 1, 2)
    assert st.time_to_threshold([20.0, 40.0]) == st.Reach(30.0, 2, 2)
