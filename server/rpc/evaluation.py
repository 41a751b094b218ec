"""Measures how likely pieces are under a model."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.tokenizers.base import Encoding
from music.tokenizers.note_tokens import note_tokens
from runtime.threads import let_other_threads_preempt
from server.catalogue import ServedModel
from server.errors import InvalidRequestError, Violation
from server.rpc.given_piece import GivenMusic, read_given
from server.rpc.request_limits import RequestLimits
from server.rpc.validation import RequestValidator
from server.rpc.work_limit import WorkLimit

_TOKENS_AT_ONCE: Final = 4096
"""Maximum number of tokens of one run, with padding. With the shipped models, a run takes about 70 MB."""
_MAX_WAITING: Final = 8
"""Maximum number of calls of a model that wait; each may hold a request of the maximum size."""
_NICENESS: Final = 5
"""Of the threads: generation comes first."""


class _EncodedPiece(NamedTuple):
    music: GivenMusic
    encoding: Encoding


class Evaluations:
    """Runs the `Evaluate` calls of one model: one at a time, with lower priority than generation.

    Args:
        model: to evaluate with.
        limits: maxima of requests.
    """

    def __init__(self, model: ServedModel, limits: RequestLimits) -> None:
        self._model = model
        self._limits = limits
        yielding = partial(let_other_threads_preempt, _NICENESS)
        self._work = WorkLimit("evaluation", threads=1, max_waiting=_MAX_WAITING, initializer=yielding)

    async def evaluate(self, request: pb.EvaluateRequest, caller: str = "") -> pb.EvaluateResponse:
        """The response to a request of a caller.

        Raises:
            InvalidRequestError: pieces are not valid, or the model supports no evaluation.
            WorkLimitError: too many calls wait.
        """
        return await self._work.run(partial(evaluate, self._model, request, self._limits), caller)

    def close(self) -> None:
        """End the thread."""
        self._work.close()


def evaluate(model: ServedModel, request: pb.EvaluateRequest, limits: RequestLimits) -> pb.EvaluateResponse:
    """Measure the pieces of a request, in float32; this takes up to many seconds.

    Raises:
        InvalidRequestError: pieces are not valid, or the model supports no evaluation.
    """
    if model.scorer is None:
        raise InvalidRequestError([Violation("model", "has no scoring graph, so it supports no evaluation")])
    pieces = _encode(request.pieces, model.bundle, limits)
    found = model.scorer.log_probabilities(
        [piece.encoding.tokens for piece in pieces],
        [piece.encoding.first_position for piece in pieces],
        tokens_at_once=_TOKENS_AT_ONCE,
    )
    response = pb.EvaluateResponse(model=model.name, model_version=model.version, model_digest=model.bundle.digest)
    for piece, log_probabilities in zip(pieces, found, strict=True):
        _fill(response.evaluations.add(), model.bundle, piece, log_probabilities)
    return response


def _encode(messages: Sequence[pb.GivenPiece], bundle: Bundle, limits: RequestLimits) -> list[_EncodedPiece]:
    """The pieces as tokens.

    Raises:
        InvalidRequestError: pieces are not valid.
    """
    validator, tokenizer = RequestValidator(), bundle.tokenizer
    if not 1 <= len(messages) <= limits.evaluated_pieces:
        validator.refuse("pieces", f"must be 1 to {limits.evaluated_pieces} pieces, not {len(messages):,}")
    validator.raise_if_invalid()
    pieces: list[_EncodedPiece] = []
    steps = 0
    for index, message in enumerate(messages):
        field = f"pieces[{index}]"
        music = read_given(
            message,
            field,
            voices=len(tokenizer.ranges),
            limits=limits,
            tempo_bpm=bundle.defaults.tempo_bpm,
            validator=validator,
        )
        if music is None or not music.is_valid:
            continue
        steps += -(-music.score.length_ticks // tokenizer.step_ticks)
        if steps > limits.evaluated_steps:  # before they take memory
            text = f"must have at most {limits.evaluated_steps:,} steps of {tokenizer.step_ticks} ticks together"
            validator.refuse("pieces", text)
            break
        encoding = tokenizer.encode(music.score)
        if len(encoding.tokens) > 1:
            pieces.append(_EncodedPiece(music, encoding))
        else:
            validator.refuse(field, "has no note that this model knows")
    validator.raise_if_invalid()
    return pieces


def _fill(
    evaluation: pb.Evaluation, bundle: Bundle, piece: _EncodedPiece, log_probabilities: NDArray[np.float32]
) -> None:
    tokens, tokenizer = piece.encoding.tokens, bundle.tokenizer
    nats = -log_probabilities.astype(np.float64)
    evaluation.nats = float(nats.sum())
    evaluation.token_count = len(tokens)
    steps = (len(tokens) - 1) // tokenizer.tokens_per_step
    evaluation.nats_per_note_step = evaluation.nats / (steps * tokenizer.tokens_per_step)
    notes = note_tokens(tokenizer, tokens)
    shares = nats / np.maximum(np.bincount([p for each in notes for p in each.places], minlength=len(tokens)), 1)
    for note, places in notes:
        message = evaluation.notes.add(nats=float(shares[places].sum()))
        message.note.onset_ticks = note.onset
        message.note.duration_ticks = note.duration
        message.note.pitch = note.pitch
        message.note.velocity = note.velocity
        message.note.voice = note.voice
    evaluation.changed_notes.update(piece.music.changed_notes + Counter(piece.encoding.dropped))
    evaluation.left_out.update(piece.music.left_out + Counter(meter_changes=len(piece.music.score.meter_changes)))
