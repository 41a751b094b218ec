import sys

import pytest

from bench.cores import Cores, share_cores, usable_cores


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process choose its cores")
def test_the_work_gets_a_core_a_thread_and_the_clients_the_others() -> None:
    cores = share_cores({7, 2, 5}, threads=2)

    assert cores == Cores(3, frozenset({2, 5}), frozenset({7}))


@pytest.mark.parametrize("threads", [2, 3])
def test_nobody_is_held_where_no_core_would_be_left_for_the_clients(threads: int) -> None:
    cores = share_cores({0, 1}, threads)

    assert cores == Cores(2)


def test_this_process_may_run_somewhere() -> None:
    assert usable_cores()
