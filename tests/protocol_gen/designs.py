"""Answers and small designs on ``lookout``, for tests of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

from epymarl_lmac.paths import protocols_root
from protocol_gen.designers import OpenAiDesigner
from protocol_gen.ledger import read_prices
from protocol_gen.options import Options
from protocol_gen.pipeline import Design

PROTOCOLS = protocols_root() / "lookout" / "3a-4k" / "default"
TEXTS = [(PROTOCOLS / f"k{k}.py").read_text() for k in range(3)]
HEAD = "import torch as th\n\n\ndef message_design_instruction():\n    return 'as the name says'\n\n\n"


def protocol(body: str) -> str:
    """Returns a text whose ``communication`` has this body."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"{HEAD}def communication(o):\n{lines}\n"


def fenced(text: str, before: str = "Here it is.", after: str = "It sends what is needed.") -> str:
    return f"{before}\n\n```python\n{text}```\n\n{after}\n"


def critique(word: str) -> str:
    keys = ("Evaluation", "Missing_Information_Hypothesis", "Improvement_Suggestions")
    return json.dumps({key: f"{key} {word}" for key in keys})


SELECTION = 'Here: {"indices": [0, 1, 2], "names": ["target*"], "reason": "only the scout sees it"} That is all.'
GOOD = [
    SELECTION, fenced(TEXTS[0]), critique("one"), fenced(TEXTS[1]), critique("two"), fenced(TEXTS[2]),
]  # fmt: skip
KEYS = ["select", "k0/c1", "k1/analyst", "k1/c1", "k2/analyst", "k2/c1"]  # of the calls for GOOD


def options(buffer: Path, folder: Path, **changes) -> Options:
    """Returns a design whose decoders hardly learn, and which ships every step all the same."""
    small = {
        "ship_all": True,
        "ceiling_episodes": 2,
        "decoder_batches": 3,
        "steps_per_batch": 1,
        "buffer": str(buffer),
        "out": str(folder / "bundle"),
    }
    return Options("lookout", [], **{**small, **changes})


def openai_designer(server, **changes) -> OpenAiDesigner:
    known = {"model": "scripted-model", "base_url": server.url, "api_key": "right-key", "timeout_s": 20.0}
    return OpenAiDesigner(**{**known, **changes})


def design(settings: Options, folder: Path, designer, builder, events=None) -> Design:
    watch = (lambda event: None) if events is None else events
    return Design(settings, folder / "work", designer, read_prices(None), watch, builder)
