from bench.fuzz.stream_check import StreamCheck
from fantasia.v1 import generation_pb2 as pb
from tests.unit.bench.fuzz.answers import BASS, SOPRANO, answer, note_message


def stream_messages() -> list[pb.StreamGenerateResponse]:
    first = pb.StreamGenerateResponse(
        start=pb.StreamStart(seed=5), watermark_ticks=480, sounding=[note_message(SOPRANO[0]), note_message(BASS[0])]
    )
    notes = sorted(SOPRANO + BASS, key=lambda note: note.end)
    second = pb.StreamGenerateResponse(watermark_ticks=960, notes=map(note_message, notes[:2]))
    second.sounding.append(note_message(BASS[0]))
    notes.remove(BASS[0])
    last = pb.StreamGenerateResponse(watermark_ticks=1920, notes=map(note_message, [BASS[0], *notes[2:]]))
    last.response.CopyFrom(answer(SOPRANO + BASS))
    return [first, second, last]


def stream_problems(messages: list[pb.StreamGenerateResponse]) -> list[str]:
    check = StreamCheck()
    for message in messages:
        check.add(message)
    check.finish()
    return check.problems


def test_a_stream_that_keeps_its_promises() -> None:
    assert stream_problems(stream_messages()) == []


def test_streams_that_break_their_promises() -> None:
    first, second, last = stream_messages()
    assert "the stream ended without its answer" in stream_problems([first, second])
    assert "message 1: the watermark falls" in stream_problems([second, first, last])
    assert "message 0: only the first message has a start" in stream_problems([second, last])
    second.notes[0].onset_ticks = 479
    assert "message 1: a note begins before the watermark" in stream_problems([first, second, last])
    assert "the notes of the stream are not those of the piece" in stream_problems([first, second, last])
    second.notes[0].onset_ticks, second.notes[0].duration_ticks = 0, 479
    assert "message 1: a note ends before the watermark" in stream_problems([first, second, last])
