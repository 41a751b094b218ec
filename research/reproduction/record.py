"""The results of the experiment, as totals and curves in a JSON file."""

from report import Record


class Totals(Record):
    """Loss and accuracy over some songs. Every token counts."""

    nats: float
    """Negative log-likelihood of all tokens."""
    correct: int
    """Tokens that were the most probable one."""
    tokens: int

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def accuracy(self) -> float:
        """Share of the tokens that were the most probable one."""
        return self.correct / self.tokens

    def without(self, part: "Totals") -> "Totals":
        """Totals of the rest of the songs if `part` is taken away."""
        return Totals(nats=self.nats - part.nats, correct=self.correct - part.correct, tokens=self.tokens - part.tokens)


class Curve(Record):
    """Loss (nats per token) and accuracy by epoch. Epoch 1 is at index 0."""

    loss: list[float]
    accuracy: list[float]


class Run(Record):
    """One network and its training."""

    parameters: int
    vocabulary: int
    layers: int
    hidden: int
    updates_per_epoch: int
    training: Curve
    """Running mean over the epoch, with dropout, while the weights change. Keras shows the same."""
    curves: dict[str, Curve]
    """Held-out sets by name, without dropout, after each epoch."""
    milestones: dict[int, dict[str, Totals]]
    """By epoch, then by set of songs; without dropout."""
    best_epoch: int
    """Epoch of the lowest validation loss, from 1."""


class NGramResult(Record):
    """The n-gram of one order on one set of songs."""

    songs: str
    order: int
    totals: Totals


class TokenCounts(Record):
    """The tokens of the whole folder in one encoding."""

    tokens: int
    """Without the end tokens."""
    distinct: int
    unigram_perplexity: float
    """Of these same tokens."""


class Fidelity(Record):
    """What remains of the music after encoding and decoding: shares of the folder's notes, and a distance."""

    notes: float
    """Notes whose pitch remains, at any time."""
    onsets: float
    """Notes that remain with their pitch and onset."""
    durations: float
    """Notes that remain with their pitch, onset and duration."""
    velocities: float
    """Notes that remain with their pitch, onset and velocity."""
    rests: float
    """Share of the silent time inside the songs that remains silent."""
    interval_distance: float
    """Total variation distance (0 to 1) between the distributions of the time from one onset to the next."""


class EventsResult(Record):
    """The same songs in `events` tokens."""

    tokens: int
    notes: int
    """Notes of the test songs."""
    run: Run
    test: Totals

    @property
    def nats_per_note(self) -> float:
        """Nats for the onset, pitch, duration and velocity of a note together."""
        return self.test.nats / self.notes


class ReproductionRecord(Record):
    """Everything that the page shows."""

    files: int
    skipped: int
    notes: int
    songs: dict[str, int]
    """Number of songs by split."""
    tokens: dict[str, TokenCounts]
    """By encoding: `original`, and `notechord` for all parts with octaves."""
    ngrams: list[NGramResult]
    original: Run
    by_song: Run
    fidelity: dict[str, Fidelity]
    """By encoding: `original`, `notechord` and `events`."""
    events: EventsResult | None = None
    """None until its network is trained."""

    def best_ngram(self, songs: str) -> NGramResult:
        """The order with the lowest loss on a set of songs."""
        return min((item for item in self.ngrams if item.songs == songs), key=lambda item: item.totals.loss)
