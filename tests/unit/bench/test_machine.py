import sys

import pytest

from bench.machine import Cores, describe_machine, share_cores, usable_cores


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux pins processes")
def test_the_work_gets_one_core_for_each_thread_and_the_clients_the_others() -> None:
    cores = share_cores({7, 2, 5}, threads=2)

    assert cores == Cores(3, frozenset({2, 5}), frozenset({7}))


@pytest.mark.parametrize("threads", [2, 3])
def test_nothing_is_pinned_if_no_core_would_be_left_for_the_clients(threads: int) -> None:
    cores = share_cores({0, 1}, threads)

    assert cores == Cores(2)


def test_this_process_may_run_somewhere() -> None:
    assert usable_cores()


def test_the_description_names_the_pinned_cores() -> None:
    machine = describe_machine(Cores(3, frozenset({5, 2}), frozenset({7})))

    assert (machine.cores, machine.work_cores, machine.client_cores) == (3, (2, 5), (7,))
    assert machine.cpu in machine.processor
