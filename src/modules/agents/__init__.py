"""Agent networks: (inputs, hidden) -> (Q-values, hidden), with ``unroll`` for whole sequences."""

from modules.agents.lmac_agent import LmacAgent
from modules.agents.sequence_agent import SequenceAgent

REGISTRY = {"rnn": SequenceAgent, "lmac": LmacAgent}
