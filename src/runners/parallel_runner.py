"""The ``parallel`` runner: one process an environment, for engines that need it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from envs import REGISTRY
from runners.base import Runner
from runners.worker_pool import WorkerPool

if TYPE_CHECKING:
    from epymarl_lmac.seam import RunLogger, RunnerArgs


class ParallelRunner(Runner):
    """Plays ``batch_size_run`` environments of EPyMARL's interface side by side.

    Test episodes are played by processes of their own, started at the first test.

    Raises:
        TaskError: an unknown environment, or settings it refuses.
        EnvWorkerError: an environment process failed, was killed or gave no answer.
    """

    name = "parallel"

    def __init__(self, args: RunnerArgs, logger: RunLogger) -> None:
        self.max_test_copies = args.batch_size_run  # each is a process
        super().__init__(args, logger)

    def _make_env(self, role: str, n_copies: int) -> WorkerPool:
        args = self.args
        make = REGISTRY[args.env]
        seeds = [self._env_seed(role, i) for i in range(n_copies)]
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
