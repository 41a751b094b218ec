"""Runners as the benchmarks want them: of a precision, and with some of the chunk sizes only."""

from bench.options import Provider, WantedPrecision
from music.bundle import Bundle
from server.engine.onnx_runner import OnnxRunner
from server.engine.precision import Precision
from server.engine.runner import Runner
from server.loading import open_runner
from server.settings import Settings


class FewerSizes(OnnxRunner):
    """A runner that has only some of its chunk sizes."""

    sizes: tuple[int, ...] = ()

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """See `Runner.chunk_sizes`."""
        return self.sizes or super().chunk_sizes


def precision_of(runner: Runner) -> Precision:
    """The arithmetic that a runner decodes in, as an option."""
    return "int8" if runner.precision == "int8" else "float32"


def make_runner(
    bundle: Bundle,
    *,
    slots: int,
    width: int | None = None,
    provider: Provider,
    threads: int,
    precision: WantedPrecision = "auto",
    chunk_sizes: tuple[int, ...] = (),
) -> Runner:
    """What the server would run the bundle with; with `chunk_sizes`, a runner on the CPU that has only those.

    All slots fit into one run, unless `width` says less.

    Raises:
        FantasiaError: the provider or the precision does not run here.
    """
    if chunk_sizes:
        runner = FewerSizes(bundle, slots=slots, width=width, provider="cpu", threads=threads, precision=precision)
        runner.sizes = chunk_sizes
        return runner
    settings = Settings(models=bundle.path, slots=slots, width=width or slots, provider=provider, precision=precision)
    return open_runner(bundle, settings, threads)
