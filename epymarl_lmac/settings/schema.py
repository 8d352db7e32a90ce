"""The settings that every run has, and the rules between them.

Each is stated once, here; ``config/default.yaml`` and ``docs/settings.md`` are written from it
(``python -m epymarl_lmac.settings write``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.settings.checks import check_all
from epymarl_lmac.settings.fields import Setting, setting, settings_of

COMMON = "common"  # the preset that is the algorithm's file itself


@dataclass(frozen=True)
class RunSettings:
    """The settings of every run; "steps" are environment steps summed over all copies of the environment."""

    name: str = setting("unnamed", "name of the algorithm in records and plots", host=True, section="what runs")
    config: str = setting("", "file in config/algs that the run started from; --config", resume=True, host=True)
    env_config: str = setting("", "file in config/envs that the run started from; --env-config", resume=True, host=True)
    preset: str = setting(
        COMMON, 'named variant in the algorithm\'s file; "common" is the file itself', resume=True, host=True
    )
    task: str = setting("", 'named task in the environment\'s file; "" is the file itself', resume=True, host=True)
    label: str = setting("", "free text, kept in the record", resume=True, host=True)
    seed: int = setting(1, "the one seed from which every random stream derives", low=0, host=True)
    runner: str = setting(
        "auto",
        'what plays episodes: "vector" (many copies in one process), "parallel" (processes with one copy each), '
        '"episode" (one copy), or "auto" ("vector" where the environment is written for batches, else "parallel")',
        runner=True,
    )
    env: str = setting("lbf", "environment, a name in envs.REGISTRY", host=True)
    env_args: dict = setting({}, "the environment's arguments, given by its file", host=True)
    common_reward: bool = setting(
        True, "one reward for the team; must be True, as the methods here learn from nothing else", host=True
    )
    reward_scalarisation: str = setting(
        "sum", "how the agents' rewards become the team's reward; only \"sum\" is possible", host=True
    )
    t_max: int = setting(2_000_000, "length of training, steps", low=1, resume=True, host=True)
    batch_size_run: int = setting(
        16,
        "episodes played between updates; side by side, but for those that num_envs leaves for later",
        low=1,
        runner=True,
    )
    num_envs: int = setting(
        0,
        "runner=parallel: environment processes that play the batch_size_run episodes, at most as many; one that ends "
        "an episode starts the next one that is left; 0: one a core where they choose actions, else one an episode",
        low=0,
        runner=True,
    )
    acting: str = setting(
        "auto",
        "runner=parallel: who chooses actions: workers (each environment process, with a copy of the networks), main "
        "(this process, for all), or auto: workers wherever they can",
        choices=("auto", "workers", "main"),
        runner=True,
    )
    updates_per_episode: float = setting(
        1.0, "gradient steps for every episode played, however many are played side by side", above=0, runner=True
    )
    n_threads: int = setting(1, "CPU threads of an update", low=1, resume=True, runner=True)
    matrix_products: str = setting(
        "auto",
        "library of an update's matrix products on the CPU: torch, numpy, or auto: numpy on AMD processors with "
        "AVX-512, else torch; both give the same numbers to rounding",
        choices=("auto", "torch", "numpy"),
        resume=True,
        runner=True,
    )
    use_cuda: bool = setting(True, "use a CUDA device where there is one", resume=True, host=True)

    test_nepisode: int = setting(100, "episodes of one test", low=1, host=True, section="testing, logging, saving")
    test_interval: int = setting(50_000, "steps between tests", low=1, host=True)
    test_greedy: bool = setting(
        True, "tests explore with evaluation_epsilon (True) or with the epsilon of training (False)", host=True
    )
    log_interval: int = setting(
        10_000, "steps between lines on the screen when it is not a terminal", low=1, resume=True, host=True
    )
    runner_log_interval: int = setting(10_000, "steps between records of training returns", low=0, host=True)
    learner_log_interval: int = setting(10_000, "steps between records of losses", low=0, host=True)
    save_model: bool = setting(True, "write checkpoints", resume=True, host=True)
    save_model_interval: int = setting(
        200_000, "steps between checkpoints; one more is written at the end", low=1, resume=True, host=True
    )
    checkpoint_path: str = setting(
        "", 'folder of a run to resume or to evaluate; "" starts a new run', resume=True, host=True
    )
    evaluate: bool = setting(
        False,
        "only play test_nepisode episodes, with the networks of checkpoint_path; no training",
        resume=True,
        host=True,
    )
    render: bool = setting(False, "show test episodes as text while evaluating", resume=True, host=True)
    local_results_path: str = setting("results", "folder under which runs are recorded", resume=True, host=True)
    mongo_url: str = setting(
        "",
        'MongoDB that mirrors the record, mongodb://host[:port][/database]; "" for none; an address with a password '
        "belongs in the environment variable EPYMARL_LMAC_MONGO_URL instead",
        resume=True,
        host=True,
    )
    mongo_networks: bool = setting(
        False, "whether MongoDB also gets the networks of every saved step, in GridFS", resume=True, host=True
    )
    use_tensorboard: bool = setting(
        False, "mirror metrics to TensorBoard, in the run's folder under tensorboard", resume=True, host=True
    )
    use_wandb: bool = setting(False, "mirror metrics to Weights & Biases", resume=True, host=True)
    wandb_team: str | None = setting(
        None, "team (entity) at Weights & Biases; null: the account's own", resume=True, host=True
    )
    wandb_project: str | None = setting(
        None, 'project at Weights & Biases; null: "epymarl-lmac"', resume=True, host=True
    )
    wandb_mode: str = setting(
        "offline",
        'online sends metrics at once; offline keeps files in the run\'s folder, which "wandb sync" sends',
        choices=("offline", "online"),
        resume=True,
        host=True,
    )

    gamma: float = setting(0.99, "discount factor of every step", low=0, high=1, section="learning")
    batch_size: int = setting(32, "episodes in a gradient step", low=1)
    buffer_size: int = setting(5000, "episodes kept for replay", low=1)
    buffer_memory_gib: float = setting(
        0.0,
        "most memory that the replay buffer may take, GiB; a run that needs more is refused before it starts; "
        "0: 80 % of the memory that is free at the start",
        low=0,
        resume=True,
        host=True,
    )
    buffer_cpu_only: bool = setting(
        True, "keep the replay buffer in main memory even where learning is on a GPU", resume=True, host=True
    )
    optimiser: str = setting("adam", "algorithm of the gradient step", choices=("adam", "rmsprop"))
    lr: float = setting(0.0005, "learning rate", above=0)
    optim_alpha: float = setting(0.99, "RMSprop's decay; not read by Adam", low=0, high=1)
    optim_eps: float = setting(0.00001, "RMSprop's epsilon; not read by Adam", low=0)
    grad_norm_clip: float = setting(10, "largest gradient norm over all parameters", above=0)
    double_q: bool = setting(
        True, "the online network chooses the next action, the target network gives its value (double Q-learning)"
    )
    standardise_rewards: bool = setting(
        True, "subtract the rewards' running mean and divide by their running standard deviation"
    )
    reward_std_floor: float = setting(
        0.0,
        "least standard deviation that standardised rewards are divided by; 0 is none, as published. Where rewards are "
        "0 for long, the running one tends to 0, and the first reward then is worth hundreds",
        low=0,
    )
    standardise_returns: bool = setting(
        False, "subtract the TD targets' running mean and divide by their running standard deviation"
    )
    target_update_interval_or_tau: float = setting(
        200,
        "> 1: updates between two copies of the networks into the target networks; <= 1: share by which the target "
        "networks move towards the networks at every update",
        above=0,
    )

    action_selector: str = setting(
        "epsilon_greedy",
        "how actions are chosen, a name in components.action_selectors.REGISTRY: epsilon_greedy, or softmax, which "
        "draws from a policy and explores no further in training",
        section="exploration",
    )
    epsilon_start: float = setting(1.0, "probability of a random action at the start", low=0, high=1)
    epsilon_finish: float = setting(
        0.05, "probability of a random action after epsilon_anneal_time steps", low=0, high=1
    )
    epsilon_anneal_time: int = setting(
        50_000, "steps over which that probability falls linearly from epsilon_start to epsilon_finish", low=0
    )
    evaluation_epsilon: float = setting(0.0, "probability of a random action in tests", low=0, high=1)

    learner: str = setting("q_learner", "learner, a name in learners.REGISTRY", section="networks")
    mac: str = setting("basic_mac", "controller of the agents, a name in controllers.REGISTRY")
    agent: str = setting("rnn", "network of the agents, a name in modules.agents.REGISTRY")
    mixer: str | None = setting(
        "qmix", "mixer of the agents' Q-values, a name in modules.mixers.REGISTRY; null: each agent learns alone"
    )
    comm: str | None = setting(None, "communication method, a name in modules.comm.REGISTRY; null: no communication")
    hidden_dim: int = setting(64, "width of the agents' hidden layers", low=1)
    use_rnn: bool = setting(True, "recurrent agents (True) or agents without memory (False)")
    obs_last_action: bool = setting(True, "x includes the agent's last action, one-hot")
    obs_agent_id: bool = setting(True, "x includes the agent's index, one-hot")
    add_state: bool = setting(False, "agents read the global state as well (an oracle)")
    mixing_embed_dim: int = setting(32, "QMIX: width of the mixing layer", low=1)
    hypernet_layers: int = setting(2, "QMIX: layers of the networks that produce the mixer's weights", choices=(1, 2))
    hypernet_embed: int = setting(64, "QMIX: hidden width of these networks where they have two layers", low=1)


RUN_SETTINGS: dict[str, Setting] = {item.key: item for item in settings_of(RunSettings)}
RESUMABLE = frozenset(item.key for item in RUN_SETTINGS.values() if item.resume)
HOSTS_OWN = frozenset(item.key for item in RUN_SETTINGS.values() if item.host)
RUNNERS = frozenset(item.key for item in RUN_SETTINGS.values() if item.runner)


class Settings(SimpleNamespace):
    """The settings of one run, readable as attributes and fixed after start.

    Sizes that are known once the environment exists are added by ``with_values``, which returns a new object.
    """

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"Settings are fixed after start; tried to set {key}={value!r}.")

    def __delattr__(self, key: str) -> None:
        raise AttributeError(f"Settings are fixed after start; tried to delete {key}.")

    def with_values(self, **values: Any) -> Settings:
        """Returns a copy with further or other values."""
        return Settings(**{**vars(self), **values})


def validate(values: Mapping[str, Any]) -> None:
    """Checks the rules between settings.

    Raises:
        SettingsError: naming the values and the key to change.
    """
    if values["epsilon_finish"] > values["epsilon_start"]:
        raise SettingsError(
            f"epsilon_finish={values['epsilon_finish']} is above epsilon_start={values['epsilon_start']}.",
            "epsilon_finish",
        )
    if values["buffer_size"] < values["batch_size"]:
        raise SettingsError(
            f"buffer_size={values['buffer_size']} episodes cannot fill batch_size={values['batch_size']}; "
            "make the buffer at least as large.",
            "buffer_size",
        )
    if values["buffer_size"] < values["batch_size_run"]:
        raise SettingsError(
            f"buffer_size={values['buffer_size']} episodes cannot hold batch_size_run="
            f"{values['batch_size_run']} new ones; make the buffer at least as large.",
            "buffer_size",
        )
    if values["runner"] == "episode" and values["batch_size_run"] != 1:
        raise SettingsError(
            f"runner=episode plays one episode at a time, but batch_size_run={values['batch_size_run']}; "
            "set batch_size_run=1.",
            "batch_size_run",
        )
    if values["num_envs"] > values["batch_size_run"]:
        raise SettingsError(
            f"num_envs={values['num_envs']} processes would play batch_size_run={values['batch_size_run']} episodes, "
            "so some would have none; set num_envs to at most batch_size_run, or to 0 for as many.",
            "num_envs",
        )
    if values["evaluate"] and not values["checkpoint_path"]:
        raise SettingsError("evaluate=True needs checkpoint_path, the folder of the run to evaluate.", "evaluate")


def freeze(
    values: Mapping[str, Any], method: Mapping[str, Setting], origins: Mapping[str, str] | None = None
) -> Settings:
    """Returns checked, immutable settings.

    Args:
        values: all keys with their values.
        method: the settings that the chosen method has beyond ``RunSettings``, by key.
        origins: where each value was stated, for messages.

    Raises:
        SettingsError: unknown or missing key, wrong type, value out of range.
    """
    check_all(values, {**RUN_SETTINGS, **method}, origins or {})
    validate(values)
    return Settings(**values)
