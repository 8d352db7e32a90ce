"""The Q-network of LMAC: the recurrent agent on [x, z], z being the latent the comm module infers."""

from __future__ import annotations

from modules.agents.sequence_agent import SequenceAgent


class LmacAgent(SequenceAgent):
    """Q_i = Linear(GRU(ReLU(Linear([x_i, z_i])))).

    Args:
        input_shape: width D + Z of [x, z].
        args: as for ``SequenceAgent``.

    Source: Bae, Park, Lee, Han, "LLM-Guided Communication for Cooperative MARL", ICML 2026.
    """
