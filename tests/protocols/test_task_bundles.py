"""What the bundles of grid tasks and engines tell, and that a team which obeys them reaches the known optimum."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from shipped import TASKS, load

from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks.entry import resolve
from epymarl_lmac.paths import make_host_importable

make_host_importable()
STAY, LEFT = 0, 1  # hallway


def heard(bundle, obs, k=0):
    """Returns what everybody hears of observations (B, N, O), with neither last actions nor ids in x."""
    x = torch.zeros(*obs.shape[:-1], bundle.programs[k].spec.x_dim)
    x[..., : obs.shape[-1]] = obs
    return bundle.programs[k].message(x)


def play(name, act, num_envs=256):
    """Plays one episode of every copy; ``act`` maps what is heard to actions. Returns env, last info, returns (B,)."""
    from envs import ENTRIES

    env_name, updates = TASKS[name]
    values = merge("lmac_qmix", env_name, updates)
    env = resolve(ENTRIES[env_name].batched)(num_envs, 1, **values["env_args"])
    bundle, _ = load(name)
    returns = 0.0
    for _ in range(env.episode_limit):
        result = env.step(act(heard(bundle, torch.from_numpy(env.obs_BNO.copy()))).numpy())
        returns = returns + result.reward_B
    return env, result.info, returns


def walk_without_time_to_spare(column):
    """Returns a team that goes left as soon as the number in a column is 0 and waits before."""
    return lambda said: torch.where(said[..., column] < 0.5, LEFT, STAY)


@pytest.mark.parametrize("name", ["hallway/6x6", "hallway/6x6-random-slack0"])
def test_hallway_team_that_waits_as_long_as_it_is_told_always_wins(name):
    _, info, returns = play(name, walk_without_time_to_spare(1))
    assert info["success"].all() and (returns == 1).all()


def test_hallway_groups_that_wait_as_long_as_told_win_unless_their_ways_are_equally_long():
    env, info, _ = play("hallway_group/3x5-4x6x10-random-slack0", walk_without_time_to_spare(2))
    lengths = env.state_dict()["length_BN"]
    differ = lengths[:, :2].max(1) != lengths[:, 2:].max(1)
    assert differ.any() and not differ.all()
    assert (info["groups_won"][differ] == 2).all() and (info["groups_won"][~differ] == 0).all()


def test_hallway_group_is_told_of_a_clash_before_it_happens():
    bundle, _ = load("hallway_group/3x5-4x6x10")
    cells = torch.tensor([[2.0, 3.0, 1.0, 3.0, 2.0]])
    said = heard(bundle, torch.stack([cells, torch.ones_like(cells)], dim=-1))[0]
    assert said[0].tolist() == [3, 3, 1, 1, 1] and said[3].tolist() == [3, 3, 0, 1, 1]


def test_traffic_junction_is_never_crashed_in_by_cars_that_wait_when_told():
    _, info, _ = play("traffic_junction/easy-v0", lambda said: (said[..., -1] > 0.5).long())
    assert info["success"].mean() == 1.0


def one_cell(cell, prey=False):
    """Returns the observation of a predator in a cell of the 5x5 grid."""
    obs = torch.zeros(29)
    obs[cell], obs[28], obs[27] = 1, 1, float(prey)
    return obs


def test_predators_hear_the_way_to_a_found_prey_and_to_each_other():
    bundle, _ = load("predator_prey/5x5-3p-v0")
    said = heard(bundle, torch.stack([one_cell(0), one_cell(7, prey=True), one_cell(24)])[None])[0]
    assert said[0].tolist() == pytest.approx([1, 0.25, 0.5, 0.25, 0.5, 1, 1])  # agent 0: prey, agent 1, agent 2
    assert said[2, :3].tolist() == pytest.approx([1, -0.75, -0.5])
    nobody = heard(bundle, torch.stack([one_cell(0), one_cell(7), one_cell(24)])[None])[0]
    assert (nobody[:, :3] == 0).all()


def test_predators_share_a_map_of_where_the_prey_can_still_be():
    bundle, _ = load("predator_prey/5x5-3p-v0")
    spec = bundle.programs[1].spec
    past = torch.full((1, spec.history, 3, spec.x_dim), -1.0)
    for t, cells in ((-2, (0, 1, 2)), (-1, (5, 1, 3))):
        past[0, t] = 0
        past[0, t, :, :29] = torch.stack([one_cell(cell) for cell in cells])
    chance = bundle.programs[1].message(past)[0]
    visited = torch.tensor([cell in (0, 1, 2, 3, 5) for cell in range(25)])
    torch.testing.assert_close(chance, torch.where(visited, 0.0, 1 / 20).expand(3, 25))
    past[0, -1, 0, 27] = 1  # agent 0 finds it in cell 5
    assert bundle.programs[1].message(past)[0].tolist() == [torch.eye(25)[5].tolist()] * 3


def particle_world(name):
    """Returns what everybody hears in a new episode of a particle task, and the engine's world."""
    from importlib import import_module

    env = import_module(f"mpe2.{name}").parallel_env()
    found, _ = env.reset(seed=3)
    bundle, card = load(f"pettingzoo/{name}-25t")
    obs = torch.zeros(1, card.n_agents, len(card.obs))
    for n, own in enumerate(found.values()):
        obs[0, n, : len(own)] = torch.from_numpy(own)
    return heard(bundle, obs)[0], env.unwrapped.world


