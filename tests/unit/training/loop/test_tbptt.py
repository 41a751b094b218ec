from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from music.remaining_length import UNKNOWN
from music.score import Meter
from music.tokenizers import GridTokenizer
from training.config import load_config
from training.loop.tbptt import PADDING, EncodedPiece, TBPTTDataset, epoch_dataset
from training.network.inputs import model_inputs

GRID = GridTokenizer(voices=2, lowest_pitch=40, highest_pitch=80)


def piece(length: int, start: int = 0) -> EncodedPiece:
    tokens = np.array([*np.arange(length - 1) % 30 + 4, GRID.end_token], np.int32)
    return EncodedPiece(f"{length}", tokens, start, GRID.positions.start(None))


@pytest.mark.slow
@given(
    lengths=st.lists(st.integers(2, 90), min_size=1, max_size=12),
    batch_size=st.integers(1, 5),
    window=st.integers(2, 40),
)
@settings(max_examples=60)
def test_every_token_is_predicted_once_from_the_one_before_it(lengths: list[int], batch_size: int, window: int) -> None:
    pieces = [piece(length, start=index % 4) for index, length in enumerate(lengths)]
    batches = TBPTTDataset(pieces, GRID, batch_size=batch_size, window=window)
    windows = list(batches)
    assert len(windows) == batches.windows
    seen = []
    for row in range(windows[0].targets.shape[1]):
        current: list[tuple[Any, ...]] = []
        for part in windows:
            if part.reset[row] and current:
                seen.append(current)
                current = []
            for step in range(window):
                if part.targets[step, row] != PADDING:
                    seen_there = [array[step, row].tolist() for array in part.inputs]
                    current.append((*seen_there, int(part.targets[step, row])))
        if current:
            seen.append(current)
    expected = []
    for item in pieces:
        tokens = item.tokens.tolist()
        inputs = (array.tolist() for array in model_inputs(item.tokens, item.first_position, GRID))
        expected.append(list(zip(*inputs, tokens, strict=True)))
        assert expected[-1][0][:2] == (GRID.start_token, item.first_position)
    assert sorted(seen) == sorted(expected)
    assert batches.tokens == sum(lengths)


def test_an_epoch_depends_only_on_seed_and_number() -> None:
    config = load_config("smoke").training
    pieces = [piece(length) for length in range(20, 60)]

    def targets(seed: int, epoch: int) -> list[int]:
        dataset = epoch_dataset(pieces, GRID, config.model_copy(update={"seed": seed}), epoch)
        return [int(token) for window in dataset for token in window.targets.reshape(-1)]

    assert targets(1, 0) == targets(1, 0)
    assert targets(1, 0) != targets(1, 1)
    assert targets(1, 0) != targets(2, 0)


def test_transposition_stays_in_the_vocabulary_and_the_configured_range() -> None:
    config = load_config("smoke", {"training.transpose": "[-6, 5]", "training.meter_dropout": "0.5"}).training
    low = EncodedPiece(
        "low", np.array([4, 9, 1], np.int32), GRID.positions.start(Meter(3, 4)), GRID.positions.start(None)
    )
    shifts, starts = set(), set()
    for epoch in range(60):
        (window,) = epoch_dataset([low], GRID, config, epoch)
        shifts.add(int(window.targets[0, 0]) - 4)
        starts.add(int(window.inputs[1][0, 0]))
        assert window.targets[1, 0] - window.targets[0, 0] == 5
        assert window.targets[2, 0] == GRID.end_token
    assert shifts == set(range(6)), "the lowest pitch cannot go down"
    assert starts == {low.first_position, low.unmetered_first_position}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_meter_is_hidden_with_the_configured_probability(share: float) -> None:
    config = load_config("smoke", {"training.meter_dropout": str(share)}).training
    item = EncodedPiece("x", np.array([4, 1], np.int32), GRID.positions.start(Meter(3, 4)), GRID.positions.start(None))
    starts = {int(next(iter(epoch_dataset([item], GRID, config, epoch))).inputs[1][0, 0]) for epoch in range(20)}
    assert starts == {item.unmetered_first_position if share else item.first_position}


