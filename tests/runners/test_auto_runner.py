"""``runner=auto`` takes the runner that fits how the environment is built, and says which it took."""

import pytest
from fake_run import make_args, make_runner, register

from epymarl_lmac.errors import SettingsError


@pytest.fixture(autouse=True)
def _fakes(monkeypatch):
    register(monkeypatch)


@pytest.mark.parametrize(
    ("env", "env_args", "taken"),
    [
        ("fake", {"lengths": [2, 5]}, "vector"),
        ("engine", {}, "parallel"),
        ("either", {"engine": "embedded"}, "vector"),
        ("either", {"engine": "real"}, "parallel"),
    ],
)
def test_auto_follows_how_the_environment_is_built(env, env_args, taken):
    runner, _ = make_runner("auto", make_args(env=env, env_args=env_args, batch_size_run=2))
    try:
        assert runner.name == taken
        assert runner.run().batch_size == 2
    finally:
        runner.close_env()


def test_the_vector_runner_refuses_the_engine_of_an_environment_that_has_both_forms():
    args = make_args(env="either", env_args={"engine": "real"})
    with pytest.raises(SettingsError, match=r"'either' is not with these env_args; use runner=auto"):
        make_runner("vector", args)


def test_one_copy_of_the_batched_form_plays_in_the_episode_runner():
    args = make_args(env="either", env_args={"engine": "embedded"}, batch_size_run=1)
    runner, _ = make_runner("episode", args)
    assert runner.rules == "fake 1"
