"""The interface between the engine and a runner, which executes the model: protocols and their data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from music.remaining_length import UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The inputs of one run of K steps, without the state: a row for each running sequence.

    The arrays are read-only. While the same rows run, the arrays without a step axis are the same objects from one
    chunk to the next, so a runner may cache what it derives from them.
    """

    rows: NDArray[np.intp]
    """(batch,): the slots that run, ascending, each once; 1 to `Runner.max_batch_size` of them."""
    uniforms: NDArray[np.float32]
    """(batch, steps): a random number in [0, 1) for each token."""
    forced: NDArray[np.int64]
    """(batch, steps): the forced token, or -1 to sample one."""
    temperature: NDArray[np.float32]
    """(batch,): divisor of the logits; above 0."""
    top_k: NDArray[np.int64]
    """(batch,): number of most likely tokens that may be sampled; 0 for no limit."""
    top_p: NDArray[np.float32]
    """(batch,): total probability of the most likely tokens that may be sampled; above 0, 1 for no limit."""
    bias: NDArray[np.float32]
    """(biases, vocabulary): rows of biases, at least one, for any number of rows and steps; the same object as in the
    last chunk only if no value has changed. A bias is added to a logit after the temperature divided it.
    `music.grammar.FORBIDDEN` forbids the token; the grammar applies as well."""
    bias_index: NDArray[np.int64]
    """(batch, steps): the row of `bias` for each token."""

    @property
    def batch_size(self) -> int:
        """Number of running sequences."""
        return int(self.forced.shape[0])

    @property
    def steps(self) -> int:
        """Number of tokens that each sequence decodes."""
        return int(self.forced.shape[1])


SequenceState = Mapping[str, Any]
"""A sequence's state: NumPy arrays by name, without an axis for slots (`runtime.state`). Any runner of the same bundle
can continue from it, also in another process."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The result of one run."""

    tokens: NDArray[np.int64]
    """(batch, steps): the tokens, forced or sampled."""
    log_probabilities: NDArray[np.float32]
    """(batch, steps): the natural log-probability of each token under the model's own distribution: at temperature 1,
    masked by the grammar, without biases, top-k and top-p. About -1e30 for a forced token that the grammar forbids."""


@dataclass(frozen=True, slots=True, eq=False)
class FirstTokens(Decoded):
    """The first tokens of some sequences."""

    states: Sequence[SequenceState]
    """The state of each sequence after them, for `Runner.resume`."""


class FirstTokenRunner(Protocol):
    """Decodes the first tokens of sequences in another thread, while its runner runs."""

    def decode(self, position_indices: NDArray[np.int64], remaining: NDArray[np.int64], chunk: Chunk) -> FirstTokens:
        """Run sequences from their start.

        Args:
            position_indices: (batch,), position index of each sequence's first token.
            remaining: (batch,), its remaining length, or `UNKNOWN`; ignored if the network does not get it.
            chunk: its number of steps is a multiple of the runner's smallest chunk size; its `rows` are ignored.

        Raises:
            Exception: as in `Runner.decode`.
        """


class Runner(Protocol):
    """Owns the model and the state of all slots.

    A slot's state is the LSTM's h and c, the position index, the state of the grammar, the previous token or the state
    of the voices, and the remaining length if the network gets it (`runtime.state`). A row of a result is a function of
    that row's own state and inputs alone: it does not depend on the other rows, on the slot, or on how the steps are
    divided into chunks. Only the division of a prefill into slices may change the last bits. One thread at a time may
    call a runner. Another thread may call its `first_token_runner` at the same time.
    """

    @property
    def slots(self) -> int:
        """Number of rows of state: the maximum number of concurrent sequences."""

    @property
    def max_batch_size(self) -> int:
        """Maximum batch size of one run, 1 to `slots`."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """Possible numbers of steps of one run, ascending and distinct, such as (1, 8)."""

    @property
    def provider(self) -> str:
        """The execution provider that runs the model, such as `CPUExecutionProvider`."""

    @property
    def precision(self) -> str:
        """Arithmetic of the decode graphs: `float32` or `int8`."""

    @property
    def first_token_runner(self) -> FirstTokenRunner | None:
        """Decodes first tokens while a run is in progress; None if the runner cannot."""

    def reset(self, slot: int, position_index: int, remaining: int = UNKNOWN) -> None:
        """Start a sequence in a slot.

        The state becomes: h and c zero, the start token, the grammar's start state, the position index, and the
        remaining length (`music.remaining_length`) if the network gets it.
        """

    def resume(self, slot: int, state: SequenceState) -> None:
        """Continue a sequence from a state; replaces `reset`.

        Args:
            slot: a slot.
            state: from `state`, `state_before_last_chunk` or a `first_token_runner`, of this runner or of another
                runner of the same bundle.
        """

    def state(self, slot: int) -> SequenceState:
        """A copy of a slot's present state.

        The slot has one: it was reset or resumed, and since then it skipped no chunk without `hold`.
        """

    def state_before_last_chunk(self, slot: int) -> SequenceState:
        """A copy of the state that a slot had before the last chunk, which must contain the slot.

        It can be read until the next chunk. What happens to the slot in between does not change it.
        """

    def rewind(self, slots: NDArray[np.intp]) -> None:
        """Give slots (n,) the state that they had before the last chunk, which must contain them.

        Nothing else may have changed the state of these slots since.
        """

    def copy_states(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        """Give each target slot the present state of its source slot.

        All sources are read before a target is written, so a slot can be both.

        Args:
            sources: (n,), slots that have a state; repeats are allowed.
            targets: (n,), slots, each once.
        """

    def hold(self, slot: int) -> None:
        """Keep the state of a slot that the next chunks may skip. Valid until the slot's next chunk."""

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        """Advance a slot past forced tokens in few runs, from its state after `reset`.

        The slot must not be in a chunk before the last token is done. Its state is then the one that `decode` would
        have left, except for rounding. `reset` ends an unfinished prefill.

        Args:
            slot: whose state advances.
            tokens: (n,), n at least 1.
            slice_tokens: number of tokens of one run; the last run takes the rest.

        Yields:
            After each run, its number of tokens.

        Raises:
            Exception: as in `decode`.
        """

    def decode(self, chunk: Chunk) -> Decoded:
        """Run the chunk's rows for its steps.

        Slots outside the chunk keep their state. If all slots fit in one run (`max_batch_size` equals `slots`), the
        caller promises more: a slot that skips a chunk, after its first chunk, is held before (`hold`), or reset or
        resumed before it runs again. So such a runner need not keep the state of other skipped slots.

        Returns:
            The tokens and their log-probabilities. The state of the rows has advanced past the tokens.

        Raises:
            Exception: any, if the model cannot run; the engine then fails the running sequences.
        """

    def close(self) -> None:
        """Release the model. No other method may be called afterwards."""
