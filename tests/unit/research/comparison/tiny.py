"""Comparisons of tiny networks."""

from pathlib import Path

from research.comparison.experiment import ComparedVariant, Comparison, NetworkKind
from research.comparison.record import ComparisonRecord

TICK = 1 / 128  # sums of it are exact


def comparison(*variants: ComparedVariant, cpu_seconds: float = 0.25) -> Comparison:
    return Comparison(
        configuration="piano",
        base={
            "network.layers": "1",
            "network.hidden": "16",
            "network.length_input": "false",
            "bundle.closing_temperature": "1.0",
            "training.batch_size": "2",
            "training.window": "32",
            "training.ema_decay": "0.5",
        },
        variants=variants,
        cpu_seconds=cpu_seconds,
        valid_pieces=2,
    )


WHOLE = ComparedVariant(name="whole", difference="all", changes={})
PLAIN = ComparedVariant(name="plain LSTM", difference="less", changes={"network.note_features": "[]"})
TRANSFORMER = ComparedVariant(
    name="Transformer", difference="other", changes={"network.hidden": "32"}, network=NetworkKind.TRANSFORMER
)


def run(compared: Comparison, corpus: Path, work: Path, stop_after: int = 0) -> ComparisonRecord:
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if stop_after and sum(line.startswith("{") for line in lines) == stop_after:
            raise KeyboardInterrupt

    return compared.run(corpus, work, report)
