"""The law of the engine: a sequence is the same alone and in any company, and nothing is ever lost."""

from dataclasses import dataclass
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.completion import FinishReason
from server.engine.engine import Engine
from server.engine.observer import Outcome
from server.engine.request import EngineRequest, SamplingParams
from server.engine.ticket import Ticket
from tests.unit.server.engine.fake_runner import FakeRunner, Ledger, eventually

VOCABULARY = 8


@dataclass(frozen=True)
class Visit:
    """A request that comes at one run and, perhaps, gives up at a later one."""

    request: EngineRequest
    comes: int
    gives_up: int | None


@st.composite
def requests(draw: st.DrawFn) -> EngineRequest:
    primed = draw(st.integers(0, 3)) == 0
    max_tokens = draw(st.integers(60, 300) if primed else st.integers(1, 40))
    long = draw(st.integers(0, min(250, max_tokens))) if primed else 0
    end_token = draw(st.none() | st.just(VOCABULARY - 1))
    stop_token = draw(st.none() | st.integers(0, VOCABULARY - 2))
    return EngineRequest(
        seed=draw(st.integers(0, 3) | st.integers(0, 2**64 - 1)),
        max_tokens=max_tokens,
        clock_row=draw(st.integers(0, 2)),
        sampling=SamplingParams(
            temperature=draw(st.sampled_from([0.5, 1.0])),
            top_k=draw(st.integers(0, 3)),
            top_p=draw(st.sampled_from([0.9, 1.0])),
        ),
        forced=tuple(index * index % (VOCABULARY - 1) for index in range(long))
        or tuple(draw(st.lists(st.integers(0, VOCABULARY - 2), max_size=min(10, max_tokens)))),
        end_token=end_token,
        may_end=draw(st.booleans()),
        stop_token=stop_token,
        stop_count=0 if stop_token is None else draw(st.integers(1, 4)),
    )


@st.composite
def visits(draw: st.DrawFn) -> Visit:
    comes = draw(st.integers(0, 12))
    gives_up = draw(st.none() | st.integers(comes, comes + 8))
    return Visit(draw(requests()), comes, gives_up)


@cache
def alone(request: EngineRequest) -> tuple[list[int], FinishReason]:
    """What the request gives with the engine for itself, one step at a time."""
    engine = Engine(FakeRunner(1, VOCABULARY, chunk_sizes=(1,)), queue_limit=0, name="alone")
    engine.start()
    completion = engine.submit(request).future.result(10)
    engine.stop()
    return completion.tokens.tolist(), completion.finish_reason


class Town:
    """An engine with visitors, who come and give up between its runs.

    Always in the same order, unless the runner has an opener: then the usher shows them in whenever it gets to it.
    """

    def __init__(
        self, slots: int, width: int, chunk_sizes: tuple[int, ...], everybody: list[Visit], *, opens: bool = False
    ) -> None:
        self.ledger = Ledger()
        self.runner = FakeRunner(slots, VOCABULARY, chunk_sizes, width, opens=opens)
        self.runner.before_decode = lambda chunk: self._hour()
        self.runner.before_prefill = lambda slot, tokens: self._hour()
        self.engine = Engine(self.runner, queue_limit=100, observer=self.ledger, name="town")
        self.tickets: dict[int, Ticket] = {}
        self.everybody = everybody
        self.unbalanced: list[str] = []

    def run(self) -> None:
        """Let everybody come, and wait until all have left."""
        self._events(0)
        self.engine.start()
        for number, visit in enumerate(self.everybody):
            # While anything runs, so does somebody: when nobody is left, the hours stand still.
            eventually(lambda: self.ledger.in_flight == 0)
            if number not in self.tickets:
                self.tickets[number] = self.engine.submit(visit.request)
        assert self.engine.drain(10)
        self.engine.stop()

    def _hour(self) -> None:
        self._balance()
        self._events(len(self.runner.runs))
        self._balance()

    def _events(self, hour: int) -> None:
        for number, visit in enumerate(self.everybody):
            if visit.comes == hour and number not in self.tickets:
                self.tickets[number] = self.engine.submit(visit.request)
            if visit.gives_up == hour and number in self.tickets:
                self.tickets[number].cancel()

    def _balance(self) -> None:
        with self.engine._lock:  # or the usher might give somebody a slot just then
            balanced = self.ledger.in_flight == self.engine.waiting + self.engine.running
        if not balanced:
            self.unbalanced.append(f"at run {len(self.runner.runs)}")


@settings(max_examples=150, deadline=None)
@given(
    slots=st.integers(1, 4),
    width=st.integers(1, 4),
    chunk_sizes=st.sampled_from([(1,), (1, 4), (1, 3, 8), (2, 5), (16,)]),
    everybody=st.lists(visits(), min_size=1, max_size=10),
    opens=st.booleans(),
)
def test_company_changes_nothing_and_nothing_is_lost(
    slots: int, width: int, chunk_sizes: tuple[int, ...], everybody: list[Visit], opens: bool
) -> None:
    width = min(slots, width)
    town = Town(slots, width, chunk_sizes, everybody, opens=opens)
    town.run()

    finished = 0
    for number, visit in enumerate(everybody):
        future = town.tickets[number].future
        assert future.done()
        if future.cancelled():
            assert visit.gives_up is not None
            continue
        completion = future.result()
        assert (completion.tokens.tolist(), completion.finish_reason) == alone(visit.request)
        finished += 1
    ledger = town.ledger
    assert town.unbalanced == []
    assert ledger.wrong == []
    assert ledger.admissions == len(everybody)
    assert ledger.in_flight == 0
    assert ledger.outcomes[Outcome.CANCELLED] == len(everybody) - finished
    assert ledger.outcomes[Outcome.FAILED] == 0
    assert ledger.starts == len(town.runner.resets) + len(town.runner.resumed)
    assert town.engine._primers.count == 0
    assert (town.engine.waiting, town.engine.running) == (0, 0)
    assert town.engine._scheduler._slots.free_count == slots
    assert max((width for width, _ in ledger.chunks), default=0) <= width
