"""Values of the exploration schedule."""

import pytest

from components.epsilon_schedules import DecayThenFlatSchedule
from epymarl_lmac.errors import SettingsError


@pytest.mark.parametrize(
    ("decay", "T", "expected"),
    [
        ("linear", 0, 1.0),
        ("linear", 25, 0.775),
        ("linear", 50, 0.55),
        ("linear", 100, 0.1),
        ("linear", 10**9, 0.1),
        ("exp", 0, 1.0),
        ("exp", 50, 0.1**0.5),
        ("exp", 100, 0.1),
        ("exp", 10**9, 0.1),
    ],
)
def test_values(decay, T, expected):
    assert DecayThenFlatSchedule(1.0, 0.1, 100, decay).eval(T) == pytest.approx(expected, rel=1e-12)


def test_an_exponential_decay_starts_at_its_start():
    assert DecayThenFlatSchedule(0.8, 0.2, 10, "exp").eval(5) == pytest.approx(0.4)


def test_no_time_to_decay_starts_at_the_finish():
    assert DecayThenFlatSchedule(1.0, 0.1, 0, "linear").eval(0) == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 0.1, 10, "cubic"), "decay='cubic' is not known; choose one of linear, exp"),
        ((0.1, 0.5, 10, "linear"), "cannot decay from 0.1 up to 0.5"),
        ((1.0, 0.1, -1, "linear"), "over -1 steps"),
        ((1.0, 0.0, 10, "exp"), "never reaches 0.0"),
    ],
)
def test_impossible_schedules_are_refused(arguments, message):
    with pytest.raises(SettingsError, match=message):
        DecayThenFlatSchedule(*arguments)
