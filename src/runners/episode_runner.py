"""The ``episode`` runner: one environment in this process, one episode at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs import REGISTRY
from epymarl_lmac.errors import SettingsError
from runners.adapters import OneEnv
from runners.base import Runner

if TYPE_CHECKING:
    from epymarl_lmac.seam import RunLogger, RunnerArgs


class EpisodeRunner(Runner):
    """Plays one environment of EPyMARL's interface.

    Raises:
        SettingsError: ``batch_size_run`` is not 1.
        TaskError: an unknown environment, or settings it refuses.
    """

    name = "episode"
    max_test_copies = 1

    def __init__(self, args: RunnerArgs, logger: RunLogger) -> None:
        if args.batch_size_run != 1:
            raise SettingsError(
                f"runner=episode plays one environment, but batch_size_run={args.batch_size_run}; set "
                "batch_size_run=1, or use runner=vector or runner=parallel.",
                "batch_size_run",
            )
        super().__init__(args, logger)

    def _make_env(self, role: str, n_copies: int) -> OneEnv:
        args = self.args
        env = REGISTRY[args.env](
            **args.env_args,
            seed=self._env_seed(role),
            common_reward=args.common_reward,
            reward_scalarisation=args.reward_scalarisation,
        )
        return OneEnv(env)
