"""A small sound environment, and one subclass or maker for every promise that can be broken.

The sound one: a walk on a line of four places. Every copy starts at a random place; agents move it left or right; it
ends at place 3 (terminated, reward 1) or after 4 steps (truncated). Agent 1 is dead from step 2 on and can only stay.
"""

import numpy as np

from envs.batched import BatchedEnv, StepResult
from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.tasks import Dimension, Score, TaskCard

LIMIT, N, A = 4, 2, 3
CARD = TaskCard(
    env="walk",
    task="4",
    goal="reach place 3",
    n_agents=N,
    episode_limit=LIMIT,
    actions=("stay", "left", "right"),
    state=(
        Dimension(0, "place", "where it is", 0, 3, "places"),
        Dimension(1, "step", "steps so far", 0, LIMIT, "steps"),
    ),
    obs=(Dimension(0, "place", "where it is", 0, 3, "places"),),
    settings={},
)
SCORE = Score("return_mean", 0, 1, optimum=1)


class Walk(BatchedEnv):
    """The sound environment."""

    rules = "walk 1"
    has_alive = reward_per_agent = True

    def __init__(self, num_envs, seed):
        self.num_envs, self.n_agents, self.n_actions, self.episode_limit = num_envs, N, A, LIMIT
        self.obs_dim, self.state_dim = 1, 2
        self.rng_B = [np.random.default_rng([seed, b]) for b in range(num_envs)]
        self.place_B = np.zeros(num_envs, np.int64)
        self.t_B = np.zeros(num_envs, np.int64)
        self.ended_B = np.ones(num_envs, bool)
        self.obs_BNO = np.zeros((num_envs, N, 1), np.float32)
        self.state_BS = np.zeros((num_envs, 2), np.float32)
        self.avail_BNA = np.ones((num_envs, N, A), np.uint8)
        self.new_places()
        self.show()

    def new_places(self):
        self.place_B = np.array([rng.integers(3) for rng in self.rng_B])

    def reset(self):
        self.new_places()
        self.t_B[:], self.ended_B[:] = 0, False
        self.show()

    def show(self):
        self.obs_BNO[..., 0] = self.place_B[:, None]
        self.state_BS[:, 0], self.state_BS[:, 1] = self.place_B, self.t_B
        self.avail_BNA[:] = 1
        self.avail_BNA[self.t_B >= 2, 1] = (1, 0, 0)

    def move(self, actions_BN):
        return np.clip(self.place_B + (actions_BN == 2).sum(1) - (actions_BN == 1).sum(1), 0, 3)

    def step(self, actions_BN):
        runs_B = ~self.ended_B
        self.place_B = np.where(runs_B, self.move(actions_BN), self.place_B)
        self.t_B += runs_B
        won_B = runs_B & (self.place_B == 3)
        cut_B = runs_B & ~won_B & (self.t_B == LIMIT)
        self.ended_B |= won_B | cut_B
        self.show()
        reward_BN = np.repeat(won_B[:, None] / 2, N, 1).astype(np.float32)
        alive_BN = np.stack([np.ones_like(runs_B), self.t_B < 2], 1)
        return StepResult(
            won_B.astype(np.float32), won_B, cut_B, {"won": won_B.astype(np.float32)}, alive_BN, reward_BN
        )

    def state_dict(self):
        words = []
        for rng in self.rng_B:
            state = rng.bit_generator.state
            parts = [part for n in state["state"].values() for part in (n >> 64, n & (2**64 - 1))]
            words.append([*parts, state["has_uint32"], state["uinteger"]])
        numbers = {"place": self.place_B.copy(), "t": self.t_B.copy(), "ended": self.ended_B.copy()}
        return {"rng": np.array(words, np.uint64), **numbers}

    def load_state_dict(self, state):
        for rng, row in zip(self.rng_B, state["rng"].tolist(), strict=True):
            inner = {"state": row[0] << 64 | row[1], "inc": row[2] << 64 | row[3]}
            words = {"has_uint32": row[4], "uinteger": row[5]}
            rng.bit_generator.state = {"bit_generator": "PCG64", "state": inner, **words}
        self.place_B, self.t_B, self.ended_B = state["place"].copy(), state["t"].copy(), state["ended"].copy()
        self.show()


def changed(**replaced):
    """Returns a subclass whose attributes or methods are replaced."""
    return type("Broken", (Walk,), replaced)


def after_step(change):
    """Returns a subclass whose step's result is changed by ``change(env, result)``."""
    return changed(step=lambda self, actions_BN: change(self, Walk.step(self, actions_BN)))


