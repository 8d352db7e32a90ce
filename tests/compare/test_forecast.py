"""Time and disk forecast from a short run's record."""

import pytest
from fake_records import cell

from epymarl_lmac.compare import forecast as fc
from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.metrics import Row, TimedRow

COST = fc.Cost(
    steps_per_s=100.0, test_s=2.0, start_s=5.0, checkpoint_bytes_per_episode=10.0, episode_steps=2.0, metric_keys=3
)


def rows():
    """Rounds of 10 steps: the first three take 1 s, the next three with updates 2 s; a test of 4 s at the end."""
    times = [11.0, 12.0, 13.0, 15.0, 17.0, 19.0]
    found = [TimedRow(Row(0, "test_return_mean", 0.0), 10.0)]
    for index, time in enumerate(times, start=1):
        found += [
            TimedRow(Row(10 * index, key, value), time) for key, value in (("return_mean", 0), ("ep_length_mean", 5))
        ]
    found.append(TimedRow(Row(60, "loss", 0.1), 19.5))
    found.append(TimedRow(Row(60, "test_return_mean", 0.0), 23.5))
    return found


def test_the_speed_is_that_of_the_later_rounds_with_updates():
    cost = fc.measure(rows(), started=4.0, checkpoint_bytes=240.0)
    assert cost.steps_per_s == pytest.approx(30 / 6)
    assert (cost.test_s, cost.start_s, cost.episode_steps, cost.metric_keys) == (4.0, 7.0, 5.0, 4)
    assert cost.checkpoint_bytes_per_episode == 240 / 12


def test_a_run_too_short_to_tell_is_refused():
    with pytest.raises(RecordError, match="fewer than three rounds"):
        fc.measure(rows()[:3], 0.0, 0.0)


def test_a_clock_that_went_back_gives_no_forecast():
    jumped = [TimedRow(row, time - 1000 * (row.t_env >= 60)) for row, time in rows()]
    with pytest.raises(RecordError, match="clock went back"):
        fc.measure(jumped, 4.0, 240.0)


def test_a_run_takes_its_start_its_steps_and_its_tests():
    one = cell(t_max=1000, updates=("test_interval=100",))
    assert fc.run_seconds(one, COST, 1000) == 5 + 10 + 11 * 2
    assert fc.run_seconds(one, COST, 500) == 5 + 5 + 6 * 2


def test_jobs_share_the_runs_in_order():
    one = cell(t_max=1000, updates=("test_interval=100",))
    costs = {fc.pair_name(one): COST}
    found = fc.forecast([(one, 1000)] * 3, costs, jobs=2, free_bytes=1e9)
    assert found.wall_s == 2 * 37 and found.fits


def test_the_disk_needs_every_record_and_a_second_checkpoint_of_runs_in_progress():
    one = cell(t_max=1000)
    size = fc.run_bytes(one, COST)
    assert size >= 10.0 * 500  # 500 episodes of two steps
    found = fc.forecast([(one, 1000)] * 3, {fc.pair_name(one): COST}, jobs=2, free_bytes=1)
    assert found.disk_bytes == pytest.approx(5 * size) and not found.fits


def test_kept_costs_count_only_for_the_same_settings(tmp_path):
    path, one = tmp_path / "calibration.json", cell()
    kept = {fc.pair_name(one): {"run_id": one.run_id, "cost": COST.__dict__}}
    fc.write_json(path, kept)
    assert fc._read_kept(path, {fc.pair_name(one): one}) == {fc.pair_name(one): COST}
    assert fc._read_kept(path, {fc.pair_name(one): cell(updates=("lr=0.1",))}) == {}
    path.write_text("{")
    assert fc._read_kept(path, {fc.pair_name(one): one}) == {}
