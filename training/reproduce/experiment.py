"""The whole experiment: a folder of MIDI files in, a `Results` out; what a killed run had finished stays done."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from music.score import Score
from music.tokenizers import Setting, Tokenizer, tokenizer_class
from training.batches import EncodedPiece
from training.config import Config, load_config
from training.corpus import Split
from training.errors import CorpusError
from training.prepare import prepare, split_by_piece
from training.readers import MIDI_SUFFIXES
from training.reading_pool import ReadLimits
from training.reproduce.hearing import as_heard
from training.reproduce.keeping import kept
from training.reproduce.network import Watched, train_network
from training.reproduce.ngram import ORDERS, NGram
from training.reproduce.results import Baseline, Events, Kept, Results, Run, Tokens
from training.reproduce.songs import HELD_OUT, Songs, encoded_songs, heard_songs
from training.sources import folder_sources

MILESTONES: Final = (40, 100)
"""The original's two trainings; at a constant learning rate the shorter is the beginning of the longer."""

ALL_KEYS: Final = range(-6, 6)
"""Transpositions in semitones, for the network that is to know other songs."""

ORIGINAL, BY_SONG, EVENTS = NETWORKS = ("original", "by-song", "events")
"""Networks, by the names of their folders."""

STREAM, ENDINGS, VALID, TEST = "stream", "endings", "valid_songs", "test_songs"
BEGINNINGS, WHOLE = "beginnings", "whole_songs"

_EVENTS: Final = {
    "network.layers": "2",
    "network.hidden": "256",
    "training.epochs": "8",
    "training.patience": "3",
}
"""What of the `piano` configuration is made smaller: ninety songs would not fill the network it describes."""


class Experiment:
    """Everything that is measured, in a folder for what is trained.

    `overrides` change the configuration of every network, as `load_config` takes them.
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

    def train(self, network: str) -> Run | Events:
        """Train one of `NETWORKS` and keep what `results` will say of it; several processes may share the work so.

        Raises:
            CorpusError: the folder holds too little.
            CheckpointError: a folder of a network holds another run: the MIDI files or a configuration changed.
        """
        networks: dict[str, Callable[[], Run | Events]] = {
            ORIGINAL: self._original,
            BY_SONG: self._by_song,
            EVENTS: self._events,
        }
        return networks[network]()

    def renewed(self, results: Results, network: str) -> Results:
        """Earlier results of the same files, with those of one of `NETWORKS` in their place, trained if need be.

        Raises:
            CorpusError: the results are of other files, or the folder holds too little.
            CheckpointError: the network's folder holds another run: the MIDI files or a configuration changed.
        """
        corpus = self._corpus
        if (results.files, results.notes) != (len(corpus), corpus.note_count):
            raise CorpusError(
                f"the results are of {results.files} files with {results.notes} notes, the folder holds {len(corpus)} "
                f"with {corpus.note_count}: run `make reproduce MIDI=folder`"
            )
        return results.model_copy(update={network.replace("-", "_"): self.train(network)})

    def results(self) -> Results:
        """Train what is not trained yet, and measure all.

        Raises:
            CorpusError: the folder holds too little.
            CheckpointError: a folder of a network holds another run: the MIDI files or a configuration changed.
        """
        corpus = self._corpus
        songs, _ = heard_songs(corpus)
        return Results(
            files=len(corpus),
            skipped=self._skipped,
            notes=corpus.note_count,
            songs={split.name.lower(): corpus.count(split) for split in Split},
            tokens={
                "first_part": _tokens(songs.all),
                "all_parts": _tokens(encoded_songs(corpus, load_config("origin").tokenizer).all),
            },
            baselines=list(_baselines(songs)),
            original=self._original(),
            by_song=self._by_song(),
            kept=self._kept(),
            events=self._events(),
        )

    def _original(self) -> Run:
        """The original's network, trained on beginnings; it is asked for the endings and for other songs."""
        songs, _ = heard_songs(self._corpus)
        config = load_config("origin", self._overrides)
        watched = Watched(
            validation=ENDINGS,
            every_epoch={VALID: songs.valid},
            at_milestones={BEGINNINGS: songs.beginnings, WHOLE: songs.train, TEST: songs.test},
            milestones=[epoch for epoch in MILESTONES if epoch < config.training.epochs] + [config.training.epochs],
        )
        return self._train(ORIGINAL, config, songs.tokenizer, songs.beginnings, songs.endings, watched)

    def _by_song(self) -> Run:
        """A network for songs it has not heard, chosen on the validation songs and asked once for the test songs."""
        config = load_config(str(files("training").joinpath("reproduce", "by_song.toml")), self._overrides)
        songs, moved = heard_songs(self._corpus, ALL_KEYS)
        watched = Watched(validation=VALID, with_best={VALID: songs.valid, TEST: songs.test})
        return self._train(BY_SONG, config, songs.tokenizer, moved, songs.valid, watched)

    def _events(self) -> Events:
        """A small network for the same files as they are, split by song too."""
        config = _events_config(self._overrides)
        songs = encoded_songs(self._corpus, config.tokenizer)
        watched = Watched(validation=VALID, with_best={VALID: songs.valid, TEST: songs.test})
        run = self._train(EVENTS, config, songs.tokenizer, songs.train, songs.valid, watched)
        return Events(
            tokens=sum(len(piece.tokens) - 1 for piece in songs.all),
            notes=sum(len(piece.score.notes) for piece in self._corpus.pieces(Split.TEST)),
            run=run,
            test=run.milestones[run.best_epoch][TEST],
        )

    def _train(
        self,
        name: str,
        config: Config,
        tokenizer: Tokenizer,
        train: Sequence[EncodedPiece],
        valid: Sequence[EncodedPiece],
        watched: Watched,
    ) -> Run:
        folder = self._work / name
        return train_network(
            config,
            tokenizer,
            train,
            valid,
            watched,
            folder,
            device=self._device,
            threads=self._threads,
            progress=self._progress,
        )

    def _kept(self) -> dict[str, Kept]:
        """By encoding, over all songs."""
        scores = [piece.score for piece in self._corpus.pieces()]
        notechord = tokenizer_class("notechord").fit({}, [*scores, *(as_heard(score) for score in scores)])
        config = _events_config(self._overrides).tokenizer
        events = tokenizer_class(config.name).fit(config.parameters, scores)
        return {
            "first_part": kept((score, notechord.decode(notechord.encode(as_heard(score)).tokens)) for score in scores),
            "all_parts": kept(_round_trips(notechord, scores)),
            "events": kept(_round_trips(events, scores)),
        }


