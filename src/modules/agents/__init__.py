"""Agent networks: (inputs, hidden) -> (Q-values, hidden), with ``states`` for whole sequences."""

from epymarl_lmac.plugin.entry_points import extended
from modules.agents.linear_agent import LinearAgent
from modules.agents.sequence_agent import SequenceAgent

REGISTRY = extended("agents", {"linear": LinearAgent, "rnn": SequenceAgent})
