from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from music.score import Meter
from music.tokenizers import GridTokenizer
from training.batches import PADDING, EncodedPiece, Lanes, model_inputs, training_lanes
from training.config import load_config

GRID = GridTokenizer(voices=2, lowest_pitch=40, highest_pitch=80)


def piece(length: int, start: int = 0) -> EncodedPiece:
    tokens = np.array([*np.arange(length - 1) % 30 + 4, GRID.end_token], np.int32)
    return EncodedPiece(f"{length}", tokens, start, GRID.clock.start(None))


@given(
    lengths=st.lists(st.integers(2, 90), min_size=1, max_size=12), lanes=st.integers(1, 5), window=st.integers(2, 40)
)
@settings(max_examples=60)
def test_every_token_is_predicted_once_from_the_one_before_it(lengths: list[int], lanes: int, window: int) -> None:
    pieces = [piece(length, start=index % 4) for index, length in enumerate(lengths)]
    batches = Lanes(pieces, GRID, lanes=lanes, window=window)
    windows = list(batches)
    assert len(windows) == batches.windows
    seen = []
    for lane in range(windows[0].targets.shape[1]):
        current: list[tuple[Any, ...]] = []
        for part in windows:
            if part.fresh[lane] and current:
                seen.append(current)
                current = []
            for step in range(window):
                if part.targets[step, lane] != PADDING:
                    seen_there = [array[step, lane].tolist() for array in part.inputs]
                    current.append((*seen_there, int(part.targets[step, lane])))
        if current:
            seen.append(current)
    expected = []
    for item in pieces:
        tokens = item.tokens.tolist()
        inputs = (array.tolist() for array in model_inputs(item.tokens, item.clock_start, GRID))
        expected.append(list(zip(*inputs, tokens, strict=True)))
        assert expected[-1][0][:2] == (GRID.start_token, item.clock_start)
    assert sorted(seen) == sorted(expected)
    assert batches.tokens == sum(lengths)


def test_an_epoch_is_a_function_of_the_seed_and_its_number() -> None:
    config = load_config("smoke").training
    pieces = [piece(length) for length in range(20, 60)]

    def targets(seed: int, epoch: int) -> list[int]:
        lanes = training_lanes(pieces, GRID, config.model_copy(update={"seed": seed}), epoch)
        return [int(token) for window in lanes for token in window.targets.reshape(-1)]

    assert targets(1, 0) == targets(1, 0)
    assert targets(1, 0) != targets(1, 1)
    assert targets(1, 0) != targets(2, 0)


def test_transposition_stays_inside_the_vocabulary_and_the_range_asked_for() -> None:
    config = load_config("smoke", {"training.transpose": "[-6, 5]", "training.unknown_meter": "0.5"}).training
    low = EncodedPiece("low", np.array([4, 9, 1], np.int32), GRID.clock.start(Meter(3, 4)), GRID.clock.start(None))
    shifts, starts = set(), set()
    for epoch in range(60):
        (window,) = training_lanes([low], GRID, config, epoch)
        shifts.add(int(window.targets[0, 0]) - 4)
        starts.add(int(window.inputs[1][0, 0]))
        assert window.targets[1, 0] - window.targets[0, 0] == 5
        assert window.targets[2, 0] == GRID.end_token
    assert shifts == set(range(6)), "the lowest pitch cannot go down"
    assert starts == {low.clock_start, low.unmetered_start}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_meter_is_hidden_as_often_as_asked_for(share: float) -> None:
    config = load_config("smoke", {"training.unknown_meter": str(share)}).training
    item = EncodedPiece("x", np.array([4, 1], np.int32), GRID.clock.start(Meter(3, 4)), GRID.clock.start(None))
    starts = {int(next(iter(training_lanes([item], GRID, config, epoch))).inputs[1][0, 0]) for epoch in range(20)}
    assert starts == {item.unmetered_start if share else item.clock_start}


def many(seed: int = 1, count: int = 74) -> list[EncodedPiece]:
    """Pieces whose lengths differ as those of a folder of songs do: a few are ten times as long as most."""
    lengths = np.random.default_rng(seed).lognormal(7.6, 0.9, count).astype(int) + 2
    return [piece(int(length)) for length in lengths]


def test_the_rows_of_an_epoch_end_nearly_together() -> None:
    """In a random order, which was the order once, they need 20 to 60 % more windows than there is work for."""
    config = load_config("smoke", {"training.lanes": "16", "training.window": "128"}).training
    songs = many()
    work = [-(-len(song.tokens) // 128) for song in songs]
    least = max(max(work), -(-sum(work) // 16))
    placed = [training_lanes(songs, GRID, config, epoch).windows for epoch in range(20)]
    assert max(placed) <= 1.05 * least
    random = np.random.default_rng(1)
    at_random = [
        Lanes([songs[index] for index in random.permutation(len(songs))], GRID, lanes=16, window=128).windows
        for _ in range(20)
    ]
    assert np.mean(at_random) > 1.2 * least


def test_length_does_not_say_when_a_piece_comes_or_beside_which() -> None:
    config = load_config("smoke", {"training.lanes": "4", "training.window": "16", "training.transpose": "[0, 0]"})
    songs = [piece(length) for length in range(20, 500, 20)]
    places, partners = [], set()
    for epoch in range(60):
        windows = list(training_lanes(songs, GRID, config.training, epoch))
        for lane in range(4):
            column = np.concatenate([window.targets[:, lane] for window in windows])
            lengths = [len(part) + 1 for part in np.split(column[column != PADDING], np.where(column == 1)[0])]
            starts = [index for index, window in enumerate(windows) if window.fresh[lane]]
            ends = [index for index, window in enumerate(windows) for t in window.targets[:, lane] if t == 1]
            spans = [end - start + 1 for start, end in zip(starts, ends, strict=True)]
            assert lengths
            if max(spans) == 30:  # the longest piece
                places.append(spans.index(30) / max(len(spans) - 1, 1))
                partners.add(tuple(sorted(spans)))
    assert len(places) == 60
    assert 0.3 < np.mean(places) < 0.7, "neither always first nor always last in its row"
    assert len(partners) > 20, "other pieces share its row in another epoch"
