"""Old names of settings and old values of them, accepted with one warning each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

# Old setting -> the one that took its place; None: nothing reads it any more, and its value is dropped.
RENAMED: dict[str, str | None] = {
    "rnn_hidden_dim": "hidden_dim",  # PyMARL's name
    "agent_output_type": None,  # EPyMARL's; every method here learns Q-values
}
# (Setting, old value) -> the settings that now say the same.
RENAMED_VALUES: dict[tuple[str, Any], dict[str, Any]] = {
    ("mac", "lmac_mac"): {"mac": "basic_mac", "comm": "lmac"},
    ("learner", "lmac_learner"): {"learner": "q_learner"},
    ("agent", "lmac"): {"agent": "rnn"},
    ("zero_messages", True): {"comm_control": "zero"},
    ("zero_messages", False): {},
    ("zero_test_messages", True): {"comm_control": "zero", "comm_control_when": "test"},
    ("zero_test_messages", False): {},
}


class RenamedSettingWarning(UserWarning):
    """An old name was used; the message says the new one."""


def current_names(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Returns settings under today's names.

    Args:
        values: settings, perhaps under old names. Where both names stand, today's holds.
        origin: the file or "command line" that states them, for the warning.
    """
    result: dict[str, Any] = {}
    implied: dict[str, Any] = {}
    for key, value in values.items():
        if key in RENAMED:
            new_key = RENAMED[key]
            if new_key is None:
                _warn(f"{origin}: nothing reads the setting {key!r} any more; leave it out.")
                continue
            _warn(f"{origin}: the setting {key!r} is now called {new_key!r}; use that name.")
            implied.setdefault(new_key, value)
        elif isinstance(value, (str, bool)) and (key, value) in RENAMED_VALUES:
            new = RENAMED_VALUES[key, value]
            said = " ".join(f"{k}={'null' if v is None else v}" for k, v in new.items())
            _warn(f"{origin}: {key}={value} is now " + (f"{said}; use that." if said else "the default; leave it out."))
            for name, item in new.items():
                implied.setdefault(name, item)
        else:
            result[key] = value
    return {**implied, **result}


def _warn(message: str) -> None:
    warnings.warn(message, RenamedSettingWarning, stacklevel=2)
