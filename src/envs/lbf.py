"""Level-based foraging for many copies at once: rules "published" and "v3", grid and vector observations.

Players with levels walk on a grid and load foods together: a food goes when the levels of the players loading
it sum to at least its own. The rules are those of the ``lbforaging`` package (version 2.0.0 is "v3";
"published" is the older version that communication papers report on); the tests compare both step by step.
The loops are in ``lbf_kernels.py``, the meaning of the settings in ``epymarl_lmac/tasks/lbf_settings.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs import lbf_kernels as kernels
from envs import lbf_render
from envs.batched import BatchedEnv, StepResult
from envs.random_streams import streams
from envs.saved_arrays import restore, saved
from envs.scene import AGENT, THING, Body, Scene
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.lbf_settings import ACTIONS, LbfSettings

RULES_VERSION = {"published": "lbf published", "v3": "lbf v3 (lbforaging 2.0.0)"}


class LbfEnv(BatchedEnv):
    """B copies of level-based foraging.

    Args:
        num_envs: number B of copies.
        seed: root of the copies' random streams; copy b's stream depends on (seed, b) only, not on B.
        rules: "published" or "v3".
        players: number N of players.
        max_player_level: highest level; exclusive with "published", inclusive (one integer or one a player)
            with "v3".
        field_size: side of the field, or [rows, columns].
        max_food: foods of an episode; fewer if the game's placing draws find no room.
        sight: cells seen in every direction, at most the longer side of the field.
        max_episode_steps: time limit in steps.
        force_coop: every food gets the highest level, so that several players are needed.
        normalize_reward: divide rewards so that an episode's sum over players is at most 1.
        grid_observation: True for windows of layers, False for lists of coordinates.
        time_limit_terminates: report the time limit as a termination (True) or a truncation (False).
        min_player_level: lowest level, one integer or one a player (v3 only).
        min_food_level: lowest food level, one integer or one a food (v3 only).
        max_food_level: highest food level, one integer or one a food; None: the sum of the three lowest
            player levels (v3 only).
        penalty: reward lost by each player of a failed load (v3 only).
        observe_agent_levels: False hides player levels behind ones (v3 only).

    Raises:
        TaskError: the settings describe no playable game.
    """

    def __init__(
        self,
        num_envs: int,
        seed: int,
        *,
        rules: str,
        players: int,
        max_player_level: int | Sequence[int],
        field_size: int | Sequence[int],
        max_food: int,
        sight: int,
        max_episode_steps: int,
        force_coop: bool,
        normalize_reward: bool,
        grid_observation: bool,
        time_limit_terminates: bool,
        min_player_level: int | Sequence[int],
        min_food_level: int | Sequence[int],
        max_food_level: int | Sequence[int] | None,
        penalty: float,
        observe_agent_levels: bool,
    ) -> None:
        env_args = {key: value for key, value in locals().items() if key not in ("self", "num_envs", "seed")}
        env_args.pop("__class__", None)
        if num_envs < 1:
            raise TaskError(f"lbf: num_envs={num_envs} copies is not possible; it must be at least 1.")
        self.settings = settings = LbfSettings.from_env_args(env_args)
        self.num_envs = num_envs
        self.n_agents = settings.players
        self.n_actions = len(ACTIONS)
        self.episode_limit = settings.max_episode_steps
        self.obs_dim = settings.obs_dim
        self.state_dim = settings.state_dim

        rows, cols = settings.field_size
        self._low_N = np.array(settings.player_low, np.int64)
        self._high_N = np.array(settings.player_high, np.int64)
        self._low_F = np.array(settings.food_low, np.int64)
        self._high_F = np.array(settings.food_high or (0,) * settings.max_food, np.int64)  # 0: the players' cap
        self._cap_exclusive = settings.rules == "published"

        self._rng_B4 = streams(seed, num_envs)
        self._field_BRC = np.zeros((num_envs, rows, cols), np.int32)
        self._pos_BN2 = np.zeros((num_envs, self.n_agents, 2), np.int32)
        self._level_BN = np.zeros((num_envs, self.n_agents), np.int32)
        self._clock_B = np.zeros(num_envs, np.int32)
        self._foods_B2 = np.zeros((num_envs, 2), np.int32)
        self._total_B = np.zeros(num_envs, np.int32)
        self._live_B = np.zeros(num_envs, np.bool_)

        self._layers_B3PQ = np.zeros((num_envs, 3, *settings.padded_size), np.float32)
        self.state_BS = self._layers_B3PQ.reshape(num_envs, self.state_dim)
        self.obs_BNO = np.zeros((num_envs, self.n_agents, self.obs_dim), np.float32)
        self.avail_BNA = np.ones((num_envs, self.n_agents, self.n_actions), np.uint8)
        self.player_reward_BN = np.zeros((num_envs, self.n_agents), np.float64)  # of the last step
        self.reset()

    @property
    def rules(self) -> str:
        return RULES_VERSION[self.settings.rules]

    def reset(self, which_B: np.ndarray | None = None) -> None:
        """Starts a new episode in every copy, or only in those that ``which_B`` (bool (B,)) names."""
        s = self.settings
        if which_B is None:
            which_B = np.ones(self.num_envs, np.bool_)
        elif which_B.shape != (self.num_envs,) or which_B.dtype != np.bool_:
            raise ValueError(
                f"lbf: reset got {which_B.dtype} {which_B.shape}; expected one bool for each of {self.num_envs} copies."
            )
        kernels.reset_copies(
            which_B, self._rng_B4, self._field_BRC, self._pos_BN2, self._level_BN, self._clock_B,
            self._foods_B2, self._total_B, self._live_B, self._layers_B3PQ, self.obs_BNO,
            self._low_N, self._high_N, self._low_F, self._high_F,
            s.sight, s.force_coop, self._cap_exclusive, s.observe_agent_levels, s.grid_observation,
        )  # fmt: skip

    def step(self, actions_BN: np.ndarray) -> StepResult:
        """Moves every copy that has not ended by one step.

        Args:
            actions_BN: integer (B, N), 0 none, 1 north, 2 south, 3 west, 4 east, 5 load. One that is not
                possible acts as none.

        Returns:
            The step's result; ``info["foods_eaten"]`` is the share of the episode's foods eaten so far.

        Raises:
            ValueError: wrong shape, or an action outside 0..5. Nothing has changed then.
        """
        actions_BN = np.ascontiguousarray(actions_BN, np.int64)
        if actions_BN.shape != (self.num_envs, self.n_agents):
            raise ValueError(
                f"lbf: actions have shape {actions_BN.shape}; expected "
                f"{(self.num_envs, self.n_agents)} (copies, agents)."
            )
        s = self.settings
        reward_B = np.empty(self.num_envs, np.float32)
        end_2B = np.empty((2, self.num_envs), np.bool_)
        is_stepped = kernels.step_copies(
            actions_BN, self._field_BRC, self._pos_BN2, self._level_BN, self._clock_B, self._foods_B2,
            self._total_B, self._live_B, self._layers_B3PQ, self.obs_BNO, self.player_reward_BN,
            reward_B, end_2B, s.max_episode_steps, s.max_food, s.sight, s.normalize_reward, s.penalty,
            s.time_limit_terminates, s.observe_agent_levels, s.grid_observation,
        )  # fmt: skip
        if not is_stepped:
            raise ValueError(
                f"lbf: actions range over {actions_BN.min()}..{actions_BN.max()}; expected 0..{self.n_actions - 1}."
            )
        return StepResult(reward_B, end_2B[0], end_2B[1], {"foods_eaten": self._share_eaten_B()})

    def _share_eaten_B(self) -> np.ndarray:
        """Share of the episode's foods eaten so far, float32 (B,); 0 where none could be placed."""
        placed_B, left_B = self._foods_B2[:, 0], self._foods_B2[:, 1]
        return ((placed_B - left_B) / np.maximum(placed_B, 1)).astype(np.float32)

    def _dynamic_arrays(self) -> dict[str, np.ndarray]:
        """Everything that later steps depend on; the layers and observations follow from it."""
        return {
            "rng_B4": self._rng_B4,
            "field_BRC": self._field_BRC,
            "pos_BN2": self._pos_BN2,
            "level_BN": self._level_BN,
            "clock_B": self._clock_B,
            "foods_B2": self._foods_B2,
            "total_B": self._total_B,
            "live_B": self._live_B,
        }

    def state_dict(self) -> dict[str, np.ndarray]:
        return saved(self._dynamic_arrays())

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restores what ``state_dict`` returned.

        Raises:
            ValueError: a name, shape or type differs; nothing has changed then.
        """
        restore("lbf", self._dynamic_arrays(), state)
        self._redraw()

    def _redraw(self) -> None:
        """Draws layers and observations of every copy from the positions and the field."""
        s = self.settings
        for b in range(self.num_envs):
            field_RC, pos_N2, level_N = self._field_BRC[b], self._pos_BN2[b], self._level_BN[b]
            layers_3PQ, obs_NO = self._layers_B3PQ[b], self.obs_BNO[b]
            kernels.draw_layers(field_RC, pos_N2, level_N, layers_3PQ, s.sight, s.observe_agent_levels)
            if s.grid_observation:
                kernels.observe_grid(pos_N2, layers_3PQ, obs_NO, s.sight)
            else:
                kernels.observe_vector(field_RC, pos_N2, level_N, obs_NO, s.max_food, s.sight, s.observe_agent_levels)

    def scene(self, copy: int = 0) -> Scene:
        """Returns one field: players and foods with their levels."""
        field_RC = self._field_BRC[copy]
        rows, cols = field_RC.shape
        players = [
            Body(float(c) + 0.5, rows - float(r) - 0.5, 0.34, AGENT, str(level))
            for (r, c), level in zip(self._pos_BN2[copy].tolist(), self._level_BN[copy].tolist(), strict=True)
        ]
        foods = [
            Body(float(c) + 0.5, rows - float(r) - 0.5, 0.28, THING, str(field_RC[r, c]))
            for r, c in np.argwhere(field_RC)
        ]
        caption = f"step {self._clock_B[copy]} of {self.episode_limit}"
        return Scene(
            cols, rows, players + foods, self.n_agents, sight=self.settings.sight + 0.5, grid=True, caption=caption
        )

    def render(self, copy: int = 0, mode: str = "text") -> Any:
        """Returns one copy as text (``mode="text"``) or as a uint8 (H, W, 3) frame (``mode="rgb"``).

        Raises:
            ValueError: an unknown mode or copy.
        """
        if not 0 <= copy < self.num_envs:
            raise ValueError(f"lbf: copy {copy} does not exist; there are copies 0..{self.num_envs - 1}.")
        drawers = {"text": lbf_render.as_text, "rgb": lbf_render.as_rgb}
        if mode not in drawers:
            raise ValueError(f"lbf: render mode {mode!r} is not known; choose one of {sorted(drawers)}.")
        draw: Any = drawers[mode]
        caption = f"step {self._clock_B[copy]}/{self.episode_limit}"
        return draw(self._field_BRC[copy], self._pos_BN2[copy], self._level_BN[copy], caption)
