"""`python -m bench.peers.mosec_server`: the ONNX Runtime loop in mosec, with its batching.

mosec reads the command line itself; the bundle comes in the environment.
"""

import base64
import os
from pathlib import Path
from typing import Any, Final

import mosec

from bench.peers.answers import Answers
from bench.peers.loops import OnnxLoop
from fantasia.v1 import generation_pb2 as pb
from music.bundle import load_bundle
from music.midi import write_midi

BUNDLE: Final = "BENCH_BUNDLE"
BATCH: Final = 64
WAIT_MILLISECONDS: Final = 50


class Writer(mosec.Worker):
    """Writes the pieces of a batch side by side."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        bundle = load_bundle(Path(os.environ[BUNDLE]))
        self._answers, self._loop = Answers(bundle), OnnxLoop(bundle)

    def forward(self, data: list[dict[str, int]]) -> list[dict[str, Any]]:
        """Write a batch."""
        plans = [self._answers.plan(pb.GenerateRequest(steps=asked["steps"], seed=asked["seed"])) for asked in data]
        written = self._loop.write([plan.engine_request for plan in plans])
        return [
            {
                "midi": base64.b64encode(write_midi(self._answers.score(plan, tokens))).decode(),
                "tokens": len(tokens),
            }
            for plan, tokens in zip(plans, written, strict=True)
        ]


def main() -> None:
    """Serve until the process is ended."""
    server = mosec.Server()
    server.append_worker(Writer, num=1, max_batch_size=BATCH, max_wait_time=WAIT_MILLISECONDS)
    server.run()


if __name__ == "__main__":
    main()
