from dataclasses import replace

import pytest

from bench.fuzz.facts import ModelFacts
from bench.fuzz.oracle import answer_problems
from fantasia.v1 import generation_pb2 as pb
from tests.unit.bench.fuzz.answers import BASS, SOPRANO, answer
from tests.unit.bench.fuzz.test_oracle import harmonising


@pytest.mark.parametrize(
    ("tokenizer", "lowest", "found"), [("events", 40, False), ("events", 52, True), ("grid", 40, True)]
)
def test_a_hand_has_its_other_notes_above_the_bass(tokenizer: str, lowest: int, found: bool, duet: ModelFacts) -> None:
    message = pb.Model()
    message.CopyFrom(duet.message)
    message.tokenizer = tokenizer
    request = harmonising()
    request.constraints.chords.chords.add(symbol="C/E", length=4)
    left = [note._replace(pitch=lowest) if index == 0 else note for index, note in enumerate(BASS)]
    problems = answer_problems(request, answer([*SOPRANO, *left]), replace(duet, message=message))
    assert any("is not the bass" in problem for problem in problems) is found, problems
