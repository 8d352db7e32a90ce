"""Steps SMAX, the JAX battles of the jaxmarl package, for ``battle_stepping.py``; runs where jaxmarl is installed.

    python benchmarks/smax_stepping.py 3m 64 < REQUESTS

Reads one number a line from standard input, seconds to play, and answers each with environment steps a second. The step
is jitted and vmapped over battles; random available actions are drawn inside it, observations, state and available
actions are made, and ended battles start anew. It must stay on Python 3.10 and import nothing of ours.
"""

import sys
import time
from typing import Any

import jax
import jaxmarl
from jaxmarl.environments.smax import map_name_to_scenario

CALLS = 20  # steps between two looks at the clock


def main(map_name: str, battles: int) -> None:
    env = jaxmarl.make("HeuristicEnemySMAX", scenario=map_name_to_scenario(map_name))

    def one_step(key: Any, state: Any) -> Any:
        key, for_actions, for_step = jax.random.split(key, 3)
        available = env.get_avail_actions(state)
        keys = jax.random.split(for_actions, len(env.agents))
        actions = {
            agent: jax.random.categorical(k, jax.numpy.log(available[agent] + 1e-10))
            for agent, k in zip(env.agents, keys, strict=True)
        }
        obs, state, reward, done, _ = env.step(for_step, state, actions)
        return key, state, (obs, reward, done)  # obs holds the state as "world_state"

    step = jax.jit(jax.vmap(one_step))
    keys = jax.random.split(jax.random.PRNGKey(0), battles)
    _, states = jax.vmap(env.reset)(keys)
    keys, states, out = step(keys, states)
    jax.block_until_ready(out)
    print(f"ready: jaxmarl {getattr(jaxmarl, '__version__', 'of unknown version')}, jax {jax.__version__}", flush=True)
    for line in sys.stdin:
        seconds, steps, start = float(line), 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            for _ in range(CALLS):
                keys, states, out = step(keys, states)
            jax.block_until_ready(out)
            steps += CALLS * battles
        print(steps / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
