import os
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
import symusic
from click.testing import CliRunner
from music21 import chord, meter, note, stream, tie
from music21 import corpus as music21_corpus

from music.errors import InvalidScoreError
from music.midi import write_midi
from music.note_counts import NoteCounts
from music.score import Meter, Note, Score
from tests.unit.training.full_disk import full_disk
from training.__main__ import main
from training.corpus import prepare as prepare_module
from training.corpus.prepare import FileScores, prepare, split_by_piece
from training.corpus.reading_pool import ReadLimits
from training.corpus.sources import folder_sources
from training.corpus.store import CompactScore, Corpus, Split
from training.errors import CorpusError
from training.readers import CHORALE_PARTS, ReadOptions, read_file

pytestmark = pytest.mark.slow  # each test reads in processes

CHORALE = ReadOptions(parts=CHORALE_PARTS)
PIECE = Score((Note(0, 480, 72, 90, 0), Note(0, 960, 48, 70, 1), Note(480, 160, 74, 90, 0)), 960, tempo_bpm=90)

TUNES = """X:1
T:One
M:3/4
L:1/8
K:G
G2A2B2|c2d2e2|
X:2
T:Two
M:3/4
L:1/8
K:D
d2c2B2|A6|
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six readable files of three kinds, and two that are not."""
    (tmp_path / "deep").mkdir()
    for index in range(4):
        path = tmp_path / ("deep" if index % 2 else "") / f"piece{index}.mid"
        path.write_bytes(write_midi(PIECE.transposed(index)))
    (tmp_path / "tunes.abc").write_text(TUNES)
    (tmp_path / "shout.MID").write_bytes(write_midi(PIECE))
    (tmp_path / "broken.mid").write_bytes(b"MThd is all that is right here")
    (tmp_path / "empty.musicxml").write_text("")
    (tmp_path / "notes.txt").write_text("not looked at")
    return tmp_path


def test_a_folder_is_read_split_and_reported(folder: Path) -> None:
    corpus, report = prepare(
        folder_sources(folder).sources, None, description=None, limits=ReadLimits(2), progress=False
    )
    names = [piece.name for piece in corpus.pieces()]
    assert names == [
        "deep/piece1.mid", "deep/piece3.mid", "piece0.mid", "piece2.mid", "shout.MID", "tunes.abc#1", "tunes.abc#2",
    ]  # fmt: skip
    assert report.read == 6
    assert corpus.source.startswith("6 files, "), "files that could not be read do not count"
    assert set(report.skipped) == {"broken.mid", "empty.musicxml"}
    assert all(report.skipped.values())
    assert all(corpus.count(split) >= 1 for split in Split)


def test_midi_is_read_exactly_triplets_included(folder: Path) -> None:
    (reading,) = read_file(folder / "piece0.mid", "piece0.mid").readings
    assert reading.score.notes == PIECE.notes
    assert reading.score.tempo_bpm == pytest.approx(90, abs=0.01)
    assert reading.counts == NoteCounts(written=3, kept=3)


def test_abc_with_several_tunes_gives_several_scores(folder: Path) -> None:
    first, second = read_file(folder / "tunes.abc", "tunes").readings
    assert (first.name, second.name) == ("tunes#1", "tunes#2")
    assert first.score.meter == Meter(3, 4)
    assert [note.pitch for note in first.score.notes] == [67, 69, 71, 72, 74, 76]
    assert second.score.key_sharps == 2


def test_a_chorale_has_its_four_voices_meter_and_pickup() -> None:
    path = Path(music21_corpus.__file__).parent / "bach" / "bwv10.7.mxl"
    (reading,) = read_file(path, "bwv10.7.mxl", CHORALE).readings
    score = reading.score
    assert (score.voices, score.meter, score.pickup_ticks, score.key_sharps) == (4, Meter(4, 4), 0, -2)
    assert [max(n.pitch for n in score.notes if n.voice == voice) for voice in range(4)] == [77, 72, 67, 62]
    upbeat = read_file(path.with_name("bwv269.mxl"), "bwv269.mxl", CHORALE).readings[0].score
    assert (upbeat.meter, upbeat.pickup_ticks) == (Meter(3, 4), 480)


