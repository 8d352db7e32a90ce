"""Which engine plays, what is missing of StarCraft II, and the adapter over a stand-in for the package smac."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from sc2_oracle import MAPS, Oracle
from sc2_states import as_units, draw_rows, env_args, rng_of

from epymarl_lmac.errors import ActionError, TaskError
from epymarl_lmac.tasks import sc2_engine
from epymarl_lmac.tasks.sc2_constants import UNITS
from epymarl_lmac.tasks.sc2_settings import Sc2Settings


@pytest.fixture
def no_game(monkeypatch, tmp_path):
    """A machine without StarCraft II."""
    monkeypatch.setenv("SC2PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(sc2_engine, "package_folder", lambda name: None)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A machine on which everything seems to be there: the game, the packages, three maps."""
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    (tmp_path / "Versions" / "Base75689").mkdir(parents=True)
    (tmp_path / "Versions" / "Base75689" / "SC2_x64").touch()
    (tmp_path / "Maps" / "SMAC_Maps").mkdir(parents=True)
    for name in ("3m", "bane_vs_hM", "32x32_flat"):
        (tmp_path / "Maps" / "SMAC_Maps" / f"{name}.SC2Map").write_bytes(name.encode())
    packages = {}
    for name in ("smac", "smacv2", "pysc2", "s2clientprotocol"):
        packages[name] = tmp_path / "site" / name
        (packages[name] / "env" / "starcraft2").mkdir(parents=True)
        (packages[name] / "env" / "starcraft2" / "starcraft2.py").touch()
    monkeypatch.setattr(sc2_engine, "package_folder", packages.get)
    versions = {"protobuf": "3.20.3", "smac": "1.0.0"}
    monkeypatch.setattr(sc2_engine, "_version", versions.get)
    return SimpleNamespace(folder=tmp_path, packages=packages, versions=versions)


def _settings(**changes: object) -> Sc2Settings:
    return Sc2Settings.from_env_args("sc2", env_args("sc2", **{"map_name": "3m", "engine": "auto", **changes}))


def test_auto_plays_the_embedded_engine_where_the_game_is_absent_and_says_so(no_game, caplog):
    assert sc2_engine.choose_engine(_settings()) == "embedded"
    sc2_engine._announced.clear()
    with caplog.at_level(logging.INFO, logger="epymarl_lmac.sc2"):
        sc2_engine.announce(_settings(), "embedded")
        sc2_engine.announce(_settings(), "embedded")
    assert len(caplog.messages) == 1
    assert "3m is played by the embedded battle simulator (engine=auto)" in caplog.messages[0]


def test_auto_plays_the_game_where_all_of_it_is_there(installed):
    assert sc2_engine.choose_engine(_settings()) == "starcraft2"
    assert sc2_engine.choose_engine(_settings(map_name="8m")) == "embedded"  # its map file is missing
    assert sc2_engine.choose_engine(_settings(engine="embedded")) == "embedded"
    assert sc2_engine.sc2_form(env_args("sc2", map_name="3m", engine="auto")) == "single"
    assert sc2_engine.sc2v2_form(env_args("sc2v2")) == "batched"


def test_the_game_asked_for_and_absent_is_refused_with_every_missing_part(no_game):
    with pytest.raises(TaskError) as caught:
        sc2_engine.choose_engine(_settings(engine="starcraft2"))
    message = str(caught.value)
    for part in (
        "SC2PATH",
        "package smac: pip install git+https://github.com/oxwhirl/smac.git",
        "pysc2",
        "map 3m.SC2Map",
    ):
        assert part in message
    assert "not 'pip install smac', which is another project" in message


def test_the_tuner_of_the_same_name_is_recognised(installed):
    folder = installed.packages["smac"]
    (folder / "env" / "starcraft2" / "starcraft2.py").unlink()
    (folder / "facade").mkdir()
    with pytest.raises(TaskError, match="another project, a tuner of hyperparameters"):
        sc2_engine.choose_engine(_settings(engine="starcraft2"))


def test_the_protobuf_trap_is_recognised(installed, monkeypatch):
    installed.versions["protobuf"] = "5.29.0"
    monkeypatch.delenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", raising=False)
    with pytest.raises(TaskError, match=r"protobuf 5\.29\.0 cannot load the game's messages"):
        sc2_engine.choose_engine(_settings(engine="starcraft2"))
    monkeypatch.setenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    assert sc2_engine.choose_engine(_settings(engine="starcraft2")) == "starcraft2"


