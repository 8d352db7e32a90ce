"""The ``vector`` runner: many copies of an environment, stepped as arrays in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs import ENTRIES
from envs.batched import BatchedEnv
from envs.making import make_batched
from epymarl_lmac.errors import SettingsError
from runners.base import Runner

if TYPE_CHECKING:
    from epymarl_lmac.seam import RunLogger, RunnerArgs


class VectorRunner(Runner):
    """Plays ``batch_size_run`` copies of an environment that is written for batches.

    Raises:
        SettingsError: the environment exists, but is not written for batches, or not with these arguments; or
            ``num_envs`` asks for another number of copies.
        TaskError: an unknown environment, or settings it refuses.
    """

    name = "vector"

    def __init__(self, args: RunnerArgs, logger: RunLogger) -> None:
        if args.num_envs not in (0, args.batch_size_run):
            raise SettingsError(
                f"num_envs={args.num_envs} is a number of processes, but runner=vector steps batch_size_run="
                f"{args.batch_size_run} copies in one process; set num_envs=0, or use runner=parallel.",
                "num_envs",
            )
        super().__init__(args, logger)

    def _make_env(self, role: str, n_copies: int) -> BatchedEnv:
        args = self.args
        entry = ENTRIES[args.env]
        if entry.form(args.env_args) != "batched":
            known = ", ".join(sorted(name for name in ENTRIES if ENTRIES[name].batched is not None))
            raise SettingsError(
                f"runner=vector needs an environment written for batches, which env {args.env!r} is not"
                + (" with these env_args" if entry.batched is not None else "")
                + f"; use runner=auto, runner=parallel or runner=episode. Written for batches: {known}.",
                "runner",
            )
        seed = self._env_seed(role)
        return make_batched(
            args.env, entry, n_copies, seed, args.env_args, args.common_reward, args.reward_scalarisation
        )
