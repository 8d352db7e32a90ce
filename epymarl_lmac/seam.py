"""The seam between a host and our modules: what comes in from the other side, as protocols.

In a host (EPyMARL, PyMARL2) our learners, controllers, agents and mixers are handed the host's own batches, settings
and logger. They share no class with ours, so every type here is a protocol: it names what our modules read, and nothing
else may be read. The classes of our own host fit as well, among them ``components.episode_buffer.EpisodeBatch``,
``epymarl_lmac.settings.schema.Settings`` and ``utils.logging.Logger``.

Protocols of settings (``...Args``) are named after the part that reads them. Sizes of the environment (``n_agents``,
``n_actions``, ``state_shape``) and ``device`` are added to the settings when a run starts, by every host alike.
``tests/learners/test_seam.py`` holds the names and types against the settings' schema.

For the type checker only: modules import these names under ``TYPE_CHECKING``, so nothing here costs a run any time.

Letters: B episodes, T steps, N agents, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging

    import torch
    from torch import Tensor

    Rows = slice | Sequence[int] | Tensor  # some episodes of a batch

Scheme = Mapping[str, Mapping[str, Any]]  # what a batch stores: name -> "vshape", "group", "dtype"
Groups = Mapping[str, int]  # members of each group of a scheme, ``{"agents": N}``


# -- objects ---------------------------------------------------------------------------------------------------------


class Episodes(Protocol):
    """B episodes of up to T steps: an ``EpisodeBatch`` of any host."""

    @property
    def device(self) -> str | torch.device:
        """Where the tensors live."""

    def __getitem__(self, key: str, /) -> Tensor:
        """Returns a stored field, (B, T, ...)."""


class ExtendableEpisodes(Episodes, Protocol):
    """Episodes that take further fields; only our own host has them."""

    def add_key(self, key: str, info: Mapping[str, Any], value: Tensor | None = None) -> None:
        """Stores a field; see ``components.episode_buffer.EpisodeBatch.add_key``."""


class StatLogger(Protocol):
    """Where metrics go."""

    def log_stat(self, key: str, value: float, t: int, /) -> None:
        """Logs one metric at ``t`` environment steps."""


class RunLogger(StatLogger, Protocol):
    """Where metrics and sentences go."""

    @property
    def console_logger(self) -> logging.Logger:
        """Takes sentences for people."""


class ActionSelector(Protocol):
    """Chooses actions from Q-values; a host brings its own."""

    def select_action(self, agent_inputs: Tensor, avail_actions: Tensor, t_env: int, test_mode: bool = False) -> Tensor:
        """Returns actions, long (B, N), from Q-values (B, N, A) and what is available (B, N, A)."""


class ActingController(Protocol):
    """A controller as runners see it."""

    action_selector: Any  # runners ask it for what only some selectors have

    def init_hidden(self, batch_size: int) -> None:
        """Forgets everything before a new episode."""

    def select_actions(
        self, ep_batch: Any, t_ep: int, t_env: int, bs: Rows = slice(None), test_mode: bool = False
    ) -> Tensor:
        """Returns actions, long (B, N), of the episodes ``bs`` at step ``t_ep``."""


class RememberingController(ActingController, Protocol):
    """A controller whose episodes may start at different times; only our own host lets them."""

    @property
    def memory(self) -> Mapping[str, Tensor]:
        """What it remembers of the episodes it plays, by name; the first axis is episodes."""

    @memory.setter
    def memory(self, memory: Mapping[str, Tensor], /) -> None: ...

    def needs_one_step(self, test_mode: bool) -> bool:
        """Returns whether all episodes of a call must be at the same step."""


class PortableController(RememberingController, Protocol):
    """A controller of which copies can act in other processes; only our own host lets them."""

    def __init__(self, scheme: Any, groups: Any, args: Any) -> None: ...

    def acting_state(self) -> Any:
        """Returns what acting depends on beside the settings; it can be pickled."""

    def load_acting_state(self, state: Any) -> None:
        """Lets this copy act as the controller whose ``acting_state`` it is."""

    def seed_acting(self, seed: int) -> None:
        """Begins everything anew that acting draws."""

    def take_tally(self) -> Any:
        """Returns what was counted while acting since the last call; it can be pickled."""

    def add_tally(self, tally: Any) -> None:
        """Adds what ``take_tally`` of another copy returned."""


# -- settings --------------------------------------------------------------------------------------------------------


class AgentArgs(Protocol):
    """What the agents' network reads."""

    n_actions: int
    hidden_dim: int
    use_rnn: bool


class CommArgs(Protocol):
    """What communication methods read beside the fields of their ``SETTINGS``, which are looked up by name."""

    device: str
    target_update_interval_or_tau: float


class BundleArgs(Protocol):
    """What settings and sizes of a run say about the protocol bundle that it needs."""

    env: str
    env_args: dict
    n_agents: int
    n_actions: int
    state_shape: int
    obs_last_action: bool  # whether x includes the agent's last action
    obs_agent_id: bool  # whether x includes the agent's index
    protocol_path: str  # folder of the bundle, or ``protocol.engine.locate.AUTO``


class OptimiserArgs(Protocol):
    """What the optimiser reads."""

    optimiser: str
    lr: float
    grad_norm_clip: float
    optim_alpha: float
    optim_eps: float


class LmacArgs(CommArgs, BundleArgs, OptimiserArgs, Protocol):
    """What LMAC reads beside its ``SETTINGS``."""


class ControllerArgs(AgentArgs, CommArgs, Protocol):
    """What the controller reads, for itself and for the agents and the communication method that it makes."""

    n_agents: int
    state_shape: int
    obs_last_action: bool
    obs_agent_id: bool
    add_state: bool
    agent: str
    action_selector: str
    comm: str | None


class SelectorArgs(Protocol):
    """What action selectors read."""

    epsilon_start: float
    epsilon_finish: float
    epsilon_anneal_time: int
    evaluation_epsilon: float
    test_greedy: bool
    seed: int


class MixerArgs(Protocol):
    """What mixers read."""

    n_agents: int
    state_shape: int
    mixing_embed_dim: int
    hypernet_layers: int
    hypernet_embed: int


class LearnerArgs(MixerArgs, OptimiserArgs, Protocol):
    """What the learner reads, for itself and for the mixer and the optimiser that it makes."""

    device: str
    learner: str
    comm: str | None
    mixer: str | None
    batch_size: int
    gamma: float
    double_q: bool
    standardise_rewards: bool
    reward_std_floor: float
    standardise_returns: bool
    target_update_interval_or_tau: float
    learner_log_interval: int


class TwinCriticArgs(LearnerArgs, Protocol):
    """What the actor-critic reads."""

    n_actions: int
    action_selector: str
    buffer_size: int
    critic_lr: float
    critic_hidden_dim: int
    adam_eps: float
    td_lambda: float
    entropy_coef: float
    on_policy_batch_size: int
    learn_from_episodes: int


class RunnerArgs(Protocol):
    """What the runners of our own host read."""

    env: str
    env_args: dict
    seed: int
    batch_size_run: int
    num_envs: int
    acting: str
    test_nepisode: int
    runner_log_interval: int
    common_reward: bool
    reward_scalarisation: str
    render: bool
    device: str
