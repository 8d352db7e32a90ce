"""Finds and checks the protocol bundle of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from epymarl_lmac.errors import BundleError
from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol.engine.bundle import Bundle
from epymarl_lmac.protocol.engine.spec import TaskSchema
from epymarl_lmac.tasks import has_card, task_card, task_id

if TYPE_CHECKING:
    from epymarl_lmac.seam import BundleArgs

AUTO = "auto"
KEPT = "protocol"  # folder of a run's own copy of its bundle, inside the run's


def schema_for(args: BundleArgs, n_obs: int) -> TaskSchema:
    """Returns what a bundle must have been made for.

    Args:
        args: the run's settings.
        n_obs: width O of one agent's observation.
    """
    known = has_card(args.env)
    return TaskSchema(
        env=args.env,
        task=task_id(args.env, args.env_args) if known else "",
        n_agents=args.n_agents,
        obs_dim=n_obs,
        n_actions=args.n_actions,
        state_dim=int(args.state_shape),
        obs_last_action=bool(args.obs_last_action),
        obs_agent_id=bool(args.obs_agent_id),
        card_hash=task_card(args.env, args.env_args).hash() if known else None,
    )


def kept_bundle(run: str | Path) -> dict[str, str]:
    """Returns the setting with which a recorded run is built again with its own copy of its bundle; {} without one.

    Args:
        run: folder of the run.
    """
    own = Path(run) / KEPT
    return {"protocol_path": str(own)} if own.is_dir() else {}


def bundle_path(args: BundleArgs) -> Path:
    """Returns the folder that ``protocol_path`` names; "auto" is protocols/<env>/<task>/default.

    A run that goes on has the copy that it kept: the folder that was named may hold another bundle by now.
    """
    before = getattr(args, "checkpoint_path", "")  # not every host has it
    if before and (own := kept_bundle(before)):
        return Path(own["protocol_path"])
    if args.protocol_path != AUTO:
        return Path(args.protocol_path).expanduser()
    if not has_card(args.env):
        raise BundleError(
            f"protocol_path=auto needs a task card, and env {args.env!r} has none; "
            "set protocol_path to the folder of a bundle."
        )
    return protocols_root() / args.env / task_id(args.env, args.env_args) / "default"


def load_bundle_for(args: BundleArgs, n_obs: int) -> Bundle:
    """Loads the bundle of a run and refuses one that is missing, damaged or made for another task.

    Raises:
        BundleError: naming every difference and what to do.
    """
    return Bundle.load(bundle_path(args), schema_for(args, n_obs))
