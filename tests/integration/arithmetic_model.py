"""The model of `arithmetic_server`."""

import os
import threading
import time
from pathlib import Path
from typing import Final

from music.bundle import Bundle
from music.manifest import Manifest
from music.tokenizers import GridTokenizer
from runtime.runner import Chunk, Decoded
from server.catalogue import ServedModel
from server.loading import create_served_model
from server.metrics import Metrics
from server.settings import Settings
from tests.integration.arithmetic_runner import ArithmeticRunner

HANGS: Final = "ARITHMETIC_HANGS"
"""Environment variable that names what never returns: `load`, `warm-up`, or `run` (every run after the warm-up)."""
_HANG_SECONDS: Final = 1e6


class HangingRunner(ArithmeticRunner):
    """Never returns from a run: either in the warm-up or in the engine's thread."""

    hangs = ""

    def decode(self, chunk: Chunk) -> Decoded:
        warm_up = threading.current_thread().name.startswith("asyncio")
        if warm_up == (self.hangs == "warm-up"):
            time.sleep(_HANG_SECONDS)
        return super().decode(chunk)


def load(settings: Settings, metrics: Metrics) -> list[ServedModel]:
    """The model that the manifest in the folder describes."""
    hangs = os.environ.get(HANGS)
    if hangs == "load":
        time.sleep(_HANG_SECONDS)
    manifest = Manifest.model_validate_json((settings.models / "manifest.json").read_text())
    tokenizer = GridTokenizer.from_parameters(manifest.tokenizer.parameters)
    runner = ArithmeticRunner(tokenizer)
    if hangs is not None:
        runner = HangingRunner(tokenizer)
        runner.hangs = hangs
    runner.run_seconds = 0.005
    bundle = Bundle(Path("quartet"), manifest, "d" * 64, tokenizer)
    return [create_served_model(bundle, runner, settings.queue_limit, metrics)]
