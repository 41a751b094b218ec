"""`python -m bench.training`: training against bare LSTM calls of the same shapes, on whatever device is there.

The only part of the benchmarks that needs torch, and so a command of its own.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from bench.comparison import Comparison
from bench.machine import Machine, describe_machine
from bench.page import REGION
from bench.places import RESULTS
from bench.rounds import interleaved
from music.errors import FantasiaError
from music.tokenizers import tokenizer_class
from training.batches import encode_corpus, training_lanes
from training.config import Config, NetworkConfig, TrainingConfig, load_config
from training.corpus import Corpus, Split
from training.devices import chosen_device
from training.distributed import World
from training.threads import use_threads
from training.trainer import Trainer

GOAL: Final = 0.80
"""Ratio to reach on a GPU."""
RECORDS: Final = RESULTS / "training"


class TrainingReport(BaseModel):
    """What one run found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    date: str
    """When it began, UTC, ISO 8601."""
    machine: Machine
    device: str
    """The card's name, or `cpu`."""
    torch: str
    """Version."""
    threads: int
    """CPU threads of one operation."""
    configuration: str
    network: NetworkConfig
    training: TrainingConfig
    width: int
    """Lanes that the pieces filled."""
    windows: int
    """Steps of a round."""
    tokens: int
    """Tokens of a round, without the padding, which both compute."""
    load_before: tuple[float, float, float]
    """Load averages over 1, 5 and 15 minutes when it began."""
    comparison: Comparison
    """Tokens a second; the bare rates are those of the LSTM alone."""


def bare_rounds(config: Config, *, width: int, windows: int, device: torch.device) -> Callable[[], float]:
    """Seconds that the LSTM alone takes for so many windows, forwards and backwards, with its state carried on.

    One call of the library for all layers, inputs and gradients that are there already, no dropout, no embeddings,
    no loss and no optimizer; in bf16 on CUDA, as training has it.
    """
    network, window = config.network, config.training.window
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    lstm = nn.LSTM(network.embedding, network.hidden, network.layers).to(device, kind)
    given = torch.randn(window, width, network.embedding, device=device, dtype=kind, requires_grad=True)
    gradient = torch.randn(window, width, network.hidden, device=device, dtype=kind)
    h = torch.zeros(network.layers, width, network.hidden, device=device, dtype=kind)

    def seconds() -> float:
        state = (h, h)
        began = time.perf_counter()
        for _ in range(windows):
            outputs, (last_h, last_c) = lstm(given, state)
            outputs.backward(gradient)
            state = (last_h.detach(), last_c.detach())
            lstm.zero_grad(set_to_none=True)
            given.grad = None
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    return seconds


def measure(name: str, config: Config, corpus: Corpus, *, device: str, pieces: int, seconds: float) -> TrainingReport:
    """Compare whole epochs over some pieces with the LSTM alone on as many windows, in turn.

    Args:
        name: of the configuration.
        config: whose network and lanes are measured.
        corpus: to train on.
        device: `cpu` or `cuda`.
        pieces: at most so many of the corpus, as a round is one epoch.
        seconds: about how long it takes.
    """
    load_before, date = os.getloadavg(), datetime.now(UTC).isoformat(timespec="seconds")
    scores = (piece.score for piece in corpus.pieces(Split.TRAIN))
    tokenizer = tokenizer_class(config.tokenizer.name).fit(config.tokenizer.parameters, scores)
    chosen = encode_corpus(corpus, tokenizer, Split.TRAIN)[0][:pieces]
    world = World(torch.device(device))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, tokenizer, chosen, chosen, Path(folder), world=world, progress=False)
        lanes = training_lanes(chosen, tokenizer, config.training, 0)
        bare = bare_rounds(config, width=lanes.width, windows=lanes.windows, device=world.device)
        epochs = iter(range(config.training.epochs * 1000))

        def rate() -> float:
            began = time.perf_counter()
            trained = trainer.train_epoch(next(epochs))  # ends by fetching the loss, and so waits for the device
            return trained.tokens / (time.perf_counter() - began)

        bare(), rate()  # warm up: libraries choose their kernels
        comparison = interleaved(lambda: lanes.tokens / bare(), rate, seconds=seconds)
    return TrainingReport(
        date=date,
        machine=describe_machine(),
        device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        configuration=name,
        network=config.network,
        training=config.training,
        width=lanes.width,
        windows=lanes.windows,
        tokens=lanes.tokens,
        load_before=load_before,
        comparison=comparison,
    )


