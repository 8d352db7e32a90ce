"""Communication modules: what turns received messages into something an agent can act on."""
