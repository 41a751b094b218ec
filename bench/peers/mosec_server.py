"""`python -m bench.peers.mosec_server`: the ONNX Runtime loop in mosec, with its dynamic batching.

mosec reads the command line itself; the bundle's path comes in the environment.
"""

import os
from pathlib import Path
from typing import Any, Final

import mosec

from bench.peers.model import PeerModel
from fantasia.v1 import generation_pb2 as pb

BUNDLE: Final = "BENCH_BUNDLE"
BATCH: Final = 64
WAIT_MILLISECONDS: Final = 50


class PieceWorker(mosec.Worker):
    """Writes the pieces of a batch together."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model = PeerModel(Path(os.environ[BUNDLE]), "onnx")

    def forward(self, data: list[dict[str, int]]) -> list[dict[str, Any]]:
        """Write a batch."""
        specs = [self._model.spec(pb.GenerateRequest(steps=asked["steps"], seed=asked["seed"])) for asked in data]
        return [
            self._model.json_response(spec, tokens)
            for spec, tokens in zip(specs, self._model.write(specs), strict=True)
        ]


def main() -> None:
    """Serve until the process is ended."""
    server = mosec.Server()
    server.append_worker(PieceWorker, num=1, max_batch_size=BATCH, max_wait_time=WAIT_MILLISECONDS)
    server.run()


if __name__ == "__main__":
    main()
