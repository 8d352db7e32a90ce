"""What all runners share: training and test episodes, statistics, logging, state.

A runner differs from another only in the environment it makes; every environment is seen as a ``BatchedEnv``
(``runners/adapters.py``, ``runners/worker_pool.py``) and played by ``runners/rollout.py``.
"""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from components.episode_buffer import EpisodeBatch, Scheme
from components.transforms import Preprocess
from envs.batched import BatchedEnv
from epymarl_lmac.errors import CheckpointError, SettingsError
from epymarl_lmac.seeding import derive_seed
from epymarl_lmac.tasks.env_info import EnvInfo
from runners.rollout import Outcome, rollout

if TYPE_CHECKING:
    from epymarl_lmac.seam import ActingController, Groups, RunLogger, RunnerArgs, StatLogger


class _Statistics:
    """Returns and sums over episodes since they were last logged."""

    def __init__(self) -> None:
        self.returns: list[float] = []
        self.sums: dict[str, float] = {}

    def add(self, outcome: Outcome, n_episodes: int) -> None:
        """Adds the first ``n_episodes`` of a rollout."""
        self.returns.extend(outcome.return_B[:n_episodes].tolist())
        for key, value_B in {**outcome.info, "ep_length": outcome.length_B}.items():
            self.sums[key] = self.sums.get(key, 0.0) + float(value_B[:n_episodes].sum())

    def log(self, logger: StatLogger, prefix: str, t_env: int) -> None:
        """Logs means over the episodes and forgets them."""
        logger.log_stat(f"{prefix}return_mean", float(np.mean(self.returns)), t_env)
        logger.log_stat(f"{prefix}return_std", float(np.std(self.returns)), t_env)
        for key, total in self.sums.items():
            logger.log_stat(f"{prefix}{key}_mean", total / len(self.returns), t_env)
        self.returns, self.sums = [], {}


