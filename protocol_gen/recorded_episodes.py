"""The recorded episodes of a design: played or given, read, and matched with the task's card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from epymarl_lmac.awareness.inputs import Episodes
from epymarl_lmac.errors import RecordError, TaskError
from epymarl_lmac.tasks import TaskCard
from protocol_gen import describe
from protocol_gen.collect import collect, mean_returns
from protocol_gen.ledger import read_json
from protocol_gen.options import Options, check_heldout
from protocol_gen.trajectories import read as read_trajectories


class RecordedEpisodes:
    """The trajectory file of one design.

    Args:
        options: what is asked for; they say which file is used, or how one is made.
        card: the task.
        work: the design's folder.
        watch: told of every event, in words.
    """

    def __init__(self, options: Options, card: TaskCard, work: Path, watch: Callable[[str], None]) -> None:
        self._options, self._card, self._work, self._watch = options, card, work, watch
        self.path = work / "trajectories.h5" if options.buffer is None else Path(options.buffer)

    def collect(self) -> dict[str, Any]:
        """Plays the episodes unless they are there; returns what is written into ``collect.json``."""
        if not self.path.is_file() and self._options.buffer is None:
            self._play()
        returns = [round(r, 4) for r in mean_returns(self.path)]
        self._watch(f"collect: mean return {returns[0]} in the first tenth of the episodes, {returns[1]} in the last")
        train, heldout, attributes = read_trajectories(self.path)
        return {
            "file": str(self.path),
            **attributes["notes"],
            "mean_return_first_and_last_tenth": returns,
            "states_sha256": states_sha256(train, heldout),
        }

    def collect_again_if_gone(self) -> None:
        """Plays episodes again whose file was removed after ``collect.json`` was written.

        Raises:
            RecordError: other episodes were played than those that the rest of the folder was measured on.
        """
        done = self._work / "collect.json"
        if self._options.buffer is not None or self.path.is_file() or not done.is_file():
            return
        self._watch(f"collect: {self.path} is gone, so it is collected again")
        self._play()
        before = read_json(done).get("states_sha256")  # earlier versions did not write it
        train, heldout, _ = read_trajectories(self.path)
        again = states_sha256(train, heldout)
        if before is not None and before != again:
            self.path.unlink()
            raise RecordError(
                f"{self.path} was gone, and collecting again gave other episodes: their states have SHA-256 "
                f"{again[:12]}, those before {before[:12]}. What is in {self._work} was measured on the lost ones; "
                "restore the file, or use another --work folder."
            )

    def read(self) -> tuple[Episodes, Episodes]:
        """Returns the training and the held-out episodes.

        Raises:
            SettingsError: too few held-out episodes to confirm on.
            TaskError: a column is named otherwise on the card, or holds what the card rules out.
        """
        train, heldout, attributes = read_trajectories(self.path)
        check_heldout(len(heldout))
        for what, dims in (("obs", self._card.obs), ("state", self._card.state)):
            names = [d.name for d in dims]
            stored = attributes[f"{what}_columns"]
            for index, (mine, theirs) in enumerate(zip(names, stored, strict=False)):
                if mine != theirs:
                    raise TaskError(
                        f"The card does not match {self.path}: {what}[{index}] is {theirs!r}, the card {mine!r}."
                    )
        packing = train.packing()
        obs, state = packing.pack(train.obs_BTNO).numpy(), packing.pack(train.state_BTS).numpy()
        describe.check_card_values(self._card, obs, state)
        return train, heldout

    def _play(self) -> None:
        o = self._options
        record = None if o.from_record is None else Path(o.from_record)
        sizes = (o.episodes, o.heldout, o.train_steps)
        collect(self.path, self._card, o.env, o.updates, *sizes, record=record, seed=o.seed)


def states_sha256(train: Episodes, heldout: Episodes) -> str:
    """Returns what tells recorded episodes from others."""
    digest = hashlib.sha256()
    for episodes in (train, heldout):
        digest.update(episodes.state_BTS.numpy().tobytes())
    return digest.hexdigest()
