"""The bundles that ship: they fit their tasks, and say what their texts promise."""

import pytest
import torch

from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol import Bundle
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import task_card
from protocol_gen.build import schema_of

TASKS = {
    "lookout/3a-4k": ("lookout", []),
    "lbf/8x8-2p-2f-s1-coop": ("lbf", []),
    "lbf/11x11-6p-4f-s1-coop": (
        "lbf",
        ["env_args.players=6", "env_args.max_food=4", "env_args.field_size=11"],
    ),
}


def load(name):
    env, updates = TASKS[name]
    values = merge("lmac_qmix", env, updates)
    card = task_card(env, values["env_args"])
    return Bundle.load(protocols_root() / name / "default", schema_of(card, True, True)), card


def test_every_shipped_bundle_is_tested_here():
    shipped = {path.parent.parent.relative_to(protocols_root()).as_posix() for path in protocols_root().glob("*/*/*/manifest.yaml")}
    assert shipped == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_bundle_fits_its_task(name):
    bundle, card = load(name)
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


@pytest.mark.parametrize(("name", "size", "agents"), [("lbf/8x8-2p-2f-s1-coop", 8, 2), ("lbf/11x11-6p-4f-s1-coop", 11, 6)])
def test_lbf_tells_where_an_agent_beside_a_border_stands(name, size, agents):
    bundle, _ = load(name)
    x = scene(0, 3, size, size, agents).unsqueeze(0)
    said = bundle.programs[1].message(x)[0, 0].view(agents, 2, size)
    assert torch.equal(said[0, 0], torch.eye(size)[0])  # row 0 for certain
    inner = torch.zeros(size)
    inner[1:-1] = 1 / (size - 2)
    torch.testing.assert_close(said[0, 1], inner)  # some interior column


def test_lbf_counts_moves_since_the_border_was_seen():
    size, agents = 8, 2
    bundle, _ = load("lbf/8x8-2p-2f-s1-coop")
    steps = []
    for t, row in enumerate((0, 1, 2)):  # south twice from the north border
        x = scene(row, 3, size, size, agents)
        if t:
            x[:, 27 + 2] = 1.0
        steps.append(x)
    before = torch.full((7, agents, x.shape[-1]), -1.0)
    history = torch.cat([before, torch.stack(steps)]).unsqueeze(0)
    said = bundle.programs[2].message(history)[0, 0]
    rows = said[: agents * 2 * size].view(agents, 2, size)[:, 0]
    assert torch.equal(rows, torch.eye(size)[2].expand(agents, size))


def test_lbf_lays_a_seen_food_onto_the_field():
    size, agents = 8, 2
    bundle, _ = load("lbf/8x8-2p-2f-s1-coop")
    x = scene(0, 0, size, size, agents)
    x[0, 9 + 8] = 2.0  # agent 0, in the corner, sees a food of level 2 to its south-east
    x[0, 18 + 8] = 0.0
    history = torch.full((1, 10, agents, x.shape[-1]), -1.0)
    history[0, -1] = x
    food_map = bundle.programs[2].message(history)[0, 0, agents * 2 * size :].view(size, size)
    expected = torch.zeros(size, size)
    expected[1, 1] = 2.0
    torch.testing.assert_close(food_map, expected)
