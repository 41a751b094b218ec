"""Builds the systems to measure: requests, runners, bare loops, engines, servers with clients."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bench.bare_loop import BareLoop
from bench.clients import Target
from bench.load import LoadGenerator, client_process
from bench.machine import Cores
from bench.options import BenchError, Options, Provider, WantedPrecision
from bench.processes import running_server
from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from runtime.host_runner import HostRunner
from runtime.precision import Precision
from runtime.runner import Runner
from server.engine.engine import Engine
from server.engine.observer import EngineObserver
from server.engine.request import EngineRequest
from server.errors import InvalidRequestError
from server.loading import create_runner
from server.rpc.generation_spec import ModelTerms
from server.rpc.spec_builder import build_generation_spec
from server.settings import Settings


class ChunkSizesRunner(HostRunner):
    """A runner on the CPU with some of its chunk sizes only."""

    sizes: tuple[int, ...] = ()

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """See `Runner.chunk_sizes`."""
        return self.sizes or super().chunk_sizes


def make_runner(
    bundle: Bundle,
    *,
    slots: int,
    max_batch_size: int | None = None,
    provider: Provider,
    threads: int,
    precision: WantedPrecision = "auto",
    chunk_sizes: tuple[int, ...] = (),
) -> Runner:
    """The runner that the server would choose; with `chunk_sizes`, one on the CPU with only those.

    All slots fit into one run, unless `max_batch_size` is less.

    Raises:
        FantasiaError: the provider or the precision does not run here.
    """
    if chunk_sizes:
        runner = ChunkSizesRunner(
            bundle, slots=slots, max_batch_size=max_batch_size, provider="cpu", threads=threads, precision=precision
        )
        runner.sizes = chunk_sizes
        return runner
    settings = Settings(
        models=bundle.path, slots=slots, max_batch_size=max_batch_size or slots, provider=provider, precision=precision
    )
    return create_runner(bundle, settings, threads)


def precision_of(runner: Runner) -> Precision:
    """The arithmetic that a runner decodes in."""
    return "int8" if runner.precision == "int8" else "float32"


def make_requests(bundle: Bundle, steps: int, seeds: Sequence[int]) -> list[EngineRequest]:
    """One request for each seed, as the service makes it of a call that asks for so many steps and nothing else.

    Raises:
        BenchError: the model does not write pieces of this length.
    """
    try:
        terms = ModelTerms(bundle)
        planned = [
            build_generation_spec(pb.GenerateRequest(steps=steps, seed=seed), terms).engine_request for seed in seeds
        ]
    except InvalidRequestError as error:
        raise BenchError(f"{bundle.name} cannot write pieces of this length: {error}") from error
    # All of one length and nothing forced, as in the bare loop.
    return [replace(request, forced=(), stop_token=None, stop_count=0) for request in planned]


@dataclass(frozen=True, slots=True)
class Systems:
    """The systems of one run of the benchmark, all with the same bundle, provider, threads and precision."""

    bundle: Bundle
    options: Options
    cores: Cores
    precision: Precision

    @classmethod
    def of(cls, bundle: Bundle, options: Options, cores: Cores) -> "Systems":
        """With the precision that the server chooses."""
        runner = make_runner(
            bundle, slots=1, provider=options.provider, threads=options.threads, precision=options.precision
        )
        runner.close()
        return cls(bundle, options, cores, precision_of(runner))

    def requests(self, count: int, steps: int | None = None) -> list[EngineRequest]:
        """Requests for pieces of the usual length, or of `steps`."""
        return make_requests(self.bundle, steps or self.options.steps, range(count))

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one grid step."""
        return self.requests(1)[0].max_tokens // self.options.steps

    def bare_loop(self, precision: Precision | None = None) -> BareLoop:
        """A bare loop with the longest chunk."""
        return BareLoop(
            self.bundle,
            provider=self.options.provider,
            threads=self.options.threads,
            precision=precision or self.precision,
        )

    @contextmanager
    def engine(self, slots: int, observer: EngineObserver) -> Iterator[Engine]:
        """A warm engine with all slots in one run."""
        runner = make_runner(
            self.bundle,
            slots=slots,
            provider=self.options.provider,
            threads=self.options.threads,
            precision=self.precision,
        )
        engine = Engine(runner, queue_limit=0, observer=observer, name=self.bundle.name)
        try:
            engine.warm_up()
            engine.start()
            yield engine
        finally:
            engine.stop()

    @contextmanager
    def server(self) -> Iterator[LoadGenerator]:
        """The server with its default settings, and a process of clients."""
        with (
            running_server(
                self.bundle.path,
                provider=self.options.provider,
                threads=self.options.threads,
                precision=self.precision,
            ) as address,
            client_process(self.cores.clients) as executor,
        ):
            yield LoadGenerator(executor, Target("grpc", address))
