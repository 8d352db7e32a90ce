"""Shows how far the sampled posterior of LBF can be trusted: errors beside the belief's own variance, random play.

    python docs/protocols/lbf/sampled.py [--particles 500,2000] [--episodes 12]
        [with env_args.players=6 env_args.max_food=4 env_args.field_size=11]

A belief that is right has a squared error that is its own variance, on average over episodes; one that rests on too few
courses is too sure. The interval is that of the mean difference over episodes (95 %). Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from envs.lbf import LbfEnv  # noqa: E402
from epymarl_lmac.compare.statistics import t_interval  # noqa: E402
from epymarl_lmac.settings import merge  # noqa: E402
from epymarl_lmac.settings.command_line import split_argv  # noqa: E402
from epymarl_lmac.tasks.lbf_posterior_sampled import SampledLbfPosterior  # noqa: E402
from epymarl_lmac.tasks.lbf_settings import LbfSettings  # noqa: E402


def play(env: LbfEnv, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns observations (T, N, O), actions (T, N) and states (T, S) of a random episode."""
    rng, obs, actions, states = np.random.default_rng(seed), [], [], []
    is_over = False
    while not is_over:
        obs.append(env.obs_BNO[0].copy())
        states.append(env.state_BS[0].copy())
        actions.append(rng.integers(env.n_actions, size=env.n_agents))
        result = env.step(actions[-1][None])
        is_over = bool(result.terminated_B[0] or result.truncated_B[0])
    return np.stack(obs), np.stack(actions), np.stack(states)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", default="500,2000", help="courses that are followed, several by commas")
    parser.add_argument("--episodes", type=int, default=12)
    flags, updates = split_argv(sys.argv[1:])
    options = parser.parse_args(flags)
    env_args = merge("qmix", "lbf", updates)["env_args"]
    episodes = [play(LbfEnv(1, seed, **env_args), seed) for seed in range(options.episodes)]
    print("| courses | squared error | variance | difference | passed over | s an episode |")
    print("| --- | --- | --- | --- | --- | --- |")
    for particles in map(int, options.particles.split(",")):
        posterior = SampledLbfPosterior(LbfSettings.from_env_args(env_args), "shown here", particles)
        posterior.together(*(part[:2] for part in episodes[0][:2]))  # compiles
        posterior.n_passed_over = 0
        errors, variances, began = [], [], time.process_time()
        for obs, actions, states in episodes:
            belief = posterior.together(obs, actions)
            errors.append(np.square(belief.mean - states).sum(1).mean())
            variances.append(belief.variance.sum(1).mean())
        seconds = (time.process_time() - began) / len(episodes)
        apart = t_interval(np.array(errors) - np.array(variances))
        print(
            f"| {particles:,} | {np.mean(errors):.2f} | {np.mean(variances):.2f} | {apart.value:+.2f} "
            f"[{apart.low:+.2f}, {apart.high:+.2f}] | {posterior.n_passed_over} | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
