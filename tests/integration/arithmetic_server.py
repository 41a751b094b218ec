"""`python -m server` with the arithmetic model in place of what `--models` holds."""

import asyncio
import sys
from pathlib import Path

from music.bundle import Bundle, Manifest
from music.tokenizers import GridTokenizer
from server.app import serve
from server.catalogue import ServedModel
from server.loading import serve_bundle
from server.logs import log_to_stderr
from server.metrics import Metrics
from server.settings import Settings, parse_settings
from tests.integration.arithmetic_runner import ArithmeticRunner


def load(settings: Settings, metrics: Metrics) -> list[ServedModel]:
    """The model that the manifest in the folder describes."""
    manifest = Manifest.model_validate_json((settings.models / "manifest.json").read_text())
    tokenizer = GridTokenizer.from_parameters(manifest.tokenizer.parameters)
    runner = ArithmeticRunner(tokenizer)
    runner.seconds_a_run = 0.005
    bundle = Bundle(Path("quartet"), manifest, "d" * 64, tokenizer)
    return [serve_bundle(bundle, runner, settings.queue_limit, metrics)]


if __name__ == "__main__":
    settings = parse_settings(sys.argv[1:])
    log_to_stderr(settings.log_level)
    asyncio.run(serve(settings, load))
