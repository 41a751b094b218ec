"""What the experiment found, as totals in a JSON file."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from music.invalid import problems
from training.errors import CorpusError


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measure(_Record):
    """Loss and accuracy over some songs, every token charged."""

    nats: float
    """Total negative log-likelihood."""
    correct: int
    """Tokens that were held likeliest."""
    tokens: int

    @property
    def loss(self) -> float:
        """Nats a token."""
        return self.nats / self.tokens

    @property
    def accuracy(self) -> float:
        """Share of the tokens that were held likeliest."""
        return self.correct / self.tokens

    def without(self, part: "Measure") -> "Measure":
        """What is left when `part`, the beginnings of the same songs, is taken away."""
        return Measure(
            nats=self.nats - part.nats, correct=self.correct - part.correct, tokens=self.tokens - part.tokens
        )


class Curve(_Record):
    """Loss (nats a token) and accuracy by epoch, the first at index 0."""

    loss: list[float]
    accuracy: list[float]


class Run(_Record):
    """One network and how it learned."""

    parameters: int
    vocabulary: int
    layers: int
    hidden: int
    updates_per_epoch: int
    training: Curve
    """A running mean over the epoch while the weights move, with dropout: what Keras shows."""
    curves: dict[str, Curve]
    """By side: what is held out, without dropout, after each epoch."""
    milestones: dict[int, dict[str, Measure]]
    """By epoch, then by side: without dropout."""
    best_epoch: int
    """With the lowest loss where the trainer validates, from 1."""


class Baseline(_Record):
    """The n-gram of one order on one side."""

    side: str
    order: int
    measure: Measure


class Tokens(_Record):
    """A folder in one encoding."""

    tokens: int
    """Without the ends."""
    different: int
    perplexity: float
    """Of the unigram, over the same tokens."""


class Kept(_Record):
    """What a tokenizer keeps of the music: shares of the folder's notes, and a distance."""

    notes: float
    """Notes whose pitch is still there, wherever it went."""
    onsets: float
    """Notes that still begin where they began, with their pitch."""
    durations: float
    """Of those, with their length too."""
    velocities: float
    """Of those that begin where they began, with their loudness."""
    rests: float
    """Share of the silent time inside the songs that is still silent."""
    interval_distance: float
    """Total variation, 0 to 1, between the distributions of the time from one onset to the next."""


class Events(_Record):
    """The same songs in `events` tokens."""

    tokens: int
    notes: int
    """Notes of the test songs, over which `nats_per_note` is taken."""
    run: Run
    test: Measure

    @property
    def nats_per_note(self) -> float:
        """All that a note is: when, how high, how long, how loud."""
        return self.test.nats / self.notes


class Results(_Record):
    """All that the page shows."""

    files: int
    skipped: int
    notes: int
    songs: dict[str, int]
    """By side of the split by song."""
    tokens: dict[str, Tokens]
    """By encoding: `first_part` as the original heard it, `all_parts` as the notechord tokenizer alone does."""
    baselines: list[Baseline]
    original: Run
    by_song: Run
    kept: dict[str, Kept]
    """By encoding."""
    events: Events | None = None
    """None while its network is not trained."""

    def best_baseline(self, side: str) -> Baseline:
        """The order with the lowest loss on a side."""
        return min((item for item in self.baselines if item.side == side), key=lambda item: item.measure.loss)

    def save(self, path: Path) -> None:
        """Write it, a number a line, so that a change is seen line by line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read it.

        Raises:
            CorpusError: it is missing, or no result of this experiment.
        """
        try:
            return cls.model_validate_json(path.read_text())
        except OSError as error:
            raise CorpusError(f"{path} cannot be read ({error.strerror}); run `make reproduce MIDI=folder`") from error
        except ValidationError as error:
            raise CorpusError(f"{path} is no result of `make reproduce`: {problems(error, most=1)}") from error
