"""`python -m bench.peers.grpc_server BUNDLE LOOP`: a loop a request behind gRPC, as the field's tutorials have it."""

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc

from bench.peers.answers import Answers
from bench.peers.loops import Loop, OnnxLoop, TorchLoop
from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.bundle import Bundle, load_bundle
from music.score import TICKS_PER_QUARTER

LOOPS: Final[Mapping[str, Callable[[Bundle], Loop]]] = {"torch": TorchLoop, "onnx": OnnxLoop}
_WORKERS: Final = 10  # as in gRPC's own examples


class Servicer(pb_grpc.GenerationServiceServicer):
    """Each call writes its piece in its own thread."""

    def __init__(self, bundle: Bundle, loop: Loop) -> None:
        self._answers, self._loop = Answers(bundle), loop

    def Generate(self, request: pb.GenerateRequest, context: grpc.ServicerContext) -> pb.GenerateResponse:  # noqa: N802
        """Write one piece."""
        plan = self._answers.plan(request)
        (tokens,) = self._loop.write([plan.engine_request])
        return self._answers.message(plan, tokens)

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:  # noqa: N802
        """Say that there is one."""
        return pb.ListModelsResponse(models=[self.GetModel(pb.GetModelRequest(), context).model])

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.GetModelResponse:  # noqa: N802
        """Say that somebody is there."""
        bundle = self._answers.bundle
        steps = TICKS_PER_QUARTER // bundle.tokenizer.step_ticks
        return pb.GetModelResponse(model=pb.Model(name=bundle.name, digest=bundle.digest, steps_per_quarter=steps))


def main(path: str, loop: str) -> None:
    """Serve until the process is ended."""
    bundle = load_bundle(Path(path))
    server = grpc.server(ThreadPoolExecutor(_WORKERS))
    pb_grpc.add_GenerationServiceServicer_to_server(Servicer(bundle, LOOPS[loop](bundle)), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"serving address=127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