def way(agent, landmark):
    return torch.tensor(landmark.state.p_pos - agent.state.p_pos, dtype=torch.float32)


def test_listener_hears_the_way_to_its_goal():
    said, world = particle_world("simple_speaker_listener_v4")
    speaker, listener = world.agents
    torch.testing.assert_close(said[1, :2], way(listener, speaker.goal_b))


def test_each_agent_of_simple_reference_hears_the_way_to_its_own_goal():
    said, world = particle_world("simple_reference_v3")
    for n, agent in enumerate(world.agents):  # agent.goal_b is where agent.goal_a must go
        torch.testing.assert_close(said[1 - n, :2], way(agent.goal_a, agent.goal_b))


def test_agents_of_simple_spread_share_the_landmarks_along_the_shortest_ways():
    said, world = particle_world("simple_spread_v3")
    far = [[float(way(agent, landmark).norm()) for landmark in world.landmarks] for agent in world.agents]
    best = min(permutations(range(3)), key=lambda shared: sum(far[n][shared[n]] for n in range(3)))
    for n, agent in enumerate(world.agents):
        torch.testing.assert_close(said[n, :2], way(agent, world.landmarks[best[n]]))
        assert said[n, 2:5].tolist() == torch.eye(3)[best[n]].tolist()


def test_forager_hears_its_teammates_food_in_its_own_frame_if_they_see_each_other():
    bundle, _ = load("gymma/Foraging-2s-8x8-2p-2f-coop-v3-50t")
    nothing = [-1.0, -1.0, 0.0]
    agent_0 = [*nothing, *nothing, 2, 2, 1, 3, 4, 2]  # its teammate is 1 row down and 2 columns right
    agent_1 = [3, 2, 3, *nothing, 2, 2, 2, 1, 0, 1]  # and sees a food of level 3 one row down
    said = heard(bundle, torch.tensor([[agent_0, agent_1]], dtype=torch.float32))[0]
    assert said[0].tolist() == [1, 2, 2, 2, 3, 0, 2, 0, 2, 0]
    apart = torch.tensor([[[*agent_0[:9], *nothing], [*agent_1[:9], *nothing]]], dtype=torch.float32)
    assert heard(bundle, apart)[0, 0].tolist() == [0, 2, 2, 2, 3, 0, 1, 0, 0, 0]


def test_robot_hears_where_its_teammate_sees_a_requested_shelf():
    bundle, _ = load("gymma/rware-tiny-2ag-v2-500t")
    obs = torch.zeros(1, 2, 71)
    obs[0, 0, :2], obs[0, 1, :3] = torch.tensor([1.0, 5.0]), torch.tensor([4.0, 3.0, 1.0])
    obs[0, 1, 8 + 7 * 6 + 6] = 1  # in the cell to the lower left of agent 1
    said = heard(bundle, obs)[0]
    assert said[0].tolist() == [3, -2, 1, 0, 0, 0, 0, 0, 1, 2, -1]
    assert (said[1, -3:] == 0).all()


def test_units_of_smaclite_agree_on_the_weakest_enemy_that_most_can_attack():
    bundle, _ = load("smaclite/2s3z-150t")
    obs = torch.zeros(1, 5, 80)
    for unit, enemy, health in ((0, 1, 0.5), (1, 1, 0.5), (2, 3, 0.2), (3, 4, 0.9), (4, 4, 0.9)):
        obs[0, unit, 4 + 8 * enemy], obs[0, unit, 4 + 8 * enemy + 4] = 1, health
    said = heard(bundle, obs)[0]
    assert said[0, 20:].tolist() == [0, 1, 0, 0, 0] and torch.equal(said[0], said[4])
