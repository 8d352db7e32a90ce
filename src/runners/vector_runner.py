"""The ``vector`` runner: many copies of an environment, stepped as arrays in this process."""

from __future__ import annotations

from envs import ENTRIES
from envs.batched import BatchedEnv
from envs.making import make_batched
from epymarl_lmac.errors import SettingsError
from runners.base import Runner


class VectorRunner(Runner):
    """Plays ``batch_size_run`` copies of an environment that is written for batches.

    Raises:
        SettingsError: the environment exists, but is not written for batches, or not with these arguments.
        TaskError: an unknown environment, or settings it refuses.
    """

    name = "vector"

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
