"""One run: make everything from the settings, then play, learn, test, log and save until the last step.

EPyMARL's sequence of events; what differs is that everything learning depends on is saved and restored, and that the
number of updates is a setting of its own (``updates_per_episode``).
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from components.buffer_memory import GIB, check_fits, free_bytes
from components.episode_buffer import EpisodeBatch, ReplayBuffer
from components.transforms import OneHot
from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac import checkpoint as ckpt
from epymarl_lmac.errors import CheckpointError, RecordError, SettingsError
from epymarl_lmac.learning import products
from epymarl_lmac.learning.batches import requests_of, update_ratio
from epymarl_lmac.learning.memory import keep_freed_memory
from epymarl_lmac.record import provenance
from epymarl_lmac.record.boards import board_mirrors
from epymarl_lmac.record.files import write_bytes
from epymarl_lmac.record.identity import evaluation_of, rules_of, run_id, settings_hash
from epymarl_lmac.record.metrics import PERF, MetricsWriter
from epymarl_lmac.record.mongo import MongoTarget
from epymarl_lmac.record.mongo_sink import MongoSink
from epymarl_lmac.record.screen import Screen, Speed, duration
from epymarl_lmac.record.sinks import Mirror, SacredSink, ScreenSink
from epymarl_lmac.record.status import FINISHED, STOPPED, RunStatus
from epymarl_lmac.seeding import derive_seed
from epymarl_lmac.settings.schema import Settings
from epymarl_lmac.stopping import stop_signals
from epymarl_lmac.tasks import EnvInfo, has_card, task_id
from learners import REGISTRY as le_REGISTRY
from learners.base_learner import Learner
from runners import REGISTRY as r_REGISTRY
from utils.logging import Logger


def set_seeds(seed: int) -> np.random.Generator:
    """Seeds every process-wide generator; returns the replay sampler's own."""
    random.seed(derive_seed(seed, "python"))
    np.random.seed(derive_seed(seed, "numpy"))
    torch.manual_seed(derive_seed(seed, "torch"))
    return np.random.default_rng(derive_seed(seed, "replay"))


def task_name(args: Settings) -> str:
    """Returns the task's name for folders and titles, e.g. ``lbf_8x8-2p-2f-s1-coop``."""
    return f"{args.env}_{task_id(args.env, args.env_args)}" if has_card(args.env) else args.env


def optional_fields(info: EnvInfo, learner: Any, name: str) -> dict[str, dict[str, Any]]:
    """Returns the fields of an episode batch that only some environments can fill.

    ``alive``, float32 (B, T, N, 1), is there where the environment tells it; a learner that misses it takes all agents
    to be alive. ``agent_reward``, float32 (B, T, N, 1), is there where the learner says ``READS_AGENT_REWARD = True``.

    Raises:
        SettingsError: the learner needs agents' rewards and the environment has none.
    """
    per_agent = {"vshape": (1,), "group": "agents", "dtype": torch.float32}
    fields = {"alive": per_agent} if info.has_alive else {}
    if getattr(learner, "READS_AGENT_REWARD", False):
        if not info.reward_per_agent:
            raise SettingsError(
                f"learner={name} reads a reward for each agent, which this environment does not give.", "learner"
            )
        fields = {**fields, "agent_reward": per_agent}
    return fields


class StopRequest:
    """Notes signals to stop, so that the loop can finish its step, save and leave."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before = {s: signal.signal(s, self._note) for s in stop_signals()}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum

    def restore(self) -> None:
        """Gives the signals back their former meaning."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)


