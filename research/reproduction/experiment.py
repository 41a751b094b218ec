"""The whole experiment: from a folder of MIDI files to a record. An interrupted run is resumed."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.score import Score
from music.tokenizers import Tokenizer, tokenizer_class
from research.reproduction.encoding import reduce_score
from research.reproduction.fidelity import round_trip_fidelity
from research.reproduction.network import Schedule, train_network
from research.reproduction.record import (
    EventsResult,
    Fidelity,
    NGramResult,
    ReproductionRecord,
    Run,
    TokenCounts,
    Totals,
)
from research.reproduction.songs import PARTS, Songs, encoded_songs, reduced_songs
from training.config import Config, load_config
from training.corpus.prepare import prepare, split_by_piece
from training.corpus.reading_pool import ReadLimits
from training.corpus.sources import folder_sources
from training.corpus.store import Split
from training.errors import CorpusError
from training.evaluation.ngram import NGram, context_rows
from training.evaluation.pieces import attributes_of
from training.loop.tbptt import EncodedPiece
from training.readers import MIDI_SUFFIXES

MILESTONES: Final = (40, 100)
"""Epochs of the original's two trainings. The learning rate is constant, so the shorter is part of the longer."""

ALL_KEYS: Final = range(-6, 6)
"""Transpositions in semitones for the network that predicts held-out songs."""

ORIGINAL, BY_SONG, EVENTS = NETWORKS = ("original", "by-song", "events")
"""Networks, by the names of their folders."""

NGRAM_ORDERS: Final = (1, 2, 3, 4, 5)

# Sets of songs
TRAINED_PARTS, HELD_OUT_PARTS, WHOLE_SONGS = "trained_parts", "held_out_parts", "whole_songs"
VALID_SONGS, TEST_SONGS, CONCATENATED = "valid_songs", "test_songs", "concatenated"

_EVENTS: Final = {
    "training.epochs": "8",
    "training.patience": "3",
    "training.batch_size": "16",
}
"""Changes to the `piano` configuration, which is made for a corpus of twenty times the size. The page in `docs` was
made with an earlier version of it: 2 x 256, 12 positions a quarter, and no features of the notes."""


class Experiment:
    """All measurements on one folder of MIDI files.

    Networks are trained in the folder `work`. `overrides` change the configuration of every network, as in
    `load_config`.
    """

    def __init__(
        self,
        midi: Path,
        work: Path,
        *,
        device: str,
        threads: int = 0,
        progress: bool = True,
        overrides: dict[str, str] | None = None,
    ) -> None:
        self._work = work
        self._device = device
        self._threads = threads
        self._progress = progress
        self._overrides = overrides or {}
        listing = folder_sources(midi)
        sources = [source for source in listing.sources if source.path.suffix.lower() in MIDI_SUFFIXES]
        splits = split_by_piece({source.name: source.name for source in sources})
        description = f"{len(sources)} files, split by piece"
        self._corpus, report = prepare(
            sources, splits, description=description, limits=ReadLimits.of_machine(), progress=progress
        )
        self._skipped = len(report.skipped)

    def train(self, network: str) -> Run | EventsResult:
        """Train one of `NETWORKS`. So several processes can share the work before `run` collects the results.

        Raises:
            CorpusError: the folder holds too few songs.
            CheckpointError: a folder of a network holds another run: the MIDI files or a configuration changed.
        """
        networks: dict[str, Callable[[], Run | EventsResult]] = {
            ORIGINAL: self._original,
            BY_SONG: self._by_song,
            EVENTS: self._events,
        }
        return networks[network]()

    def retrain(self, record: ReproductionRecord, network: str) -> ReproductionRecord:
        """Replace the results of one of `NETWORKS` in an earlier record of the same files.

        Raises:
            CorpusError: the record is of other files, or the folder holds too few songs.
            CheckpointError: the network's folder holds another run: the MIDI files or a configuration changed.
        """
        corpus = self._corpus
        if (record.files, record.notes) != (len(corpus), corpus.note_count):
            raise CorpusError(
                f"the record is of {record.files} files with {record.notes} notes, the folder holds {len(corpus)} "
                f"with {corpus.note_count}: run `make reproduce MIDI=folder`"
            )
        return record.model_copy(update={network.replace("-", "_"): self.train(network)})

    def run(self) -> ReproductionRecord:
        """Train the networks that are not trained yet, and measure everything.

        Raises:
            CorpusError: the folder holds too few songs.
            CheckpointError: a folder of a network holds another run: the MIDI files or a configuration changed.
        """
        corpus = self._corpus
        songs, _ = reduced_songs(corpus)
        return ReproductionRecord(
            files=len(corpus),
            skipped=self._skipped,
            notes=corpus.note_count,
            songs={split.name.lower(): corpus.count(split) for split in Split},
            tokens={
                "original": _count_tokens(songs.all),
                "notechord": _count_tokens(encoded_songs(corpus, load_config("origin").tokenizer).all),
            },
            ngrams=list(_ngrams(songs)),
            original=self._original(),
            by_song=self._by_song(),
            fidelity=self._fidelity(),
            events=self._events(),
        )

    def _original(self) -> Run:
        """The original's network, trained without the last fifth of each song."""
        songs, _ = reduced_songs(self._corpus)
        config = load_config("origin", self._overrides)
        schedule = Schedule(
            validation=HELD_OUT_PARTS,
            every_epoch={VALID_SONGS: songs.valid},
            at_milestones={TRAINED_PARTS: songs.trained_parts, WHOLE_SONGS: songs.train, TEST_SONGS: songs.test},
            milestones=[epoch for epoch in MILESTONES if epoch < config.training.epochs] + [config.training.epochs],
        )
        return self._train(ORIGINAL, config, songs.tokenizer, songs.trained_parts, songs.held_out_parts, schedule)

    def _by_song(self) -> Run:
        """A network for held-out songs. The validation songs choose its weights; the test songs are measured once."""
        config = load_config(str(files("research.reproduction").joinpath("by_song.toml")), self._overrides)
        songs, transposed = reduced_songs(self._corpus, ALL_KEYS)
        schedule = Schedule(
            validation=VALID_SONGS, with_best_weights={VALID_SONGS: songs.valid, TEST_SONGS: songs.test}
        )
        return self._train(BY_SONG, config, songs.tokenizer, transposed, songs.valid, schedule)

    def _events(self) -> EventsResult:
        """A small network in `events` tokens, split by song too."""
        config = _events_config(self._overrides)
        songs = encoded_songs(self._corpus, config.tokenizer)
        schedule = Schedule(
            validation=VALID_SONGS, with_best_weights={VALID_SONGS: songs.valid, TEST_SONGS: songs.test}
        )
        run = self._train(EVENTS, config, songs.tokenizer, songs.train, songs.valid, schedule)
        return EventsResult(
            tokens=sum(len(piece.tokens) - 1 for piece in songs.all),
            notes=sum(len(piece.score.notes) for piece in self._corpus.pieces(Split.TEST)),
            run=run,
            test=run.milestones[run.best_epoch][TEST_SONGS],
        )

    def _train(
        self,
        name: str,
        config: Config,
        tokenizer: Tokenizer,
        train: Sequence[EncodedPiece],
        valid: Sequence[EncodedPiece],
        schedule: Schedule,
    ) -> Run:
        folder = self._work / name
        return train_network(
            config,
            tokenizer,
            train,
            valid,
            schedule,
            folder,
            device=self._device,
            threads=self._threads,
            progress=self._progress,
        )

    def _fidelity(self) -> dict[str, Fidelity]:
        """By encoding, over all songs."""
        scores = [piece.score for piece in self._corpus.pieces()]
        notechord = tokenizer_class("notechord").fit({}, [*scores, *map(reduce_score, scores)])
        config = _events_config(self._overrides).tokenizer
        events = tokenizer_class(config.name).fit(config.parameters, scores)
        return {
            "original": round_trip_fidelity(
                (score, notechord.decode(notechord.encode(reduce_score(score)).tokens)) for score in scores
            ),
            "notechord": round_trip_fidelity(_round_trips(notechord, scores)),
            "events": round_trip_fidelity(_round_trips(events, scores)),
        }