def test_a_split_depends_on_the_names_alone() -> None:
    names = [f"piece{index}" for index in range(40)]
    sides = split_by_piece({name: name for name in names})
    assert sides == split_by_piece({name: name for name in reversed(names)})
    assert [sum(side == split for side in sides.values()) for split in Split] == [32, 4, 4]
    tunes = split_by_piece({name: name for name in names} | {f"book#{index}": "book" for index in (1, 2, 3)})
    assert len({tunes[f"book#{index}"] for index in (1, 2, 3)}) == 1


def test_file_names_may_hold_anything(tmp_path: Path) -> None:
    for name in (b"Etude #1.mid", b"Etude #2.mid", b"caf\xe9.mid", "C\u266f minor.MID".encode()):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(write_midi(PIECE))  # noqa: PTH118
    corpus, report = prepare(
        folder_sources(tmp_path).sources, None, description="", limits=ReadLimits(1), progress=False
    )
    assert [piece.name for piece in corpus.pieces()] == [
        "C\u266f minor.MID", "Etude #1.mid", "Etude #2.mid", "caf\\xe9.mid",
    ]  # fmt: skip
    assert not report.skipped
    assert all(corpus.count(split) for split in Split)
    assert len({piece.score for piece in corpus.pieces()}) == 1, "a suffix in capitals is read alike"
    corpus.save(tmp_path / "corpus.npz")
    assert [piece.name for piece in Corpus.load(tmp_path / "corpus.npz").pieces()] == sorted(
        piece.name for piece in corpus.pieces()
    )


