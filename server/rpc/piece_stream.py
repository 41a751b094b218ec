"""The messages of a piece while it is written."""

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from fantasia.v1 import generation_pb2 as pb
from server.engine.completion import Completion
from server.engine.listener import SequenceListener
from server.engine.snapshot import Snapshot
from server.rpc.generation_spec import GenerationSpec, ModelTerms
from server.rpc.messages import add_notes
from server.rpc.responses import build_off_loop, seal, start_message


class PieceStream(SequenceListener):
    """Turns the tokens of one request into messages, as fast as the caller reads them.

    The engine's threads bring tokens; the event loop takes all that wait when the caller can read one more message. So
    a slow reader gets fewer and larger messages, and holds no more than the tokens of its piece and one snapshot.

    The first message of a piece that is partly given has the notes before the first written step. It waits for no
    token, so it comes before the engine has prefilled them. The notes of several candidates are certain only at the
    end, so their written notes come with the last message.

    Args:
        terms: of the model.
        spec: the request.
        resume_tokens: whether each message has a resume token.
    """

    def __init__(self, terms: ModelTerms, spec: GenerationSpec, *, resume_tokens: bool) -> None:
        self._terms = terms
        self._spec = spec
        self._resume_tokens = resume_tokens
        self._notes = spec.plan.stream()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._waiting: list[NDArray[np.int32]] = []  # tokens that no message has
        self._snapshot: Snapshot | None = None  # the latest
        self._started = False
        self._fed = 0  # tokens that messages have
        self._ahead = 0  # those of them that the engine has not brought yet

    def tokens(self, tokens: NDArray[np.int32], snapshot: Snapshot | None) -> None:
        """See `SequenceListener.tokens`."""
        with self._lock:
            is_first = not self._waiting
            self._waiting.append(tokens)
            self._snapshot = snapshot
        if is_first:
            self._loop.call_soon_threadsafe(self._news.set)

    async def messages(self, done: "asyncio.Future[Completion]") -> AsyncIterator[pb.StreamGenerateResponse]:
        """The messages up to the end of the piece, without the last one, which `last_message` makes.

        Args:
            done: resolves when the piece is complete; its error is raised here.
        """
        done.add_done_callback(lambda _: self._news.set())
        if self._spec.given is not None or self._spec.choice.candidates > 1:
            primer = np.array(self._spec.plan.primer, np.int32)
            self._ahead = len(primer)
            yield await self._notes_message(primer, None)
        while True:
            await self._news.wait()
            self._news.clear()
            if done.done():
                done.result()
                return
            tokens, snapshot = self._take()
            if len(tokens):
                yield await self._notes_message(tokens, snapshot)

    async def last_message(
        self, completion: Completion, response: pb.GenerateResponse, *, keep_tokens: bool
    ) -> pb.StreamGenerateResponse:
        """The last message.

        Args:
            completion: of the request.
            response: what `Generate` returns, with resume tokens if the stream has them.
            keep_tokens: whether the pieces of the response keep their resume tokens.
        """
        best = response.pieces[0]
        tokens = next(each.tokens for each in completion.candidates if each.index == best.candidate)[self._fed :]

        def build() -> pb.StreamGenerateResponse:
            message = self._message()
            notes = self._notes.feed(tokens.tolist()) + self._notes.finish()
            add_notes(message.notes, self._spec.finishing.notes(notes))
            message.watermark_ticks = best.length_ticks
            if self._resume_tokens:
                message.resume_token = best.resume_token
            message.response.CopyFrom(response)
            if not keep_tokens:
                for piece in message.response.pieces:
                    piece.ClearField("resume_token")
            return message

        return await build_off_loop(build, tokens=len(tokens))

    async def _notes_message(self, tokens: NDArray[np.int32], snapshot: Snapshot | None) -> pb.StreamGenerateResponse:
        """The message of some tokens that no message has."""

        def build() -> pb.StreamGenerateResponse:
            message = self._message()
            add_notes(message.notes, self._spec.finishing.notes(self._notes.feed(tokens.tolist())))
            add_notes(message.sounding, self._spec.finishing.notes(self._notes.sounding))
            message.watermark_ticks = self._spec.finishing.ticks(self._notes.watermark_ticks)
            if self._resume_tokens and snapshot is not None:
                message.resume_token = seal(self._terms, self._spec, snapshot)
            return message

        self._fed += len(tokens)
        return await build_off_loop(build, tokens=len(tokens))

    def _message(self) -> pb.StreamGenerateResponse:
        """A message; the first one says what is known before the first note."""
        message = pb.StreamGenerateResponse()
        if not self._started:
            self._started = True
            message.start.CopyFrom(start_message(self._spec))
        return message

    def _take(self) -> tuple[NDArray[np.int32], Snapshot | None]:
        """The tokens that no message has, and the snapshot after them."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            tokens = np.concatenate([np.zeros(0, np.int32), *waiting])
            begin = min(self._ahead, len(tokens))
            self._ahead -= begin
            return tokens[begin:], self._snapshot
