"""What the child cannot do even with layer 1 switched off: hostile texts go straight to it here.

Every action is first tried with all measures, then with each measure that would stop it left out in turn: the others
still hold. At last it is tried with none of them, where it must work: else the test would prove nothing.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol import ProtocolSpec
from epymarl_lmac.protocol.engine import build
from epymarl_lmac.protocol.engine.sandbox import ChildLimits, SandboxUnavailable, close_fork_server, detect, run_child
from epymarl_lmac.protocol.engine.signature import MESSAGE

IN_FORCE = detect()
SPEC = ProtocolSpec(2, 3, None)
HEAD = "import torch\ndef message_design_instruction():\n    return ''\ndef communication(o):\n"
REACH = "    os, load = torch.os, torch.sys.modules['importlib'].import_module\n    b = load('builtins')\n"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the child's measures are those of Linux")


def request(lines, **more):
    text = HEAD + REACH + "".join(f"    {line}\n" for line in lines)
    names = {"entry": MESSAGE.entry, "instruction": MESSAGE.instruction}
    return {"text": text, **names, "shape": [2, 3], "probes": [[3, 1.0]], **more}


def tried(lines, limits=None, **more):
    """Runs lines in a child; what they raise comes back, "did it" if they end."""
    with pytest.raises(ProtocolRejected) as caught:
        run_child(request([*lines, "raise ValueError('did it')"], **more), limits or ChildLimits())
    return str(caught.value)


@pytest.fixture
def victim():
    """A process of ours that a child may want to harm."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        assert process.poll() is None
        process.kill()


def needs(*measures):
    missing = [name for name in measures if not IN_FORCE.get(name)]
    return pytest.mark.skipif(bool(missing), reason=f"this kernel does not offer {', '.join(missing)}")