@pytest.mark.parametrize(
    ("share", "closes", "known"), [(0.0, True, 1.0), (1.0, True, 0.0), (0.4, True, 0.6), (0.0, False, 0.0)]
)
def test_the_length_is_told_of_pieces_that_close_with_the_configured_probability(
    share: float, closes: bool, known: float
) -> None:
    config = load_config("smoke", {"training.length_dropout": str(share)}).training
    item = replace(piece(9), closes=closes)
    first = [int(next(iter(epoch_dataset([item], GRID, config, epoch))).inputs.remaining[0, 0]) for epoch in range(200)]
    assert set(first) <= {UNKNOWN, 8}
    assert first.count(8) / len(first) == pytest.approx(known, abs=0.1 if 0 < known < 1 else 0)


def test_four_fifths_of_the_known_lengths_are_those_of_pieces_held_to_the_bar_line() -> None:
    config = load_config("smoke", {"training.length_dropout": "0.4", "training.transpose": "[0, 0]"}).training
    item = replace(piece(9), held_tokens=piece(13).tokens)
    seen = []
    for epoch in range(200):
        (window,) = epoch_dataset([item], GRID, config, epoch)
        seen.append((int(window.inputs.remaining[0, 0]), int((window.targets != PADDING).sum())))
    assert set(seen) == {(UNKNOWN, 9), (8, 9), (12, 13)}
    assert seen.count((8, 9)) / 200 == pytest.approx(0.12, abs=0.08)
    assert seen.count((12, 13)) / 200 == pytest.approx(0.48, abs=0.1)


def test_hiding_lengths_changes_nothing_else_of_an_epoch() -> None:
    pieces = [piece(length) for length in range(20, 60)]
    seen = []
    for share in ("0.0", "0.7"):
        config = load_config("smoke", {"training.length_dropout": share}).training
        windows = list(epoch_dataset(pieces, GRID, config, 3))
        seen.append(
            [(w.targets.tolist(), *(a.tolist() for a in w.inputs._replace(remaining=w.reset))) for w in windows]
        )
    assert seen[0] == seen[1]


def many(seed: int = 1, count: int = 74) -> list[EncodedPiece]:
    """Pieces whose lengths differ as those of a folder of songs do: a few are ten times as long as most."""
    lengths = np.random.default_rng(seed).lognormal(5.5, 0.9, count).astype(int) + 2
    return [piece(int(length)) for length in lengths]


@pytest.mark.slow
def test_the_rows_of_an_epoch_end_nearly_together() -> None:
    """In a random order, which was the order once, they need 20 to 60 % more windows than there is work for."""
    config = load_config("smoke", {"training.batch_size": "16", "training.window": "16"}).training
    songs = many()
    work = [-(-len(song.tokens) // 16) for song in songs]
    least = max(max(work), -(-sum(work) // 16))
    placed = [epoch_dataset(songs, GRID, config, epoch).windows for epoch in range(20)]
    assert max(placed) <= 1.05 * least
    random = np.random.default_rng(1)
    at_random = [
        TBPTTDataset([songs[index] for index in random.permutation(len(songs))], GRID, batch_size=16, window=16).windows
        for _ in range(20)
    ]
    assert np.mean(at_random) > 1.2 * least


@pytest.mark.slow
def test_length_decides_neither_time_nor_neighbours_of_a_piece() -> None:
    config = load_config("smoke", {"training.batch_size": "4", "training.window": "16", "training.transpose": "[0, 0]"})
    songs = [piece(length) for length in range(20, 500, 20)]
    places, partners = [], set()
    for epoch in range(60):
        windows = list(epoch_dataset(songs, GRID, config.training, epoch))
        for row in range(4):
            column = np.concatenate([window.targets[:, row] for window in windows])
            lengths = [len(part) + 1 for part in np.split(column[column != PADDING], np.where(column == 1)[0])]
            starts = [index for index, window in enumerate(windows) if window.reset[row]]
            ends = [index for index, window in enumerate(windows) for t in window.targets[:, row] if t == 1]
            spans = [end - start + 1 for start, end in zip(starts, ends, strict=True)]
            assert lengths
            if max(spans) == 30:  # the longest piece
                places.append(spans.index(30) / max(len(spans) - 1, 1))
                partners.add(tuple(sorted(spans)))
    assert len(places) == 60
    assert 0.3 < np.mean(places) < 0.7, "neither always first nor always last in its row"
    assert len(partners) > 20, "other pieces share its row in another epoch"
