"""Threads that share out rows."""

import os
import threading

import pytest
import torch

from epymarl_lmac.learning import threads


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    monkeypatch.setattr(threads, "SMALLEST_SHARE", 2)
    threads.use(3)


@pytest.mark.parametrize(("n_rows", "bounds"), [
    (9, [(0, 3), (3, 6), (6, 9)]), (5, [(0, 2), (2, 5)]), (3, [(0, 3)]), (0, [(0, 0)]),
])  # fmt: skip
def test_shares_are_neighbours_of_nearly_equal_number(n_rows, bounds):
    assert [(share.start, share.stop) for share in threads.shares(n_rows)] == bounds


def test_shares_are_worked_on_at_the_same_time_and_results_keep_their_order():
    all_here = threading.Barrier(3, timeout=60)

    def work(k):
        all_here.wait()
        return k, threading.current_thread() is threading.main_thread()

    assert threads.run(work, [1, 2, 3]) == [(1, True), (2, False), (3, False)]


def test_a_share_is_not_shared_out_again_and_records_no_gradients():
    def work(_):
        return len(threads.shares(100)), torch.is_grad_enabled()

    assert threads.run(work, [1, 2, 3]) == [(1, False)] * 3
    assert len(threads.shares(100)) == 3 and torch.is_grad_enabled()


@pytest.mark.parametrize("failing", [1, 2])
def test_an_error_in_a_share_reaches_the_caller(failing):
    def work(k):
        if k == failing:
            raise ValueError(f"share {k}")

    with pytest.raises(ValueError, match=f"share {failing}"):
        threads.run(work, [1, 2])
    assert threads.run(lambda k: k, [1, 2]) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_one_thread():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(len(threads.shares(100))).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"1"
