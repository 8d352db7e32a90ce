"""``epymarl-lmac play``: every step of a recorded run as a picture, with messages as arrows."""

import dataclasses

import numpy as np
import pytest
from host_runs import command, host
from PIL import Image

import drawing
from envs.scene import AGENT, OTHER, Body, Scene

SMALL = ["hidden_dim=8", "batch_size=4", "batch_size_run=4", "test_nepisode=4", "t_max=60", "use_cuda=False"]


def trained(folder, alg, env, *updates):
    flags = ["--no-sacred", f"--config={alg}", f"--env-config={env}"]
    done = host([*flags, "with", *SMALL, *updates, f"local_results_path={folder}"])
    assert done.returncode == 0, done.stderr
    return next(folder.glob(f"{alg}_*"))


@pytest.fixture(scope="module")
def battle_run(tmp_path_factory):
    updates = ["env_args.map_name=3m", "env_args.engine=embedded"]
    return trained(tmp_path_factory.mktemp("runs"), "fullcomm", "sc2", *updates)


@pytest.fixture(scope="module")
def lookout_run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"), "qmix", "lookout")


def play(*argv):
    return command("play", *argv)


def test_a_gif_has_a_frame_for_every_moment(battle_run, tmp_path):
    out = tmp_path / "battle.gif"
    done = play(battle_run, "--out", out, "--episodes", 2, "--size", 200)
    assert done.returncode == 0, done.stderr
    steps = [int(line.split(" after ")[1].split()[0]) for line in done.stdout.splitlines() if " after " in line]
    with Image.open(out) as picture:
        assert picture.n_frames == sum(steps) + len(steps)
    assert len(steps) == 2 and "places, attacks and messages" in done.stdout


def test_a_png_shows_the_step_that_was_asked_for(battle_run, tmp_path):
    pictures = []
    for step in (0, 3):
        out = tmp_path / f"{step}.png"
        assert play(battle_run, "--out", out, "--episodes", 1, "--still", step).returncode == 0
        pictures.append(np.asarray(Image.open(out)))
    assert not np.array_equal(*pictures)


def test_an_environment_without_places_is_drawn_as_a_ring(lookout_run, tmp_path):
    done = play(lookout_run, "--out", tmp_path / "ring.png", "--episodes", 1)
    assert done.returncode == 0 and "it has no places to draw" in done.stdout
    assert Image.open(tmp_path / "ring.png").size == (480, 480 + drawing.CAPTION)


def test_bad_input_is_named(lookout_run, tmp_path):
    assert "must end in .gif or .png" in play(lookout_run, "--out", tmp_path / "a.mp4").stderr
    assert "--still 99 was not played" in play(lookout_run, "--out", tmp_path / "a.png", "--still", 99).stderr
    assert "is no folder" in play(tmp_path / "none", "--out", tmp_path / "a.png").stderr
    assert not list(tmp_path.iterdir())


SCENE = Scene(
    10, 10, [Body(2, 5, 0.4, AGENT), Body(8, 5, 0.4, AGENT), Body(5, 8, 0.4, OTHER, health=0.5)], 2, attacks=[(0, 2)]
)


def coloured(picture, colour):
    """Number of pixels of a colour."""
    return int((np.abs(np.asarray(picture).astype(int) - colour).sum(-1) < 30).sum())


def test_wider_arrows_carry_more_bits():
    def purple(bits):
        return coloured(drawing.draw(SCENE, np.array([[0, bits], [0, 0.0]]), 2, 100.0, "", 300), drawing.MESSAGE)

    assert purple(0) == 0 < purple(10) < purple(50) < purple(100)


def test_agents_opponents_attacks_and_the_dead_are_told_apart():
    picture = drawing.draw(SCENE, None, 2, 0.0, "", 300)
    assert coloured(picture, drawing.COLOURS[AGENT]) > coloured(picture, drawing.COLOURS[OTHER]) > 0
    peaceful = drawing.draw(dataclasses.replace(SCENE, attacks=[]), None, 2, 0.0, "", 300)
    assert not np.array_equal(np.asarray(peaceful), np.asarray(picture))
    dead = Scene(10, 10, [Body(5, 5, 0.4, AGENT, alive=False)], 1)
    assert coloured(drawing.draw(dead, None, 1, 0.0, "", 300), drawing.COLOURS[AGENT]) == 0
