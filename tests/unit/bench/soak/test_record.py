from bench.soak.record import soak_lines
from tests.unit.bench.records import soak_record


def test_the_lines_say_what_was_compared_and_what_differs() -> None:
    lines = soak_lines(soak_record())

    assert lines[1] == "100 answers compared with those of 10 different requests alone: 1 mismatches"
    assert "slots 5, 64; maximum batch size 5, 64; threads 1; steps of a run 1, 16; widest run 64 rows" in lines
    assert lines[-1] == "mismatch in engine 1 at token 7: a request"
