"""`python -m bench.peers.litserve_server BUNDLE PORT`: the PyTorch loop in LitServe, with its batching."""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import litserve
from numpy.typing import NDArray

from bench.peers.answers import Answers
from bench.peers.loops import TorchLoop
from fantasia.v1 import generation_pb2 as pb
from music.bundle import load_bundle
from music.midi import write_midi
from server.rpc.plan import Plan

BATCH: Final = 64
WAIT_SECONDS: Final = 0.05
_TIMEOUT_SECONDS: Final = 300


class Writer(litserve.LitAPI):  # type: ignore[misc]  # it ships no types
    """Writes the pieces of a batch side by side."""

    def __init__(self, path: str) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
        self._path = path

    def setup(self, device: str) -> None:
        """Load the bundle, in the worker."""
        bundle = load_bundle(Path(self._path))
        self._answers, self._loop = Answers(bundle), TorchLoop(bundle)

    def decode_request(self, request: dict[str, int]) -> Plan:
        """From JSON."""
        return self._answers.plan(pb.GenerateRequest(steps=request["steps"], seed=request["seed"]))

    def predict(self, plans: Sequence[Plan]) -> list[tuple[Plan, NDArray[Any]]]:
        """Write a batch."""
        return list(zip(plans, self._loop.write([plan.engine_request for plan in plans]), strict=True))

    def encode_response(self, written: tuple[Plan, NDArray[Any]]) -> dict[str, Any]:
        """To JSON."""
        midi = write_midi(self._answers.score(*written))
        return {"midi": base64.b64encode(midi).decode(), "tokens": len(written[1])}


def main(path: str, port: str) -> None:
    """Serve until the process is ended."""
    server = litserve.LitServer(Writer(path), accelerator="cpu", workers_per_device=1, timeout=_TIMEOUT_SECONDS)
    server.run(host="127.0.0.1", port=int(port), log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