def after_show(change):
    """Returns a subclass that changes what it shows."""

    def show(self):
        Walk.show(self)
        change(self)

    return changed(show=show)


def _fails_to_start(self, num_envs, seed):
    raise OSError("no licence")


def _reset_without_clock(self):
    self.new_places()
    self.ended_B[:] = False
    self.show()


class LeftClock(Walk):
    """Never ends but by its clock, and forgets to set that back in some copies."""

    forgotten = slice(None)  # these copies

    def reset(self):
        self.new_places()
        self.ended_B[:] = False
        clock_B = self.t_B % LIMIT
        self.t_B[:] = 0
        self.t_B[self.forgotten] = clock_B[self.forgotten]
        self.show()

    def move(self, actions_BN):
        return np.zeros_like(self.place_B)


class KeepsResults(Walk):
    """Returns the same array at every step."""

    def step(self, actions_BN):
        result = Walk.step(self, actions_BN)
        if not hasattr(self, "kept"):
            self.kept = np.zeros(self.num_envs, np.float32)
        self.kept[:] = self.t_B
        return result._replace(info={"clock": self.kept})


class SharedPlaces(Walk):
    """Counts its moves in the class; goes astray when another walk moves in between."""

    n_moves = 0

    def __init__(self, num_envs, seed):
        SharedPlaces.n_moves = self.n_own_moves = 0
        Walk.__init__(self, num_envs, seed)

    def move(self, actions_BN):
        SharedPlaces.n_moves += 1
        self.n_own_moves += 1
        is_astray = SharedPlaces.n_moves != self.n_own_moves
        return np.zeros_like(self.place_B) if is_astray else Walk.move(self, actions_BN)


class Touching(Walk):
    """Copy 1 moves as copy 0 does."""

    def move(self, actions_BN):
        actions_BN = actions_BN.copy()
        actions_BN[1] = actions_BN[0]
        return Walk.move(self, actions_BN)


class AliasedState(Walk):
    """Saves arrays that it goes on to write into."""

    def state_dict(self):
        return {**Walk.state_dict(self), "t": self.t_B}


class ForgetsTheClock(Walk):
    def load_state_dict(self, state):
        Walk.load_state_dict(self, {**state, "t": np.zeros_like(state["t"])})


class ForgetsGenerators(Walk):
    def load_state_dict(self, state):
        fresh = Walk.state_dict(self)
        Walk.load_state_dict(self, {**state, "rng": fresh["rng"]})


class ForgetsToShow(Walk):
    def load_state_dict(self, state):
        Walk.load_state_dict(self, state)
        self.obs_BNO[:] = 9


class OneWalk(MultiAgentEnv):
    """A walk under EPyMARL's interface, sound as it stands."""

    def __init__(self, seed, aliased=False, keys=("won",), seeds_episodes=False, obeys=True):
        self.inner, self.aliased, self.keys = Walk(1, seed), aliased, keys
        self.seeds_episodes, self.obeys = seeds_episodes, obeys
        self.n_agents, self.episode_limit = N, LIMIT

    def reset(self, seed=None, options=None):
        if seed is not None and self.obeys:
            self.inner.rng_B = [np.random.default_rng(seed)]
        self.inner.reset()
        return self.get_obs(), {}

    def step(self, actions):
        result = self.inner.step(np.array([actions]))
        ends = bool(result.terminated_B[0]), bool(result.truncated_B[0])
        info = {key: 1.0 for key in self.keys if key == "won" or ends[0]}
        return self.get_obs(), float(result.reward_B[0]), *ends, info

    def get_obs(self):
        return list(self.inner.obs_BNO[0] if self.aliased else self.inner.obs_BNO[0].copy())

    def get_obs_size(self):
        return 1

    def get_state(self):
        return self.inner.state_BS[0].copy()

    def get_state_size(self):
        return 2

    def get_avail_actions(self):
        return self.inner.avail_BNA[0].tolist()

    def get_total_actions(self):
        return A


class OneWalkWithViews(OneWalk):
    """The same with views, sound unless they are wrong."""

    def __init__(self, seed, wrong=False, **env_args):
        super().__init__(seed, **env_args)
        self.wrong = wrong

    def views(self):
        inner = self.inner
        obs = inner.obs_BNO[0] + 1 if self.wrong else inner.obs_BNO[0]
        return obs, inner.state_BS[0], inner.avail_BNA[0]


def make_one_walk_with_views(*, seed, common_reward, reward_scalarisation, **env_args):
    return OneWalkWithViews(seed, **env_args)


def make_one_walk(*, seed, common_reward, reward_scalarisation, **env_args):
    return OneWalk(seed, **env_args)