def test_doctor_lists_every_part(no_game):
    rows = sc2_engine.doctor_rows()
    assert rows["StarCraft II, engine of sc2 (auto)"] == "embedded"
    assert sum(text.startswith("MISSING") for text in rows.values()) >= 5


def test_a_batched_environment_of_the_game_names_the_runner_that_can_play_it(installed):
    from envs.sc2 import Sc2Env

    with pytest.raises(TaskError, match="use runner=parallel or runner=episode"):
        Sc2Env(4, 0, **env_args("sc2", map_name="3m", engine="auto"))


# -- the adapter over a stand-in for the package -----------------------------------------------------------------


class FakeGame:
    """Has what the adapter uses of smac's StarCraft2Env: units, orders, one fixed battle state after the other."""

    made: ClassVar[list[dict]] = []

    def __init__(self, **kwargs: object) -> None:
        FakeGame.made.append(kwargs)
        self.name = str(kwargs["map_name"])
        self.rng = rng_of("fake", self.name)
        self.steps: list[list[int]] = []
        self.n_readings = 0  # of observations, without the one in smacv2's own reset

    def _show(self) -> None:
        n = len(MAPS[self.name][1])
        self.rows = draw_rows(self.name, self.rng)
        allies, enemies = as_units(self.rows, n)
        self.agents = {k: self._unit(u, 1970 + k) for k, u in enumerate(allies)}
        self.enemies = {k: self._unit(u, UNITS[u["name"]].stock_id) for k, u in enumerate(enemies)}

    @staticmethod
    def _unit(u: dict, unit_type: int) -> SimpleNamespace:
        keys = ("health", "health_max", "shield", "shield_max", "energy")
        known = {key: u[key] for key in keys}
        return SimpleNamespace(
            **known, unit_type=unit_type, pos=SimpleNamespace(x=u["x"], y=u["y"]), weapon_cooldown=u["cooldown"]
        )

    def reset(self) -> None:
        self._show()

    def step(self, actions: list[int]) -> tuple[float, bool, dict]:
        self.steps.append(actions)
        self._show()
        return 1.5, False, {"battle_won": False, "dead_allies": 0, "dead_enemies": 0}

    def get_obs(self) -> list:
        self.n_readings += 1
        return [np.full(30, k) for k in range(3)]

    def get_state(self) -> np.ndarray:
        return np.arange(48)

    def get_avail_actions(self) -> list:
        return [self.get_avail_agent_actions(i) for i in range(3)]

    def get_avail_agent_actions(self, i: int) -> list:
        return [0, 1, 1, 0, 0, 0, 0, 0, 0]


@pytest.fixture
def fake_package(installed, monkeypatch):
    """The modules that the adapter imports from smac."""
    maps = ModuleType("smac.env.starcraft2.maps.smac_maps")
    maps.map_param_registry = {"3m": {}}  # type: ignore[attr-defined]
    maps.SMACMap = type("SMACMap", (), {})  # type: ignore[attr-defined]
    env = ModuleType("smac.env")
    env.StarCraft2Env = FakeGame  # type: ignore[attr-defined]
    names = {"smac.env.starcraft2.maps.smac_maps": maps, "smac.env": env}
    for name in ("smac", "smac.env.starcraft2", "smac.env.starcraft2.maps"):
        names[name] = ModuleType(name)
    for name, module in names.items():
        monkeypatch.setitem(sys.modules, name, module)
    FakeGame.made = []
    return maps


def _make(map_name: str, **changes: object):
    from envs.starcraft2 import make_sc2

    return make_sc2(seed=5, **env_args("sc2", map_name=map_name, **{"engine": "starcraft2", **changes}))


def test_smacs_own_maps_pass_through_the_package(fake_package):
    env = _make("3m")
    asked = FakeGame.made[0]
    assert (asked["map_name"], asked["seed"], asked["step_mul"], asked["state_last_action"]) == ("3m", 5, 8, True)
    obs, _ = env.reset()
    assert obs[2].dtype == np.float32 and obs[2][0] == 2
    _, reward, terminated, truncated, info = env.step(np.array([1, 2, 1]))
    assert (reward, terminated, truncated, info["dead_allies"]) == (1.5, False, False, 0)
    assert env.get_env_info() == {
        "state_shape": 48, "obs_shape": 30, "n_actions": 9, "n_agents": 3, "episode_limit": 60
    }  # fmt: skip
    with pytest.raises(ActionError, match="agent 1: action 7 is not available; choose of 1, 2"):
        env.step([1, 7, 1])
    assert "Base75689" in env.rules and "smac, 3m" in env.rules


