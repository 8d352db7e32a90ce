"""The ``parallel`` runner: one process an environment, for engines that need it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from components.episode_buffer import EpisodeBatch, Scheme
from components.transforms import Preprocess
from envs import REGISTRY
from envs.batched import BatchedEnv
from epymarl_lmac.cores import n_cores
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.seeding import derive_seed
from runners.base import Runner
from runners.pipelined_rollout import pipelined_rollout
from runners.rollout import Outcome
from runners.worker_pool import WorkerPool

if TYPE_CHECKING:
    from epymarl_lmac.seam import (
        ActingController,
        Groups,
        PortableController,
        RememberingController,
        RunLogger,
        RunnerArgs,
    )

WORKERS, MAIN = "workers", "main"  # who chooses actions


class ParallelRunner(Runner):
    """Plays ``batch_size_run`` episodes with ``num_envs`` processes, each with one environment of EPyMARL's interface.

    Test episodes are played by processes of their own, as many at most, started at the first test. Where they can, the
    processes choose their actions themselves, with copies of the controller (``worker_rollout.py``). Else this process
    chooses for all (``pipelined_rollout.py``); a controller that cannot have its episodes at different steps
    (``epymarl_lmac.seam.RememberingController``) then has all of a round start and step together.

    Raises:
        SettingsError: fewer processes than episodes for a controller that needs all of them together, or
            ``acting=workers`` where they cannot.
        TaskError: an unknown environment, or settings it refuses.
        EnvWorkerError: an environment process failed, was killed or gave no answer.
    """

    name = "parallel"

    def __init__(self, args: RunnerArgs, logger: RunLogger) -> None:
        self._is_set_up = False
        super().__init__(args, logger)

    def setup(self, scheme: Scheme, groups: Groups, preprocess: Preprocess, mac: ActingController) -> None:
        super().setup(scheme, groups, preprocess, mac)
        self._is_pipelined = hasattr(mac, "needs_one_step")
        self._settle_acting()
        self._is_set_up = True
        workers, num_envs = cast("WorkerPool", self._env), self._most_envs("train")
        workers.add(*self._factories("train", range(workers.num_envs, num_envs)))
        if self._is_pipelined:
            return
        if num_envs < self.batch_size:
            self.close_env()
            raise SettingsError(
                f"num_envs={num_envs} is less than batch_size_run={self.batch_size}, so episodes would be at "
                f"different steps, which {type(mac).__name__} cannot play; set num_envs=0.",
                "num_envs",
            )
        self.max_test_copies = num_envs

    def _settle_acting(self) -> None:
        """Settles who chooses actions in training.

        Raises:
            SettingsError: ``acting=workers``, and they cannot.
        """
        why_not = self._why_not_workers(self._env, test_mode=False)
        self.acting = MAIN if why_not else WORKERS
        if why_not and self.args.acting == WORKERS:
            self.close_env()
            raise SettingsError(f"acting=workers is not possible: {why_not}; set acting=auto or acting=main.", "acting")
        self.note = f"actions chosen in the main process ({why_not})" if why_not else "whose processes choose actions"

    def _why_not_workers(self, env: BatchedEnv, test_mode: bool) -> str:
        """Returns why environment processes cannot choose their actions themselves; "" where they can."""
        if self.args.acting == MAIN:
            return "acting=main"
        if not env.seeds_episodes:
            return f"episodes of env {self.args.env} do not follow from a seed each"
        if not hasattr(self.mac, "acting_state"):
            return f"{type(self.mac).__name__} cannot act in other processes"
        if str(self.args.device) != "cpu":
            return f"the networks are on {self.args.device}"
        if cast("RememberingController", self.mac).needs_one_step(test_mode):
            return "messages are exchanged or compared between episodes"
        return "the environment is drawn at every step" if self._on_step(test_mode) else ""

    def _most_envs(self, role: str) -> int:
        """Returns how many processes play at most; where the settings leave it open, it follows from who chooses.

        Those that choose their actions themselves keep a core busy each, and their number changes no episode. Where the
        main process chooses, it does: as many as episodes, on any machine.
        """
        if not self._is_set_up:
            return 1  # says what the environment is; the others follow
        chosen_here = bool(self._why_not_workers(self._env, test_mode=role == "test"))
        return self.args.num_envs or (self.batch_size if chosen_here else min(self.batch_size, n_cores()))

    def _make_env(self, role: str, n_copies: int) -> WorkerPool:
        return WorkerPool(self.args.env, *self._factories(role, range(min(n_copies, self._most_envs(role)))))

    def _factories(self, role: str, copies: range) -> tuple[list[partial], list[int]]:
        """Returns what makes some of a role's environments, and their seeds."""
        args = self.args
        make = REGISTRY[args.env]
        seeds = [self._env_seed(role, i) for i in copies]
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
        return factories, seeds

    def _round_size(self, env: BatchedEnv, n_wanted: int) -> int:
        return n_wanted if self._is_pipelined else env.num_envs

    def _rollout(self, env: BatchedEnv, batch: EpisodeBatch, name: str, test_mode: bool) -> Outcome:
        if not self._is_pipelined or not isinstance(env, WorkerPool):  # one that is watched steps in one call
            return super()._rollout(env, batch, name, test_mode)
        if self._why_not_workers(env, test_mode):
            mac = cast("RememberingController", self.mac)
            return pipelined_rollout(env, mac, batch, self.t_env, test_mode, self._on_step(test_mode))
        from runners.worker_rollout import worker_rollout

        # From the round's name, not from what was played before: a resumed run plays the same episodes.
        seed = derive_seed(self.args.seed, f"round {name}")
        return worker_rollout(env, self._bring_controllers(env), batch, self.t_env, test_mode, seed)

    def _bring_controllers(self, env: WorkerPool) -> PortableController:
        """Sees to it that the processes have copies of the controller, and returns it."""
        from runners.episode_player import ControllerSource

        mac = cast("PortableController", self.mac)
        if env.controllers_of is not mac:
            source = ControllerSource(type(mac), self._scheme, self._groups, self._preprocess, self.args)
            env.make_controllers(source, mac)
        return mac
