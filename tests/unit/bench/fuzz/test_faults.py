import random
from typing import Any

import pytest

from bench.fuzz.facts import ModelFacts
from bench.fuzz.faults import break_request, disturb
from bench.fuzz.requests import random_request
from bench.fuzz.statuses import path_problem
from fantasia.v1 import generation_pb2 as pb


def test_a_fault_names_fields_that_the_request_has(duet: ModelFacts) -> None:
    named = set()
    for seed in range(800):
        rng = random.Random(seed)
        request = random_request(rng, [duet])
        before = request.SerializeToString(deterministic=True)
        paths = break_request(rng, request, duet)
        named.add(paths[0].partition("[")[0])

        assert [path_problem(request, path) for path in paths if "[" in path or path == paths[0]] in ([""], ["", ""])
        assert request.SerializeToString(deterministic=True) != before or paths == ("model",)
    assert len(named) >= 25


@pytest.mark.parametrize("message", [pb.GenerateRequest, pb.EvaluateRequest, pb.StreamGenerateRequest])
def test_a_disturbed_message_can_be_sent(message: Any) -> None:
    seen = set()
    for seed in range(500):
        rng = random.Random(seed)
        request = message()
        for _ in range(5):
            disturb(rng, request)
        seen |= {field.name for field, _ in request.ListFields()}

        assert message.FromString(request.SerializeToString()).SerializeToString() == request.SerializeToString()
    assert seen == {field.name for field in message.DESCRIPTOR.fields}


def test_a_message_without_fields_stays_as_it_is() -> None:
    request = pb.ListModelsRequest()
    disturb(random.Random(1), request)

    assert request == pb.ListModelsRequest()