def as_text(report: TrainingReport) -> str:
    """The report in two lines."""
    comparison, network = report.comparison, report.network
    low, high = comparison.middle_half
    return (
        f"{report.configuration}: {network.layers} x {network.hidden}, {report.width} lanes of "
        f"{report.training.window} tokens, on {report.device}, {report.threads} thread(s), PyTorch {report.torch}; "
        f"load average {report.load_before[0]:.2f}\n"
        f"training {comparison.rate:,.0f} tokens/s, the LSTM alone {comparison.bare_rate:,.0f}: ratio "
        f"{comparison.ratio:.3f} ({low:.3f} to {high:.3f}, {len(comparison.rates)} rounds, noise "
        f"{comparison.noise:.1%}); goal on a GPU {GOAL:.2f}\n"
    )


def as_markdown(reports: Sequence[TrainingReport]) -> str:
    """The reports as a table."""
    lines = [
        "| configuration | device | lanes x window | training, tokens/s | LSTM alone, tokens/s | ratio | middle half | "
        "load average before |",
        "|---|---|---|---:|---:|---:|---|---:|",
    ]
    for report in reports:
        comparison = report.comparison
        low, high = comparison.middle_half
        device = f"{report.machine.cpu}, {report.threads} thread(s)" if report.device == "cpu" else report.device
        lines.append(
            f"| {report.configuration} ({report.network.layers} x {report.network.hidden}) | {device} | "
            f"{report.width} x {report.training.window} | {comparison.rate:,.0f} | {comparison.bare_rate:,.0f} | "
            f"{comparison.ratio:.3f} | {low:.3f} to {high:.3f} | {report.load_before[0]:.1f} |"
        )
    return "\n".join(lines) + "\n"


def rendered(page: str, folder: Path = RECORDS) -> str:
    """The page with all that is recorded between its marks."""
    reports = [TrainingReport.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    return REGION.filled(page, as_markdown(reports))


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line (without the program's name).

    Raises:
        SystemExit: it cannot be read (code 2), or asks for help (code 0).
    """
    parser = argparse.ArgumentParser(prog="python -m bench.training", description="Training against the bare LSTM.")
    parser.add_argument("config", nargs="?", default="chorales", help="configuration or TOML file (%(default)s)")
    parser.add_argument("--corpus", type=Path, default=Path("data/chorales.npz"), help="what to learn (%(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 chooses as training does")
    parser.add_argument("--pieces", type=int, default=64, help="pieces of a round at most (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long (%(default)s); 3 rounds at least")
    parser.add_argument("--record", metavar="NAME", help="write bench/results/training/NAME.json")
    parser.add_argument("--render", type=Path, metavar="PAGE", help="measure nothing: put what is recorded into PAGE")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure and print, or render; the exit code."""
    options = parse_options(arguments)
    try:
        if options.render:
            options.render.write_text(rendered(REGION.read(options.render)))
            return 0
        config = load_config(options.config)
        use_threads(max(options.threads, 0), config)
        report = measure(
            options.config,
            config,
            Corpus.load(options.corpus),
            device=chosen_device(options.device),
            pieces=max(options.pieces, 1),
            seconds=options.seconds,
        )
    except FantasiaError as error:
        sys.stderr.write(f"python -m bench.training: error: {error}\n")
        return 1
    print(as_text(report), end="")
    if options.record:
        RECORDS.mkdir(parents=True, exist_ok=True)
        (RECORDS / f"{options.record}.json").write_text(report.model_dump_json(indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
