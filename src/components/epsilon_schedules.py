"""Schedules of the exploration rate over environment steps."""

from __future__ import annotations

from epymarl_lmac.errors import SettingsError

DECAYS = ("linear", "exp")


class DecayThenFlatSchedule:
    """Falls from ``start`` to ``finish`` over ``time_length`` steps and stays there.

    Args:
        start: value at step 0.
        finish: value from step ``time_length`` on, at most ``start``; above 0 where ``decay`` is "exp".
        time_length: length of the decay, steps; 0 starts at ``finish``.
        decay: "linear", or "exp" for a constant factor a step.

    Raises:
        SettingsError: values between which nothing can decay.
    """

    def __init__(self, start: float, finish: float, time_length: float, decay: str = "exp") -> None:
        if decay not in DECAYS:
            raise SettingsError(f"decay={decay!r} is not known; choose one of {', '.join(DECAYS)}.")
        if finish > start:
            raise SettingsError(
                f"a schedule cannot decay from {start} up to {finish}; make its finish at most its start."
            )
        if time_length < 0:
            raise SettingsError(f"a schedule over {time_length} steps is not possible; use 0 or more.")
        if decay == "exp" and finish <= 0:
            raise SettingsError(f"an exponential decay never reaches {finish}; use a finish above 0.")
        self.start = start
        self.finish = finish
        self.time_length = time_length
        self.decay = decay

    def eval(self, T: float) -> float:
        """Returns the value at step ``T``."""
        if self.time_length <= T:
            return self.finish
        progress = T / self.time_length
        if self.decay == "linear":
            return self.start + (self.finish - self.start) * progress
        return self.start * (self.finish / self.start) ** progress
