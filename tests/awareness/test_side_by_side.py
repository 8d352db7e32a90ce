"""Jobs in forked processes: order, results, failures, and that nothing is left behind."""

import multiprocessing
import os
import signal
import time
from functools import partial

import pytest
import torch

from epymarl_lmac.awareness.side_by_side import side_by_side


def slow(number, seconds):
    time.sleep(seconds)
    return number, os.getpid()


def fail():
    raise ValueError("the seventh column")


@pytest.mark.parametrize("n_processes", [1, 2, 8])
def test_results_come_in_the_order_of_the_jobs(n_processes):
    found = side_by_side([partial(slow, 0, 0.3), partial(slow, 1, 0.0), partial(slow, 2, 0.0)], n_processes)
    assert [number for number, _ in found] == [0, 1, 2]
    here = {pid == os.getpid() for _, pid in found}
    assert here == {n_processes == 1}


def test_tensors_and_modules_come_back():
    def job():
        torch.manual_seed(3)
        return torch.nn.Linear(2, 1), torch.ones(3)

    torch.manual_seed(3)
    expected = torch.nn.Linear(2, 1)
    for module, ones in side_by_side([job, job], 2):
        assert torch.equal(module.weight, expected.weight) and torch.equal(ones, torch.ones(3))


@pytest.mark.parametrize(
    ("job", "message"),
    [(fail, "the seventh column"), (lambda: os.kill(os.getpid(), signal.SIGKILL), "exit code -9")],
)
def test_a_job_that_fails_ends_the_others(job, message):
    with pytest.raises(RuntimeError, match=message):
        side_by_side([partial(slow, 0, 60.0), job], 2)
    assert multiprocessing.active_children() == []
