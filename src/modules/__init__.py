"""Networks: agents, mixers and communication modules."""
