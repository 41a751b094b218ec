import pytest

from music.bundle import Bundle
from music.score import Score
from training.evaluation import endings
from training.evaluation.endings import LENGTHS, measure_endings


def test_every_length_is_measured_at_the_first_meter(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Score] = []

    def check(score: Score) -> bool:
        seen.append(score)
        return len(seen) % 3 == 0

    monkeypatch.setattr(endings, "ending_check", lambda tokenizer: check)
    measured = measure_endings(small, [Score((), 480)] * 2, pieces=3, seed=0, threads=1)
    assert measured is not None
    meter = small.tokenizer.positions.meters[0]
    fixed, own = seen[: 3 * len(LENGTHS)], seen[3 * len(LENGTHS) : -2]
    assert [score.length_ticks for score in fixed] == [bars * meter.bar_ticks for bars in LENGTHS for _ in range(3)]
    assert {score.meter for score in seen[:-2]} == {meter}
    assert len({score.length_ticks for score in own}) > 1, "the model chooses"
    assert measured.by_bars == dict.fromkeys(LENGTHS, pytest.approx(1 / 3))
    assert measured.open_length == pytest.approx(1 / 3)
    assert measured.held_out == 0
