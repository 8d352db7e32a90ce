"""The protocol engine: untrusted text in, checked tensor program out.

    text -> grammar (allow-list) -> child process (limits) -> traced to a list of tensor operations -> JSON,
         safetensors
         -> rebuilt here from our own operation table -> contract checks -> a batched callable

No text of a protocol ever runs in this process. Three packages, each knowing only those before it:

    engine      builds, checks, keeps and runs a program
    analysis    what a program does: flow of its inputs, profile, differences
    commands    ``epymarl-lmac protocol``
"""

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol.engine.build import build_program
from epymarl_lmac.protocol.engine.bundle import Bundle, write_bundle
from epymarl_lmac.protocol.engine.program import Program
from epymarl_lmac.protocol.engine.spec import ProtocolSpec, TaskSchema

__all__ = [
    "Bundle",
    "Program",
    "ProtocolRejected",
    "ProtocolSpec",
    "TaskSchema",
    "build_program",
    "write_bundle",
]
