"""``runner=auto``: the runner that fits how an environment is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs import ENTRIES
from runners.base import Runner
from runners.parallel_runner import ParallelRunner
from runners.vector_runner import VectorRunner

if TYPE_CHECKING:
    from epymarl_lmac.seam import RunLogger, RunnerArgs


def auto_runner(args: RunnerArgs, logger: RunLogger) -> Runner:
    """Returns the vector runner where the environment is built for batches, else the parallel runner.

    An environment with two forms chooses by its arguments and by what is installed (``EnvEntry.choose``), so the choice
    is made here, when the run starts. Arguments and errors are those of ``Runner``.
    """
    form = ENTRIES[args.env].form(args.env_args)
    return VectorRunner(args, logger) if form == "batched" else ParallelRunner(args, logger)
