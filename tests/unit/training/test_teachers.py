from pathlib import Path

import numpy as np
import pytest
import torch

from music.tokenizers import GridTokenizer
from training.batches import EncodedPiece, Lanes
from training.config import load_config
from training.distributed import World
from training.feed import Batch, Feed
from training.model import MusicLSTM
from training.teachers import Teachers
from training.trainer import Trainer

ALONE = World(torch.device("cpu"))
GRID = GridTokenizer(voices=2, lowest_pitch=48, highest_pitch=80)
CONFIG = load_config("smoke", {"tokenizer.parameters.voices": "2", "training.window": "16", "training.epochs": "2"})


def pieces(lengths: list[int], seed: int) -> list[EncodedPiece]:
    random = np.random.default_rng(seed)
    tokens = [np.array([*random.integers(4, 12, count).tolist(), GRID.end_token], np.int32) for count in lengths]
    return [EncodedPiece(str(index), line, 0, GRID.clock.start(None)) for index, line in enumerate(tokens)]


def network(seed: int) -> MusicLSTM:
    torch.manual_seed(seed)
    return MusicLSTM(CONFIG.network, GRID).eval()


def windows(songs: list[EncodedPiece], *, lanes: int, window: int) -> list[Batch]:
    return list(Feed(Lanes(songs, GRID, lanes=lanes, window=window), ALONE))


def taught(teachers: Teachers, batches: list[Batch], logits: torch.Tensor) -> list[float]:
    """The loss of each window for a student that says `logits` (vocabulary,) of every token."""
    lesson = teachers.lesson()
    return [float(lesson.loss(batch, logits.expand(*batch.targets.shape, -1), torch.tensor(0.0))) for batch in batches]


def test_the_loss_is_the_cross_entropy_with_the_mean_of_the_teachers() -> None:
    songs = pieces([11], 1)
    (batch,) = windows(songs, lanes=1, window=16)
    teachers = [network(1), network(2)]
    student = torch.randn(GRID.vocabulary_size)
    with torch.no_grad():
        shares = [each(*batch.inputs, each.zero_state(1))[0][:12, 0].softmax(-1) for each in teachers]
    expected = -(sum(shares) / 2 * student.log_softmax(-1)).sum()  # 11 tokens and the end; the padding counts nothing
    (loss,) = taught(Teachers(teachers, weight=1.0), [batch], student)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    (half,) = taught(Teachers(teachers, weight=0.5), [batch], student)
    assert half == pytest.approx(float(expected) / 2, rel=1e-5)


def test_teachers_carry_their_state_from_window_to_window_and_drop_it_where_a_piece_begins() -> None:
    songs = pieces([39, 23], 2)
    student = torch.randn(GRID.vocabulary_size)
    teachers = Teachers([network(3)], weight=1.0)
    whole = sum(sum(taught(teachers, windows([song], lanes=1, window=40), student)) for song in songs)
    assert sum(taught(teachers, windows(songs, lanes=1, window=8), student)) == pytest.approx(whole, rel=1e-5)
    assert sum(taught(teachers, windows(songs, lanes=2, window=8), student)) == pytest.approx(whole, rel=1e-5)


def test_sharpness_multiplies_the_logits_of_the_teachers() -> None:
    batches = windows(pieces([11], 1), lanes=1, window=16)
    student = torch.randn(GRID.vocabulary_size)
    blunt = network(1)
    plain = taught(Teachers([network(1)], weight=1.0, sharpness=0.5), batches, student)
    with torch.no_grad():
        for name, weight in blunt.named_parameters():
            if "output" in name:
                weight.mul_(0.5)
    assert plain == pytest.approx(taught(Teachers([blunt], weight=1.0), batches, student), rel=1e-5)


def test_a_student_comes_nearer_to_its_teacher_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    teacher = network(4)
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    teachers = Teachers([teacher], weight=1.0)
    trainer = Trainer(
        CONFIG, GRID, pieces([40] * 64, 5), pieces([40], 6), tmp_path, world=ALONE, teachers=teachers, progress=False
    )
    held_out = windows(pieces([40] * 4, 7), lanes=4, window=16)

    def distance() -> float:
        lesson, total = teachers.lesson(), 0.0
        state = trainer.finished.zero_state(4)
        with torch.no_grad():
            for batch in held_out:
                logits, state = trainer.finished.eval()(*batch.inputs, state.kept(~batch.fresh))
                total += float(lesson.loss(batch, logits, torch.tensor(0.0)))
        return total

    first = distance()
    trainer.run()
    assert distance() < 0.97 * first
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.state_dict().items())
