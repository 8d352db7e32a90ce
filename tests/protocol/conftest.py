"""Every test of the engine has a program cache of its own: none finds what another left."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("EPYMARL_LMAC_CACHE", str(tmp_path_factory.mktemp("cache") / "programs"))
