"""A stand-in for the package of Google Research Football: its modules, with a match that shows what a script says."""

from types import SimpleNamespace

import numpy as np

START = {  # the keeper and two players against a keeper and a defender
    "left_team": np.array([[-1.0, 0.0], [0.5, 0.1], [0.6, -0.2]]),
    "left_team_direction": np.array([[0.0, 0.0], [0.01, 0.0], [0.0, -0.02]]),
    "right_team": np.array([[1.0, 0.0], [0.75, 0.1]]),
    "right_team_direction": np.array([[0.0, 0.001], [-0.01, 0.0]]),
    "ball": np.array([0.52, 0.1, 0.5]),
    "ball_direction": np.array([0.03, 0.01, 0.2]),
    "left_agent_controlled_player": [1, 2],
    "score": [0, 0],
    "steps_left": 399,
}


class Scenario:
    """Who plays: ``roles`` of the left team, then one opponent."""

    roles, control_all_players = ("GK", "CM", "CM"), False

    def __init__(self, config):
        self.controllable_left_players, self.control_all_players = 0, config.control_all_players
        for self._active_team, roles in (("left", config.roles), ("right", ("GK",))):
            for role in roles:
                self.AddPlayer(0.0, 0.0, role)

    def AddPlayer(self, x, y, role, lazy=False, controllable=True):
        self.controllable_left_players += controllable and self._active_team == "left"

    def ScenarioConfig(self):
        return self


class Config(dict):
    """The package's settings of a match, which make a scenario anew for every episode."""

    roles, control_all_players = Scenario.roles, Scenario.control_all_players

    def __init__(self, values):
        super().__init__(values)
        self.NewScenario()

    def NewScenario(self, inc=1):
        self._scenario_cfg = Scenario(self)

    def ScenarioConfig(self):
        return self._scenario_cfg


class Core:
    """The engine. ``script`` holds the changes of every step, the goals gained and whether the episode is over."""

    def __init__(self, config, script=()):
        self.config, self.script, self.raw, self.seeds, self.t = config, script, dict(START), [], 0
        self.is_closed = False

    def observation(self):
        return self.raw

    def reset(self):
        self.raw, self.t = dict(START), 0
        self.config.NewScenario()
        self.seeds.append((self.config["game_engine_random_seed"], self.config["reverse_team_processing"]))

    def step(self, actions):
        self.actions = actions
        changes, gained, is_done = self.script[self.t] if self.t < len(self.script) else ({}, 0, False)
        self.t += 1
        self.raw = {**self.raw, **changes, "steps_left": changes.get("steps_left", 399 - self.t)}
        return self.raw, gained, is_done, {}

    def close(self):
        self.is_closed = True


def package(script=(), **scenario):
    """Returns a function that imports the stand-in's modules by the package's names."""
    config = type("OwnConfig", (Config,), scenario)
    modules = {
        "gfootball.env.config": SimpleNamespace(Config=config),
        "gfootball.env.football_env_core": SimpleNamespace(FootballEnvCore=lambda own: Core(own, script)),
        "gfootball.env.scenario_builder": SimpleNamespace(
            all_scenarios=lambda: ["tests", "two_vs_two", "test_example", "academy_corner"],
            Scenario=Scenario,
            Team=SimpleNamespace(e_Left="left"),
            Role=SimpleNamespace(e_PlayerRole_GK="GK"),
        ),
    }
    return modules.__getitem__
