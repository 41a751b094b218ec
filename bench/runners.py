"""Runners as the benchmarks want them: of a precision, and with some of the chunk sizes only."""

from bench.options import Provider, WantedPrecision
from music.bundle import Bundle
from server.engine.onnx_runner import OnnxRunner


class FewerSizes(OnnxRunner):
    """A runner that has only some of its chunk sizes."""

    sizes: tuple[int, ...] = ()

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """See `Runner.chunk_sizes`."""
        return self.sizes or super().chunk_sizes


def make_runner(
    bundle: Bundle,
    *,
    slots: int,
    provider: Provider,
    threads: int,
    precision: WantedPrecision = "auto",
    chunk_sizes: tuple[int, ...] = (),
) -> OnnxRunner:
    """A runner of the bundle; without `chunk_sizes`, with all that it has.

    Raises:
        FantasiaError: the provider or the precision does not run here.
    """
    runner = FewerSizes(bundle, slots=slots, provider=provider, threads=threads, precision=precision)
    runner.sizes = chunk_sizes
    return runner