class Experiment:
    """Everything of one run.

    Args:
        args: the settings.
        logger: where metrics go.
    """

    def __init__(self, args: Settings, logger: Logger) -> None:
        keep_freed_memory()
        self.sampler = set_seeds(args.seed)
        device = "cuda" if args.use_cuda and torch.cuda.is_available() else "cpu"
        args = args.with_values(device=device)
        self.logger = logger
        self.runner = r_REGISTRY[args.runner](args, logger)
        info = self.runner.get_env_info()
        self.args = args = args.with_values(**info)
        self.runner.args = args
        self.env_info = self.runner.env_info
        groups = {"agents": args.n_agents}
        scheme = {
            "state": {"vshape": args.state_shape},
            "obs": {"vshape": args.obs_shape, "group": "agents"},
            "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
            "avail_actions": {"vshape": (args.n_actions,), "group": "agents", "dtype": torch.int},
            "reward": {"vshape": (1,)},
            "terminated": {"vshape": (1,), "dtype": torch.uint8},
            **optional_fields(self.env_info, le_REGISTRY[args.learner], args.learner),
        }
        preprocess = {"actions": ("actions_onehot", [OneHot(out_dim=args.n_actions)])}
        n_steps, buffer_device = args.episode_limit + 1, "cpu" if args.buffer_cpu_only else device
        one = EpisodeBatch(scheme, groups, 1, n_steps, preprocess=preprocess)
        self.mac = mac_REGISTRY[args.mac](one.scheme, groups, args)
        self.transforms = self.mac.transforms(args.buffer_size * n_steps)
        for transform in self.transforms:
            one.add_key(transform.key, transform.field)
        self.buffer_bytes = check_fits(one.nbytes, args.buffer_size, args.buffer_memory_gib, free_bytes(buffer_device))
        self.buffer = ReplayBuffer(
            scheme, groups, args.buffer_size, n_steps, preprocess=preprocess, device=buffer_device
        )
        for transform in self.transforms:
            self.buffer.add_key(transform.key, transform.field)
        self.runner.setup(scheme, groups, preprocess, self.mac)
        self.learner = le_REGISTRY[args.learner](self.mac, self.buffer.scheme, logger, args)
        products.use(args.matrix_products, args.n_threads, getattr(self.learner, "shares_rows", False))
        self.requests = requests_of(self.learner, args.batch_size)
        self.episodes = 0
        self.updates_owed = 0.0  # gradient steps earned by episodes and not yet taken
        self.last_test_t: int | None = None
        self.last_save_t = 0
        self.update_s = 0.0

    # -- state -------------------------------------------------------------------------------------------

    def state_dict(self, n_rows: int) -> dict[str, Any]:
        """Returns everything that later steps depend on, to be written before the next episode is played.

        The replay buffer's episodes are not copied: a checkpoint needs no second buffer's memory.

        Args:
            n_rows: rows in the metrics file at this moment.
        """
        return {
            "settings": {key: value for key, value in vars(self.args).items() if key != "device"},
            "runner": self.runner.state_dict(),
            "buffer": self.buffer.state_dict(),
            "learner": self.learner.state_dict(),
            "random": ckpt.random_state(self.sampler),
            "episodes": self.episodes,
            "updates_owed": self.updates_owed,
            "last_test_t": self.last_test_t,
            "last_save_t": self.last_save_t,
            "n_rows": n_rows,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned.

        Raises:
            CheckpointError: it is of other settings.
        """
        here = {key: value for key, value in vars(self.args).items() if key != "device"}
        ckpt.check_same_run(state["settings"], here)
        self.learner.load_state_dict(state["learner"])
        self.buffer.load_state_dict(state["buffer"])
        self.runner.load_state_dict(state["runner"])
        self.episodes = state["episodes"]
        self.updates_owed = state["updates_owed"]
        self.last_test_t = state["last_test_t"]
        self.last_save_t = state["last_save_t"]
        ckpt.set_random_state(state["random"], self.sampler)

    # -- one round ---------------------------------------------------------------------------------------

    def advance(self) -> EpisodeBatch:
        """Plays a round of episodes and takes the updates it earns; returns the episodes."""
        args = self.args
        with torch.no_grad():
            episodes = self.runner.run(test_mode=False)
            for transform in self.transforms:
                transform.fill(episodes)
        self.buffer.insert_episode_batch(episodes)
        self.episodes += episodes.batch_size
        if not all(self.buffer.can_serve(request) for request in self.requests):
            return episodes
        self.updates_owed += episodes.batch_size * args.updates_per_episode
        start = time.perf_counter()
        while self.updates_owed >= 1:
            self.updates_owed -= 1
            for request in self.requests:
                batch = self.buffer.serve(request, rng=self.sampler)
                if batch.device != args.device:
                    batch.to(args.device)
                getattr(self.learner, request.method)(batch, self.runner.t_env, self.episodes)
        self.update_s += time.perf_counter() - start
        return episodes

    def test(self) -> None:
        """Plays the test episodes; they are logged by the runner and change nothing else."""
        with torch.no_grad(), torch.random.fork_rng():
            self.runner.run(test_mode=True)
        for key, value in self.mac.take_message_metrics().items():
            self.logger.log_stat(f"test_{key}", value, self.runner.t_env)
        self.last_test_t = self.runner.t_env

    def timers(self) -> dict[str, float]:
        """Returns seconds so far by part."""
        return {**self.runner.timers, "update": self.update_s}


def new_run_folder(args: Settings) -> Path:
    """Makes the folder of a new run under ``local_results_path``.

    Raises:
        RecordError: it cannot be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    name = f"{args.name}_{task_name(args)}_seed{args.seed}_{stamp}_{run_id(vars(args))}"
    folder = Path(args.local_results_path).expanduser() / name
    try:
        folder.mkdir(parents=True)
    except OSError as err:
        raise RecordError(f"Cannot make {folder}: {err.strerror}; choose another local_results_path.") from err
    return folder


def run(args: Settings, logger: Logger, sacred_run: Any = None, mongo: MongoTarget | None = None) -> int:
    """Trains (or evaluates) as the settings say.

    Args:
        args: the settings.
        logger: where metrics go.
        sacred_run: Sacred's run object, or None.
        mongo: the database that mirrors the record, or None.

    Returns:
        0, or 128 + signal number if a signal ended the run early; everything is saved in both cases.
    """
    resumed = Path(args.checkpoint_path).expanduser() if args.checkpoint_path else None
    if resumed is not None and not resumed.is_dir():
        raise CheckpointError(f"checkpoint_path={args.checkpoint_path} is no folder; give the folder of a run.")
    experiment = Experiment(args, logger)
    try:
        if args.evaluate:
            return _evaluate(experiment, resumed)
        folder = new_run_folder(args) if resumed is None else resumed
        lock = ckpt.RunLock(folder)
        try:
            return _train(experiment, folder, resumed is not None, sacred_run, mongo)
        finally:
            lock.release()
    finally:
        experiment.runner.close_env()


def _evaluate(experiment: Experiment, folder: Path | None) -> int:
    """Plays the test episodes with the networks of a checkpoint and prints their metrics."""
    assert folder is not None
    state = ckpt.load_checkpoint(folder)
    for key in ("name", "env", "env_args", "mac", "agent", "learner"):
        saved, here = state["settings"][key], getattr(experiment.args, key)
        if saved != here:
            raise CheckpointError(f"The checkpoint in {folder} has {key}={saved!r}, this run {here!r}.")
    experiment.learner.load_state_dict(state["learner"])
    experiment.runner.t_env = state["runner"]["t_env"]  # sets the exploration where test_greedy is off
    experiment.test()
    for key, values in sorted(experiment.logger.stats.items()):
        print(f"{key}: {values[-1][1]:.4f}")
    return 0


def _n_parameters(experiment: Experiment) -> dict[str, int]:
    """Returns the trained parameters by part; of a third-party learner, its controller's and mixer's."""
    learner = experiment.learner
    if isinstance(learner, Learner):
        return learner.n_parameters()
    parts = {"agents": experiment.mac, "mixer": learner.mixer}
    return {name: 0 if part is None else sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def _describe(experiment: Experiment, folder: Path) -> dict[str, Any]:
    args = experiment.args
    return {
        "algorithm": args.name,
        "task": task_name(args),
        "environment_rules": experiment.runner.rules,
        "runner": experiment.runner.name,
        "acting": experiment.runner.acting,
        "seed": args.seed,
        "run_id": run_id(vars(args)),
        "settings_hash": settings_hash(vars(args)),
        "update_ratio": update_ratio(args.updates_per_episode, experiment.requests),
        "evaluation": evaluation_of(vars(args)),
        "buffer_bytes": experiment.buffer_bytes,
        "n_parameters": _n_parameters(experiment),
        "settings": vars(args),
        "packages": provenance.package_versions(),
        "git": provenance.git_state(),
        "machine": provenance.machine(),
        "communication": None if experiment.mac.comm is None else experiment.mac.comm.description(),
        "folder": folder.name,
    }


def _keep_files(experiment: Experiment, folder: Path) -> None:
    """Writes what the method was made from into the run's folder, so that the record needs nothing else."""
    files = {} if experiment.mac.comm is None else experiment.mac.comm.files()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)


def _restore(experiment: Experiment, folder: Path) -> int:
    """Restores a run's last checkpoint, which is not kept; returns how many of its metrics count."""
    state = ckpt.load_checkpoint(folder)
    experiment.load_state_dict(state)
    return int(state["n_rows"])


def _train(experiment: Experiment, folder: Path, resume: bool, sacred_run: Any, mongo: MongoTarget | None) -> int:
    logger, runner = experiment.logger, experiment.runner
    n_rows = None
    if resume:
        n_rows = _restore(experiment, folder)
    else:
        _keep_files(experiment, folder)
    status = RunStatus(folder, _describe(experiment, folder), runner.t_env, resume)
    try:
        metrics = MetricsWriter(folder, n_rows)
        if mongo is not None:
            logger.add_sink(MongoSink(mongo, folder, logger.console_logger.warning))
        return _train_recorded(experiment, folder, status, metrics, sacred_run)
    except BaseException as err:
        status.fail(err, runner.t_env)
        raise
    finally:
        logger.close()


def _connect_sacred(logger: Logger, sacred_run: Any, folder: Path, screen: Screen) -> None:
    """Sends metrics and the facts about the run to Sacred's observers."""
    record = provenance.read_run(folder)
    known = ("update_ratio", "git", "run_id")
    sacred_run.info.update({key: record[key] for key in known if key in record})
    sacred_run.info["environment_rules"] = rules_of(record)
    sacred_run.info["run_folder"] = str(folder)
    logger.add_sink(Mirror("Sacred", lambda: SacredSink(sacred_run), screen.line))


def _train_recorded(
    experiment: Experiment, folder: Path, status: RunStatus, metrics: MetricsWriter, sacred_run: Any
) -> int:
    """Trains to the end or to a signal, with every sink connected; says on the screen how it ended."""
    args, logger, runner = experiment.args, experiment.logger, experiment.runner
    logger.add_sink(metrics)
    stop = StopRequest()
    screen = Screen(f"{args.name} on {task_name(args)}, seed {args.seed}", args.t_max, runner.t_env)
    try:
        logger.add_sink(ScreenSink(screen.note))
        if sacred_run is not None:
            _connect_sacred(logger, sacred_run, folder, screen)
        for mirror in board_mirrors(vars(args), folder, runner.t_env, screen.line):
            logger.add_sink(mirror)
        screen.line(", ".join(filter(None, [f"environment: {runner.rules}", f"{runner.name} runner", runner.note])))
        if (rules := rules_of(provenance.read_run(folder))) != runner.rules:
            screen.line(f"WARNING: the environment's rules have changed since this run began: {rules}.")
            screen.line("         Comparisons and plots keep it apart from runs by one set of rules.")
        screen.line(f"replay buffer: {args.buffer_size:,} episodes, {experiment.buffer_bytes / GIB:.2f} GiB when full")
        screen.line(f"record: {folder}")
        started = time.perf_counter()
        _loop(experiment, folder, metrics, screen, stop, status)
        ended = f"stopped by {signal.Signals(stop.signum).name}" if stop.signum is not None else "finished"
        status.end(
            FINISHED if stop.signum is None else STOPPED,
            runner.t_env,
            logger.last_values(),
            experiment.mac.message_tables(),
        )
        screen.close()
        screen.line(f"{ended} at step {runner.t_env:,} after {duration(time.perf_counter() - started)}")
        screen.line(f"record: {folder}")
        if stop.signum is not None and args.save_model:
            screen.line(f"resume: add checkpoint_path={folder} to the same command")
    finally:
        screen.close()
        stop.restore()
    return 0 if stop.signum is None else 128 + stop.signum


def _loop(
    experiment: Experiment,
    folder: Path,
    metrics: MetricsWriter,
    screen: Screen,
    stop: StopRequest,
    status: RunStatus,
) -> None:
    args, runner, logger = experiment.args, experiment.runner, experiment.logger

    def save() -> None:
        if args.save_model:
            experiment.last_save_t = runner.t_env
            metrics.sync()  # a checkpoint counts their rows
            ckpt.save_checkpoint(folder, experiment.state_dict(metrics.n_rows), runner.t_env)
            ckpt.save_networks(folder, experiment.mac.state_dict(), runner.t_env)
            status.progress(runner.t_env)

    speed, last_speed_t = Speed(runner.t_env), runner.t_env
    if experiment.last_test_t is None:
        experiment.test()
    while runner.t_env < args.t_max and stop.signum is None:
        experiment.advance()
        screen.progress(runner.t_env, experiment.episodes)
        if runner.t_env - experiment.last_test_t >= args.test_interval or runner.t_env >= args.t_max:
            experiment.test()
        if runner.t_env - last_speed_t >= args.log_interval:
            speeds = speed.measure(runner.t_env, experiment.timers())
            last_speed_t = runner.t_env
            for key, value in speeds.items():
                logger.log_stat(PERF + key, value, runner.t_env)
            screen.speed(speeds)
        if runner.t_env - experiment.last_save_t >= args.save_model_interval:
            save()
    if runner.t_env > experiment.last_save_t or stop.signum is not None:
        save()
