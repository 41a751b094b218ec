"""What the tokens of `events` so far say about the past: computed from them, and given to the network.

An LSTM that sees one token at a time has to remember which keys sound, which chord is being written and what stood in
the bars before. `NoteTracker` computes all this from the tokens alone. The network gets

* the keys of the chord so far and of each voice's last chord, the keys that sound, the last pitches and the intervals
  between them, and how often each pitch class has been struck;
* what stood at this place of the bar one, two and four bars ago: keys, durations, and the place of the next onset;
* the tokens that followed when the last tokens occurred before, transposed or not. Such match models come from data
  compression (Mahoney, "Adaptive Weighing of Context Models for Lossless Data Compression", 2005).

The state is a fixed number of integers a row. It is advanced by the same code in NumPy and in an ONNX graph
(`music.array_operations`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from heapq import heappop, heappush
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from music.array_operations import ArrayOperations, NumpyOperations, Value
from music.tokenizers.event_vocabulary import BAR, FIRST_POSITION, START, TIE, EventVocabulary

BARS_AGO: Final = (1, 2, 4)
"""How many bars ago the network looks at the same place."""
ONSETS: Final = 128
"""Number of past onsets that a row remembers."""
WORD_BITS: Final = 11
"""Keys of a word: sets of keys are stored in words of so many bits."""
ORDERS: Final = (12, 32)
"""Number of last tokens that must have occurred before, for each match."""
SYMBOLS: Final = 2048
"""Number of past tokens that a match may point to."""
MAX_MATCH: Final = 15
"""Number of tokens that a match has foreseen, at most."""
MAX_BARS: Final = 63
"""Number of bars so far, at most."""
DECAYS: Final = (0.9, 0.98)
"""Decay factors of the profile per note."""
PITCH_CLASSES: Final = 12
_NEVER: Final = -(1 << 24)
_LATE: Final = 1 << 24
_SLOTS: Final = 4096
"""Size of the hash table of each match."""
_CHECKS: Final = 1 << 15
"""Values of the check that tells contexts in the same slot apart."""
_COUNTS: Final = 1 << 16
"""Tokens are counted modulo this in the hash table."""
_MODULUS: Final = (1 << 31) - 1
_MULTIPLIER: Final = 1_583_458_089
"""Of the rolling hash (Karp and Rabin, 1987); a primitive root of the modulus (L'Ecuyer, 1999)."""
_SYMBOL_SPAN: Final = 256
"""Symbols of each voice, one for each interval."""
_ROWS: Final = 512
"""Pieces that are traced at a time, at most."""
_ORDERS: Final = np.array(ORDERS, np.int32)
_LEAVING: Final = np.array([-pow(_MULTIPLIER, order, _MODULUS) % _MODULUS for order in ORDERS], np.int64)
"""What a symbol that leaves the last ones adds to the hash."""

State = Mapping[str, Any]
"""Arrays (rows, width) by field."""


@dataclass(frozen=True, slots=True)
class NoteFeatures:
    """What the network gets before a token; arrays with the rows first."""

    indices: Value
    """(rows, features) int32: one index into each of `NoteTracker.feature_sizes`."""
    words: Value
    """(rows, sets * words) int32: sets of keys as words; see `NoteTracker.set_names`."""
    sounding: Value
    """(rows, keys) bool: the keys that sound."""
    profile: Value
    """(rows, decays * 12) float32: how often each pitch class, counted from the lowest key, was struck; older notes
    count less."""
    keys: Value
    """(rows, 1 + 2 * voices) int32: the last key, the lowest of each voice's last chord, the highest of each. The
    number of keys stands for none."""
    candidates: Value
    """(rows, candidates) int32: tokens that the past suggests, -1 for none."""


class _Kind(IntEnum):
    """Kinds of tokens that change more than numbers."""

    OTHER = 0
    POSITION = 1
    PITCH = 2
    DURATION = 3
    VELOCITY = 4


class NoteTracker:
    """Computes the features of `NoteFeatures`.

    A token changes each number of the state linearly: it is multiplied, and another number, also multiplied, and a
    constant are added. The factors are rows of a table. What is not linear follows in a few operations.

    Args:
        vocabulary: of the tokenizer. A key is the index of a PITCH in its voice's block.
    """

    def __init__(self, vocabulary: EventVocabulary) -> None:
        v = self._v = vocabulary
        self.voices = v.voices
        self.pitches = v.pitches
        self.none = v.pitches
        """In place of a key if there is none."""
        self.middle = v.pitches // 2
        """The key in place of the last one before the first note."""
        self.set_words = -(-v.pitches // WORD_BITS)
        """Words of a set of keys."""
        voices, width = self.voices, self.voices * self.set_words
        lines = [f"line_{bars}" for bars in range(max(BARS_AGO) + 1)]
        self._numbers = [
            "token",
            "previous",
            "opening",  # 1 until the header is over
            "place",  # step in the bar of the last POSITION
            "placed",  # 1 if the bar has a POSITION
            "bar_steps",
            "bars",
            *lines,  # steps of the present bar line and of those before
            "onsets",
            "key",  # the last keys
            "key_before",
            "key_before_that",
            "voice",
            "ties",
            "note_duration",
            "count",  # of the tokens that matches count
            *(f"struck_{voice}" for voice in range(voices)),  # notes of the chord
        ]
        self.fields: dict[str, int] = {
            "numbers": len(self._numbers),
            "chord": width,
            "last": width,  # the last chord of each voice
            "low": voices,
            "high": voices,
            "onset_durations": voices,  # of the first note of each voice at the last onset
            "voice_durations": voices,
            "voice_velocities": voices,
            "ends": v.pitches,  # step at which each key falls silent
            "times": ONSETS,  # steps of the past onsets
            "past": ONSETS * (width + voices),  # chords and durations of the past onsets
            "symbols": SYMBOLS,
            "hashes": len(ORDERS),
            "table": len(ORDERS) * _SLOTS,
            "found": len(ORDERS),  # the symbol after each match, or -1
            "lengths": len(ORDERS),
        }
        """Width of each field of the state, all int32. The profile, float32, is kept beside it."""
        self.size = sum(self.fields.values())
        """Integers of a row."""
        keys = np.arange(v.pitches)
        self._table, self._widths = self._token_table()
        self._class = np.zeros((v.size, len(DECAYS) * PITCH_CLASSES), np.float32)
        pitched = np.tile(np.eye(PITCH_CLASSES, dtype=np.float32)[keys % PITCH_CLASSES], (voices, len(DECAYS)))
        self._class[v.first_pitch :] = pitched
        self._decay = np.ones((v.size, len(DECAYS) * PITCH_CLASSES), np.float32)
        self._decay[v.first_pitch :] = np.repeat(np.array(DECAYS, np.float32), PITCH_CLASSES)
        self._one_key = np.eye(v.pitches + 1, v.pitches, dtype=np.int32)
        self._source = [self._numbers.index(self._sources.get(name, name)) for name in self._numbers]

    @property
    def _sources(self) -> dict[str, str]:
        """The number that is added to each other one."""
        lines = {f"line_{bars}": f"line_{bars - 1}" for bars in range(1, max(BARS_AGO) + 1)}
        return lines | {
            "previous": "token",
            "placed": "opening",
            "line_0": "bar_steps",
            "onsets": "opening",
            "key_before": "key",
            "key_before_that": "key_before",
            "note_duration": "ties",
        }

    def _token_table(self) -> tuple[NDArray[np.int16], list[int]]:
        """What each token does: the columns side by side, and their widths."""
        v, numbers, voices = self._v, self._numbers, self.voices
        kept = np.ones((v.size, len(numbers)), np.int32)
        taken = np.zeros_like(kept)
        added = np.zeros_like(kept)

        def change(name: str, tokens: Any, *, keep: int = 0, take: int = 0, add: Any = 0) -> None:
            column = numbers.index(name)
            kept[tokens, column], taken[tokens, column], added[tokens, column] = keep, take, add

        every, pitched = slice(None), slice(v.first_pitch, None)
        positions = slice(FIRST_POSITION, v.first_duration)
        durations, velocities = slice(v.first_duration, v.first_velocity), slice(v.first_velocity, v.first_tempo)
        pitch_voices, pitch_keys = np.divmod(np.arange(voices * v.pitches), v.pitches)
        change("token", every, add=np.arange(v.size))
        change("previous", every, take=1)
        change("opening", positions)
        change("place", positions, add=np.arange(max(v.bar_steps)))
        change("place", BAR)
        change("placed", positions, take=-1, add=1)
        change("placed", BAR)
        change("bar_steps", slice(v.first_meter, v.first_pitch), add=np.array(v.bar_steps))
        change("bars", BAR, keep=1, add=1)
        change("line_0", BAR, keep=1, take=1)
        for bars in range(1, max(BARS_AGO) + 1):
            change(f"line_{bars}", BAR, take=1)
        change("onsets", positions, keep=1, take=-1, add=1)
        change("key", pitched, add=pitch_keys)
        change("key_before", pitched, take=1)
        change("key_before_that", pitched, take=1)
        change("voice", pitched, add=pitch_voices)
        change("ties", pitched)
        change("ties", TIE, keep=1, add=1)
        change("note_duration", positions)
        change("note_duration", durations, take=v.durations, add=np.arange(1, v.durations + 1))
        change("count", every, keep=1, add=1)
        change("count", velocities, keep=1)
        for voice in range(voices):
            change(f"struck_{voice}", positions)
            block = slice(v.first_pitch + voice * v.pitches, v.first_pitch + (voice + 1) * v.pitches)
            change(f"struck_{voice}", block, keep=1, add=1)

        kinds = np.zeros((v.size, 1), np.int32)
        kinds[positions], kinds[pitched], kinds[durations] = _Kind.POSITION, _Kind.PITCH, _Kind.DURATION
        kinds[velocities] = _Kind.VELOCITY
        bits = np.zeros((v.size, voices, self.set_words), np.int32)
        rows = v.first_pitch + np.arange(voices * v.pitches)
        bits[rows, pitch_voices, pitch_keys // WORD_BITS] = 1 << pitch_keys % WORD_BITS
        own = np.zeros((v.size, voices), np.int32)
        own[rows, pitch_voices] = 1
        low = np.full((v.size, voices), self.none, np.int32)
        high = np.full((v.size, voices), -1, np.int32)
        low[rows, pitch_voices] = high[rows, pitch_voices] = pitch_keys
        symbols = np.arange(v.size, dtype=np.int32)[:, None]
        symbols[rows, 0] = v.first_pitch + pitch_voices * _SYMBOL_SPAN + _SYMBOL_SPAN // 2 + pitch_keys
        is_pitch = np.zeros((v.size, 1), np.int32)
        is_pitch[pitched] = 1
        parts = [kept, taken, added, kinds, bits.reshape(v.size, -1), own, low, high, symbols, is_pitch]
        table = np.concatenate(parts, 1)
        assert np.abs(table).max() <= np.iinfo(np.int16).max
        return table.astype(np.int16), [part.shape[1] for part in parts]

    @property
    def initial(self) -> dict[str, NDArray[np.int32]]:
        """The state before the first token: (width,) of each field."""
        state = {name: np.zeros(width, np.int32) for name, width in self.fields.items()}
        numbers = dict.fromkeys(self._numbers, 0)
        numbers |= {"token": START, "previous": START, "opening": 1}
        numbers |= dict.fromkeys(("key", "key_before", "key_before_that"), self.none)
        numbers |= {f"line_{bars}": _NEVER for bars in range(1, max(BARS_AGO) + 1)}
        state["numbers"][:] = list(numbers.values())
        state["low"][:], state["high"][:] = self.none, -1
        state["times"][:] = _NEVER
        state["table"][:] = state["found"][:] = -1
        return state

    @property
    def initial_row(self) -> NDArray[np.int32]:
        """The state before the first token as one row, (size,): the fields in their order."""
        initial = self.initial
        return np.concatenate([initial[name] for name in self.fields])

    @property
    def initial_profile(self) -> NDArray[np.float32]:
        """The profile before the first token: (decays * 12,)."""
        return np.zeros(len(DECAYS) * PITCH_CLASSES, np.float32)

    def row_after(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """The state after tokens (n,) from the start of a piece as one row, (size,). The profile is not part of it."""
        ops = NumpyOperations()
        state: dict[str, Any] = {name: value[None] for name, value in self.initial.items()}
        profile: Value = self.initial_profile[None]
        for token in tokens.astype(np.int32).reshape(-1, 1, 1):
            state, profile = self.advance(state, profile, token, ops)
        return np.concatenate([state[name][0] for name in self.fields])

    @property
    def set_names(self) -> tuple[str, ...]:
        """The sets of keys in `NoteFeatures.words`, one for each voice of each name in turn."""
        return ("chord", "last", *(f"{bars}_bars_ago" for bars in BARS_AGO))

    @property
    def sets(self) -> int:
        """Number of sets of keys, without those that sound."""
        return len(self.set_names) * self.voices

    @property
    def feature_groups(self) -> dict[str, tuple[int, ...]]:
        """The embedded features: by group and in their order, the number of values of each.

        * previous: the token before the last one;
        * next: steps from here to the next onset of the bar some bars ago;
        * duration: of this place some bars ago, of the last note of each voice, of the last note of the chord;
        * velocity: the last one of the voice;
        * interval: from the last key to the two before it, and to the edges of each voice's last chord;
        * key: the last one;
        * match, match_length: the token that each match suggests, and how many tokens it has foreseen;
        * bars: the number of bars so far.
        """
        v = self._v
        interval = 2 * self.pitches + 1
        return {
            "previous": (v.size,),
            "next": (2 * max(v.bar_steps) + 3,) * len(BARS_AGO),
            "duration": (v.durations + 1,) * (len(BARS_AGO) + self.voices + 1),
            "velocity": (len(v.velocities) + 1,),
            "interval": (interval,) * (2 + 2 * self.voices),
            "key": (self.pitches + 1,),
            "match": (v.size + 1,) * len(ORDERS),
            "match_length": (MAX_MATCH + 1,) * len(ORDERS),
            "bars": (MAX_BARS + 1,),
        }

    @property
    def feature_sizes(self) -> tuple[int, ...]:
        """Number of values of each embedded feature."""
        return tuple(size for sizes in self.feature_groups.values() for size in sizes)

    @property
    def candidates(self) -> int:
        """Number of tokens that the past suggests."""
        return len(BARS_AGO) + len(BARS_AGO) + self.voices + 1 + 1 + len(ORDERS)

    @property
    def word_bits(self) -> NDArray[np.float32]:
        """(words, bits): the keys of each word."""
        return (np.arange(1 << WORD_BITS)[:, None] >> np.arange(WORD_BITS) & 1).astype(np.float32)

    def _by_name(self, numbers: Value, ops: ArrayOperations) -> dict[str, Value]:
        """Each number, (rows, 1)."""
        return dict(zip(self._numbers, ops.split(numbers, [1] * len(self._numbers)), strict=True))

    def advance(self, state: State, profile: Value, token: Value, ops: ArrayOperations) -> tuple[dict[str, Any], Value]:
        """The state and the profile after a token.

        Args:
            state: before the token; not to be used afterwards.
            profile: (rows, decays * 12) float32, before the token.
            token: (rows, 1) int32.
            ops: operations on the arrays.
        """
        voices, width = self.voices, self.voices * self.set_words
        of_token = ops.cast(ops.reshape(ops.take(self._table, token), self._table.shape[1]), np.int32)
        kept, taken, added, kind, bits, own, low, high, symbol, is_pitch = ops.split(of_token, self._widths)
        before = state["numbers"]
        numbers = before * kept + ops.columns(before, self._source) * taken + added
        is_duration, is_onset = kind == _Kind.DURATION, kind == _Kind.POSITION
        new: dict[str, Any] = {"numbers": numbers}
        earlier, after = self._by_name(before, ops), self._by_name(numbers, ops)
        # Chords. The first note of a voice at an onset begins the voice's chord anew.
        struck = self._numbers.index("struck_0")
        is_first = (ops.slice(numbers, struck, struck + voices) == 1) & (own > 0)
        first_words = ops.columns(is_first, np.repeat(np.arange(voices), self.set_words).tolist())
        new["chord"] = ops.where(is_onset, bits, state["chord"] + bits)
        new["last"] = ops.where(first_words, bits, state["last"] + bits)
        new["low"] = ops.where(is_first, low, ops.minimum(state["low"], low))
        new["high"] = ops.where(is_first, high, ops.maximum(state["high"], high))
        # Durations.
        duration = after["note_duration"]
        is_voice = ops.constant(np.arange(voices, dtype=np.int32)) == after["voice"]
        is_own = is_voice & is_duration
        new["voice_durations"] = ops.where(is_own, duration, state["voice_durations"])
        onset_durations = ops.where(is_own & (state["onset_durations"] == 0), duration, state["onset_durations"])
        onset_durations = ops.where(is_onset, 0, onset_durations)
        new["onset_durations"] = onset_durations
        velocity = after["token"] - (self._v.first_velocity - 1)
        new["voice_velocities"] = ops.where(is_voice & (kind == _Kind.VELOCITY), velocity, state["voice_velocities"])
        now = after["line_0"] + after["place"]
        end = ops.where(is_duration, now + duration, 0)
        ends = ops.take(self._one_key, after["key"])
        new["ends"] = ops.maximum(state["ends"], ops.reshape(ends, self.pitches) * end)
        # The last onset is one of the past; it is written again until it is complete.
        size = width + voices
        slot = after["onsets"] % ONSETS
        time = ops.where(after["placed"] > 0, now, ops.pick(state["times"], slot))
        new["times"] = ops.put(state["times"], slot, time)
        onset = ops.concatenate([new["chord"], onset_durations])
        new["past"] = ops.put(state["past"], slot * size + ops.constant(np.arange(size, dtype=np.int32)), onset)
        profile = profile * ops.reshape(ops.take(self._decay, token), len(DECAYS) * PITCH_CLASSES) + ops.reshape(
            ops.take(self._class, token), len(DECAYS) * PITCH_CLASSES
        )
        symbol = symbol - is_pitch * earlier["key"]
        self._match(state, new, symbol, kind != _Kind.VELOCITY, earlier["count"], after["count"], ops)
        return new, profile

    def _match(
        self,
        state: State,
        new: dict[str, Any],
        symbol: Value,
        counts: Value,
        counted: Value,
        count: Value,
        ops: ArrayOperations,
    ) -> None:
        """Follow the matches, and look for new ones, if the symbol counts.

        Args:
            state: before the token.
            new: gets the state after it.
            symbol: (rows, 1), of the token.
            counts: (rows, 1), whether the token counts.
            counted: (rows, 1), how many tokens counted before it.
            count: (rows, 1), how many count with it.
            ops: operations on the arrays.
        """
        symbols, orders = state["symbols"], len(ORDERS)
        found = state["found"]
        foreseen = ops.pick(symbols, ops.maximum(found, 0) % SYMBOLS)
        hit = (foreseen == symbol) & (found >= 0)
        lengths = ops.where(hit, ops.minimum(state["lengths"] + 1, MAX_MATCH), 0)
        # Rolling hashes of the last symbols. Symbols before the first are 0.
        leaving = ops.cast(ops.pick(symbols, (counted - ops.constant(_ORDERS) + SYMBOLS) % SYMBOLS), np.int64)
        rolled = ops.cast(state["hashes"], np.int64) * _MULTIPLIER + ops.cast(symbol, np.int64)
        rolled = (rolled + leaving * ops.constant(_LEAVING)) % _MODULUS
        hashes = ops.where(counts, ops.cast(rolled, np.int32), state["hashes"])
        new["hashes"] = hashes
        place = counted % SYMBOLS
        new["symbols"] = ops.put(symbols, place, ops.where(counts, symbol, ops.pick(symbols, place)))
        slot = hashes % _SLOTS + ops.constant(np.arange(orders, dtype=np.int32) * _SLOTS)
        check = hashes // _SLOTS % _CHECKS
        stored = ops.pick(state["table"], slot)
        distance = (count - stored // _CHECKS + _COUNTS) % _COUNTS
        known = (stored >= 0) & (stored % _CHECKS == check) & (distance < SYMBOLS)
        new["found"] = ops.where(counts, ops.where(known, count - distance, -1), found)
        entry = count % _COUNTS * _CHECKS + check
        new["table"] = ops.put(state["table"], slot, ops.where(counts, entry, stored))
        new["lengths"] = ops.where(counts, ops.where(known, lengths, 0), state["lengths"])

    def features(self, state: State, profile: Value, ops: ArrayOperations) -> NoteFeatures:
        """The features before the next token."""
        v, voices, ago = self._v, self.voices, len(BARS_AGO)
        numbers = self._by_name(state["numbers"], ops)
        width, size = voices * self.set_words, voices * self.set_words + voices
        is_placed = numbers["placed"] > 0
        # What stood here some bars ago.
        lines = ops.concatenate([numbers[f"line_{bars}"] for bars in BARS_AGO])
        ends = ops.concatenate([numbers[f"line_{bars - 1}"] for bars in BARS_AGO])
        there = ops.reshape(lines + numbers["place"], ago, 1)
        # Without a POSITION in the bar, the next onset may be at the place itself.
        after = there + (ops.reshape(numbers["placed"], 1, 1) - 1)
        times = ops.reshape(state["times"], 1, ONSETS)
        number = ops.constant(np.arange(1, ONSETS + 1, dtype=np.int32))
        at = ops.reshape(ops.greatest(ops.cast(times == there, np.int32) * number), ago) - 1
        is_there = (at >= 0) & is_placed
        later = ops.reshape(ops.least(ops.where(times > after, times, _LATE)), ago)
        has_bar, has_next = lines > _NEVER, later < ends
        next_step = later - lines
        places = ops.reshape(ops.maximum(at, 0) * size, ago, 1) + ops.constant(np.arange(size, dtype=np.int32))
        struck = ops.reshape(ops.pick(state["past"], ops.reshape(places, ago * size)), ago, size)
        struck = ops.where(ops.reshape(is_there, ago, 1), struck, 0)
        past_words, past_durations = ops.split(struck, [width, voices])
        chord = ops.where(is_placed, state["chord"], 0)
        words = ops.concatenate([chord, state["last"], ops.reshape(past_words, ago * width)])
        words = ops.minimum(words, (1 << WORD_BITS) - 1)  # more if forced tokens strike a key twice, which is not legal
        own = ops.reshape(numbers["voice"], 1, 1) + ops.constant(np.zeros((ago, 1), np.int32))
        past_duration = ops.reshape(ops.pick(past_durations, own), ago)
        sounding = state["ends"] > numbers["line_0"] + numbers["place"]
        # Tokens that the past suggests.
        next_token = ops.where(has_bar, ops.where(has_next, next_step + FIRST_POSITION, BAR), -1)
        durations = ops.concatenate([past_duration, state["voice_durations"], numbers["note_duration"]])
        rest = durations - numbers["ties"] * v.durations
        duration_token = ops.where(rest > v.durations, TIE, rest + (v.first_duration - 1))
        duration_token = ops.where(rest > 0, duration_token, -1)
        velocity = ops.pick(state["voice_velocities"], numbers["voice"])
        velocity_token = ops.where(velocity > 0, velocity + (v.first_velocity - 1), -1)
        matched = self._matched(state, numbers["key"], ops)
        candidates = ops.concatenate([next_token, duration_token, velocity_token, matched])
        # Embedded features.
        far = 2 * max(v.bar_steps)
        next_feature = ops.where(has_next, next_step - numbers["place"] + max(v.bar_steps), far + 1)
        next_feature = ops.where(has_bar, next_feature, far + 2)
        last = numbers["key"]
        high = ops.where(state["high"] < 0, self.none, state["high"])
        lower = ops.concatenate([numbers["key_before"], numbers["key_before_that"], state["low"], high])
        intervals = ops.where((last < self.none) & (lower < self.none), last - lower + self.pitches, 0)
        indices = [
            numbers["previous"],
            next_feature,
            ops.minimum(durations, v.durations),
            velocity,
            intervals,
            last,
            ops.where(matched < 0, v.size, matched),
            state["lengths"],
            ops.minimum(numbers["bars"], MAX_BARS),
        ]
        return NoteFeatures(
            indices=ops.concatenate(indices),
            words=words,
            sounding=sounding,
            profile=profile,
            keys=ops.concatenate([last, state["low"], high]),
            candidates=candidates,
        )

    def _matched(self, state: State, last: Value, ops: ArrayOperations) -> Value:
        """The tokens that followed the matches, a PITCH transposed to the last key; -1 for none."""
        v, found = self._v, state["found"]
        symbol = ops.pick(state["symbols"], ops.maximum(found, 0) % SYMBOLS)
        place = symbol - v.first_pitch
        key = place % _SYMBOL_SPAN - _SYMBOL_SPAN // 2 + last
        fits = (key >= 0) & (key < self.pitches) & (last < self.none)
        pitch = ops.where(fits, place // _SYMBOL_SPAN * self.pitches + key + v.first_pitch, -1)
        token = ops.where(symbol >= v.first_pitch, pitch, symbol)
        return ops.where(found >= 0, token, -1)

    def trace(self, pieces: Sequence[NDArray[np.integer[Any]]]) -> list["NoteTrace"]:
        """The features before every token of some pieces, each (n,)."""
        ops = NumpyOperations()
        rows, lengths = _lay_out([len(piece) for piece in pieces])
        tokens = np.zeros((lengths[0], len(rows)), np.int32)
        starts = np.zeros(tokens.shape, np.bool_)
        for row, placed in enumerate(rows):
            for index, first in placed:
                tokens[first : first + len(pieces[index]), row] = pieces[index]
                starts[first, row] = True
        initial, initial_profile = self.initial, self.initial_profile
        state: dict[str, Any] = {name: np.repeat(value[None], len(rows), 0) for name, value in initial.items()}
        profile = np.repeat(initial_profile[None], len(rows), 0)
        whole = NoteTrace.empty(self, tokens.shape)
        for step in range(len(tokens)):
            # The longest rows come first, so those that have ended can be cut off.
            running = int(np.searchsorted(-lengths, -step))
            if running < len(profile):
                state, profile = {name: value[:running] for name, value in state.items()}, profile[:running]
            for row in np.flatnonzero(starts[step]).tolist():
                for name, value in initial.items():
                    state[name][row] = value
                profile[row] = initial_profile
            whole.fill(step, self.features(state, profile, ops))
            state, profile = self.advance(state, profile, tokens[step, :running, None], ops)
        traces: dict[int, NoteTrace] = {}
        for row, placed in enumerate(rows):
            for index, first in placed:
                traces[index] = whole.part(slice(first, first + len(pieces[index])), row)
        return [traces[index] for index in range(len(pieces))]

    def transposed(self, trace: "NoteTrace", semitones: int) -> "NoteTrace":
        """The features of a piece that is transposed within the range.

        They equal those of `trace` for the transposed tokens, but for suggestions that leave the range on one side and
        not on the other: they are left out.
        """
        if not semitones:
            return trace
        v = self._v
        indices, keys = trace.indices.copy(), np.where(trace.keys < self.none, trace.keys + semitones, trace.keys)
        starts = np.cumsum([0, *(len(sizes) for sizes in self.feature_groups.values())]).tolist()
        first = dict(zip(self.feature_groups, starts[:-1], strict=True))
        previous, key = indices[:, first["previous"]], indices[:, first["key"]]
        previous[previous >= v.first_pitch] += semitones
        key[key < self.none] += semitones
        candidates = trace.candidates.copy()
        matched = candidates[:, -len(ORDERS) :]
        place = matched - v.first_pitch
        is_pitch = place >= 0
        fits = (place % self.pitches + semitones >= 0) & (place % self.pitches + semitones < self.pitches)
        matched[is_pitch] += semitones
        matched[is_pitch & ~fits] = -1
        indices[:, first["match"] : first["match"] + len(ORDERS)] = np.where(matched < 0, v.size, matched)
        profile = trace.profile.reshape(-1, len(DECAYS), PITCH_CLASSES)
        return NoteTrace(
            indices=indices,
            words=_shifted(trace.words.reshape(len(trace.words), -1, self.set_words), semitones),
            profile=np.roll(profile, semitones, -1).reshape(trace.profile.shape),
            keys=keys.astype(np.int16),
            candidates=candidates,
        )


@dataclass(frozen=True, slots=True)
class NoteTrace:
    """The features before each of n tokens."""

    indices: NDArray[np.int16]
    """(n, features)."""
    words: NDArray[np.int16]
    """(n, (sets + 1) * words): those of `NoteFeatures.words`, then the sounding keys."""
    profile: NDArray[np.float32]
    """(n, decays * 12)."""
    keys: NDArray[np.int16]
    """(n, 1 + 2 * voices)."""
    candidates: NDArray[np.int16]
    """(n, candidates)."""

    @classmethod
    def empty(cls, tracker: NoteTracker, shape: tuple[int, ...]) -> "NoteTrace":
        """Arrays to fill."""
        return cls(
            np.zeros((*shape, len(tracker.feature_sizes)), np.int16),
            np.zeros((*shape, (tracker.sets + 1) * tracker.set_words), np.int16),
            np.zeros((*shape, len(DECAYS) * PITCH_CLASSES), np.float32),
            np.zeros((*shape, 1 + 2 * tracker.voices), np.int16),
            np.zeros((*shape, tracker.candidates), np.int16),
        )

    def fill(self, step: int, features: NoteFeatures) -> None:
        """Store the features of a step, for the first rows."""
        rows, sets = features.words.shape
        self.indices[step, :rows] = features.indices
        self.words[step, :rows, :sets] = features.words
        self.words[step, :rows, sets:] = _packed(features.sounding)
        self.profile[step, :rows] = features.profile
        self.keys[step, :rows] = features.keys
        self.candidates[step, :rows] = features.candidates

    def part(self, steps: slice, row: int) -> "NoteTrace":
        """Some steps of a row."""
        return NoteTrace(
            self.indices[steps, row],
            self.words[steps, row],
            self.profile[steps, row],
            self.keys[steps, row],
            self.candidates[steps, row],
        )


def _packed(keys: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Sets of keys (rows, keys) as words (rows, words)."""
    words = -(-keys.shape[-1] // WORD_BITS)
    padded = np.zeros((len(keys), words * WORD_BITS), np.int16)
    padded[:, : keys.shape[-1]] = keys
    packed: NDArray[np.int16] = padded.reshape(len(keys), words, WORD_BITS) @ (
        1 << np.arange(WORD_BITS, dtype=np.int16)
    )
    return packed


def _shifted(words: NDArray[np.int16], keys: int) -> NDArray[np.int16]:
    """Sets of keys (rows, sets, words), each key higher by so many: (rows, sets * words)."""
    whole, rest = divmod(keys, WORD_BITS)
    count = words.shape[-1]
    # Each word's upper bits go to the next one.
    shifted = words.astype(np.int32) << rest
    spread = np.zeros((*words.shape[:-1], count + 1), np.int32)
    spread[..., :count] = shifted & ((1 << WORD_BITS) - 1)
    spread[..., 1:] |= shifted >> WORD_BITS
    moved = np.zeros(words.shape, np.int16)
    source = slice(max(-whole, 0), min(count + 1, count - whole))
    moved[..., source.start + whole : source.stop + whole] = spread[..., source]
    return moved.reshape(len(words), -1)


def _lay_out(lengths: Sequence[int]) -> tuple[list[list[tuple[int, int]]], NDArray[np.intp]]:
    """Put pieces end to end in rows of nearly equal length: in so many that the longest piece fills one.

    Returns:
        For each row the index and the first step of its pieces, and the lengths of the rows; the longest row first.
    """
    count = min(_ROWS, len(lengths), -(-sum(lengths) // max(lengths)))
    rows: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    filled = [(0, row) for row in range(len(rows))]
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length, row = heappop(filled)
        rows[row].append((index, length))
        heappush(filled, (length + lengths[index], row))
    filled.sort(reverse=True)
    return [rows[row] for _, row in filled], np.array([length for length, _ in filled], np.intp)