def _events_config(overrides: dict[str, str]) -> Config:
    return load_config("piano", _EVENTS | overrides)


def _round_trips(tokenizer: Tokenizer, scores: Sequence[Score]) -> Iterator[tuple[Score, Score]]:
    for score in scores:
        yield score, tokenizer.decode(tokenizer.encode(score).tokens, attributes_of(score))


def _count_tokens(pieces: Sequence[EncodedPiece]) -> TokenCounts:
    counts = Counter(token for piece in pieces for token in piece.tokens[:-1].tolist())
    total = counts.total()
    entropy = -sum(count / total * math.log(count / total) for count in counts.values())
    return TokenCounts(tokens=total, distinct=len(counts), unigram_perplexity=round(math.exp(entropy), 2))


def _ngrams(songs: Songs) -> Iterator[NGramResult]:
    """N-grams of every order, on the sets that the networks predict and on the end of all songs concatenated."""
    stream = np.concatenate([piece.tokens[:-1] for piece in songs.all])
    cut = len(stream) - len(stream) // PARTS
    sets = {
        CONCATENATED: ([stream[:cut]], [stream[cut:]]),
        HELD_OUT_PARTS: (_tokens(songs.trained_parts), _tokens(songs.held_out_parts)),
        VALID_SONGS: (_tokens(songs.train), _tokens(songs.valid)),
        TEST_SONGS: (_tokens(songs.train), _tokens(songs.test)),
    }
    tokenizer = songs.tokenizer
    for name, (train, held_out) in sets.items():
        for order in NGRAM_ORDERS:
            counted, predicted = (
                np.concatenate([context_rows(tokens, order, tokenizer.start_token) for tokens in pieces])
                for pieces in (train, held_out)
            )
            ngram = NGram(counted, tokenizer.vocabulary_size)
            totals = Totals(
                nats=float(-np.log(ngram.probabilities(predicted)).sum()),
                correct=int((ngram.most_probable(predicted) == predicted[:, 0]).sum()),
                tokens=len(predicted),
            )
            yield NGramResult(songs=name, order=order, totals=totals)


def _tokens(pieces: Sequence[EncodedPiece]) -> list[NDArray[np.int32]]:
    return [piece.tokens for piece in pieces]
