"""The service itself: `fantasia.v1.GenerationService`."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import grpc

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.catalogue import Catalogue, ServedModel
from server.engine.completion import Completion
from server.engine.listener import SequenceListener
from server.errors import InvalidRequestError, ModelNotFoundError, Violation
from server.rpc.call_tracer import CallTracer
from server.rpc.caller import caller_of
from server.rpc.context import Context, call_facts
from server.rpc.deadline import check_deadline
from server.rpc.generation_spec import GenerationSpec
from server.rpc.logging_interceptor import CallObserver
from server.rpc.messages import unavailable_message
from server.rpc.model_calls import ModelCalls
from server.rpc.piece_stream import PieceStream
from server.rpc.quota import CallerQuota
from server.rpc.request_limits import RequestLimits
from server.rpc.responses import build_off_loop, build_response
from server.rpc.resume_token import ResumeTokens
from server.rpc.spec_builder import build_generation_spec, contract_violations, is_plain
from server.rpc.work_limit import WorkLimit

_PLANNING_THREADS: Final = 2
_MAX_PLANNING: Final = 64
"""Maximum number of requests that wait to be planned; each may hold a given piece of the maximum size."""


class GenerationService(pb_grpc.GenerationServiceServicer):
    """Validates requests, submits them to an engine and builds the responses. Errors are raised, not translated.

    Args:
        catalogue: the models to serve.
        observer: counts notes.
        quota: what one caller may have in flight.
        limits: what a request may bring and ask for.
        resume_tokens: makes and opens resume tokens.
        tracer: traces requests in the engine.

    Raises:
        StartupError: a model cannot be described to callers.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        observer: CallObserver,
        quota: CallerQuota,
        limits: RequestLimits,
        resume_tokens: ResumeTokens,
        tracer: CallTracer,
    ) -> None:
        self._catalogue = catalogue
        self._observer = observer
        self._quota = quota
        self._limits = limits
        self._resume_tokens = resume_tokens
        self._tracer = tracer
        self._models: dict[ServedModel, ModelCalls] = {}
        self._planning = WorkLimit("planning", threads=_PLANNING_THREADS, max_waiting=_MAX_PLANNING)
        for model in catalogue:
            self.add_model(model)

    def add_model(self, model: ServedModel) -> None:
        """Prepare for calls of a model. It may be used once it is in the catalogue.

        Raises:
            StartupError: the model cannot be described to callers.
        """
        self._models[model] = ModelCalls(model, self._limits, self._resume_tokens)

    def remove_model(self, model: ServedModel) -> None:
        """Forget a model that no call uses any more."""
        self._models.pop(model).close()

    def close(self) -> None:
        """End the threads of planning and evaluation."""
        self._planning.close()
        for calls in self._models.values():
            calls.close()

    async def Generate(
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse]
    ) -> pb.GenerateResponse:
        """See the contract."""
        with self._using(self._model(request)) as model:
            spec = await self._spec(request, model, context)
            with self._running(spec, model, context) as done:
                completion = await done
                response = await self._response(model, spec, completion, resume_tokens=request.return_resume_token)
        self._count_notes(response)
        return response

    async def StreamGenerate(
        self,
        request: pb.StreamGenerateRequest,
        context: grpc.aio.ServicerContext[pb.StreamGenerateRequest, pb.StreamGenerateResponse],
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        """See the contract."""
        began: float | None = time.perf_counter()
        with self._using(self._model(request.request)) as model:
            spec = await self._spec(request.request, model, context, resume_tokens=request.resume_tokens)
            stream = PieceStream(self._models[model].terms, spec, resume_tokens=request.resume_tokens)
            with self._running(spec, model, context, stream) as done:
                async for message in stream.messages(done):
                    began = self._count_first_note(model, message, began)
                    yield message
                completion = done.result()
                wanted = request.resume_tokens or request.request.return_resume_token
                response = await self._response(model, spec, completion, resume_tokens=wanted)
                self._count_notes(response)
                last = await stream.last_message(completion, response, keep_tokens=request.request.return_resume_token)
                self._count_first_note(model, last, began)
                yield last

    async def Evaluate(
        self, request: pb.EvaluateRequest, context: grpc.aio.ServicerContext[pb.EvaluateRequest, pb.EvaluateResponse]
    ) -> pb.EvaluateResponse:
        """See the contract."""
        caller = caller_of(context)
        with self._using(self._catalogue.get(request.model, request.model_version)) as model:
            self._quota.check_rate(caller)
            response = await self._models[model].evaluations.evaluate(request, caller.key)
        self._quota.charge(caller, sum(evaluation.token_count for evaluation in response.evaluations))
        self._observer.pieces_evaluated(model.name, model.version, len(response.evaluations))
        return response

    async def ListModels(
        self,
        request: pb.ListModelsRequest,
        context: grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse],
    ) -> pb.ListModelsResponse:
        """See the contract."""
        return pb.ListModelsResponse(
            models=map(self._description, self._catalogue),
            unavailable=map(unavailable_message, self._catalogue.unavailable),
        )

    async def GetModel(
        self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse]
    ) -> pb.GetModelResponse:
        """See the contract."""
        model = self._catalogue.get(request.name, request.version, field="name", version_field="version")
        return pb.GetModelResponse(model=self._description(model))

    def _description(self, model: ServedModel) -> pb.Model:
        return self._models[model].description(default_version=self._catalogue.is_default_version(model))

    @contextmanager
    def _using(self, model: ServedModel) -> Iterator[ServedModel]:
        """Use a model for the present call. As long as the context is open, the model is not unloaded."""
        call_facts.get({})["version"] = str(model.version)
        with model.calls:
            yield model

    def _model(self, request: pb.GenerateRequest) -> ServedModel:
        """The version of the model that the request names; with a resume token, the version that it belongs to.

        Raises:
            ModelNotFoundError: there is no such model or version; the error also has the other violations of the
                request.
            InvalidRequestError: the version that the resume token belongs to is not loaded.
        """
        try:
            model = self._catalogue.get(request.model, request.model_version)
        except ModelNotFoundError as error:
            raise error.with_others(contract_violations(request)) from None
        if not request.resume_token or request.model_version:
            return model
        digest = self._resume_tokens.digest_of(request.resume_token, model.name)
        if digest is None or digest == model.bundle.digest:
            return model  # an invalid token is refused together with the other fields
        versions = self._catalogue.versions(model.name)
        for version in versions:
            if version.bundle.digest == digest:
                return version
        loaded = ", ".join(f"{version.version} ({version.bundle.digest[:12]})" for version in versions)
        text = (
            f"belongs to a version of {model.name} that is not loaded: digest {digest[:12]}; loaded versions: {loaded}"
        )
        raise InvalidRequestError([Violation("resume_token", text), *contract_violations(request)])

    async def _spec(
        self, request: pb.GenerateRequest, model: ServedModel, context: Context, *, resume_tokens: bool = False
    ) -> GenerationSpec:
        """The valid request. A given piece and its plan take up to seconds, so a thread makes them.

        So does the state of a resumed piece, if the model sees the notes so far.
        """
        terms = self._models[model].terms
        if is_plain(request) and not (request.resume_token and model.bundle.network.note_state_size):
            return build_generation_spec(request, terms, resume_tokens=resume_tokens)
        plan = partial(build_generation_spec, request, terms, resume_tokens=resume_tokens)
        return await self._planning.run(plan, caller_of(context).key)

    @contextmanager
    def _running(
        self,
        spec: GenerationSpec,
        model: ServedModel,
        context: Context,
        listener: SequenceListener | None = None,
    ) -> "Iterator[asyncio.Future[Completion]]":
        """Run the request in its engine while the context is open, and count it for the caller's quota.

        gRPC cancels the task when the client cancels, is lost or misses its deadline. Leaving the context then cancels
        the engine's request, if it is not complete.
        """
        if spec.completion is not None:
            done: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
            done.set_result(spec.completion)
            yield done
            return
        caller = caller_of(context)
        check_deadline(model.engine, spec, context.time_remaining(), caller.key)
        tokens = model.engine.expected_tokens(spec.engine_request)
        with self._quota.hold(caller, tokens, model.engine, spec.choice.candidates) as pieces:
            listener = self._tracer.listener(model.name, listener)
            handle = pieces.handle = model.engine.submit(spec.engine_request, listener, caller=caller.key)
            done = asyncio.wrap_future(handle.future)
            try:
                yield done
            finally:
                handle.cancel()
                if done.done() and not done.cancelled() and done.exception() is None:
                    known = spec.engine_request.known_count
                    pieces.generated = sum(len(each.tokens) - known for each in done.result().candidates)

    async def _response(
        self, model: ServedModel, spec: GenerationSpec, completion: Completion, *, resume_tokens: bool
    ) -> pb.GenerateResponse:
        def build() -> pb.GenerateResponse:
            return build_response(model, self._models[model].terms, spec, completion, resume_tokens=resume_tokens)

        return await build_off_loop(build, tokens=sum(len(candidate.tokens) for candidate in completion.candidates))

    def _count_first_note(
        self, model: ServedModel, message: pb.StreamGenerateResponse, began: float | None
    ) -> float | None:
        """Count the message if it has the first note; `began` from then on is None."""
        if began is None or not (message.notes or message.sounding):
            return began
        self._observer.first_note(model.name, model.version, time.perf_counter() - began)
        return None

    def _count_notes(self, response: pb.GenerateResponse) -> None:
        notes = sum(len(piece.notes) for piece in response.pieces)
        self._observer.notes_written(response.model, response.model_version, notes)
