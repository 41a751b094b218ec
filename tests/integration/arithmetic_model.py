"""What `arithmetic_server` serves."""

import os
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.manifest import Manifest
from music.tokenizers import GridTokenizer
from server.catalogue import ServedModel
from server.engine.runner import Chunk
from server.loading import serve_bundle
from server.metrics import Metrics
from server.settings import Settings
from tests.integration.arithmetic_runner import ArithmeticRunner

HANGS: Final = "ARITHMETIC_HANGS"
"""Variable that says what never ends: `load`, `warm-up`, or `run` for every run after the warm-up."""
_FOR_EVER_SECONDS: Final = 1e6


class HangingRunner(ArithmeticRunner):
    """Never comes back from a run: of the warm-up, or of the engine's own thread."""

    hangs = ""

    def decode(self, chunk: Chunk) -> NDArray[np.int64]:
        warm_up = threading.current_thread().name.startswith("asyncio")
        if warm_up == (self.hangs == "warm-up"):
            time.sleep(_FOR_EVER_SECONDS)
        return super().decode(chunk)


def load(settings: Settings, metrics: Metrics) -> list[ServedModel]:
    """The model that the manifest in the folder describes."""
    hangs = os.environ.get(HANGS)
    if hangs == "load":
        time.sleep(_FOR_EVER_SECONDS)
    manifest = Manifest.model_validate_json((settings.models / "manifest.json").read_text())
    tokenizer = GridTokenizer.from_parameters(manifest.tokenizer.parameters)
    runner = ArithmeticRunner(tokenizer)
    if hangs is not None:
        runner = HangingRunner(tokenizer)
        runner.hangs = hangs
    runner.seconds_a_run = 0.005
    bundle = Bundle(Path("quartet"), manifest, "d" * 64, tokenizer)
    return [serve_bundle(bundle, runner, settings.queue_limit, metrics)]
