"""`python -m bench.peers.grpc_server BUNDLE LOOP`: one loop per request behind gRPC, as in tutorials."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc

from bench.peers.model import PeerModel
from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.score import TICKS_PER_QUARTER

_WORKERS: Final = 10  # as in gRPC's own examples


class Servicer(pb_grpc.GenerationServiceServicer):
    """Each call writes its piece in its own thread."""

    def __init__(self, model: PeerModel) -> None:
        self._model = model

    def Generate(self, request: pb.GenerateRequest, context: grpc.ServicerContext) -> pb.GenerateResponse:  # noqa: N802
        """Write one piece."""
        spec = self._model.spec(request)
        (tokens,) = self._model.write([spec])
        return self._model.response(spec, tokens)

    def StreamGenerate(  # noqa: N802
        self, request: pb.StreamGenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamGenerateResponse]:
        """Not implemented: it is not measured."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "only whole pieces are measured")

    def Evaluate(self, request: pb.EvaluateRequest, context: grpc.ServicerContext) -> pb.EvaluateResponse:  # noqa: N802
        """Not implemented: it is not measured."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "only whole pieces are measured")

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:  # noqa: N802
        """The one model."""
        return pb.ListModelsResponse(models=[self.GetModel(pb.GetModelRequest(), context).model])

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.GetModelResponse:  # noqa: N802
        """The one model."""
        bundle = self._model.bundle
        steps = TICKS_PER_QUARTER // bundle.tokenizer.step_ticks
        return pb.GetModelResponse(model=pb.Model(name=bundle.name, digest=bundle.digest, steps_per_quarter=steps))


def main(path: str, loop: str) -> None:
    """Serve until the process is ended."""
    server = grpc.server(ThreadPoolExecutor(_WORKERS))
    pb_grpc.add_GenerationServiceServicer_to_server(Servicer(PeerModel(Path(path), loop)), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"serving address=127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
