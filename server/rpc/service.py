"""The service itself: `fantasia.v1.GenerationService`."""

import asyncio
from typing import Final

import grpc

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.midi import write_midi
from music.score import TICKS_PER_QUARTER
from server.catalogue import Catalogue, ServedModel
from server.engine.completion import Completion, FinishReason
from server.errors import ModelNotFoundError, WrongLengthError
from server.rpc.messages import FINISH_REASONS, add_notes, described, meter_message, timing_message
from server.rpc.observer import CallObserver
from server.rpc.plan import Plan, contract_violations, plan_piece
from server.rpc.quota import ConnectionQuota

_WRITTEN_AT_ONCE_TOKENS: Final = 1024
"""Pieces up to this length are written down in the event loop, which takes 2 ms at most: a thread of its own would cost
half as much again, in switching and in cold caches."""


class GenerationService(pb_grpc.GenerationServiceServicer):
    """Validates, hands over to an engine, puts what comes back on the wire. Errors leave it as they are.

    Raises:
        StartupError: a model cannot be described; found here, since a server that serves must be able to list it.
    """

    def __init__(self, catalogue: Catalogue, observer: CallObserver, quota: ConnectionQuota) -> None:
        self._catalogue = catalogue
        self._observer = observer
        self._descriptions = {model.name: described(model) for model in catalogue}
        self._quota = quota

    async def Generate(
        self,
        request: pb.GenerateRequest,
        context: grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse],
    ) -> pb.GenerateResponse:
        """See the contract."""
        model = self._asked(request)
        plan = plan_piece(request, model.bundle)
        tokens = model.engine.expected_tokens(plan.engine_request)
        with self._quota.hold(context.peer(), tokens, model.engine) as piece:
            ticket = piece.ticket = model.engine.submit(plan.engine_request)
            # gRPC cancels this task when the client cancels or is lost and when the deadline passes; that cancels
            # the ticket's future, and with it the sequence.
            completion = await asyncio.wrap_future(ticket.future)
            if len(completion.tokens) <= _WRITTEN_AT_ONCE_TOKENS:
                response = _response(model, plan, completion)
            else:  # the longest piece takes tens of milliseconds: meanwhile the loop serves others
                response = await asyncio.to_thread(_response, model, plan, completion)
        self._observer.wrote(model.name, len(response.notes))
        return response

    def _asked(self, request: pb.GenerateRequest) -> ServedModel:
        """The model that the request names, or the default one.

        Raises:
            ModelNotFoundError: there is none; tells, too, what else is wrong with the request.
        """
        try:
            return self._catalogue.get(request.model)
        except ModelNotFoundError as error:
            others = contract_violations(request)
            raise ModelNotFoundError(request.model, error.loaded, error.field, others) from None

    async def ListModels(
        self,
        request: pb.ListModelsRequest,
        context: grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse],
    ) -> pb.ListModelsResponse:
        """See the contract."""
        return pb.ListModelsResponse(models=self._descriptions.values())

    async def GetModel(
        self,
        request: pb.GetModelRequest,
        context: grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse],
    ) -> pb.GetModelResponse:
        """See the contract."""
        return pb.GetModelResponse(model=self._descriptions[self._catalogue.get(request.name, "name").name])


def _response(model: ServedModel, plan: Plan, completion: Completion) -> pb.GenerateResponse:
    """The finished piece on the wire.

    Raises:
        WrongLengthError: it has not the length asked for.
    """
    setting = plan.setting
    assert setting.meter is not None
    score = model.bundle.tokenizer.decode(completion.tokens.tolist(), setting).within(plan.length_ticks)
    if completion.finish_reason is FinishReason.LENGTH and score.length_ticks != plan.length_ticks:
        raise WrongLengthError(model.name, score.length_ticks, plan.length_ticks)
    response = pb.GenerateResponse(
        midi=write_midi(score),
        ticks_per_quarter=TICKS_PER_QUARTER,
        length_ticks=score.length_ticks,
        seed=plan.seed,
        token_count=len(completion.tokens) - len(plan.engine_request.forced),
        finish_reason=FINISH_REASONS[completion.finish_reason],
        model=model.name,
        model_digest=model.bundle.digest,
        meter=meter_message(setting.meter),
        tempo_bpm=setting.tempo_bpm,
        program=setting.program,
        timing=timing_message(completion),
    )
    add_notes(response, score.notes)
    return response
