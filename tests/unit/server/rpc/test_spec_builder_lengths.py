"""A piece has the requested length, with any network."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.midi import read_midi, write_midi
from music.score import TICKS_PER_QUARTER, Meter, Score, ScoreAttributes
from music.tokenizers import EventsTokenizer, GridTokenizer, NoteChordTokenizer, Tokenizer
from runtime.sampling import SamplingParams
from server.engine.completion import Completion, FinishReason
from server.engine.engine import Engine
from server.engine.request import EngineRequest
from server.rpc.generation_spec import GenerationSpec, ModelTerms
from server.rpc.spec_builder import build_generation_spec
from tests.unit.server.rpc.random_networks import RandomNetworks

METERS = (Meter(4, 4), Meter(3, 4), Meter(6, 8), Meter(3, 8), Meter(2, 2))
EVENTS = EventsTokenizer(
    lowest_pitch=60,
    highest_pitch=64,
    positions_per_quarter=4,
    longest_quarters=1,
    velocity_bins=2,
    tempo_bins=2,
    meters=METERS,
    bar_tokens=64,
)
FINE_EVENTS = EventsTokenizer(lowest_pitch=55, highest_pitch=75, velocity_bins=4, tempo_bins=4, meters=METERS)
QUARTET = GridTokenizer(voices=4, lowest_pitch=60, highest_pitch=70, voice_order=(0, 3, 1, 2), meters=METERS)
TUNE = GridTokenizer(voices=1, lowest_pitch=60, highest_pitch=70, steps_per_quarter=12, meters=METERS)
SONORITIES = NoteChordTokenizer(names=["C4", "C4.E4", "D4", "G4"])
TEMPERATURES = (0.01, 0.3, 1.0, 10.0)


def model(like: Bundle, tokenizer: Tokenizer, max_steps: int) -> Bundle:
    manifest = like.manifest.model_copy(update={"max_steps": max_steps})
    return Bundle(like.path, manifest, like.digest, tokenizer)


def request(rng: random.Random, bundle: Bundle) -> pb.GenerateRequest:
    """A valid request with a random length in bars, steps or seconds, also the maximum, or without a length."""
    tokenizer, max_steps = bundle.tokenizer, bundle.max_steps
    meter = rng.choice(tokenizer.positions.meters)
    made = pb.GenerateRequest(
        seed=rng.getrandbits(64),
        tempo_bpm=rng.choice((10.0, 97.3, 120.0, 400.0)),
        meter=pb.Meter(numerator=meter.numerator, denominator=meter.denominator),
        sampling=pb.Sampling(temperature=rng.choice(TEMPERATURES), top_k=rng.choice((0, 1)), top_p=1.0),
    )
    match rng.randrange(7):
        case 0:
            made.bars = max_steps * tokenizer.step_ticks // meter.bar_ticks
        case 1 | 2:
            made.bars = rng.randint(1, max_steps * tokenizer.step_ticks // meter.bar_ticks)
        case 3:
            made.steps = rng.choice((1, max_steps))
        case 4:
            made.steps = rng.randint(1, max_steps)
        case 5:
            made.seconds = (
                rng.uniform(0.001, 0.999) * max_steps * tokenizer.step_ticks / TICKS_PER_QUARTER * 60 / made.tempo_bpm
            )
        case _:
            pass
    return made


def written(tokenizer: Tokenizer, requests: Sequence[EngineRequest]) -> list[Completion]:
    """Completions of the real engine, with a random network for each request."""
    engine = Engine(RandomNetworks(tokenizer, slots=256), queue_limit=len(requests), name="random")
    try:
        engine.start()
        handles = [engine.submit(request) for request in requests]
        return [handle.future.result(120) for handle in handles]
    finally:
        engine.stop()


def attributes_of(spec: GenerationSpec) -> ScoreAttributes:
    finishing = spec.finishing
    return ScoreAttributes(meter=finishing.bar_lines.meter, tempo_bpm=finishing.tempo_bpm, program=finishing.program)


def score_of(tokenizer: Tokenizer, completion: Completion, attributes: ScoreAttributes, length_ticks: int) -> Score:
    return tokenizer.decode(completion.tokens.tolist(), attributes).truncated(length_ticks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tokenizer", "max_steps", "pieces"),
    [
        (EVENTS, 50, 10_000),
        (FINE_EVENTS, 60, 200),
        (QUARTET, 40, 500),
        (TUNE, 200, 500),
        (SONORITIES, 100, 500),
    ],
    ids=["events", "fine-events", "quartet", "tune", "notechord"],
)
def test_every_length_is_exact(bundle: Bundle, tokenizer: Tokenizer, max_steps: int, pieces: int) -> None:
    rng = random.Random(5)  # noqa: S311 -- not a secret
    asked = model(bundle, tokenizer, max_steps)
    requests = [request(rng, asked) for _ in range(pieces)]
    specs: list[GenerationSpec] = [build_generation_spec(made, ModelTerms(asked)) for made in requests]
    completions = written(tokenizer, [spec.engine_request for spec in specs])

    reasons: Counter[FinishReason] = Counter()
    for index, (made, spec, completion) in enumerate(zip(requests, specs, completions, strict=True)):
        score = score_of(tokenizer, completion, attributes_of(spec), spec.length.max_ticks)
        reasons[completion.finish_reason] += 1
        assert len(completion.tokens) <= spec.engine_request.max_tokens
        if completion.finish_reason is FinishReason.END:
            assert made.WhichOneof("length") is None
            assert 0 < score.length_ticks <= spec.length.max_ticks
        else:
            assert score.length_ticks == spec.length.max_ticks, made
        if index < 100 and score.notes:
            assert read_midi(write_midi(score)).length_ticks == score.length_ticks
        match made.WhichOneof("length"):
            case "bars":
                assert score.length_ticks == made.bars * made.meter.numerator * 1920 // made.meter.denominator
            case "steps":
                assert score.length_ticks == made.steps * tokenizer.step_ticks
            case "seconds":
                too_long_ticks = (score.duration_seconds - made.seconds) * made.tempo_bpm / 60 * TICKS_PER_QUARTER
                assert -1e-3 < too_long_ticks < tokenizer.step_ticks
    assert reasons[FinishReason.LENGTH] > pieces / 2
    assert reasons[FinishReason.END] > 0


@pytest.mark.slow
def test_a_pickup_counts_as_part_of_the_length() -> None:
    rng = random.Random(6)  # noqa: S311 -- not a secret
    settings, lengths, requests = [], [], []
    for seed in range(500):
        meter = rng.choice(METERS)
        attributes = ScoreAttributes(meter, rng.randrange(meter.bar_ticks // EVENTS.step_ticks) * EVENTS.step_ticks)
        length_ticks = rng.randint(1, 40) * EVENTS.step_ticks
        settings.append(attributes)
        lengths.append(length_ticks)
        requests.append(
            EngineRequest(
                seed=seed,
                max_tokens=EVENTS.token_count(length_ticks, attributes),
                sampling=SamplingParams(temperature=rng.choice(TEMPERATURES)),
                forced=EVENTS.header_tokens(attributes),
                end_token=EVENTS.end_token,
                may_end=False,
                stop_token=EVENTS.bar_token,
                stop_count=EVENTS.bar_count(length_ticks, attributes),
            )
        )
    for completion, attributes, length_ticks in zip(written(EVENTS, requests), settings, lengths, strict=True):
        assert EVENTS.decode(completion.tokens.tolist()).pickup_ticks == attributes.pickup_ticks
        assert score_of(EVENTS, completion, attributes, length_ticks).length_ticks == length_ticks


def test_the_most_tokens_are_as_many_as_the_grammar_allows(bundle: Bundle) -> None:
    """The maximum is reached, so a smaller one would cut pieces, and never exceeded."""
    asked = model(bundle, EVENTS, 64)
    specs = [build_generation_spec(pb.GenerateRequest(bars=4, seed=seed), ModelTerms(asked)) for seed in range(60)]
    counts = {len(completion.tokens) for completion in written(EVENTS, [spec.engine_request for spec in specs])}
    assert max(counts) == 4 * 64 == specs[0].engine_request.max_tokens
