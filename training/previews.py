"""Previews: while a network trains, a sampled piece is written into the run's folder now and then.

A preview is made from a copy of the weights, with random numbers of its own. So it changes nothing in the training. If
it fails, the training goes on without previews.
"""

import io
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Final

import torch

from music.midi import write_midi
from music.score import TICKS_PER_QUARTER, Meter, Score
from music.tokenizers import Tokenizer
from report import replace_file
from training.bundle_writer import write_draft
from training.config import Config
from training.evaluation.sampling import defaults_of, new_piece, sample_pieces
from training.network.model import MusicLSTM

PREVIEWS: Final = "previews"
"""Folder of the previews in the folder of a run."""
INTERVAL_SECONDS: Final = 60.0
"""Shortest time between two previews, and between the start and the first one. A preview takes a few seconds."""
_BARS: Final = 8
_DOTS_PER_INCH: Final = 100


class Previews:
    """Writes `epoch-003.mid` and `epoch-003.png`: eight bars at the default sampling, always with the same seed."""

    def __init__(
        self,
        run: Path,
        config: Config,
        tokenizer: Tokenizer,
        *,
        report: Callable[[str], None],
        interval_seconds: float | None = None,
    ) -> None:
        """Start the interval before the first preview.

        Args:
            run: folder of the run.
            config: of the run.
            tokenizer: of the run.
            report: called with a line for each preview, and once if one fails.
            interval_seconds: `INTERVAL_SECONDS` by default.
        """
        self._folder = run / PREVIEWS
        self._config = config
        self._tokenizer = tokenizer
        self._report = report
        self._interval = INTERVAL_SECONDS if interval_seconds is None else interval_seconds
        self._due: float | None = time.monotonic() + self._interval
        """None after a failure."""

    def after_epoch(self, epoch: int, model: MusicLSTM) -> None:
        """Write a preview if one is due. It raises no error.

        Args:
            epoch: number of the epoch, from 1.
            model: on any device, in any mode; it is not changed.
        """
        if self._due is None or time.monotonic() < self._due:
            return
        try:
            path = self._write(epoch, model)
        except Exception as error:  # whatever it is, the training is worth more
            self._due = None
            self._report(f"no preview after epoch {epoch}, and none after later ones: {error or type(error).__name__}")
            return
        self._due = time.monotonic() + self._interval
        self._report(f"preview after epoch {epoch}: {path}")

    def _write(self, epoch: int, model: MusicLSTM) -> Path:
        """Write the files of a preview; the path of the MIDI file."""
        meter = self._tokenizer.positions.meters[0]
        ticks = min(_BARS * meter.bar_ticks, self._config.bundle.max_steps * self._tokenizer.step_ticks)
        self._folder.mkdir(parents=True, exist_ok=True)
        with (
            torch.random.fork_rng(devices=[]),
            tempfile.TemporaryDirectory(dir=self._folder, prefix=".draft-") as scratch,
        ):
            draft = write_draft(
                deepcopy(model).cpu().eval(),
                Path(scratch),
                name="preview",
                config=self._config,
                tokenizer=self._tokenizer,
            )
            prompt = new_piece(draft, meter, ticks)
            seed, threads = self._config.training.seed, torch.get_num_threads()
            (sample,) = sample_pieces(draft, [prompt], [defaults_of(draft)], seed=seed, threads=threads)
        path = self._folder / f"epoch-{epoch:03}.mid"
        replace_file(path, write_midi(sample.score))
        replace_file(path.with_suffix(".png"), _draw(sample.score, f"after epoch {epoch}"))
        return path


def _draw(score: Score, title: str) -> bytes:
    """The piano roll of a piece, as a PNG."""
    from fantasia_client import types
    from fantasia_client.piano_roll import draw_piano_roll

    meter = score.meter or Meter()
    figure = draw_piano_roll(
        [types.Note(note.onset, note.duration, note.pitch, note.velocity, note.voice) for note in score.notes],
        meter=types.Meter(meter.numerator, meter.denominator),
        ticks_per_quarter=TICKS_PER_QUARTER,
        title=title,
        length_ticks=score.length_ticks,
        pickup_ticks=score.pickup_ticks,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    return buffer.getvalue()
