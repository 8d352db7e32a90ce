"""Plays the networks of a recorded run in tests and draws every step: places, attacks and messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from drawing import draw
from envs.batched import BatchedEnv, StepResult
from envs.scene import Scene
from epymarl_lmac.errors import CheckpointError, SettingsError
from epymarl_lmac.record.files import whole_file
from epymarl_lmac.record.provenance import read_run
from evaluation import experiment_of
from run import Experiment

if TYPE_CHECKING:
    from controllers.sequence_controller import SequenceMac

ANIMATED, STILL = ".gif", ".png"


@dataclass(frozen=True)
class Request:
    """What is played and drawn."""

    folder: Path  # of the run
    out: Path  # .gif for all steps, .png for one of them
    episodes: int = 3
    checkpoint: int | None = None  # saved step; None: the last
    frame_ms: int = 250  # milliseconds a step is shown
    size: int = 480  # pixels of the longer side
    still: int | None = None  # step of the first episode in a .png; None: the one with the most attacks


class Frame(NamedTuple):
    """One moment: what there is, and what was said before the agents acted on it."""

    scene: Scene | None
    bits_NS: np.ndarray | None  # receiver by sender; None after an episode's last action, or where nothing is sent
    episode: int
    step: int


class Watched:
    """One copy of an environment that remembers every moment; everything else passes through.

    Args:
        env: the environment.
        mac: the controller that plays it.
    """

    def __init__(self, env: BatchedEnv, mac: SequenceMac) -> None:
        self._env, self._mac = env, mac
        self.frames: list[Frame] = []
        self._scene: Scene | None = None
        self._episode, self._step = -1, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def _look(self) -> Scene | None:
        return self._env.scene(0)

    def _said(self) -> np.ndarray | None:
        """Returns the bits of this step's messages, (N, S), and counts from anew."""
        comm = self._mac.comm
        if comm is None:
            return None
        floats = comm.link.take_costs().get("floats")
        return None if floats is None else floats.numpy() * comm.link.bits_per_float

    def reset(self) -> None:
        """Starts an episode."""
        self._env.reset()
        self._said()
        self._episode, self._step, self._scene = self._episode + 1, 0, self._look()

    def step(self, actions_BN: np.ndarray) -> StepResult:
        """Plays a step and remembers the moment before it, with the messages sent in it."""
        self.frames.append(Frame(self._scene, self._said(), self._episode, self._step))
        result = self._env.step(actions_BN)
        self._step, self._scene = self._step + 1, self._look()
        if bool((result.terminated_B | result.truncated_B)[0]):
            self.frames.append(Frame(self._scene, None, self._episode, self._step))
        return result


def play_run(request: Request) -> Iterator[str]:
    """Plays a run, writes the picture, and yields a line an episode and one about the picture.

    Raises:
        CheckpointError: no such run, or no networks of that step.
        SettingsError: a file name that is neither a .gif nor a .png, or a still step that was not played.
    """
    if request.out.suffix not in (ANIMATED, STILL):
        raise SettingsError(f"--out {request.out} must end in {ANIMATED} or {STILL}.", "--out")
    if not request.folder.is_dir():
        raise CheckpointError(f"{request.folder} is no folder; give the folder of a run.")
    experiment, t_env = experiment_of(request.folder, read_run(request.folder), 1, request.checkpoint)
    watched: list[Watched] = []
    try:
        with torch.random.fork_rng(), torch.no_grad():
            outcomes = experiment.runner.watch(lambda env: _watch(env, experiment, watched), request.episodes)
            for number, outcome in enumerate(outcomes):
                yield (
                    f"episode {number}: return {outcome.return_B[0]:.3f} after {outcome.length_B[0]} steps "
                    f"(networks of step {t_env:,})"
                )
    finally:
        experiment.runner.close_env()
    frames = watched[0].frames
    chosen = frames if request.out.suffix == ANIMATED else [_still(frames, request.still)]
    _write(request, chosen, _widest(frames), experiment)
    places = "places, attacks and messages" if frames[0].scene is not None else "messages (it has no places to draw)"
    yield f"picture: {request.out} ({len(chosen)} {'frame' if len(chosen) == 1 else 'frames'}, {places})"


def _watch(env: BatchedEnv, experiment: Experiment, watched: list[Watched]) -> Watched:
    watched.append(Watched(env, experiment.mac))
    return watched[-1]


def _widest(frames: list[Frame]) -> float:
    """Returns the most bits that a pair told each other at a step."""
    return max((float(frame.bits_NS.max()) for frame in frames if frame.bits_NS is not None), default=0.0)


def _still(frames: list[Frame], step: int | None) -> Frame:
    """Returns the frame of a .png."""
    first = [frame for frame in frames if frame.episode == 0]
    if step is None:
        said = [frame for frame in first if frame.bits_NS is not None] or first
        return max(said, key=lambda frame: len(frame.scene.attacks) if frame.scene else 0)
    for frame in first:
        if frame.step == step:
            return frame
    raise SettingsError(f"--still {step} was not played; the first episode has steps 0 to {first[-1].step}.", "--still")


def _write(request: Request, frames: list[Frame], widest: float, experiment: Experiment) -> None:
    n_agents, name = experiment.args.n_agents, experiment.args.name
    pictures: list[Image.Image] = [
        draw(frame.scene, frame.bits_NS, n_agents, widest, f"{name}, episode {frame.episode}", request.size)
        for frame in frames
    ]
    with whole_file(request.out) as file:
        if request.out.suffix == STILL:
            pictures[0].save(file, format="PNG", optimize=True)
            return
        small = [picture.quantize(64) for picture in pictures]
        small[0].save(
            file, format="GIF", save_all=True, append_images=small[1:], duration=request.frame_ms, loop=0, optimize=True
        )
