"""Worker of ``env_stepping.py`` for an interpreter that has jumanji and jax: times Jumanji's LBF on request.

Reads one JSON line ``[form, n_envs, seconds]`` a measurement and answers with the environment steps per
second. ``jit`` calls one jitted, vmapped step with actions from outside; ``scan`` runs 100 steps in one
jitted call.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import jumanji
from jumanji.environments.routing.lbf.env import LevelBasedForaging
from jumanji.environments.routing.lbf.generator import RandomGenerator
from jumanji.wrappers import AutoResetWrapper, VmapWrapper

SCAN_STEPS = 100


def build(env_args: dict, n_envs: int) -> dict:
    """Compiles both forms for ``n_envs`` environments; each takes a number of steps and plays them."""
    generator = RandomGenerator(
        grid_size=env_args["field_size"],
        fov=env_args["sight"],
        num_agents=env_args["players"],
        num_food=env_args["max_food"],
        max_agent_level=2,
        force_coop=env_args["force_coop"],
    )
    game = LevelBasedForaging(generator=generator, time_limit=env_args["max_episode_steps"], grid_observation=True)
    env = VmapWrapper(AutoResetWrapper(game))
    state, timestep = jax.jit(env.reset)(jax.random.split(jax.random.PRNGKey(0), n_envs))
    shape = (n_envs, env_args["players"])
    actions = [jax.random.randint(jax.random.PRNGKey(k), shape, 0, 6) for k in range(64)]
    one_step = jax.jit(env.step)

    def scanned(carry: tuple[Any, Any], key: Any) -> tuple[tuple[Any, Any], Any]:
        state, _ = carry
        state, timestep = env.step(state, jax.random.randint(key, shape, 0, 6))
        return (state, timestep), timestep.reward.sum()

    many_steps = jax.jit(lambda carry, key: jax.lax.scan(scanned, carry, jax.random.split(key, SCAN_STEPS)))
    held = {"jit": (state, timestep), "scan": one_step(state, actions[0]), "key": jax.random.PRNGKey(1)}

    def play_jit(n_steps: int) -> int:
        current, seen = held["jit"]
        for k in range(n_steps):
            current, seen = one_step(current, actions[k % 64])
        jax.block_until_ready((current, seen))
        held["jit"] = current, seen
        return n_steps

    def play_scan(n_steps: int) -> int:
        calls = -(-n_steps // SCAN_STEPS)
        for _ in range(calls):
            held["key"], key = jax.random.split(held["key"])
            held["scan"], rewards = many_steps(held["scan"], key)
        jax.block_until_ready((held["scan"], rewards))
        return calls * SCAN_STEPS

    play_jit(2)
    play_scan(2 * SCAN_STEPS)
    assert bool(jnp.isfinite(held["scan"][1].reward).all())
    return {"jit": play_jit, "scan": play_scan}


def main() -> None:
    request = json.loads(sys.argv[1])
    players = {n: build(request["env_args"], n) for n in request["sizes"]}
    print(json.dumps({"jumanji": jumanji.__version__, "jax": jax.__version__}), flush=True)
    for line in sys.stdin:
        form, n_envs, seconds = json.loads(line)
        n_steps = 128
        while True:
            start = time.perf_counter()
            played = players[n_envs][form](n_steps)
            elapsed = time.perf_counter() - start
            if elapsed >= seconds:
                break
            n_steps = max(2 * n_steps, int(1.1 * n_steps * seconds / elapsed))
        print(json.dumps(played * n_envs / elapsed), flush=True)


if __name__ == "__main__":
    main()
