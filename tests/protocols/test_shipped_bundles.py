"""The bundles that ship: they fit their tasks, and say what their texts promise."""

import numpy as np
import pytest
import torch
from shipped import BUNDLES, load

from epymarl_lmac.paths import make_host_importable, protocols_root
from epymarl_lmac.tasks.posterior import posterior_of


def test_every_shipped_bundle_is_tested_here():
    found = [path.parent.relative_to(protocols_root()) for path in protocols_root().glob("*/*/*/manifest.yaml")]
    assert {(path.parent.as_posix(), path.name) for path in found} == set(BUNDLES)


@pytest.mark.parametrize(("name", "which"), BUNDLES)
def test_bundle_fits_its_task(name, which):
    bundle, card = load(name, which)
    assert bundle.manifest["message_dims"] == [p.message_dim for p in bundle.programs]
    assert not any(card.state[i].meaning.startswith("padding") for i in bundle.important_state)
    for text in bundle.texts:
        assert "def message_design_instruction" in text


def test_lookout_tells_everyone_what_the_scout_sees():
    bundle, card = load("lookout/3a-4k")
    x = torch.zeros(1, 3, len(card.x_dims()))
    x[0, 0, 2] = x[0, 0, 4] = 1  # agent 0 is the scout and sees target 2
    assert bundle.programs[0].message(x).tolist() == [[[0, 0, 1, 0]] * 3]
    assert bundle.programs[1].message(x).tolist() == [[[1, 0, 0]] * 3]
    past = torch.full((1, 10, 3, x.shape[-1]), -1.0)
    past[:, -1] = 0  # nothing is seen now ...
    past[:, -2] = x  # ... but a step ago it was
    assert bundle.programs[2].message(past).tolist() == [[[0, 0, 1, 0]] * 3]


def scene(row, col, rows, cols, agents, n_actions=6):
    """Returns x (N, D) of LBF with sight 1 for agents that all see an empty field around (row, col)."""
    x = torch.zeros(agents, 27 + n_actions + agents)
    for i in range(agents):
        x[i, 4] = 1.0  # itself
        for cell in range(9):
            r, c = row + cell // 3 - 1, col + cell % 3 - 1
            inside = 0 <= r < rows and 0 <= c < cols
            x[i, 18 + cell] = float(inside and cell != 4)
        x[i, 27 + n_actions + i] = 1.0
    return x


LBF = [("lbf/8x8-2p-2f-s1-coop", 8, 2), ("lbf/11x11-6p-4f-s1-coop", 11, 6)]
SOUTH = 2  # action


def history_of(steps):
    """Returns (1, 10, N, D): the given steps last, what is before the episode's start before them."""
    before = torch.full((10 - len(steps), *steps[0].shape), -1.0)
    return torch.cat([before, torch.stack(steps)]).unsqueeze(0)


def southwards(rows, size, agents, col=3):
    """Returns the x of all agents going south through rows of a field."""
    steps = []
    for t, row in enumerate(rows):
        x = scene(row, col, size, size, agents)
        if t:
            x[:, 27 + SOUTH] = 1.0
        steps.append(x)
    return steps


def last_words(bundle, history, size, agents):
    """Returns what k = 2 says: middles and half-widths in lines (N, 2, 2), map of agents, map of foods."""
    said = bundle.programs[2].message(history)[0, 0]
    where, agent_map, food_map = said.split([4 * agents, size * size, size * size])
    return where.view(agents, 2, 2) * (size - 1), agent_map.view(size, size), food_map.view(size, size)


@pytest.mark.parametrize(("name", "size", "agents"), LBF)
def test_forwarding_lbf_tells_where_teammates_beside_a_border_stand(name, size, agents):
    bundle, _ = load(name, "forwarding")
    x = scene(0, 3, size, size, agents).unsqueeze(0)
    said = bundle.programs[1].message(x)[0, 0].view(agents - 1, 2, size)
    assert torch.equal(said[0, 0], torch.eye(size)[0])  # row 0 for certain
    inner = torch.zeros(size)
    inner[1:-1] = 1 / (size - 2)
    torch.testing.assert_close(said[0, 1], inner)  # some interior column