def _events_config(overrides: dict[str, str]) -> Config:
    return load_config("piano", _EVENTS | overrides)


def _round_trips(tokenizer: Tokenizer, scores: Sequence[Score]) -> Iterator[tuple[Score, Score]]:
    for score in scores:
        setting = Setting(score.meter, score.pickup_ticks, score.tempo_bpm, score.key_sharps, score.program)
        yield score, tokenizer.decode(tokenizer.encode(score).tokens, setting)


def _tokens(pieces: Sequence[EncodedPiece]) -> Tokens:
    counts = Counter(token for piece in pieces for token in piece.tokens[:-1].tolist())
    total = counts.total()
    entropy = -sum(count / total * math.log(count / total) for count in counts.values())
    return Tokens(tokens=total, different=len(counts), perplexity=round(math.exp(entropy), 2))


def _baselines(songs: Songs) -> Iterator[Baseline]:
    """n-grams of every order, on what the networks are asked for and on the end of the songs laid end to end."""
    stream = [token for piece in songs.all for token in piece.tokens[:-1].tolist()]
    cut = len(stream) - len(stream) // HELD_OUT
    sides = {
        STREAM: ([stream[:cut]], [stream[cut:]]),
        ENDINGS: (_lists(songs.beginnings), _lists(songs.endings)),
        VALID: (_lists(songs.train), _lists(songs.valid)),
        TEST: (_lists(songs.train), _lists(songs.test)),
    }
    tokenizer = songs.tokenizer
    for side, (train, held_out) in sides.items():
        for order in ORDERS:
            ngram = NGram(order, tokenizer.vocabulary_size, tokenizer.start_token, train)
            yield Baseline(side=side, order=order, measure=ngram.measure(held_out))


def _lists(pieces: Sequence[EncodedPiece]) -> list[list[int]]:
    return [piece.tokens.tolist() for piece in pieces]
