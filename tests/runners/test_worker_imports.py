"""An environment process starts quickly because it imports no torch."""

import os
import subprocess
import sys


def test_a_worker_imports_no_torch():
    script = "import sys, runners.env_worker, envs; sys.exit('torch' in sys.modules)"
    paths = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": paths}, timeout=60)
    assert done.returncode == 0