@pytest.mark.parametrize(("name", "size", "agents"), LBF)
def test_forwarding_lbf_tells_what_teammates_see_the_next_id_first(name, size, agents):
    bundle, _ = load(name, "forwarding")
    x = torch.zeros(1, agents, 27 + 6 + agents)
    x[0, :, 9] = torch.arange(agents) + 1.0  # the food in the first cell of agent i's window has level i + 1
    said = bundle.programs[0].message(x)[0].view(agents, agents - 1, 33)
    for receiver in range(agents):
        senders = [(receiver + step) % agents for step in range(1, agents)]
        assert said[receiver, :, 0].tolist() == [sender + 1 for sender in senders]


@pytest.mark.parametrize(("name", "size", "agents"), LBF)
def test_forwarding_lbf_counts_moves_since_the_border_was_seen(name, size, agents):
    bundle, _ = load(name, "forwarding")
    where, agent_map, _ = last_words(bundle, history_of(southwards((0, 1, 2), size, agents)), size, agents)
    middle, half = where[:, 0], where[:, 1]
    torch.testing.assert_close(middle[:, 0], torch.full((agents,), 2.0))  # row 2, for certain
    torch.testing.assert_close(half[:, 0], torch.zeros(agents))
    torch.testing.assert_close(half[:, 1], torch.full((agents,), (size - 3) / 2))  # any interior column
    assert agent_map[2].sum().item() == pytest.approx(agents)
    assert agent_map.sum().item() == pytest.approx(agents)


def test_forwarding_lbf_doubts_a_move_that_another_player_may_have_blocked():
    size, agents = 8, 2
    bundle, _ = load("lbf/8x8-2p-2f-s1-coop", "forwarding")
    steps = southwards((0, 1), size, agents)
    steps[0][:, 0] = 1.0  # each saw a player beside it when it chose to go south
    steps[1][:, 18:27] = steps[0][:, 18:27].clone().fill_(1.0)  # no border in sight afterwards
    where, _, _ = last_words(bundle, history_of(steps), size, agents)
    torch.testing.assert_close(where[:, 1, 0], torch.zeros(agents))  # an interior row that one move from row 0 reaches
    torch.testing.assert_close(where[:, 0, 0], torch.ones(agents))
    steps = southwards((3, 4), size, agents)
    for x in steps:
        x[:, 18:27] = 1.0
    steps[0][:, 0] = 1.0
    where, _, _ = last_words(bundle, history_of(steps), size, agents)
    torch.testing.assert_close(where[:, 1, 0], torch.full((agents,), (size - 3) / 2))


@pytest.mark.parametrize(("name", "size", "agents"), LBF)
def test_forwarding_lbf_lays_a_seen_food_onto_the_field_and_forgets_it_once_it_is_gone(name, size, agents):
    bundle, _ = load(name, "forwarding")
    x = scene(0, 0, size, size, agents)
    seeing = x.clone()
    seeing[0, 9 + 8] = 2.0  # agent 0, in the corner, sees a food to its south-east
    seeing[0, 18 + 8] = 0.0
    seeing[1:] = scene(size - 1, size - 1, size, size, agents)[1:]  # the others look elsewhere
    _, _, food_map = last_words(bundle, history_of([seeing]), size, agents)
    expected = torch.zeros(size, size)
    expected[1, 1] = 1.0
    torch.testing.assert_close(food_map, expected)
    gone = seeing.clone()
    gone[0] = x[0]
    _, _, food_map = last_words(bundle, history_of([seeing, seeing, gone, gone]), size, agents)
    assert food_map.abs().max().item() == 0.0


# -- the inferring designs ---------------------------------------------------------------------------------------

FOOD_UNITS = {2: 1.0, 6: 3.0}  # by agents: 8x8 says how likely a food is, 11x11 what level is to be expected


def whole_episode(steps, length=25):
    """Returns (1, length, N, D): the given steps last, what is before the episode's start before them."""
    before = torch.full((length - len(steps), *steps[0].shape), -1.0)
    return torch.cat([before, torch.stack(steps)]).unsqueeze(0)


