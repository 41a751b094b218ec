"""Chunked prefill: the runner consumes a primer (forced tokens at the start) in slices of many tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.runner import Runner
from server.engine.request import EngineRequest

SLICE_TOKENS: Final = 32
"""Tokens of one prefill run, counted from the primer's start; the last run takes the rest.

The division into runs affects the last bits of the result. So this is a constant: the division depends on the request
alone, never on the load. Longer slices are hardly faster: slices of 16, 32 and 64 tokens took 46, 43 and 42 us a token
on a CPU (two layers of 256). All other sequences wait while a slice runs.
"""
MIN_PREFILL_TOKENS: Final = SLICE_TOKENS
"""A shorter primer is decoded one token a step. That takes a few chunks, which run for other sequences anyway."""


def prefill_tokens(request: EngineRequest) -> NDArray[np.int64]:
    """Return the forced tokens (n,) to prefill before the sequence decodes; none if there are few of them.

    A forced token that completes the sequence is not among them: the decode step that takes it completes the sequence.
    """
    tokens = np.array(request.forced[: request.max_tokens - 1], np.int64)
    if request.stop_token is not None:
        stops = np.flatnonzero(tokens == request.stop_token)
        if len(stops) >= request.stop_count:
            tokens = tokens[: stops[request.stop_count - 1]]
    return tokens if len(tokens) >= MIN_PREFILL_TOKENS else tokens[:0]


@dataclass(frozen=True, slots=True)
class PrefillProgress:
    """One prefill run."""

    slot: int
    """Slot of the sequence."""
    tokens: int
    """Number of tokens that the run consumed."""
    total: int
    """Number of tokens that are consumed so far."""
    complete: bool
    """Whether this was the last slice."""


@dataclass(slots=True, eq=False)
class _Prefill:
    length: int
    slices: Iterator[int]
    done: int = 0


class PrefillQueue:
    """Slots with an incomplete prefill. The runner runs one slice of each in turn.

    Args:
        runner: runs the slices.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._prefills: dict[int, _Prefill] = {}  # by slot, the next one first

    def __len__(self) -> int:
        return len(self._prefills)

    def add(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Add the tokens (n,), n at least 1, of a slot that was just reset."""
        assert slot not in self._prefills
        self._prefills[slot] = _Prefill(len(tokens), self._runner.prefill(slot, tokens, SLICE_TOKENS))

    def remove(self, slot: int) -> None:
        """Remove a slot. It must be there."""
        del self._prefills[slot]

    def clear(self) -> None:
        """Remove every slot."""
        self._prefills.clear()

    def token_count(self, slot: int) -> int:
        """Return the number of tokens consumed so far; 0 if the slot is not there."""
        prefill = self._prefills.get(slot)
        return 0 if prefill is None else prefill.done

    def run_slice(self) -> PrefillProgress:
        """Run one slice of the next slot. There must be one."""
        slot = next(iter(self._prefills))
        prefill = self._prefills[slot]
        tokens = next(prefill.slices)
        assert 0 < tokens <= SLICE_TOKENS, f"one prefill run consumed {tokens} tokens"
        prefill.done += tokens
        del self._prefills[slot]
        complete = prefill.done == prefill.length
        if not complete:
            self._prefills[slot] = prefill  # at the end
        return PrefillProgress(slot, tokens, prefill.done, complete)
