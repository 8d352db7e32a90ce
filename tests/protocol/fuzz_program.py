"""Fuzzes the reader of programs: JSON and safetensors that are damaged, random or made up must be refused cleanly.

    python tests/protocol/fuzz_program.py SECONDS     coverage-guided if the package atheris is installed
    python tests/protocol/fuzz_program.py RUNS SEED   seeded mutations, what the tests run

Exits 0 if every input was either read or refused with BundleError, and nothing was executed, opened or connected.
"""

from __future__ import annotations

import json
import random
import resource
import sys
from pathlib import Path

import safetensors.torch
import torch

from epymarl_lmac.errors import BundleError
from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol.engine import constant_values, nodes, plan
from epymarl_lmac.protocol.engine import program as program_module
from epymarl_lmac.protocol.engine.bundle import _read_programs
from epymarl_lmac.protocol.engine.operations import TABLE

SOURCE = protocols_root() / "lookout" / "3a-4k" / "default"
PROGRAM = (SOURCE / "program.json").read_bytes()
CONSTANTS = (SOURCE / "constants.safetensors").read_bytes()
WATCHED = ("exec", "compile", "open", "import", "os.", "subprocess.", "socket.", "ctypes.dlopen", "pickle.")
seen: list[str] = []
watching = False


def watch(event: str, _: tuple) -> None:
    """Notes what a reader of data has no business with."""
    if watching and event.startswith(WATCHED):
        seen.append(event)


def one(program: bytes, constants: bytes) -> bool:
    """Reads one input; returns whether it was accepted. Anything but BundleError is a finding."""
    global watching
    watching = True
    try:
        files = {"program.json": program, "constants.safetensors": constants}
        programs = _read_programs(Path("fuzzed"), files, (0, 1, 2))
    except BundleError:
        return False
    finally:
        watching = False
        if seen:
            raise AssertionError(f"reading a program caused {sorted(set(seen))}")
    return isinstance(programs, list)


def _odd(rng: random.Random):
    return rng.choice(
        [None, True, -1, 0, 3, 2**31, 2**62, 2**70, 1e308, "", "aten.add.Tensor", "x" * 99, [], {}, [[]], {"n": 0},
         {"n": -1}, {"n": 10**9}, {"dtype": "float32"}, {"dtype": "os"}, {"float": "nan"}, {"float": "1"}, "\ud800"]
    )  # fmt: skip


def mutate(rng: random.Random) -> tuple[bytes, bytes]:
    """Returns a damaged program: bytes flipped or cut, or values, operations and tensors exchanged."""
    program, constants = bytearray(PROGRAM), bytearray(CONSTANTS)
    kind = rng.randrange(6)
    if kind == 0:
        target = rng.choice([program, constants])
        for _ in range(rng.randrange(1, 8)):
            target[rng.randrange(len(target))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        target = rng.choice([program, constants])
        del target[rng.randrange(len(target)) :]
    elif kind == 2:
        target = rng.choice([program, constants])
        start = rng.randrange(len(target))
        target[start : start + rng.randrange(40)] = rng.randbytes(rng.randrange(40))
    elif kind == 3:
        tensors = safetensors.torch.load(bytes(constants))
        name = rng.choice(sorted(tensors))
        made = [torch.zeros(0), torch.tensor(float("nan")), torch.ones(2, 2, 2), torch.zeros(3, dtype=torch.bool)]
        tensors[name] = rng.choice(made)
        constants = bytearray(safetensors.torch.save(tensors))
    else:
        content = json.loads(program)
        entry = rng.choice(content["programs"])
        for _ in range(rng.randrange(1, 4)):
            operation = rng.choice(entry["operations"])
            place = rng.randrange(5)
            if place == 0:
                operation["op"] = rng.choice([*TABLE, "os.system", "aten.from_file.default"])
            elif place == 1 and operation["args"]:
                operation["args"][rng.randrange(len(operation["args"]))] = _odd(rng)
            elif place == 2:
                operation[rng.choice(["op", "args", "kwargs", "x"])] = _odd(rng)
            elif place == 3:
                entry[rng.choice(sorted(entry))] = _odd(rng)
            else:
                operation["kwargs"] = {rng.choice(["dim", "self", "out", "dtype", "device"]): _odd(rng)}
            if place == 3 or not isinstance(operation.get("args"), list):
                break
        program = bytearray(json.dumps(content).encode())
    return bytes(program), bytes(constants)


def limit_memory(more: int) -> None:
    """A program that asks for too much must fail, not fill the machine."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more, mapped + more))


def main() -> None:
    assert one(PROGRAM, CONSTANTS)  # also loads what is loaded on first use
    constant_values.exact_bytes(torch.mm, (torch.ones(2, 2), torch.ones(2, 2)), {})  # loads PyTorch's compiler
    for encoding in ("utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-32-le"):
        "".encode(encoding)  # JSON may come in these
    sys.addaudithook(watch)
    if len(sys.argv) == 3:
        limit_memory(2 * 2**30)
        rng = random.Random(int(sys.argv[2]))
        runs = int(sys.argv[1])
        print(f"{runs} inputs, {sum(one(*mutate(rng)) for _ in range(runs))} accepted")
        return
    import atheris

    limit_memory(8 * 2**30)
    watched = (
        (nodes, "decode"),
        (program_module, "read_nodes"),
        (plan, "merge_equal"),
        (plan, "needed"),
        (plan, "varying"),
    )
    for module, name in watched:  # where each is called from
        setattr(module, name, atheris.instrument_func(getattr(module, name)))

    def target(data: bytes) -> None:
        # A fuzzed seed keeps inputs close to programs; raw bytes reach the parsers.
        if data[:1] < b"\x80":
            one(*mutate(random.Random(data)))
        else:
            one(data[1:], CONSTANTS)

    atheris.Setup([sys.argv[0], f"-max_total_time={sys.argv[1]}", "-timeout=20", "-rss_limit_mb=6000"], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