def test_a_file_that_claims_to_last_for_ever_is_skipped(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.mid").write_bytes(write_midi(PIECE))
    far = Score((Note(0, 480, 60), Note(2**27, 480, 60)), 2**27 + 480)
    (tmp_path / "far.mid").write_bytes(write_midi(far))
    corpus, report = prepare(
        folder_sources(tmp_path).sources, None, description="", limits=ReadLimits(1), progress=False
    )
    assert len(corpus) == 3
    assert report.skipped == {"far.mid": "lasts 69,906 bars of 4/4, more than the maximum of 10,000"}


def test_one_track_with_four_channels_is_four_voices(tmp_path: Path) -> None:
    file, track = mido.MidiFile(type=0), mido.MidiTrack()
    file.tracks.append(track)
    for on in (64, 0):
        for channel, pitch in enumerate((72, 67, 60, 48)):
            track.append(
                mido.Message("note_on", note=pitch, velocity=on, channel=channel, time=480 * (not on and not channel))
            )
    file.save(tmp_path / "type0.mid")
    (reading,) = read_file(tmp_path / "type0.mid", "type0.mid").readings
    assert [(note.voice, note.pitch, note.duration) for note in reading.score.notes] == [
        (0, 72, 480), (1, 67, 480), (2, 60, 480), (3, 48, 480),
    ]  # fmt: skip
    assert reading.score.meter is None, "the file states none"


@pytest.mark.parametrize("count", [1, 2])
def test_a_corpus_too_small_to_split_is_a_sentence(count: int) -> None:
    with pytest.raises(CorpusError, match=f"at least 3 readable files are needed, not {count}"):
        split_by_piece({f"piece{index}": f"piece{index}" for index in range(count)})


def test_nothing_to_read_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    broken = [source for source in folder_sources(folder).sources if source.name == "broken.mid"]
    with pytest.raises(CorpusError, match=r"none of 1 files could be read \(broken.mid: "):
        prepare(broken, None, description="", limits=ReadLimits(1), progress=False)


def test_ties_are_one_note_across_bars_and_inside_chords(tmp_path: Path) -> None:
    held, moving = note.Note("C4", quarterLength=2), note.Note("E4", quarterLength=2)
    held.tie = tie.Tie("start")
    first = chord.Chord([held, moving])
    last, other = note.Note("C4", quarterLength=1), note.Note("F4", quarterLength=1)
    last.tie = tie.Tie("stop")
    part = stream.Part([meter.TimeSignature("4/4"), note.Rest(quarterLength=2), first, chord.Chord([last, other])])
    long = note.Note("C5", quarterLength=7)  # over a bar line: written as two tied notes
    part.append(long)
    path = part.write("musicxml", tmp_path / "ties.musicxml")
    (reading,) = read_file(path, "ties").readings
    assert [(n.onset, n.duration, n.pitch) for n in reading.score.notes] == [
        (960, 1440, 60),
        (960, 960, 64),
        (1920, 480, 65),
        (2400, 3360, 72),
    ]


def test_drums_alone_are_no_music(tmp_path: Path) -> None:
    file: Any = symusic.Score(480)
    track: Any = symusic.Track(is_drum=True)
    track.notes.append(symusic.Note(0, 240, 38, 90))
    file.tracks.append(track)
    (tmp_path / "drums.mid").write_bytes(file.dumps_midi())
    with pytest.raises(InvalidScoreError, match="no pitched note"):
        read_file(tmp_path / "drums.mid", "drums.mid")


def melody(seed: int) -> Score:
    pitches = np.random.default_rng(seed).integers(48, 84, 64).tolist()
    return Score(tuple(Note(240 * index, 240, pitch) for index, pitch in enumerate(pitches)), 240 * 64)


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, ["prepare", *map(str, arguments), "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    return result.output


def test_copies_of_one_file_stay_on_one_side_of_the_split(tmp_path: Path) -> None:
    for index in range(10):
        (tmp_path / f"copy{index}.mid").write_bytes(write_midi(melody(0).transposed(index % 3)))
    for index in range(1, 6):
        (tmp_path / f"other{index}.mid").write_bytes(write_midi(melody(index)))
    (tmp_path / "twin1.mid").write_bytes(write_midi(melody(1)))
    output = run(tmp_path, "--out", tmp_path / "corpus.npz")
    assert "near-duplicates: 12 pieces in 2 groups, each group in one split" in output
    sides = {piece.name: piece.split for piece in Corpus.load(tmp_path / "corpus.npz").pieces()}
    assert len({side for name, side in sides.items() if name.startswith("copy")}) == 1
    assert sides["other1.mid"] == sides["twin1.mid"]
    assert set(sides.values()) == set(Split)


def test_copies_of_one_file_alone_are_split_like_one_piece(tmp_path: Path) -> None:
    for index in range(4):
        (tmp_path / f"copy{index}.mid").write_bytes(write_midi(melody(0)))
    output = run(tmp_path, "--out", tmp_path / "corpus.npz")
    assert "too few to split by piece" in output
    assert "near-duplicates: 4 pieces in 1 group, cut into sections, so in all splits\n" in output
    train, test = (
        {note.pitch for piece in Corpus.load(tmp_path / "corpus.npz").pieces(side) for note in piece.score.notes}
        for side in (Split.TRAIN, Split.TEST)
    )
    assert len(train) > len(test) > 0


def test_files_that_share_a_piece_stay_together_and_books_alone_are_split_by_piece() -> None:
    files = {"a#1": "a", "a#2": "a", "b#1": "b", "b#2": "b", "c": "c", "d": "d"}
    own = {piece: piece for piece in files}
    assert prepare_module._join(files, own) == files
    joined = prepare_module._join(files, own | {"b#2": "a#1", "d": "c"})
    assert joined == {"a#1": "a", "a#2": "a", "b#1": "a", "b#2": "a", "c": "c", "d": "c"}


def test_books_that_share_tunes_are_split_by_piece(tmp_path: Path) -> None:
    def tune(number: int, seed: int) -> str:
        letters = np.random.default_rng(seed).choice(list("CDEFGABcdefg"), 60)
        return (
            f"X:{number}\nM:4/4\nL:1/4\nK:C\n{'|'.join(''.join(letters[at : at + 4]) for at in range(0, 60, 4))}|\n\n"
        )

    for book in range(5):  # the first tune of each is in the next book too
        seeds = [book, (book + 1) % 5, *range(100 * book + 100, 100 * book + 110)]
        (tmp_path / f"book{book}.abc").write_text("".join(tune(number, seed) for number, seed in enumerate(seeds, 1)))
    output = run(tmp_path, "--out", tmp_path / "corpus.npz")
    assert "near-duplicates: 10 pieces in 5 groups" in output
    assert "near-duplicates join most files: split by piece" in output
    corpus = Corpus.load(tmp_path / "corpus.npz")
    assert [corpus.count(split) >= 4 for split in Split] == [True] * 3
    sides = {piece.name: piece.split for piece in corpus.pieces()}
    assert all(sides[f"book{book}.abc#2"] == sides[f"book{(book + 1) % 5}.abc#1"] for book in range(5))


def test_a_file_of_most_pieces_leaves_enough_to_train_on(tmp_path: Path) -> None:
    letters = [np.random.default_rng(seed).choice(list("CDEFGABcdefg"), 32) for seed in range(30)]
    book = (f"X:{number}\nM:4/4\nL:1/4\nK:C\n{''.join(tune)}|\n\n" for number, tune in enumerate(letters, 1))
    (tmp_path / "book.abc").write_text("".join(book))
    for index in range(2):
        (tmp_path / f"other{index}.mid").write_bytes(write_midi(melody(index)))
    output = run(tmp_path, "--out", tmp_path / "corpus.npz")
    assert "pieces: 26 train, 3 valid, 3 test\n" in output
    assert "one file holds most pieces: split by piece\n" in output


def test_copies_that_are_most_pieces_are_for_training(tmp_path: Path) -> None:
    for index in range(8):
        (tmp_path / f"copy{index}.mid").write_bytes(write_midi(melody(0)))
    for index in range(1, 3):
        (tmp_path / f"other{index}.mid").write_bytes(write_midi(melody(index)))
    output = run(tmp_path, "--out", tmp_path / "corpus.npz")
    assert "near-duplicates: 8 pieces in 1 group, each group in one split\n" in output
    assert "pieces: 8 train, 1 valid, 1 test\n" in output


def test_the_summary_names_what_was_ignored_and_adds_up(folder: Path, tmp_path: Path) -> None:
    (folder / "score.mscz").write_text("")
    (folder / ".hidden.mid").write_text("")
    output = run(folder, "--out", tmp_path / "out" / "corpus.npz")
    assert "ignored score.mscz: a MuseScore file; export it as MusicXML\n" in output
    assert "ignored notes.txt: not in a format that is read\n" in output
    assert "ignored .hidden.mid: hidden\n" in output
    assert "files: 6 read, 2 failed, 3 ignored\n" in output
    assert "notes: 25 written + 0 added by repeats = 25 kept + 0 left out\n" in output
    assert "add up" not in output


def test_of_many_files_the_summary_counts_each_kind_and_names_some(folder: Path, tmp_path: Path) -> None:
    for index in range(60):
        (folder / f"scan{index:02}.PDF").write_text("")
    output = run(folder, "--out", tmp_path / "out" / "corpus.npz")
    assert "ignored 60: .pdf: a picture, which holds no notes" in output
    assert "(scan00.PDF, scan01.PDF, scan02.PDF, ...)\n" in output
    assert "ignored 1: .txt: not in a format that is read (notes.txt)\n" in output


def test_reasons_that_differ_in_a_number_are_one_kind_and_a_file_has_every_name(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "corpus.npz"
    for index in range(50):
        (folder / f"cut{index:02}.mid").write_bytes(write_midi(PIECE)[: 30 + index])
    output = run(folder, "--out", out)
    kind = "truncated: the file breaks off at offset N, in track N"
    assert f"skipped 50: {kind} (cut00.mid, cut01.mid, cut02.mid, ...)\n" in output
    assert "skipped 1: the file is empty (empty.musicxml)\n" in output
    assert "files: 6 read, 52 failed, 1 ignored\n" in output
    names = out.with_suffix(".skipped.tsv")
    assert f"every name with its reason: {names}\n" in output
    rows = [row.split("\t") for row in names.read_text().splitlines()]
    assert [row[:2] for row in rows[:3]] == [
        ["ignored", "notes.txt"], ["skipped", "broken.mid"], ["skipped", "cut00.mid"],
    ]  # fmt: skip
    assert rows[2][2] == "truncated: the file breaks off at offset 30, in track 1"
    assert len(rows) == 53
    for index in range(50):
        (folder / f"cut{index:02}.mid").unlink()
    assert "every name" not in run(folder, "--out", out)
    assert not names.exists()


def test_reasons_of_many_kinds_do_not_flood_the_summary(folder: Path, tmp_path: Path) -> None:
    for index in range(70):
        (folder / f"tune{index:02}.abc").write_text(f"X:1\nK:{chr(0x100 + index)}\nCDEF|\n")
    output = run(folder, "--out", tmp_path / "out" / "corpus.npz")
    assert "skipped 22: for 22 other reasons\n" in output
    assert len([line for line in output.splitlines() if line.startswith("skipped")]) == 51


def test_counts_that_do_not_add_up_are_said_aloud(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def miscount(sources: Any, read: Any, limits: Any) -> Any:
        for index, source in enumerate(sources):
            yield source, FileScores([(source.name, CompactScore.of(PIECE), NoteCounts(written=3 + index % 2, kept=3))])

    monkeypatch.setattr(prepare_module, "read_in_processes", miscount)
    output = run(folder, "--out", tmp_path / "out" / "corpus.npz")
    assert "warning: the note counts of deep/piece1.mid, " in output


def test_output_is_checked_before_the_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "read_in_processes", None)  # or the test would end here
    before = (folder / "piece0.mid").read_bytes()
    (folder / "file").write_text("in the way")
    for out, message in (
        (folder / "piece0.mid", "is one of the files to read"),
        (folder / "file" / "corpus.npz", "cannot write"),
        (Path("/proc/corpus.npz"), "cannot write"),
    ):
        result = CliRunner().invoke(main, ["prepare", str(folder), "--out", str(out)])
        assert (result.exit_code, message in result.output) == (1, True), result.output
    assert (folder / "piece0.mid").read_bytes() == before
    with full_disk(100):
        result = CliRunner().invoke(main, ["prepare", str(folder), "--out", str(folder / "x.npz")])
    assert (result.exit_code, "File too large" in result.output) == (1, True), result.output
    result = CliRunner().invoke(main, ["prepare", "chorales", "--no-repeats", "--out", str(folder / "x.npz")])
    assert (result.exit_code, "--no-repeats is for a folder" in result.output) == (2, True), result.output


def test_no_repeats_reaches_the_readers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def record(sources: Any, read: Any, limits: Any) -> Any:
        for source in sources:
            asked.append(source.options.play_repeats)
            yield source, FileScores([(source.name, CompactScore.of(PIECE), NoteCounts(written=3, kept=3))])

    monkeypatch.setattr(prepare_module, "read_in_processes", record)
    run(folder, "--out", tmp_path / "out" / "a.npz")
    assert asked
    assert all(asked)
    asked.clear()
    run(folder, "--no-repeats", "--out", tmp_path / "out" / "b.npz")
    assert asked
    assert not any(asked)
