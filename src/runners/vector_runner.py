"""The ``vector`` runner: many copies of an environment, stepped as arrays in this process."""

from __future__ import annotations

from envs import BATCHED_REGISTRY, REGISTRY, check_reward_form
from envs.batched import BatchedEnv
from epymarl_lmac.errors import SettingsError
from runners.base import Runner


class VectorRunner(Runner):
    """Plays ``batch_size_run`` copies of an environment that is written for batches.

    Raises:
        SettingsError: the environment exists, but not written for batches.
        TaskError: an unknown environment, or settings it refuses.
    """

    def _make_env(self, role: str, n_copies: int) -> BatchedEnv:
        args = self.args
        if args.env in REGISTRY and args.env not in BATCHED_REGISTRY:
            raise SettingsError(
                f"runner=vector needs an environment written for batches, which env {args.env!r} is not; "
                "use runner=parallel or runner=episode. Written for batches: "
                f"{', '.join(sorted(BATCHED_REGISTRY))}.",
                "runner",
            )
        make = BATCHED_REGISTRY[args.env]
        check_reward_form(args.env, args.common_reward, args.reward_scalarisation)
        return make(n_copies, self._env_seed(role), **args.env_args)
