import numpy as np
import pytest
from numpy.typing import NDArray

from music.score import Meter, ScoreAttributes
from music.tokenizers import EventsTokenizer
from music.tokenizers.note_tracker import SYMBOLS, WORD_BITS, NoteTrace, NoteTracker
from tests.unit.music.note_reference import Matches, reference, symbols_of

TOKENIZERS = {
    "piano": EventsTokenizer(lowest_pitch=40, highest_pitch=75, positions_per_quarter=4, velocity_bins=4),
    "trio": EventsTokenizer(
        lowest_pitch=60,
        highest_pitch=72,
        voices=3,
        positions_per_quarter=3,
        longest_quarters=1,
        velocity_bins=2,
        meters=(Meter(3, 4), Meter(2, 4)),
    ),
}


def random_piece(tokenizer: EventsTokenizer, seed: int, count: int) -> NDArray[np.int32]:
    """Tokens that the grammar accepts. Often they repeat what came some tokens before, so that there is form."""
    rng = np.random.default_rng(seed)
    grammar, state = tokenizer.grammar, tokenizer.grammar.joint_start
    tokens: list[int] = []
    lag = 0
    for _ in range(count):
        allowed = grammar.joint_allowed(state).copy()
        allowed[tokenizer.end_token] = False
        if rng.random() < 0.01:
            lag = int(rng.integers(1, 90))
        if rng.random() < 0.004:
            lag = 0
        choice = tokens[-lag] if 0 < lag <= len(tokens) else -1
        if choice < 0 or not allowed[choice]:
            kinds = np.flatnonzero(allowed)
            choice = int(rng.choice(kinds))
        tokens.append(choice)
        state = grammar.joint_successor(state, choice)
    return np.array(tokens, np.int32)


def sets_of(tracker: NoteTracker, trace: NoteTrace, index: int) -> list[set[int]]:
    words = trace.words[index].reshape(-1, tracker.set_words)
    return [{bit for bit in range(tracker.pitches) if row[bit // WORD_BITS] >> bit % WORD_BITS & 1} for row in words]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("seed", range(2))
def test_every_feature_equals_what_all_tokens_before_say(name: str, seed: int) -> None:
    tokenizer = TOKENIZERS[name]
    tracker = NoteTracker(tokenizer.vocabulary)
    tokens = random_piece(tokenizer, seed, 450)
    (trace,) = tracker.trace([tokens])
    matches = Matches(tokenizer.vocabulary)
    suggested = 0
    for index in range(len(tokens)):
        before = tokens[:index].tolist()
        expected = reference(tracker, tokenizer.vocabulary, before, matches)
        assert trace.indices[index].tolist() == expected.indices, index
        assert sets_of(tracker, trace, index) == expected.sets, index
        assert trace.keys[index].tolist() == expected.keys
        assert trace.candidates[index].tolist() == expected.candidates
        np.testing.assert_allclose(trace.profile[index], expected.profile, rtol=1e-5)
        suggested += expected.candidates[-1] >= 0
        symbols = symbols_of(tokenizer.vocabulary, tokens[: index + 1].tolist())
        if len(symbols) > len(symbols_of(tokenizer.vocabulary, before)):
            matches.follow(symbols)
    assert suggested > 3  # the longest context occurred again


def test_pieces_side_by_side_are_traced_as_each_alone() -> None:
    tokenizer = TOKENIZERS["piano"]
    tracker = NoteTracker(tokenizer.vocabulary)
    pieces = [random_piece(tokenizer, seed, 20 + 37 * seed % 90) for seed in range(300)]
    together = tracker.trace(pieces)
    for piece, trace in zip(pieces[::29], together[::29], strict=True):
        (alone,) = tracker.trace([piece])
        for name in ("indices", "words", "profile", "keys", "candidates"):
            np.testing.assert_array_equal(getattr(trace, name), getattr(alone, name))


def test_features_stay_below_their_sizes() -> None:
    for tokenizer in TOKENIZERS.values():
        tracker = NoteTracker(tokenizer.vocabulary)
        (trace,) = tracker.trace([random_piece(tokenizer, 5, 500)])
        assert (trace.indices >= 0).all()
        assert (trace.indices < np.array(tracker.feature_sizes)).all()
        assert trace.candidates.shape[1] == tracker.candidates


def test_a_match_that_is_too_old_is_forgotten() -> None:
    tokenizer = EventsTokenizer(lowest_pitch=60, highest_pitch=61, voices=1, positions_per_quarter=1, velocity_bins=1)
    v = tokenizer.vocabulary
    header = list(tokenizer.header_tokens(ScoreAttributes()))

    def bar(pitch: int) -> list[int]:
        return [v.position(0), v.pitch(0, pitch), *v.duration(1), v.first_velocity, 2]

    once = [bar(60), bar(61), bar(61), bar(60), bar(61)]
    again = [token for part in once for token in part]
    tracker = NoteTracker(v)
    for filler, known in ((100, True), (SYMBOLS // 4, False)):
        middle = [token for _ in range(filler) for token in bar(60)]
        tokens = np.array([*header, *again, *middle, *again[:-1]], np.int32)
        (trace,) = tracker.trace([tokens])
        assert (trace.candidates[-1, -2] >= 0) == known, filler


@pytest.mark.parametrize("semitones", [-13, -3, 0, 4, 11, 12])
def test_a_transposed_trace_equals_that_of_the_transposed_piece(semitones: int) -> None:
    tokenizer = EventsTokenizer(lowest_pitch=24, highest_pitch=99, positions_per_quarter=4, velocity_bins=4)
    narrow = TOKENIZERS["piano"]
    piece = random_piece(narrow, 3, 400)
    v, from_v = tokenizer.vocabulary, narrow.vocabulary
    voice, key = np.divmod(piece - from_v.first_pitch, from_v.pitches)
    wide = np.where(piece >= from_v.first_pitch, v.first_pitch + voice * v.pitches + key + 16, piece).astype(np.int32)
    tracker = NoteTracker(v)
    before, after = tracker.trace([wide, tokenizer.transposed(wide, semitones)])
    transposed = tracker.transposed(before, semitones)
    for name in ("indices", "words", "profile", "keys", "candidates"):
        np.testing.assert_array_equal(getattr(transposed, name), getattr(after, name), err_msg=name)
