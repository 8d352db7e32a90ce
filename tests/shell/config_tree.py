"""A config folder of a test's own beside ours, for files that must not be among the shipped ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from epymarl_lmac.paths import config_root


@pytest.fixture
def configs(tmp_path, monkeypatch) -> Path:
    """Returns a copy of our config folder from which settings are read while a test runs."""
    copy = tmp_path / "config"
    shutil.copytree(config_root(), copy)
    for module in ("files", "load"):
        monkeypatch.setattr(f"epymarl_lmac.settings.{module}.config_root", lambda: copy)
    return copy


def write(configs: Path, name: str, text: str) -> None:
    """Writes ``algs/NAME.yaml`` or ``envs/NAME.yaml``."""
    (configs / f"{name}.yaml").write_text(text)
