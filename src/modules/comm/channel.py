"""An imperfect message channel between agents, for any method that says who sends which number.

What is sent at a step passes, in this order: a budget of numbers a link, quantisation, noise, delay, loss. A number
that comes from no teammate (an agent's inference from its own past, a constant) needs no link and is left alone.
In an update the channel is drawn anew for every batch: an episode's actions are recorded, so a fresh draw is as good a
sample of what agents may hear as the one they heard.

Letters: B rows, N receivers, M message columns, S senders (S = N), P packed rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.settings.fields import setting

WHEN = ("always", "test")


@dataclass(frozen=True)
class ChannelSettings:
    """The settings of the channel; the defaults switch everything off."""

    channel_drop: float = setting(
        0.0,
        "probability that a link (sender to receiver) fails at a step; what needs it arrives as 0",
        low=0,
        high=1,
    )
    channel_delay: int = setting(0, "steps until a message arrives; zeros before the first", low=0)
    channel_noise: float = setting(0.0, "standard deviation of Gaussian noise added to every number received", low=0)
    channel_bits: int = setting(0, "bits to which a number is quantised, 2 to 24; 0: not quantised", low=0, high=24)
    channel_range: float = setting(1.0, "numbers are clipped to [-range, range] where they are quantised", above=0)
    channel_budget: int = setting(
        0, "numbers a sender may tell a receiver at a step, the first columns first; 0: no limit", low=0
    )
    channel_when: str = setting(
        "always", 'when the channel is imperfect: "always", or "test" (in evaluation only)', choices=WHEN
    )

    @property
    def is_perfect(self) -> bool:
        """Returns whether messages arrive at once and unchanged."""
        return not any(
            (self.channel_drop, self.channel_delay, self.channel_noise, self.channel_bits, self.channel_budget)
        )


def channel_settings(args) -> ChannelSettings:
    """Returns the channel's keys of a run's settings.

    Raises:
        SettingsError: a value out of range.
    """
    settings = ChannelSettings(**{name: getattr(args, name) for name in ChannelSettings.__dataclass_fields__})
    limits = {
        "channel_drop": (0 <= settings.channel_drop <= 1, "a probability in [0, 1]"),
        "channel_delay": (settings.channel_delay >= 0, "a number of steps, at least 0"),
        "channel_noise": (settings.channel_noise >= 0, "a standard deviation, at least 0"),
        "channel_bits": (settings.channel_bits == 0 or 2 <= settings.channel_bits <= 24, "0, or 2 to 24 bits"),
        "channel_range": (settings.channel_range > 0, "above 0"),
        "channel_budget": (settings.channel_budget >= 0, "a number of columns, at least 0"),
        "channel_when": (settings.channel_when in WHEN, f"one of {WHEN}"),
    }
    for key, (fits, expected) in limits.items():
        if not fits:
            raise SettingsError(f"{key}={getattr(settings, key)!r} is not accepted; it must be {expected}.", key)
    return settings


class Channel:
    """The channel of one controller.

    Args:
        settings: what it does to messages.
        senders_NMS: whether column m of receiver n needs something that agent s sends; bool (N, M, S). A receiver's
            dependence on itself does not count.
    """

    def __init__(self, settings: ChannelSettings, senders_NMS: Tensor) -> None:
        self.settings = settings
        N = senders_NMS.shape[0]
        themselves = torch.eye(N, dtype=torch.bool, device=senders_NMS.device).unsqueeze(1)
        self.senders_NMS = senders_NMS.bool() & ~themselves
        self.sent_NM = self.senders_NMS.any(-1)
        self.kept_NM = self._within_budget()
        self._queue: list[Tensor] = []

    def _within_budget(self) -> Tensor:
        """Returns which columns fit the budget of all links that they need, (N, M)."""
        kept = torch.ones_like(self.sent_NM)
        budget = self.settings.channel_budget
        if budget == 0:
            return kept
        for receiver, senders_MS in enumerate(self.senders_NMS.tolist()):
            used = [0] * len(self.senders_NMS)
            for column, senders in enumerate(senders_MS):
                needed = [s for s, sends in enumerate(senders) if sends]
                if any(used[s] >= budget for s in needed):
                    kept[receiver, column] = False
                    continue
                for s in needed:
                    used[s] += 1
        return kept

    def is_on(self, test_mode: bool) -> bool:
        """Returns whether the channel does anything in training (and learning) or in a test."""
        return not self.settings.is_perfect and (test_mode or self.settings.channel_when == "always")

    # -- delay -------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forgets what is under way, before new episodes."""
        self._queue.clear()

    def step(self, messages_BNM: Tensor) -> Tensor:
        """Takes what is sent at a step while acting, returns what arrives, (B, N, M)."""
        sent = self._distort(messages_BNM)
        self._queue.append(sent)
        if len(self._queue) <= self.settings.channel_delay:
            arrived = torch.zeros_like(sent)
        else:
            arrived = self._queue.pop(0)
        return self._lose(torch.where(self.sent_NM, arrived, messages_BNM))

    def packed(self, messages_PNM: Tensor, packing: Packing) -> Tensor:
        """Takes what is sent in whole episodes, returns what arrives, (P, N, M)."""
        sent = self._distort(messages_PNM)
        delay = self.settings.channel_delay
        if delay:
            earlier = packing.history(delay + 1)[:, 0]  # P, the row after the last, before the start
            arrived = torch.cat([sent, sent.new_zeros(1, *sent.shape[1:])])[earlier]
        else:
            arrived = sent
        return self._lose(torch.where(self.sent_NM, arrived, messages_PNM))

    # -- what happens to a number ------------------------------------------------------------------------

    def _distort(self, messages: Tensor) -> Tensor:
        """Applies budget, quantisation and noise."""
        s = self.settings
        if s.channel_budget:
            messages = messages * self.kept_NM
        if s.channel_bits:
            levels = 2 ** (s.channel_bits - 1) - 1  # on each side of 0, which stays 0
            messages = torch.round((messages / s.channel_range).clamp(-1, 1) * levels) * (s.channel_range / levels)
        if s.channel_noise:
            messages = messages + s.channel_noise * torch.randn_like(messages)
        return messages

    def _lose(self, messages: Tensor) -> Tensor:
        """Sets numbers to 0 of which a needed link failed; a number made of several agents' needs all of them."""
        if not self.settings.channel_drop:
            return messages
        rows, N, _ = messages.shape
        failed_NBS = (torch.rand(N, rows, N, device=messages.device) < self.settings.channel_drop).to(messages.dtype)
        lost_NBM = torch.bmm(failed_NBS, self.senders_NMS.transpose(1, 2).to(messages.dtype))
        return messages.masked_fill(lost_NBM.transpose(0, 1) > 0, 0.0)
