"""Writes planned pieces with random logits, as an engine with a network would."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import SAMPLED, Cursor
from music.composition.plan import WritingPlan
from music.grammar import FORBIDDEN
from music.tokenizers import Tokenizer


@dataclass
class Written:
    """A piece, and what its cursor told on the way."""

    tokens: NDArray[np.int64]
    forced: NDArray[np.bool_]
    """(n,): which tokens were forced."""
    chunks: list[int]
    """Number of tokens of each chunk."""
    resampled: list[int]
    """Number of tokens after which particles may be resampled."""


def write(tokenizer: Tokenizer, plan: WritingPlan, rng: np.random.Generator, *, limit: int = 16) -> Written:
    """Write a piece: softmax of random logits, biases and grammar, chunk by chunk.

    Every chunk is as long as the cursor tells, at most `limit`. A second cursor is asked for one token at a time and
    has to tell the same.
    """
    grammar, state = tokenizer.grammar, tokenizer.grammar.joint_start
    exact: list[NDArray[np.float32]] = []
    cursor = plan.guide.cursor() if plan.guide else None
    slow = cursor.copy() if cursor else None
    tokens: list[int] = []
    forced: list[bool] = []
    written = Written(np.empty(0, np.int64), np.empty(0, np.bool_), [], [])
    while len(tokens) < plan.max_tokens and tokens[-1:] != [tokenizer.end_token]:
        rows, told, resample = _instructions(plan, cursor, min(limit, plan.max_tokens - len(tokens)), len(tokens))
        assert 1 <= len(told) <= limit
        chunk: list[int] = []
        for row, token in zip(rows, told, strict=True):
            if slow is not None:
                slow_rows, slow_told, _ = _instructions(plan, slow, 1, 0)
                assert slow_told == [token]
                assert (slow_rows[0] == row).all()
            exact.append(row)
            allowed = grammar.joint_allowed(state)
            if token == SAMPLED:
                logits = rng.normal(0, 2, tokenizer.vocabulary_size) + row
                logits[~allowed] = -np.inf
                if not plan.may_end:
                    logits[tokenizer.end_token] = -np.inf
                assert logits.max() > FORBIDDEN / 2, "the biases leave no token"
                token = int(rng.choice(len(logits), p=_softmax(logits)))
                forced.append(False)
            else:
                assert allowed[token], "the grammar forbids a forced token"
                forced.append(True)
            tokens.append(token)
            chunk.append(token)
            state = grammar.joint_successor(state, token)
            if slow is not None:
                slow.advance(np.array([token]))
            if token == tokenizer.end_token:
                break
        if cursor is not None:
            cursor.advance(np.array(chunk))
        written.chunks.append(len(chunk))
        if resample:
            written.resampled.append(len(tokens))
    written.tokens, written.forced = np.array(tokens), np.array(forced)
    _check_guesses(plan, tokens, exact, limit)
    return written


def _check_guesses(plan: WritingPlan, tokens: list[int], exact: list[NDArray[np.float32]], limit: int) -> None:
    """A cursor that guesses passes a token only if it told the token's exact row, and always passes what it knew."""
    if plan.guide is None:
        return
    cursor = plan.guide.cursor()
    cursor.guesses = True
    place = 0
    while place < len(tokens):
        guessed = cursor.copy().instructions(limit).guessed
        rows, told, _ = _instructions(plan, cursor, limit, 0)
        assert guessed < len(told)
        taken = tokens[place : place + len(told)]
        passed = cursor.advance(np.array(taken))
        assert min(len(told) - guessed, len(taken)) <= passed <= len(taken)
        for row, expected, token, forced in zip(rows, exact[place:], taken[:passed], told, strict=False):
            assert (row == expected).all()
            assert forced in (SAMPLED, token)
        place += passed


def _instructions(
    plan: WritingPlan, cursor: Cursor | None, limit: int, start: int
) -> tuple[list[NDArray[np.float32]], list[int], bool]:
    """A bias row and a forced token for each of the next steps, and whether particles may be resampled after them."""
    if cursor is None or plan.guide is None:
        primer = list(plan.primer[start : start + limit]) or [SAMPLED] * limit
        return [np.zeros(1, np.float32)] * len(primer), primer, False
    told = cursor.instructions(limit)
    biases = plan.guide.biases
    assert not biases[0].any()
    rows = [biases[index] if index < len(biases) else told.extra[index - len(biases)] for index in told.bias]
    return rows, told.forced.tolist(), told.resample


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max())
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities
