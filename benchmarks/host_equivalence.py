"""Does our learner core compute what the host computes? Losses, gradients and weights, side by side.

    python benchmarks/host_equivalence.py [--epymarl PATH] [--pymarl2 PATH]

The same weights and the same 8 random episodes of different length go through ``qmix`` as the host has it, our
``qmix`` attached to that host, and our ``qmix`` in the embedded host; then through ``lmac_qmix`` attached and
embedded. Each runs in a process of its own; the checkout is copied, attached and left alone. Reward standardisation is
off for the host's own ``qmix``: EPyMARL counts padded steps and divides by n - 1, PyMARL2 has none.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
N_UPDATES = 5
EPISODES, STEPS = 8, 12
PREFIX = "lmac-"
PLAIN = {"standardise_rewards": False, "grad_norm_clip": 1e9, "target_update_interval_or_tau": 2, "use_rnn": True}
# What makes a host's own qmix the one of our config file.
AS_OURS: dict[str, dict[str, Any]] = {
    "epymarl": {**PLAIN, "obs_last_action": True},
    "pymarl2": {
        **{"learner": "q_learner", "mac": "basic_mac", "agent": "rnn", "batch_size": 32, "lr": 0.0005},
        **{"hypernet_layers": 2, "double_q": True, "grad_norm_clip": 1e9, "target_update_interval": 2},
    },
}
# PyMARL2's q_learner minimises half the mean squared error.
LOSS_SCALE = {"epymarl": 1.0, "pymarl2": 2.0}


# -- data: the same for everybody ------------------------------------------------------------------------------


def make_data(path: Path) -> None:
    """Writes sizes and random episodes of the LBF task (its layout; the numbers mean nothing)."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from envs import REGISTRY
    from epymarl_lmac.settings import load_settings

    info = REGISTRY["lbf"](seed=1, **load_settings("lmac_qmix", "lbf").env_args).get_env_info()
    N, A, O, S = info["n_agents"], info["n_actions"], info["obs_shape"], info["state_shape"]
    random = torch.Generator().manual_seed(3)
    lengths = [STEPS, 3, 7, STEPS, 1, 9, 5, 10]
    episodes = []
    for length in lengths:
        avail = (torch.rand(length + 1, N, A, generator=random) < 0.7).int()
        avail[..., 0] = 1
        actions = torch.multinomial(avail.float().view(-1, A), 1, generator=random).view(length + 1, N, 1)
        terminated = torch.zeros(length + 1, 1, dtype=torch.uint8)
        terminated[length - 1] = int(length < STEPS)  # the long ones were cut off by the time limit
        reward = torch.randn(length + 1, 1, generator=random)
        reward[length] = 0
        episodes.append(
            {
                "obs": torch.randn(length + 1, N, O, generator=random),
                "state": torch.randn(length + 1, S, generator=random),
                "avail_actions": avail,
                "actions": actions,
                "terminated": terminated,
                "reward": reward,
            }
        )
    torch.save({"info": dict(info), "episodes": episodes}, path)


def make_batch(data: dict[str, Any]) -> tuple[Any, dict, dict]:
    """Returns the running host's batch of the episodes, its scheme and its groups."""
    from components.episode_buffer import EpisodeBatch
    from components.transforms import OneHot

    info = data["info"]
    scheme = {
        "state": {"vshape": info["state_shape"]},
        "obs": {"vshape": info["obs_shape"], "group": "agents"},
        "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
        "avail_actions": {"vshape": (info["n_actions"],), "group": "agents", "dtype": torch.int},
        "reward": {"vshape": (1,)},
        "terminated": {"vshape": (1,), "dtype": torch.uint8},
    }
    groups = {"agents": info["n_agents"]}
    preprocess = {"actions": ("actions_onehot", [OneHot(out_dim=info["n_actions"])])}
    batch = EpisodeBatch(scheme, groups, EPISODES, STEPS + 1, preprocess=preprocess)
    for index, episode in enumerate(data["episodes"]):
        values = {key: value.unsqueeze(0) for key, value in episode.items()}
        batch.update(values, bs=slice(index, index + 1), ts=slice(0, len(episode["obs"])))
    return batch, batch.scheme, groups


