"""What the child cannot do even with layer 1 switched off: texts go straight to it here."""

import os
import socket

import pytest

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol.sandbox import ChildLimits, detect, run_child

IN_FORCE = detect()
REACH = "import torch\ndef message_design_instruction():\n    return ''\ndef communication(o):\n    os = torch.os\n"


def tried(lines, **request):
    """Runs hostile lines in a child; ``torch.os`` is the os module, and what they say comes back as an error."""
    text = REACH + "".join(f"    {line}\n" for line in lines) + "    raise ValueError('did it')\n"
    with pytest.raises(ProtocolRejected) as caught:
        run_child({"text": text, "shape": [2, 3], "probes": [[3, 1.0]], **request}, ChildLimits())
    return str(caught.value)


def needs(measure):
    return pytest.mark.skipif(not IN_FORCE.get(measure), reason=f"this kernel does not offer {measure}")


def test_detection_names_every_measure():
    assert set(IN_FORCE) == {"no_new_privileges", "no_network", "files_locked"}


@needs("files_locked")
@pytest.mark.parametrize("action", ["os.open({!r}, os.O_RDONLY)", "os.unlink({!r})", "os.open({!r}, os.O_WRONLY)"])
def test_files_of_others_cannot_be_read_changed_or_removed(tmp_path, action):
    secret = tmp_path / "key"
    secret.write_text("secret")
    assert "PermissionError" in tried([action.format(str(secret))])
    assert secret.read_text() == "secret"
    assert "PermissionError" not in tried([action.format(str(secret))], isolate=False)  # the lock is what stops it


@needs("files_locked")
def test_other_processes_environments_cannot_be_read():
    assert "PermissionError" in tried([f"os.open('/proc/{os.getpid()}/environ', os.O_RDONLY)"])


@needs("no_network")
def test_the_network_cannot_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lines = [
            "socket = os.sys.modules['importlib'].import_module('socket')",
            f"socket.create_connection(('127.0.0.1', {port}), timeout=2)",
        ]
        assert "Network is unreachable" in tried(lines) or "Connection refused" in tried(lines)
        assert "did it" in tried(lines, isolate=False)  # the namespace is what stops it


def test_strict_mode_refuses_a_machine_that_lacks_a_measure(monkeypatch):
    text = REACH + "    return o\n"
    request = {"text": text, "shape": [2, 3], "probes": [[3, 1.0]], "strict": True}
    if all(IN_FORCE.values()):
        with pytest.raises(ProtocolRejected) as caught:  # it gets past the sandbox: nothing is missing here
            run_child({**request, "text": text.replace("return o", "raise ValueError('ran')")}, ChildLimits())
        assert "ran" in str(caught.value)
    else:
        with pytest.raises(ProtocolRejected, match="strict mode: this machine does not offer"):
            run_child(request, ChildLimits())
