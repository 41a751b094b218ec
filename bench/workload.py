"""What everybody is made to write: pieces of one length, as the service would plan them."""

from collections.abc import Sequence
from dataclasses import replace

from bench.errors import BenchError
from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from server.engine.request import EngineRequest
from server.errors import InvalidRequestError
from server.rpc.plan import plan_piece


def plan_requests(bundle: Bundle, steps: int, seeds: Sequence[int]) -> list[EngineRequest]:
    """One request for each seed, everything else as the model has it.

    Raises:
        BenchError: the model does not write pieces of this length.
    """
    try:
        planned = [plan_piece(pb.GenerateRequest(steps=steps, seed=seed), bundle).engine_request for seed in seeds]
    except InvalidRequestError as error:
        raise BenchError(f"{bundle.name} does not write such pieces: {error}") from error
    # All of one length in tokens, none forced: the bare loop, which this is compared with, knows nothing else.
    return [replace(request, forced=(), stop_token=None, stop_count=0) for request in planned]