def test_the_game_gets_the_time_base_and_the_move_amount(fake_package):
    _make("3m", step_mul=4, move_amount=3)
    asked = FakeGame.made[0]
    assert (asked["step_mul"], asked["move_amount"]) == (4, 3) and isinstance(asked["move_amount"], int)


def test_the_game_is_told_to_play_smacs_script_and_takes_any_action_then(fake_package):
    env = _make("3m", heuristic_ai=True)
    asked = FakeGame.made[0]
    assert (asked["heuristic_ai"], asked["heuristic_rest"]) == (True, False)
    env.reset()
    env.step([8, 0, 1])
    assert env.game.steps == [[8, 0, 1]]
    with pytest.raises(ActionError, match="agent 1: action 9 is not available"):
        env.step([1, 9, 1])
    _make("3m")
    assert FakeGame.made[1]["heuristic_ai"] is False


def test_smacs_script_asks_our_interface_what_agents_may_do_where_its_ranges_are_others(fake_package):
    env = _make("bane_vs_hM", heuristic_ai=True, heuristic_rest=True)
    env.reset()
    for _ in range(4):
        assert [env.game.get_avail_agent_actions(i) for i in range(3)] == env.get_avail_actions()
        env.step([0, 0, 0])
    assert env.game.steps == [[0, 0, 0]] * 4
    assert _make("3m", heuristic_ai=True, heuristic_rest=True).game.get_avail_agent_actions(0)[1:3] == [1, 1]


def test_the_comm_maps_are_read_through_our_interface(fake_package):
    env = _make("bane_vs_hM")
    assert fake_package.map_param_registry["bane_vs_hM"]["n_agents"] == 3
    assert fake_package.bane_vs_hM.filename == "bane_vs_hM"
    settings = env.settings
    oracle = Oracle(
        "bane_vs_hM", "smac_comm", {key: getattr(settings, key) for key in Sc2Settings.__dataclass_fields__}
    )
    oracle.max_reward = 450
    env.reset()
    for step in range(5):
        units = as_units(env.game.rows, 3)
        np.testing.assert_array_equal(env.get_state(), oracle.state(*units, [-1] * 3, step))
        np.testing.assert_array_equal(env.get_obs(), oracle.obs(*units, [0, 1, 2], [-1] * 3, step))
        actions = [int(np.flatnonzero(row)[-1]) for row in env.get_avail_actions()]
        assert env.get_avail_actions() == [oracle.available(*units, i) for i in range(3)]
        _, reward, _, _, info = env.step(actions)
        after = as_units(env.game.rows, 3)
        assert env.game.steps[-1] == actions
        assert info["battle_won"] == (oracle.end(*after) == 1)
        if step == 0:  # later the stand-in's dead come back to life
            assert reward == pytest.approx(oracle.reward(units, after))


@pytest.mark.parametrize("map_name", ["3m", "bane_vs_hM"])
def test_dead_agents_are_told_as_the_embedded_engine_tells_them(fake_package, map_name):
    from runners.adapters import OneEnv

    env = OneEnv(_make(map_name))
    assert env.has_alive
    seen = []
    for _ in range(12):
        env.reset()
        actions = [int(np.flatnonzero(row)[-1]) for row in env.avail_BNA[0]]
        alive_N = env.step(np.array([actions])).alive_BN[0].tolist()
        game = env.env.game
        assert alive_N == [game.agents[i].health > 0 for i in range(3)]
        seen += alive_N
    assert set(seen) == {True, False}


def test_the_games_observations_are_read_once_after_a_reset_and_once_a_step(fake_package):
    from runners.adapters import OneEnv

    env = OneEnv(_make("3m"))
    game = env.env.game
    for n_readings in (1, 4):
        env.reset()
        assert game.n_readings == n_readings
        for step in (1, 2):
            env.step(np.array([[1, 2, 1]]))
            assert game.n_readings == n_readings + step
