from collections import Counter

import pytest

from bench.fuzz.cases import METHODS, Case, generate_request
from bench.fuzz.facts import ModelFacts
from bench.fuzz.midi_files import midi_file
from bench.fuzz.workloads import CaseSource, Workload
from fantasia.v1 import generation_pb2 as pb

FILE = midi_file([b"\x00\x90\x3c\x40\x60\x80\x3c\x00"])


def cases(workload: Workload, duet: ModelFacts, count: int = 400) -> list[Case]:
    source = CaseSource(workload, 7, [duet], [FILE])
    return [source.case(index) for index in range(count)]


@pytest.mark.parametrize("workload", ["requests", "midi", "cancels"])
def test_seed_and_index_decide(workload: Workload, duet: ModelFacts) -> None:
    drawn = cases(workload, duet)

    assert drawn == cases(workload, duet)
    assert drawn[-1] == CaseSource(workload, 7, [duet], [FILE]).case(399)
    assert drawn != [CaseSource(workload, 8, [duet], [FILE]).case(index) for index in range(400)]


def test_requests_are_of_all_kinds(duet: ModelFacts) -> None:
    drawn = cases("requests", duet, 1000)

    assert {case.method for case in drawn} == set(METHODS)
    assert 200 < sum(bool(case.broken) for case in drawn) < 500
    assert 5 < sum(case.message is None for case in drawn) < 200
    assert not any(case.is_cancelled for case in drawn)
    for case in drawn:
        assert all(path.startswith("request.") == (case.method == "StreamGenerate") for path in case.broken)


def test_most_calls_of_cancels_are_ended_by_the_caller(duet: ModelFacts) -> None:
    drawn = cases("cancels", duet)
    how = Counter(
        (case.cancel_seconds is not None, case.cancel_messages is not None, case.deadline_seconds is not None)
        for case in drawn
    )

    assert {case.method for case in drawn} == set(METHODS)
    assert set(how) == {(True, False, False), (False, True, False), (False, False, True)}
    assert max(request.candidates for case in drawn if (request := _request(case))) == 64


def test_files_are_given_to_all_methods_that_take_pieces(duet: ModelFacts) -> None:
    drawn = cases("midi", duet)

    assert {case.method for case in drawn} == {"Generate", "StreamGenerate", "Evaluate"}
    assert all(request.given.midi or request.HasField("given") for case in drawn if (request := _request(case)))


def _request(case: Case) -> pb.GenerateRequest | None:
    return generate_request(case.method, case.message)
