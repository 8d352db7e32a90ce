"""With test_greedy off, recorded networks explore as they did at their step of training, not as at its start."""

import json

import pytest
import torch

from epymarl_lmac.checkpoint import save_checkpoint, save_networks
from epymarl_lmac.record.files import write_json
from epymarl_lmac.settings import load_settings
from epymarl_lmac.tasks import EnvInfo

STEP = 75  # of the annealing's 100: epsilon is 0.25
WORDS = [
    "hidden_dim=8", "batch_size=2", "batch_size_run=2", "buffer_size=4", "use_cuda=False", "test_nepisode=2",
    "test_greedy=False", "epsilon_start=1", "epsilon_finish=0", "epsilon_anneal_time=100",
]  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """The steps that tests asked the exploration of."""
    from components.action_selectors import EpsilonGreedyActionSelector as Selector

    steps, select = set(), Selector.select_action

    def note(self, inputs, avail, t_env, test_mode=False):
        assert test_mode
        steps.add(t_env)
        return select(self, inputs, avail, t_env, test_mode)

    monkeypatch.setattr(Selector, "select_action", note)
    return steps


def experiment_at_step():
    from run import Experiment
    from utils.logging import Logger, get_logger

    with torch.random.fork_rng(devices=[]):
        experiment = Experiment(load_settings("qmix", "lookout", WORDS), Logger(get_logger()))
    experiment.runner.t_env = STEP
    return experiment


@pytest.fixture
def folder(tmp_path):
    """A recorded run that has learnt nothing."""
    experiment = experiment_at_step()
    settings = {key: value for key, value in vars(experiment.args).items() if key != "device"}
    write_json(tmp_path / "run.json", {"algorithm": "qmix", "task": "lookout", "seed": 1, "settings": settings})
    save_networks(tmp_path, experiment.mac.state_dict(), STEP)
    save_checkpoint(tmp_path, experiment.state_dict(0), STEP)
    return tmp_path


def test_an_evaluated_run_explores_as_at_its_step(folder, asked):
    from evaluation import Request, evaluate_run

    evaluate_run(Request(folder, episodes=2))
    assert asked == {STEP}


def test_evaluate_as_a_setting_explores_as_at_the_checkpoint(folder, asked):
    from run import _evaluate

    experiment = experiment_at_step()
    experiment.runner.t_env = 0
    _evaluate(experiment, folder)
    assert asked == {STEP}


def test_a_team_that_is_an_opponent_explores_as_at_its_step(folder, asked):
    from acting import Team

    settings = json.loads((folder / "run.json").read_text())["settings"]
    info = EnvInfo(
        n_agents=settings["n_agents"],
        n_actions=settings["n_actions"],
        obs_dim=settings["obs_shape"],
        state_dim=settings["state_shape"],
        episode_limit=settings["episode_limit"],
        has_alive=True,
    )
    team = Team(folder, STEP, settings, info, seed=1)
    team.begin(torch.ones(2, dtype=torch.bool).numpy())
    N, A = info.n_agents, info.n_actions
    seen = torch.zeros(2, N, info.obs_dim), torch.zeros(2, info.state_dim), torch.ones(2, N, A), torch.ones(2, N) > 0
    team.act(*(tensor.numpy() for tensor in seen), torch.ones(2, dtype=torch.bool).numpy())
    assert asked == {STEP}
