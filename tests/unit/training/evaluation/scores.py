"""Small pieces and evaluations that the tests share."""

from collections.abc import Sequence

import numpy as np

from music.score import Meter, Note, Score
from music.tokenizers import Encoding
from training.evaluation.record import (
    Baseline,
    Endings,
    EvaluationRecord,
    FaultRate,
    FeatureRatio,
    FormShare,
    Likelihood,
    Memorisation,
    Repetition,
    Sampling,
    Sweep,
    SweepPoint,
    TwoSampleTest,
)


def score(*voices: Sequence[int], ticks: int = 480, meter: Meter | None = Meter(4, 4), pickup: int = 0) -> Score:  # noqa: B008
    """Voices of pitches, one every `ticks`; 0 is a rest."""
    notes = [
        Note(index * ticks, ticks, pitch, 80, voice)
        for voice, pitches in enumerate(voices)
        for index, pitch in enumerate(pitches)
        if pitch
    ]
    length = max(map(len, voices)) * ticks
    return Score(tuple(sorted(notes)), length, meter, pickup)


def encoding(*tokens: int) -> Encoding:
    return Encoding(np.array(tokens, np.int32), 0, 0)


def evaluation(**changes: object) -> EvaluationRecord:
    """An evaluation that passes every sensible threshold, with changes."""
    fields: dict[str, object] = {
        "date": "2020-01-01T00:00:00+00:00",
        "model": "small",
        "digest": "d" * 64,
        "tokenizer": "grid",
        "corpus": "made up",
        "pieces": {"train": 5, "valid": 2, "test": 2},
        "split": "test",
        "likelihood": Likelihood(
            pieces=2,
            steps=100,
            tokens=202,
            onsets=40,
            nats_per_note_step=0.4,
            accuracy=0.9,
            onset_accuracy=0.6,
            pitch_accuracy=0.65,
            nats_per_note=2.0,
            bits_per_second=5.0,
            bits_per_second_by_piece=(4.0, 6.0),
        ),
        "baselines": (
            Baseline(name="repeat the previous step", nats_per_note_step=None, accuracy=0.7, onset_accuracy=0.0),
            Baseline(name="8-gram, Witten-Bell", nats_per_note_step=0.8, accuracy=0.8, onset_accuracy=0.3),
        ),
        "sampling": Sampling(temperature=0.9, top_k=0, top_p=0.97),
        "samples": 200,
        "seed": 0,
        "pieces_per_set": 2,
        "ratios": (
            FeatureRatio(feature="interval", generated=0.1, training=0.1, ratio=1.0, low=0.8, high=1.3),
            FeatureRatio(feature="range", generated=2.0, training=1.0, ratio=2.0, low=1.5, high=2.5),
        ),
        "repetition": Repetition(
            samples=200,
            temperatures=(0.7, 1.2),
            bound=20.0,
            longest=25,
            share_above=0.005,
            share_above_by_temperature=(0.01, 0.0),
        ),
        "memorisation": (
            Memorisation(
                view="texture",
                bound=8.0,
                held_out_median=4.0,
                held_out_longest=9,
                median=3.0,
                longest=9,
                share_above=0.01,
            ),
        ),
        "faults": (
            FaultRate(fault="parallel_fifths", generated=0.5, low=0.4, high=0.6, training=0.1, held_out=0.2, real=0.15),
        ),
        "form": (
            FormShare(measure="in_scale", generated=0.9, low=0.88, high=0.92, training=0.94, held_out=0.95),
            FormShare(measure="returning_bars", generated=0.1, low=0.08, high=0.12, training=0.3, held_out=0.25),
        ),
        "two_sample": TwoSampleTest(pieces=20, training=(0.5, 0.55, 0.54), generated=(0.8, 0.85, 0.84)),
        "endings": Endings(
            pieces=96, meters=("4/4",), by_bars={8: 0.95, 12: 0.9}, open_length=0.97, held_out=0.9, shorter=0.0
        ),
        "remarks": (),
    }
    return EvaluationRecord.model_validate(fields | changes)


def sweep() -> Sweep:
    """Two points, the second the better."""
    points = tuple(
        SweepPoint(
            sampling=Sampling(temperature=heat, top_k=0, top_p=1.0),
            ratios={"pitch_class_transition": 1.5, "interval": 1.2, "note_length": 2.0},
            repetition_share=0.0,
            memorisation_share=0.01,
            faults={"parallel_fifths": 0.3, "parallel_octaves": 0.2},
            excess=excess,
        )
        for heat, excess in ((1.0, 0.9), (0.8, 0.4))
    )
    return Sweep(digest="0" * 64, samples=20, points=points, best=points[1].sampling)