def inferred(bundle, steps, size, agents):
    """Returns what the last program says: middles and half-widths in lines (N, 2, 2), map of agents, map of foods."""
    said = bundle.programs[-1].message(whole_episode(steps, bundle.history))[0]
    assert torch.equal(said, said[:1].expand_as(said))  # everybody hears the same
    where, agent_map, food_map = said[0].split([4 * agents, size * size, size * size])
    where = torch.stack([where[: 2 * agents].view(agents, 2), where[2 * agents :].view(agents, 2)], dim=1)
    return where * (size - 1), agent_map.view(size, size), food_map.view(size, size) / FOOD_UNITS[agents]


@pytest.mark.parametrize(("name", "size", "agents"), LBF)
def test_inferring_lbf_remembers_a_wall_for_the_whole_episode(name, size, agents):
    bundle, _ = load(name)
    assert bundle.history == 25 and bundle.programs[-1].spec.history == 25
    there_and_back = [0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3]
    steps = southwards(there_and_back, size, agents)
    for t in range(1, len(steps)):
        if there_and_back[t] < there_and_back[t - 1]:
            steps[t][:, 27 + SOUTH], steps[t][:, 27 + 1] = 0.0, 1.0
    _, agent_map, food_map = inferred(bundle, steps, size, agents)
    assert agent_map[3].sum().item() == pytest.approx(agents, abs=1e-4)  # row 3 for certain, 13 steps later
    assert agent_map.sum().item() == pytest.approx(agents, abs=1e-4)
    assert food_map[0].sum() == food_map[:, 0].sum() == 0  # foods never lie on the border


@pytest.mark.parametrize(("name", "size", "agents"), LBF)
def test_inferring_lbf_remembers_a_food_until_it_was_eaten(name, size, agents):
    bundle, _ = load(name)
    empty = scene(0, 0, size, size, agents)
    empty[1:] = scene(size - 1, size - 1, size, size, agents)[1:]
    seeing = empty.clone()
    seeing[0, 9 + 8], seeing[0, 18 + 8] = 2.0, 0.0  # agent 0, in the corner, sees a food to its south-east
    _, _, food_map = inferred(bundle, [seeing], size, agents)
    foods = {2: 2, 6: 4}[agents]
    assert food_map[1, 1].item() == pytest.approx(1.0) and food_map.sum().item() == pytest.approx(foods, abs=1e-3)
    assert food_map[1, 2].item() == food_map[2, 2].item() == food_map[3, 1].item() == 0.0  # too near for another
    _, _, food_map = inferred(bundle, [seeing, seeing, empty], size, agents)
    assert food_map[1, 1].item() == 0.0 and food_map.sum().item() == pytest.approx(foods - 1, abs=1e-3)


def test_inferring_lbf_comes_near_the_best_possible_estimate():
    """On random play the maps have at most 1.05 times the least possible squared error."""
    make_host_importable()
    from envs.lbf import LbfEnv

    bundle, card = load("lbf/8x8-2p-2f-s1-coop")
    posterior = posterior_of("lbf", card.settings)
    least = error = 0.0
    for seed in range(12):
        env, rng = LbfEnv(1, seed, **card.settings), np.random.default_rng(seed)
        obs, actions, states = [env.obs_BNO[0].copy()], [], [env.state_BS[0].copy()]
        for _ in range(24):
            actions.append(rng.integers(6, size=2))
            env.step(actions[-1][None])
            obs.append(env.obs_BNO[0].copy())
            states.append(env.state_BS[0].copy())
        moves = np.eye(6, dtype=np.float32)[np.stack(actions)]
        last = np.concatenate([np.zeros((1, 2, 6), np.float32), moves])
        ids = np.broadcast_to(np.eye(2, dtype=np.float32), (25, 2, 2))
        x = torch.from_numpy(np.concatenate([np.stack(obs), last, ids], axis=-1))
        best = posterior.together(np.stack(obs), np.stack([*actions, np.zeros(2, int)])).mean
        for t in range(0, 25, 4):
            _, agent_map, food_map = inferred(bundle, list(x[: t + 1]), 8, 2)
            truth = states[t].reshape(3, 10, 10)[:2, 1:-1, 1:-1]
            error += np.square(np.stack([agent_map, 2 * food_map]) - truth).sum()
            least += np.square(best[t].reshape(3, 10, 10)[:2, 1:-1, 1:-1] - truth).sum()
    assert error < 1.05 * least
