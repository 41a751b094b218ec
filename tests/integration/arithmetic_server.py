"""`python -m server` with the arithmetic model in place of what `--models` holds."""

import sys
from pathlib import Path

from music.bundle import Bundle
from music.manifest import Manifest
from music.tokenizers import GridTokenizer
from server.catalogue import ServedModel
from server.command import main
from server.loading import serve_bundle
from server.metrics import Metrics
from server.settings import Settings
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
    sys.exit(main(sys.argv[1:], load))