# -- one process a host ----------------------------------------------------------------------------------------


class Recorder:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.stats: dict[str, list[float]] = {}
        self.console_logger = SimpleNamespace(info=lambda text: None)

    def log_stat(self, key: str, value: Any, t: int, to_sacred: bool = True) -> None:
        """Keeps one figure."""
        self.stats.setdefault(key, []).append(float(value))


def host_settings(source: Path, alg: str, env: str, changes: dict[str, Any]) -> SimpleNamespace:
    """Returns the settings that the host's ``main.py`` would start with."""
    values: dict[str, Any] = {}
    for name in ("default", f"envs/{env}", f"algs/{alg}"):
        values.update(yaml.safe_load((source / "config" / f"{name}.yaml").read_text()))
    return SimpleNamespace(**{**values, "seed": 1, **changes})


def named_parameters(mac: Any, mixer: Any) -> dict[str, torch.nn.Parameter]:
    """Returns all trained parameters by name."""
    networks = mac.networks() if hasattr(mac, "networks") else {"agent": mac.agent}
    networks = {**networks, **({} if mixer is None else {"mixer": mixer})}
    return {f"{net}.{name}": p for net, module in networks.items() for name, p in module.named_parameters()}


def measure(args: Any, registries: dict[str, Any], data: dict[str, Any], weights: Path) -> dict[str, Any]:
    """Trains on the episodes; the first process writes the initial weights, the others read them."""
    batch, scheme, groups = make_batch(data)
    torch.manual_seed(0)  # initial weights
    mac = registries["mac"][args.mac](scheme, groups, args)
    recorder = Recorder()
    learner = registries["learner"][args.learner](mac, scheme, recorder, args)
    parameters = named_parameters(mac, learner.mixer)
    if not weights.exists():
        torch.save({name: p.detach().clone() for name, p in parameters.items()}, weights)
    initial = torch.load(weights)
    targets = named_parameters(learner.target_mac, learner.target_mixer)
    with torch.no_grad():
        for name, value in initial.items():
            parameters[name].copy_(value)
            targets[name].copy_(value)
    gradients = {}
    for step in range(N_UPDATES):
        torch.manual_seed(step)  # dropout
        learner.train(batch, step, step + 1)  # PyMARL2 counts episodes between target updates
        if step == 0:
            gradients = {name: p.grad.detach().clone() for name, p in parameters.items() if p.grad is not None}
    losses = recorder.stats.get("loss", recorder.stats.get("loss_td"))
    return {"losses": losses, "gradients": gradients, "weights": {k: p.detach() for k, p in parameters.items()}}


def worker(job: dict[str, Any]) -> None:
    """Runs one row: in a host's checkout if ``source`` is given, else in the embedded host."""
    data = torch.load(job["data"])
    info = data["info"]
    sizes = {key: info[key] for key in ("n_agents", "n_actions", "state_shape", "obs_shape")}
    sizes |= {"device": "cpu", "use_cuda": False, "learner_log_interval": 0}
    if job["source"] is None:
        sys.path[:0] = [str(ROOT), str(ROOT / "src")]
        from epymarl_lmac.settings import load_settings

        args: Any = load_settings(job["alg"], "lbf", job["changes"]).with_values(**sizes)
    else:
        source = Path(job["source"])
        sys.path[:0] = [str(source), str(ROOT)]
        from epymarl_lmac.plugin import activate

        activate(source / "main.py")
        args = host_settings(source, job["alg"], "lbf", {**job["changes"], **sizes})
    from controllers import REGISTRY as macs
    from learners import REGISTRY as learners

    torch.set_num_threads(1)
    torch.save(measure(args, {"mac": macs, "learner": learners}, data, Path(job["weights"])), job["out"])


# -- comparison ------------------------------------------------------------------------------------------------