class Runner(abc.ABC):
    """Plays episodes and counts them.

    Args:
        args: the run's settings: batch_size_run, test_nepisode, runner_log_interval, env, env_args,
            common_reward, reward_scalarisation, seed, render, and ``device`` by the time of ``setup``.
        logger: has ``log_stat(key, value, t_env)`` and ``console_logger``.

    Attributes:
        t_env: training steps so far, summed over copies.
        batch_size: episodes of one training run.
        timers: seconds since construction in the environment and the controller ("inference") while training,
            and in whole test runs ("test").
    """

    name: str  # in the registry of runners
    acting = "main"  # which process chooses the actions of training
    note = ""  # what else to say of how episodes are played
    max_test_copies = 128  # most test episodes of one round; bounds the memory of the test batch

    def __init__(self, args: RunnerArgs, logger: RunLogger) -> None:
        for key in ("batch_size_run", "test_nepisode"):
            if getattr(args, key) < 1:
                raise SettingsError(f"{key}={getattr(args, key)} episodes is not possible; use 1 or more.", key)
        if not args.common_reward:
            raise SettingsError(
                "common_reward=False: the learners here learn from one reward for the team; use common_reward=True. "
                "Rewards of single agents, where an environment has them, come beside it (StepResult.reward_BN).",
                "common_reward",
            )
        self.args = args
        self.logger = logger
        self.batch_size: int = args.batch_size_run
        self.t_env = 0
        self.timers = {"env": 0.0, "inference": 0.0, "test": 0.0}
        self._log_train_stats_t = -args.runner_log_interval - 1  # the first run is logged
        self._train_stats = _Statistics()
        self._test_env: BatchedEnv | None = None
        self._env = self._make_env("train", self.batch_size)

    # -- what a runner defines -----------------------------------------------------------------------------

    @abc.abstractmethod
    def _make_env(self, role: str, n_copies: int) -> BatchedEnv:
        """Makes the environment of a role ("train" or "test"), seeded with ``_env_seed``."""

    def _make_test_env(self, n_copies: int) -> BatchedEnv:
        env = self._make_env("test", n_copies)
        try:
            env.for_tests()
        except BaseException:
            env.close()
            raise
        return env

    # -- EPyMARL's interface -------------------------------------------------------------------------------

    @property
    def rules(self) -> str:
        """Name and version of the environment's rules, for the run record."""
        return self._env.rules

    @property
    def env_info(self) -> EnvInfo:
        """Sizes and facts of the environment."""
        return self._env.describe()

    def get_env_info(self) -> dict[str, int]:
        """Returns the sizes a learner needs, under EPyMARL's names."""
        return self._env.env_info()

    def setup(self, scheme: Scheme, groups: Groups, preprocess: Preprocess, mac: ActingController) -> None:
        """Says how episodes are stored and who acts."""
        self._scheme, self._groups, self._preprocess, self.mac = scheme, groups, preprocess, mac

    def run(self, test_mode: bool = False, epsilon: float | None = None) -> EpisodeBatch:
        """Plays whole episodes.

        Args:
            test_mode: False plays ``batch_size_run`` training episodes and counts their steps. True plays
                ``test_nepisode`` test episodes on another copy of the environment; training is not touched.
            epsilon: exploration of training episodes; None: the schedule's.

        Returns:
            The episodes, all of the training ones or those of the last round of test episodes.
        """
        if test_mode:
            return self._run_tests()
        self.mac.action_selector.fixed_epsilon = epsilon
        try:
            batch, outcome = self._play(self._env, self.batch_size, f"train {self.t_env}", test_mode=False)
        finally:
            self.mac.action_selector.fixed_epsilon = None
        self.timers["env"] += outcome.env_s
        self.timers["inference"] += outcome.inference_s
        self.t_env += int(outcome.length_B.sum())
        self._train_stats.add(outcome, self.batch_size)
        if self.t_env - self._log_train_stats_t >= self.args.runner_log_interval:
            self._train_stats.log(self.logger, "", self.t_env)
            epsilon = getattr(self.mac.action_selector, "epsilon", None)  # not every selector has one
            if epsilon is not None:
                self.logger.log_stat("epsilon", epsilon, self.t_env)
            self._log_train_stats_t = self.t_env
        return batch

    def close_env(self) -> None:
        """Frees the environments. May be called again."""
        for env in (self._env, self._test_env):
            if env is not None:
                env.close()

    # -- episodes ------------------------------------------------------------------------------------------

    def _env_seed(self, role: str, process: int = 0) -> int:
        """Returns the seed of a role's environment in one process."""
        return derive_seed(self.args.seed, f"{role}_env.{process}")

    def _play(self, env: BatchedEnv, n_wanted: int, name: str, test_mode: bool) -> tuple[EpisodeBatch, Outcome]:
        """Plays one round of at least ``n_wanted`` episodes; its name tells it from all others of the run."""
        batch = EpisodeBatch(
            self._scheme,
            self._groups,
            self._round_size(env, n_wanted),
            env.episode_limit + 1,
            preprocess=self._preprocess,
            device=self.args.device,
        )
        return batch, self._rollout(env, batch, name, test_mode)

    def _round_size(self, env: BatchedEnv, n_wanted: int) -> int:
        """Returns how many episodes a round plays that ``n_wanted`` are taken of: here, one in every copy."""
        return env.num_envs

    def _rollout(self, env: BatchedEnv, batch: EpisodeBatch, name: str, test_mode: bool) -> Outcome:
        """Fills a batch with episodes. Here they go on in the copies' own streams, whatever the round's name is."""
        return rollout(env, self.mac, batch, self.t_env, test_mode, self._on_step(test_mode))

    def _on_step(self, test_mode: bool) -> Callable[[], None] | None:
        return self._show if test_mode and self.args.render else None

    def _test_copies(self) -> int:
        """Returns how many test episodes a round has, and how many copies are played at most."""
        n_rounds = math.ceil(self.args.test_nepisode / self.max_test_copies)
        return math.ceil(self.args.test_nepisode / n_rounds)

    def _run_tests(self) -> EpisodeBatch:
        began = time.perf_counter()
        if self._test_env is None:
            self._test_env = self._make_test_env(self._test_copies())
        stats = _Statistics()
        for episodes, outcome, n_counted in self._test_rounds(self._test_env, f"test {self.t_env}"):
            stats.add(outcome, n_counted)
            last = episodes[:n_counted]
        stats.log(self.logger, "test_", self.t_env)
        self.timers["test"] += time.perf_counter() - began
        return last

    def _test_rounds(self, env: BatchedEnv, name: str) -> Iterator[tuple[EpisodeBatch, Outcome, int]]:
        """Plays ``test_nepisode`` episodes; yields every round with how many of its episodes count."""
        n_left = self.args.test_nepisode
        while n_left > 0:
            # Which episodes count in a last, smaller round is settled before they are played: short ones get no larger
            # share.
            n_counted = min(n_left, self._test_copies())
            batch, outcome = self._play(env, n_counted, f"{name}, {n_left} left", test_mode=True)
            yield batch, outcome, n_counted
            n_left -= n_counted

    def evaluate(self, look: Callable[[EpisodeBatch], None] | None = None) -> dict[str, np.ndarray]:
        """Plays ``test_nepisode`` test episodes from the first seed on; the same episodes at every call.

        Args:
            look: sees the counted episodes of every round, (b, T + 1) steps.

        Returns:
            float64, one value an episode: ``return``, ``ep_length`` and what the environment reports at the end.
        """
        env = self._make_test_env(self._test_copies())
        parts: dict[str, list[np.ndarray]] = {}
        try:
            for batch, outcome, n_counted in self._test_rounds(env, "evaluation"):
                if look is not None:
                    look(batch[:n_counted])
                for key, value_B in {"return": outcome.return_B, "ep_length": outcome.length_B, **outcome.info}.items():
                    parts.setdefault(key, []).append(np.asarray(value_B[:n_counted], np.float64))
        finally:
            env.close()
        return {key: np.concatenate(values) for key, values in parts.items()}

    def watch(self, wrap: Callable[[BatchedEnv], Any], episodes: int) -> Iterator[Outcome]:
        """Plays test episodes one at a time, from the first test seed on.

        Args:
            wrap: puts something around the one copy that is played, e.g. what draws its steps.
            episodes: how many.
        """
        env = self._make_test_env(1)
        try:
            wrapped = wrap(env)
            for e in range(episodes):
                yield self._play(wrapped, 1, f"watched {e}", test_mode=True)[1]
        finally:
            env.close()

    def _show(self) -> None:
        """Shows the first test copy as text, if the environment draws text."""
        if self._test_env is not None:
            picture = self._test_env.render(0, "text")
            if isinstance(picture, str):
                self.logger.console_logger.info("\n%s", picture)

    # -- state ---------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that later episodes and log lines depend on, between two runs.

        Environments and the action selector (with its generators) are included; the controller's networks
        are the learner's.
        """
        selector = self.mac.action_selector
        return {
            "t_env": self.t_env,
            "rules": self.rules,
            "log_train_stats_t": self._log_train_stats_t,
            "train_returns": list(self._train_stats.returns),
            "train_sums": dict(self._train_stats.sums),
            "action_selector": selector.state_dict() if hasattr(selector, "state_dict") else None,
            "env": self._env.state_dict(),
            "test_env": None if self._test_env is None else self._test_env.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned; call it after ``setup``.

        Raises:
            CheckpointError: the episodes were played by other rules, e.g. another engine.
        """
        if state.get("rules", self.rules) != self.rules:
            raise CheckpointError(
                f"The run was played by {state['rules']!r}; here env {self.args.env!r} is {self.rules!r}. Resume it "
                "where the same rules or engine are at hand, or start a new run."
            )
        self.t_env = state["t_env"]
        self._log_train_stats_t = state["log_train_stats_t"]
        self._train_stats.returns = list(state["train_returns"])
        self._train_stats.sums = dict(state["train_sums"])
        if state["action_selector"] is not None:
            self.mac.action_selector.load_state_dict(state["action_selector"])
        if not state["env"] and self.acting == "main":  # where workers act, an episode follows from the step's seed
            self.logger.console_logger.warning(
                "env %r cannot be saved: a resumed run starts new episodes from its seed and does not equal "
                "an uninterrupted one. With acting=workers, where that is possible, it does.",
                self.args.env,
            )
        self._env.load_state_dict(state["env"])
        if state["test_env"] is not None:
            if self._test_env is None:
                self._test_env = self._make_test_env(self._test_copies())
            self._test_env.load_state_dict(state["test_env"])
