"""What a design is asked for. Its fixed part is kept in the work folder, so that a resumed design is the same one."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from epymarl_lmac.awareness.decoder import FORMS
from epymarl_lmac.awareness.measure import TOLERANCE
from epymarl_lmac.errors import RecordError, SettingsError
from epymarl_lmac.record.provenance import write_json
from protocol_gen.score import BATCH_EPISODES, METRICS

FILE_NAME = "design.json"
LEAST_CONFIRMING = 8  # held-out episodes that confirm a choice
FREE = frozenset({"max_attempts", "out", "report", "ceiling_episodes"})  # may change between a stop and its resumption


@dataclass(frozen=True)
class Options:
    """The settings of one design."""

    env: str  # a file in config/envs
    updates: list[str]  # key=value settings of the task
    episodes: int = 5000  # for decoders to learn from
    heldout: int = 500  # for judging them
    train_steps: int | None = None  # of the collecting QMIX run; None: a tenth of the environment's t_max
    from_record: str | None = None  # run whose networks play instead
    buffer: str | None = None  # trajectory file to use instead of collecting
    card: str | None = None  # YAML file of a task card of the user's own
    seed: int = 1  # of collection
    important: str = ""  # patterns of state columns; "" asks the designer
    history: int = 10  # steps the last protocol sees
    max_message_dim: int | None = None  # most numbers a receiver may get a step from one protocol
    # Published are 200 to 1,000 batches, 10 steps on each, lr 5e-4 (docs/protocol_gen.md compares).
    decoder_form: str = "direct"  # or "published", without a linear layer from the input to the state
    decoder_batches: int = 2000  # batches of episodes drawn for a decoder
    batch_episodes: int = BATCH_EPISODES  # episodes of a batch; fewer make a step cheaper where there are many agents
    steps_per_batch: int = 1  # gradient steps on each
    decoder_lr: float = 5e-3  # learning rate of decoders; falls to zero over the last third
    decoder_seeds: int = 3  # decoders of each kind
    tolerance: float = TOLERANCE  # squared error that counts as success (alpha)
    sai_metric: str = "both"  # what chooses: success, r2, or their mean
    candidates: int = 1  # protocols asked for at each step
    max_attempts: int = 10  # answers a candidate (or an analyst) may have refused
    min_gain: float = 0.002  # a step must raise the score by this on the confirming episodes to be shipped
    ship_all: bool = False  # ship steps that gained nothing confirmed, too
    ceiling_episodes: int = 50  # episodes on which single agents' exact knowledge is computed; 0: no ceiling at all
    out: str | None = None  # bundle folder; None: protocols/<env>/<task>/default
    report: str | None = None  # page to write; None: report.html in the work folder

    def check(self) -> None:
        """Raises SettingsError for a value that makes no design."""
        least = dict.fromkeys(("episodes", "heldout", "history", "candidates", "max_attempts"), 1)
        least |= {"decoder_batches": 1, "steps_per_batch": 1, "batch_episodes": 1, "decoder_seeds": 3}
        least |= {name: 1 for name in ("train_steps", "max_message_dim") if getattr(self, name) is not None}
        for name, low in least.items():
            if getattr(self, name) < low:
                flag = f"--{name.replace('_', '-')}"
                why = " (their spread is reported)" if name == "decoder_seeds" else ""
                raise SettingsError(f"{flag}={getattr(self, name)} must be at least {low}{why}.", flag)
        for name in ("ceiling_episodes", "min_gain"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:  # NaN fails as well
                flag = f"--{name.replace('_', '-')}"
                raise SettingsError(f"{flag}={value} must be a number of at least 0.", flag)
        check_heldout(self.heldout)
        if self.sai_metric == "skill":
            warnings.warn("--sai-metric skill is now called r2.", FutureWarning, stacklevel=2)
            object.__setattr__(self, "sai_metric", "r2")
        if self.sai_metric not in METRICS:
            raise SettingsError(f"--sai-metric={self.sai_metric!r} must be one of {METRICS}.", "--sai-metric")
        if self.decoder_form not in FORMS:
            raise SettingsError(f"--decoder-form={self.decoder_form!r} must be one of {FORMS}.", "--decoder-form")
        if self.buffer is not None and self.from_record is not None:
            raise SettingsError("Give --buffer or --from-record, not both.", "--buffer")
        for name in ("tolerance", "decoder_lr"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                flag = f"--{name.replace('_', '-')}"
                raise SettingsError(f"{flag}={value} must be a finite number above 0.", flag)

    def fixed(self) -> dict[str, Any]:
        """Returns what a resumed design must have in common with the first run."""
        return {k: v for k, v in asdict(self).items() if k not in FREE}


def check_heldout(n: int) -> None:
    """Raises SettingsError for too few held-out episodes: one half chooses, the other confirms."""
    if n < 2 * LEAST_CONFIRMING:
        raise SettingsError(
            f"{n} held-out episodes are too few to confirm on: one half chooses between candidates, the other confirms "
            f"the choice, so at least {2 * LEAST_CONFIRMING} are needed (--heldout, or a larger --buffer).",
            "--heldout",
        )


def claim(work: Path, options: Options) -> None:
    """Writes the options into a new work folder, or compares them with those of an old one.

    Raises:
        RecordError: the folder is of another design; every difference is named.
    """
    path = work / FILE_NAME
    if not path.is_file():
        write_json(path, options.fixed())
        return
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise RecordError(f"{path} is damaged: {err}. Choose another --work folder.") from err
    here = options.fixed()
    saved = {**Options("", []).fixed(), **saved}  # a folder of an earlier version lacks options that came later
    different = [f"{k}: {saved.get(k)!r} there, {v!r} here" for k, v in here.items() if saved.get(k) != v]
    if different:
        raise RecordError(
            f"{work} holds another design. {'; '.join(different)}. Use the same options, or another --work folder."
        )