def run_row(folder: Path, row: str, alg: str, source: Path | None, changes: dict, weights: str) -> dict[str, Any]:
    """Returns what a row's process measured."""
    job = {
        **{"alg": alg, "source": None if source is None else str(source), "changes": changes},
        **{"data": str(folder / "data.pt"), "weights": str(folder / weights), "out": str(folder / f"{row}.pt")},
    }
    command = [sys.executable, "-W", "ignore", __file__, "--worker", json.dumps(job)]
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    cwd = ROOT if source is None else source.parent
    subprocess.run(command, check=True, cwd=cwd, env=environment)
    return torch.load(folder / f"{row}.pt")


def largest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], scale: float = 1.0) -> float:
    """Returns the largest absolute difference of ``scale * a`` and ``b`` over all tensors.

    Raises:
        ValueError: the two do not have the same tensors.
    """
    if set(a) != set(b):
        raise ValueError(f"different tensors: {sorted(set(a) ^ set(b))}")
    return max(float((scale * a[name] - b[name]).abs().max()) for name in a)


def difference(name: str, a: dict[str, Any], b: dict[str, Any], scale: float = 1.0) -> dict[str, Any]:
    """Returns a row of the table: largest differences over losses, first gradients and final weights."""
    losses = max(abs(scale * x - y) for x, y in zip(a["losses"], b["losses"], strict=True))
    return {
        "pair": name,
        "first_loss": b["losses"][0],
        "loss": losses,
        "gradient": largest(a["gradients"], b["gradients"], scale),
        "gradient_size": max(float(g.abs().max()) for g in b["gradients"].values()),
        "weights": largest(a["weights"], b["weights"]),
    }


def compare(kind: str, checkout: Path) -> list[dict[str, Any]]:
    """Returns the table's rows for one host.

    Args:
        kind: "epymarl" or "pymarl2".
        checkout: it is copied; the original stays as it is.
    """
    sys.path.insert(0, str(ROOT))
    from epymarl_lmac.plugin.attach import plan_attach

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_data(folder / "data.pt")
        source = folder / "host" / "src"
        shutil.copytree(checkout / "src", source)
        plan_attach(source, PREFIX).carry_out()
        own = run_row(folder, "own", "qmix", source, AS_OURS[kind], "qmix.pt")
        attached = run_row(folder, "attached", f"{PREFIX}qmix", source, PLAIN, "qmix.pt")
        embedded = run_row(folder, "embedded", "qmix", None, PLAIN, "qmix.pt")
        lmac_attached = run_row(folder, "lmac_attached", "lmac_qmix", source, {}, "lmac.pt")
        lmac_embedded = run_row(folder, "lmac_embedded", "lmac_qmix", None, {}, "lmac.pt")
    return [
        difference(f"qmix: {kind}'s own, ours attached", own, attached, LOSS_SCALE[kind]),
        difference(f"qmix: ours attached to {kind}, ours embedded", attached, embedded),
        difference(f"lmac_qmix: attached to {kind}, embedded", lmac_attached, lmac_embedded),
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epymarl", type=Path, default=os.environ.get("EPYMARL_HOME"))
    parser.add_argument("--pymarl2", type=Path, default=os.environ.get("PYMARL2_HOME"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(json.loads(options.worker))
        return
    print(f"largest absolute difference over {N_UPDATES} updates; {EPISODES} episodes, float32, CPU")
    print("| pair | first loss | losses | first gradient (largest entry) | weights after the last update |")
    print("| --- | --- | --- | --- | --- |")
    for kind in ("epymarl", "pymarl2"):
        checkout = getattr(options, kind)
        for row in compare(kind, Path(checkout)) if checkout else []:
            print(
                f"| {row['pair']} | {row['first_loss']:.6f} | {row['loss']:.1e} | "
                f"{row['gradient']:.1e} ({row['gradient_size']:.2g}) | {row['weights']:.1e} |"
            )


if __name__ == "__main__":
    main()
