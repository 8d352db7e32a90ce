"""A miniature host, written here: enough of the layout to attach to, and to build and train what we register.

``make_host`` writes it. ``python src/main.py ALG:ENV ...`` merges the config files as hosts do, plays one episode,
takes one update, saves and loads the models, and prints what it did as JSON.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

MAIN = '''"""A host's main."""

from __future__ import annotations

import json
import sys
import tempfile
from types import SimpleNamespace as SN

import torch
import yaml
from os.path import abspath, dirname, join

from run import run

HERE = dirname(abspath(__file__))


def read(name):
    with open(join(HERE, "config", name + ".yaml")) as file:
        return yaml.load(file{loader})


if __name__ == "__main__":
    results = {{}}
    for pair in sys.argv[1:]:
        alg, env = pair.split(":")
        config = {{**read("default"), **read("envs/" + env), **read("algs/" + alg), "seed": 1}}
        config["env_args"] = dict(config["env_args"], seed=1)
        config["env_args"]["map_name"]
        torch.manual_seed(1)
        results[pair] = run(SN(**config, device="cpu", use_cuda=False), tempfile.mkdtemp())
    print("RESULT " + json.dumps(results))
'''

RUN = """import torch as th
from components.episode_buffer import EpisodeBatch
from controllers import REGISTRY as macs
from envs import REGISTRY as envs
from learners import REGISTRY as learners


class Logger:
    def __init__(self):
        self.stats = {{}}

    def log_stat(self, key, value, t, to_sacred=True):
        self.stats[key] = value


def run(args, folder):
    env = envs[args.env](**args.env_args{reward})
    info = env.get_env_info()
    for key in ("n_agents", "n_actions", "state_shape"):
        setattr(args, key, info[key])
    scheme = {{
        "obs": {{"vshape": info["obs_shape"], "group": "agents"}},
        "state": {{"vshape": info["state_shape"]}},
        "actions_onehot": {{"vshape": (info["n_actions"],), "group": "agents"}},
    }}
    mac = macs[args.mac](scheme, {{"agents": args.n_agents}}, args)
    logger = Logger()
    learner = learners[args.learner](mac, scheme, logger, args)
    batch = EpisodeBatch(info)
    env.reset()
    mac.init_hidden(batch_size=1)
    t, over, total = 0, False, 0.0
    while not over:
        batch.observe(t, env)
        actions = mac.select_actions(batch, t_ep=t, t_env=t, test_mode=False)
        {step}
        batch.act(t, actions, reward, over != details.get("episode_limit", False))
        total += float(reward)
        t += 1
    batch.observe(t, env)
    batch = batch.cut(t + 1)
    learner.train(batch, 0, 0)
    learner.save_models(folder)
    learner.load_models(folder)
    stats = env.get_stats()
    return {{
        "steps": t,
        "return": total,
        "loss": float(logger.stats["loss"]),
        "learner": type(learner).__name__,
        "hidden": mac.agent.hidden_dim if hasattr(mac.agent, "hidden_dim") else None,
        "selector": type(mac.action_selector).__module__,
        "stats": stats,
    }}
"""

STEP = {
    5: "_, reward, terminated, truncated, details = env.step(actions[0]); over = terminated or truncated",
    3: "reward, over, details = env.step(actions[0])",
}

BUFFER = """import torch as th


class EpisodeBatch:
    def __init__(self, info, data=None):
        N, A, T = info["n_agents"], info["n_actions"], info["episode_limit"] + 1
        self.info, self.device, self.batch_size = info, "cpu", 1
        self.data = data or {
            "obs": th.zeros(1, T, N, info["obs_shape"]),
            "state": th.zeros(1, T, info["state_shape"]),
            "avail_actions": th.zeros(1, T, N, A, dtype=th.int),
            "actions": th.zeros(1, T, N, 1, dtype=th.long),
            "actions_onehot": th.zeros(1, T, N, A),
            "reward": th.zeros(1, T, 1),
            "terminated": th.zeros(1, T, 1, dtype=th.uint8),
            "filled": th.zeros(1, T, 1, dtype=th.long),
        }

    def __getitem__(self, key):
        return self.data[key]

    def observe(self, t, env):
        for key, value in (
            ("obs", env.get_obs()), ("state", env.get_state()), ("avail_actions", env.get_avail_actions())
        ):
            row = th.stack([th.as_tensor(v) for v in value]) if isinstance(value, list) else th.as_tensor(value)
            self.data[key][0, t] = row
        self.data["filled"][0, t] = 1

    def act(self, t, actions, reward, terminated):
        self.data["actions"][0, t, :, 0] = actions[0]
        self.data["actions_onehot"][0, t] = th.nn.functional.one_hot(actions[0], self.info["n_actions"]).float()
        self.data["reward"][0, t, 0] = float(reward)
        self.data["terminated"][0, t, 0] = int(terminated)

    def cut(self, steps):
        return EpisodeBatch(self.info, {key: value[:, :steps] for key, value in self.data.items()})
"""

SELECTORS = """import torch as th


class Greedy:
    epsilon = 0.0

    def __init__(self, args):
        self.args = args

    def select_action(self, agent_inputs, avail_actions, t_env, test_mode=False):
        return agent_inputs.masked_fill(avail_actions == 0, -float("inf")).argmax(-1)


REGISTRY = {"epsilon_greedy": Greedy}
"""

PLAIN_ENV = """class MultiAgentEnv(object):
    def get_env_info(self):
        return {
            "state_shape": self.get_state_size(),
            "obs_shape": self.get_obs_size(),
            "n_actions": self.get_total_actions(),
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }
"""

ENVS = """import {package}
from {package}.tools import Base
from .multiagentenv import MultiAgentEnv

SIZE = {package}.lib.sizes.get("small")


class Battle(Base):
    def __init__(self, **kwargs):
        {package}.start()


REGISTRY = {{}}
REGISTRY["battle"] = Battle
"""

FILES = {
    "README.md": "A host.\n",
    "src/__init__.py": "",
    "src/components/__init__.py": "",
    "src/components/episode_buffer.py": BUFFER,
    "src/components/action_selectors.py": SELECTORS,
    "src/controllers/__init__.py": "REGISTRY = {}\nclass Mac: pass\nREGISTRY['basic_mac'] = Mac\n",
    "src/learners/__init__.py": "REGISTRY = {}\nclass Learner: pass\nREGISTRY['q_learner'] = Learner\n",
    "src/modules/__init__.py": "",
    "src/modules/agents/__init__.py": "REGISTRY = {}\nclass Agent: pass\nREGISTRY['rnn'] = Agent\n",
    "src/modules/mixers/__init__.py": "",
    "src/modules/mixers/qmix.py": "class QMixer: pass\n",
    "src/envs/multiagentenv.py": PLAIN_ENV,
    "src/config/algs/qmix.yaml": "name: qmix\nlearner: q_learner\n",
}


def make_host(root: Path, kind: str) -> Path:
    """Writes a miniature host of a kind ("epymarl", "epymarl_v1" or "pymarl2") and returns its root."""
    n_values = 5 if kind == "epymarl" else 3
    hidden = "rnn_hidden_dim" if kind == "pymarl2" else "hidden_dim"
    reward = "" if kind == "pymarl2" else ", common_reward=True, reward_scalarisation='sum'"
    run = "src/run/__init__.py" if kind == "pymarl2" else "src/run.py"
    files = {
        **FILES,
        "src/main.py": MAIN.format(loader=", Loader=yaml.FullLoader" if kind == "epymarl" else ""),
        run: RUN.format(reward=reward, step=STEP[n_values]),
        "src/runners/episode_runner.py": f"def play(self, env, actions):\n    {STEP[n_values]}\n",
        "src/envs/__init__.py": ENVS.format(package="smaclite" if kind == "epymarl" else "smac"),
        "src/config/default.yaml": f"{hidden}: 64\nlr: 0.0005\nbuffer_size: 32\nlearner_log_interval: 100\n",
        "src/config/envs/battle.yaml": "env: battle\nenv_args: {map_name: 3m}\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root


def commit(root: Path) -> None:
    """Makes a checkout of a folder: everything committed."""
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "host"],
    ):
        subprocess.run(["git", "-C", str(root), *words], check=True)


def tree_hash(root: Path) -> dict[str, tuple[str, int]]:
    """Returns digest and mode of every file, and the mode of every folder, but for git's own and compiled files."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.startswith((".git/", "results/")) or name in (".git", "results") or "__pycache__" in name:
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[name] = (content, path.stat().st_mode)
    return found
