"""The ``parallel`` runner: one process an environment, for engines that need it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from components.episode_buffer import EpisodeBatch, Scheme
from components.transforms import Preprocess
from envs import REGISTRY
from envs.batched import BatchedEnv
from epymarl_lmac.errors import SettingsError
from runners.base import Runner
from runners.pipelined_rollout import pipelined_rollout
from runners.rollout import Outcome
from runners.worker_pool import WorkerPool

if TYPE_CHECKING:
    from epymarl_lmac.seam import ActingController, Groups, RememberingController, RunLogger, RunnerArgs


class ParallelRunner(Runner):
    """Plays ``batch_size_run`` episodes with ``num_envs`` processes, each with one environment of EPyMARL's interface.

    Test episodes are played by processes of their own, as many at most, started at the first test. A controller that
    cannot have its episodes at different steps (``epymarl_lmac.seam.RememberingController``) has all of a round start
    and step together.

    Raises:
        SettingsError: fewer processes than episodes for a controller that needs all of them together.
        TaskError: an unknown environment, or settings it refuses.
        EnvWorkerError: an environment process failed, was killed or gave no answer.
    """

    name = "parallel"

    def __init__(self, args: RunnerArgs, logger: RunLogger) -> None:
        self._num_envs = args.num_envs or args.batch_size_run
        super().__init__(args, logger)

    def setup(self, scheme: Scheme, groups: Groups, preprocess: Preprocess, mac: ActingController) -> None:
        super().setup(scheme, groups, preprocess, mac)
        self._is_pipelined = hasattr(mac, "needs_one_step")
        if self._is_pipelined:
            return
        if self._num_envs < self.batch_size:
            self.close_env()
            raise SettingsError(
                f"num_envs={self._num_envs} is less than batch_size_run={self.batch_size}, so episodes would be at "
                f"different steps, which {type(mac).__name__} cannot play; set num_envs=0.",
                "num_envs",
            )
        self.max_test_copies = self._num_envs

    def _make_env(self, role: str, n_copies: int) -> WorkerPool:
        args = self.args
        make = REGISTRY[args.env]
        seeds = [self._env_seed(role, i) for i in range(min(n_copies, self._num_envs))]
        factories = [
            partial(
                make,
                **args.env_args,
                seed=seed,
                common_reward=args.common_reward,
                reward_scalarisation=args.reward_scalarisation,
            )
            for seed in seeds
        ]
        return WorkerPool(args.env, factories, seeds)

    def _round_size(self, env: BatchedEnv, n_wanted: int) -> int:
        return n_wanted if self._is_pipelined else env.num_envs

    def _rollout(self, env: BatchedEnv, batch: EpisodeBatch, test_mode: bool) -> Outcome:
        if not self._is_pipelined or not isinstance(env, WorkerPool):  # one that is watched steps in one call
            return super()._rollout(env, batch, test_mode)
        mac = cast("RememberingController", self.mac)
        return pipelined_rollout(env, mac, batch, self.t_env, test_mode, self._on_step(test_mode))
