"""Communication modules: what turns received messages into something an agent can act on."""

from epymarl_lmac.plugin.entry_points import extended

REGISTRY = extended("comm", {})
