"""`python -m bench.peers.litserve_server BUNDLE PORT`: the PyTorch loop in LitServe, with its dynamic batching."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import litserve
from numpy.typing import NDArray

from bench.peers.model import PeerModel
from fantasia.v1 import generation_pb2 as pb
from server.rpc.generation_spec import GenerationSpec

BATCH: Final = 64
WAIT_SECONDS: Final = 0.05
_TIMEOUT_SECONDS: Final = 300


class PieceApi(litserve.LitAPI):  # type: ignore[misc]  # it ships no types
    """Writes the pieces of a batch together."""

    def __init__(self, path: str) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
        self._path = path

    def setup(self, device: str) -> None:
        """Load the bundle, in the worker."""
        self._model = PeerModel(Path(self._path), "torch")

    def decode_request(self, request: dict[str, int]) -> GenerationSpec:
        """From JSON."""
        return self._model.spec(pb.GenerateRequest(steps=request["steps"], seed=request["seed"]))

    def predict(self, specs: Sequence[GenerationSpec]) -> list[tuple[GenerationSpec, NDArray[Any]]]:
        """Write a batch."""
        return list(zip(specs, self._model.write(specs), strict=True))

    def encode_response(self, written: tuple[GenerationSpec, NDArray[Any]]) -> dict[str, Any]:
        """To JSON."""
        return self._model.json_response(*written)


def main(path: str, port: str) -> None:
    """Serve until the process is ended."""
    server = litserve.LitServer(PieceApi(path), accelerator="cpu", workers_per_device=1, timeout=_TIMEOUT_SECONDS)
    server.run(host="127.0.0.1", port=int(port), log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