MEASURES = ["no_network", "no_capabilities", "no_new_privileges", "files_locked", "calls_locked"]
# action: lines, the measures of which each alone stops it, part of the child's error
ACTIONS = {
    "read a key": (["os.open({secret!r}, os.O_RDONLY)"], ["files_locked"]),
    "read another's environment": (["os.open('/proc/{victim}/environ', os.O_RDONLY)"], ["files_locked"]),
    "write a file": (["os.open({secret!r}, os.O_WRONLY)"], ["files_locked", "calls_locked"]),
    "make a file": (["os.open({secret!r} + '2', os.O_WRONLY | os.O_CREAT)"], ["files_locked", "calls_locked"]),
    "remove a file": (["os.unlink({secret!r})"], ["files_locked", "calls_locked"]),
    "list a folder": (["os.listdir({folder!r})"], ["files_locked"]),
    "connect": (["load('socket').create_connection(('127.0.0.1', {port}), timeout=2)"],
                ["no_network", "files_locked", "calls_locked"]),
    "signal another process": (["os.kill({victim}, 0)"], ["files_locked", "calls_locked"]),
    "run a program": (["os.execv('/bin/sh', ['sh', '-c', 'exit'])"], ["files_locked", "calls_locked"]),
    "change root": (["os.chroot('/')"], ["no_capabilities", "calls_locked"]),
    "enter a namespace": (["ctypes = load('ctypes')", "r = ctypes.CDLL(None, use_errno=True).unshare(0x40000000)",
                           "if r: raise PermissionError('unshare')"], ["no_capabilities", "calls_locked"]),
    "trace another process": (["r = load('ctypes').CDLL(None).ptrace(16, {victim}, 0, 0)",
                               "if r: raise PermissionError('ptrace')"], ["files_locked", "calls_locked"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIONS)
def test_every_measure_alone_stops_what_it_is_for(name, tmp_path, victim):
    lines, stopping = ACTIONS[name]
    missing = [measure for measure in MEASURES if not IN_FORCE.get(measure)]
    if missing:
        pytest.skip(f"this kernel does not offer {', '.join(missing)}")
    folder = tmp_path / "folder"
    folder.mkdir()
    secret = folder / "key"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lines = [line.format(secret=str(secret), folder=str(folder), victim=victim, port=port) for line in lines]
        assert "did it" not in tried(lines)
        for alone in stopping:
            said = tried(lines, without=[measure for measure in stopping if measure != alone])
            assert any(word in said for word in ("PermissionError", "Operation not", "unreachable")), (alone, said)
        assert secret.read_text() == "secret" and len(list(folder.iterdir())) == 1
        if name not in ("run a program",):
            if os.getuid() != 0 and "no_capabilities" in stopping:
                return  # only root could do it without any measure
            assert "did it" in tried(lines, without=MEASURES)


@needs("calls_locked")
@pytest.mark.parametrize(
    "line",
    ["os.fork()", "load('threading').Thread(target=b.print).start()", "load('subprocess').run(['id'])",
     "load('multiprocessing').get_context('fork').Process(target=b.print).start()",
     "os.posix_spawn('/bin/sh', ['sh', '-c', 'exit'], {})"],
)  # fmt: skip
def test_there_are_no_processes_and_threads(line):
    said = tried([line])
    assert "not permitted" in said or "can't start new thread" in said


def test_the_environment_is_empty_and_only_the_answer_is_open(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "do not tell")
    said = tried(["raise ValueError(b.str((dict(os.environ), sorted(os.listdir('/proc/self/fd')))))"])
    assert "({}, ['0', '1', '2', '3'" in said and "'5'" not in said
    assert "do not tell" not in tried(["raise ValueError(b.open('/proc/self/environ').read())"])


LIMITS = {
    "RLIMIT_AS": (["x = b.bytes(4 << 30)"], "MemoryError", "did it"),
    "RLIMIT_NOFILE": (["x = [os.open('/dev/null', 0) for i in range(100)]"], "Too many open files", "did it"),
    "RLIMIT_CPU": (["while True: pass"], "processor time", "did not finish in time"),
    "RLIMIT_FSIZE": (["f = os.open('f', 65)", "n = 0", "while n < 3 << 20: n += os.write(f, b.bytes(1 << 20))"],
                     "File too large", "did it"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_stops_what_it_is_for(name):
    lines, stopped, without = LIMITS[name]
    limits, short = ChildLimits(wall_s=30.0, cpu_s=1), ChildLimits(wall_s=3.0, cpu_s=1)
    off = ["calls_locked"] if name == "RLIMIT_FSIZE" else []  # no file can be made at all with it
    assert stopped in tried(lines, limits, without=off)
    assert without in tried(lines, short, without=[*off, name])
    others = [other for other in LIMITS if other != name]
    assert stopped in tried(lines, limits, without=[*off, *others, "RLIMIT_NPROC"])


def test_the_deadline_holds_against_sleep_and_ignored_signals():
    start = time.monotonic()
    assert "did not finish in time" in tried(["load('time').sleep(100)"], ChildLimits(wall_s=1.0))
    lines = ["s = load('signal')", "for n in range(1, 32):", "    if n not in (9, 19): s.signal(n, s.SIG_IGN)"]
    assert "processor time" in tried([*lines, "while True: pass"], ChildLimits(cpu_s=1))
    assert time.monotonic() - start < 30


def descendants():
    """Returns the processes under this one, without the one that makes children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, parent = int(stat.parent.name), int(stat.read_text().rsplit(")", 1)[1].split()[1])
            found.append((pid, parent, (stat.parent / "cmdline").read_bytes()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    ours = {os.getpid()}
    for _ in range(10):
        ours |= {pid for pid, parent, _ in found if parent in ours}
    return sorted(pid for pid, parent, _ in found if parent in ours and parent != os.getpid())


def test_processes_that_escape_the_group_are_ended_too():
    lines = ["for i in range(20):", "    if os.fork() == 0:", "        os.setsid()",
             "        if os.fork() == 0: load('time').sleep(300)", "        os._exit(0)"]  # fmt: skip
    said = tried(lines, without=["calls_locked", "RLIMIT_NPROC"])
    assert "did it" in said  # they were made, and the request was answered
    assert descendants() == []


def test_nothing_passes_from_one_text_to_the_next():
    build.build_program(HEAD + "    return torch.cat([o, o], -1)\n", SPEC, build.Limits(cache=False))
    tried(["torch.cat = None", "torch.export.export = None", "torch.sys.modules.clear()", "torch.rand = None"])
    program = build.build_program(HEAD + "    return torch.cat([o, o], -1)\n", SPEC, build.Limits(cache=False))
    assert program.message_dim == 3


def forged(header, data=b""):
    head = json.dumps(header).encode()
    return struct.pack("<QQ", len(head), len(data)) + head + data


GOOD_TENSORS = save({f"{kind}{i}": torch.zeros(3, 2, 3) for kind in ("probe", "result") for i in range(3)})
FORGED = {
    "nothing": b"",
    "noise": b"\xff" * 100,
    "huge sizes": struct.pack("<QQ", 2**60, 2**60),
    "no object": forged([1]),
    "no program": forged({"ok": True}, GOOD_TENSORS),
    "no tensors": forged({"ok": True}, b"xx"),
    "a pickle": forged({"ok": True}, b"\x80\x04cos\nsystem\n."),
    "deep JSON": struct.pack("<QQ", 200_000, 0) + b"[" * 200_000,
    "foreign operation": forged({"ok": True, "operations": [{"op": "os.system", "args": ["id"]}], "output": 0},
                                GOOD_TENSORS),
    "missing probes": forged({"ok": True, "operations": [{"op": "input", "args": []}], "output": 0}, save({})),
    "a layer of its own": forged({"ok": False, "layer": "x" * 10_000, "reason": "y" * 10_000, "line": "z"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_answer_is_refused(name, monkeypatch):
    lines = [f"os.write(3, {FORGED[name]!r})", "os._exit(0)"]
    text = request(lines)["text"]
    monkeypatch.setattr(build, "check_grammar", lambda *_, **__: None)
    with pytest.raises(ProtocolRejected) as caught:
        build.build_program(text, SPEC, build.Limits(cache=False))
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["while True: os.write(3, (1 << 30).to_bytes(8, 'little') * 99)"], "larger than"),
        (["os.close(3)"], "no answer"),
        (["os.kill(os.getpid(), 9)"], "did it"),
        (["load('ctypes').string_at(0)"], "SIGSEGV"),
        (["os._exit(7)"], "status 7"),
        (["load('sys').exit(0)"], "SystemExit"),
        (["load('atexit').register(load('time').sleep, 100)"], "did it"),
        (["raise KeyboardInterrupt"], "KeyboardInterrupt"),
    ],
)
def test_odd_endings_are_reported(lines, said):
    limits = ChildLimits(wall_s=10.0, answer_bytes=1 << 20)
    found = tried(lines, limits)
    assert said in found or (said == "did it" and "not permitted" in found)


def test_what_a_child_prints_is_not_kept(capfd):
    tried(["os.write(1, b'noise' * 1000)", "os.write(2, b'noise' * 1000)"])
    assert capfd.readouterr() == ("", "")


def test_the_process_that_makes_children_ends_with_its_parent_and_can_be_replaced():
    code = (
        "from epymarl_lmac.protocol.engine import sandbox\n"
        "sandbox._server = sandbox.ForkServer()\nprint(sandbox._server.process.pid, flush=True)\ninput()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(build.__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        fork_server = int(parent.stdout.readline())
        assert Path(f"/proc/{fork_server}").exists()
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not Path(f"/proc/{fork_server}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{fork_server}").exists()
    close_fork_server()
    assert "did it" in tried([])


def test_detection_names_every_measure():
    assert list(IN_FORCE) == MEASURES


def test_strict_mode_refuses_a_machine_that_lacks_a_measure():
    if all(IN_FORCE.values()):
        assert "did it" in tried([], strict=True)
    for measure in MEASURES:
        with pytest.raises(SandboxUnavailable, match=f"Strict mode: this machine does not offer .*{measure}"):
            run_child(request([], strict=True, without=[measure]), ChildLimits())
        assert "did it" in tried([], without=[measure])
