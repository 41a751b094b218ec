import json
from pathlib import Path

import pytest

from fantasia_client import FinishReason, Meter, Note, Piece, Timing


def piece() -> Piece:
    return Piece(
        midi=b"MThd",
        notes=(Note(0, 480, 60),),
        ticks_per_quarter=480,
        length_ticks=1440,
        seed=7,
        token_count=12,
        finish_reason=FinishReason.END,
        model="chorales",
        model_digest="ab" * 32,
        meter=Meter(6, 8),
        tempo_bpm=90.0,
        programs=(0,),
        timing=Timing(0.0, 0.1, 0.2),
    )


@pytest.mark.parametrize("text", ["", "3", "3/4/4", "a/4", "-3/4", "0/4", "3/ 4", "3/", "³/4", "3.0/4"])
def test_an_invalid_meter_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="written like 3/4"):
        Meter.parse(text)


@pytest.mark.parametrize("text", ["3/4", "4/4", "12/8", "2/2"])
def test_a_meter_is_parsed_and_formatted(text: str) -> None:
    assert str(Meter.parse(text)) == text


def test_bar_and_beat_ticks_depend_on_the_meter() -> None:
    assert (Meter(6, 8).bar_ticks(480), Meter(6, 8).beat_ticks(480)) == (1440, 720)
    assert (Meter(3, 8).bar_ticks(480), Meter(3, 8).beat_ticks(480)) == (720, 240)
    assert (Meter(2, 2).bar_ticks(480), Meter(2, 2).beat_ticks(480)) == (1920, 960)


def test_save_replaces_an_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(b"much longer than the piece")
    assert piece().save(str(path)) == path
    assert path.read_bytes() == b"MThd"


def test_a_piece_converts_to_json_without_the_midi_bytes() -> None:
    document = json.loads(json.dumps(piece().to_dict()))
    assert "midi" not in document
    assert document["notes"] == [{"onset_ticks": 0, "duration_ticks": 480, "pitch": 60, "velocity": 80, "voice": 0}]
    assert (document["bars"], document["meter"], document["finish_reason"]) == (1, "6/8", "end")
    assert document["timing"] == {"queue_seconds": 0.0, "first_token_seconds": 0.1, "total_seconds": 0.2}
    assert document["duration_seconds"] == pytest.approx(2.0)


def test_values_are_frozen_and_have_a_short_repr() -> None:
    with pytest.raises(AttributeError):
        piece().seed = 8  # type: ignore[misc]
    assert "MThd" not in repr(piece())
