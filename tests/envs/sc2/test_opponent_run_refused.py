"""Runs that cannot be opponents are refused, with what is wrong."""

import pytest
from rivals import STEP, env_args, record_run

from envs.sc2 import Sc2Env
from epymarl_lmac.errors import TaskError


def refused(**args):
    with pytest.raises(TaskError) as err:
        Sc2Env(1, 0, **env_args(**args))
    return str(err.value)


@pytest.fixture(scope="module")
def marines(tmp_path_factory):
    return record_run(tmp_path_factory.mktemp("runs") / "marines")


def test_a_folder_that_does_not_exist(tmp_path):
    assert "'kites'" in refused(opponent="kites")
    assert "or the folder of a run that exists" in refused(opponent=tmp_path / "nowhere")


def test_a_folder_that_is_no_run(tmp_path):
    assert "no run folder" in refused(opponent=tmp_path)


def test_a_run_that_saved_no_networks(marines, tmp_path):
    (tmp_path / "run.json").write_bytes((marines / "run.json").read_bytes())
    assert "holds no saved networks" in refused(opponent=tmp_path)


def test_a_step_that_was_not_saved(marines):
    (marines / "checkpoint-7.pt").write_bytes(b"")
    message = refused(opponent=marines / "checkpoint-7.pt")
    (marines / "checkpoint-7.pt").unlink()
    assert "no networks of step 7" in message and str(STEP) in message


def test_a_run_of_another_environment(tmp_path):
    record_run(tmp_path / "run", env="lookout")
    assert "is a run of lookout; it must be a run of sc2" in refused(opponent=tmp_path / "run")


def test_a_map_whose_sides_differ(tmp_path):
    record_run(tmp_path / "run", map_name="bane_vs_hM")
    message = refused(map_name="bane_vs_hM", opponent=tmp_path / "run")
    assert "the enemies are 1 Hydralisk, 1 Medivac, the run's agents 3 Baneling" in message


def test_other_numbers_of_units(marines):
    assert "the enemies are 8 Marine, the run's agents 3 Marine" in refused(map_name="8m", opponent=marines)


def test_other_options_and_another_flavour(marines):
    message = refused(opponent=marines, flavour="smac_comm")
    assert "flavour is 'smac_comm', the run's 'smac'" in message
    assert "obs_last_action is True, the run's False" in refused(opponent=marines, obs_last_action=True)


def test_a_run_whose_agents_a_script_led(marines, tmp_path):
    record_run(tmp_path / "run", heuristic_ai=True)
    message = refused(opponent=tmp_path / "run")
    assert "SMAC's script led the run's agents (heuristic_ai), so its networks never played" in message
    assert Sc2Env(1, 0, **env_args(opponent=marines, heuristic_ai=True)).scripted_team is not None  # against it is fine


def test_starcraft_2_itself_takes_no_run(marines):
    assert "needs engine=embedded" in refused(opponent=marines, engine="starcraft2")
