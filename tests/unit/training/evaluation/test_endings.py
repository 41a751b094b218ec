import numpy as np
import pytest

from music.bundle import Bundle
from music.score import Meter, Score
from music.tokenizers import EventsTokenizer
from training.evaluation import endings
from training.evaluation.endings import LENGTHS, common_meters, measure_endings
from training.evaluation.sampling import Prompt, Sample


def test_every_length_is_measured_in_a_common_meter(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Score] = []

    def check(score: Score) -> bool:
        seen.append(score)
        return len(seen) % 3 == 0

    monkeypatch.setattr(endings, "ending_check", lambda tokenizer: check)
    held_out = [Score((), 480, Meter(3, 4)), *[Score((), 480)] * 9]
    measured = measure_endings(small, held_out, pieces=3, seed=0, threads=1)
    assert measured is not None
    generated = [seen[index : index + 3] for index in range(0, 3 * (len(LENGTHS) + 1), 3)]
    meters = (
        [Meter(4, 4), Meter(3, 4), Meter(4, 4)] if Meter(3, 4) in small.tokenizer.positions.meters else [Meter()] * 3
    )
    for bars, scores in zip(LENGTHS, generated[:-1], strict=True):
        assert [score.meter for score in scores] == meters
        assert [score.length_ticks for score in scores] == [bars * meter.bar_ticks for meter in meters]
    assert len({score.length_ticks for score in generated[-1]}) > 1, "the model chooses"
    assert measured.by_bars == dict.fromkeys(LENGTHS, pytest.approx(1 / 3))
    assert measured.open_length == pytest.approx(1 / 3)
    assert measured.shorter == 0
    assert len(seen) == 3 * (len(LENGTHS) + 1) + len(held_out)


def test_short_pieces_and_cut_notes_count_against_the_model(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(bundle: Bundle, prompts: list[Prompt], *_: object, **__: object) -> list[Sample]:
        """Of each length: a piece that is right, one with a cut note, one that is short."""
        scores = [Score((), prompt.length_ticks - 480 * (index % 3 == 2)) for index, prompt in enumerate(prompts)]
        return [Sample(np.zeros(0, np.int32), score, cut_notes=index % 3 == 1) for index, score in enumerate(scores)]

    monkeypatch.setattr(endings, "sample_pieces", sample)
    monkeypatch.setattr(endings, "ending_check", lambda tokenizer: lambda score: True)
    measured = measure_endings(small, [Score((), 480)], pieces=3, seed=0)
    assert measured is not None
    assert measured.by_bars == dict.fromkeys(LENGTHS, pytest.approx(2 / 3))
    assert measured.shorter == pytest.approx(1 / 3)
    assert measured.held_out == 1


def test_a_common_meter_has_a_tenth_of_the_pieces() -> None:
    tokenizer = EventsTokenizer(lowest_pitch=40, highest_pitch=80, meters=(Meter(4, 4), Meter(3, 4), Meter(6, 8)))
    scores = [Score((), 480, meter) for meter in (*[Meter(3, 4)] * 12, *[Meter(4, 4)] * 2, Meter(6, 8), Meter(5, 4))]
    assert common_meters(tokenizer, scores) == [Meter(3, 4), Meter(4, 4)]
    assert common_meters(tokenizer, [Score((), 480, None)]) == [Meter(4, 4)]
