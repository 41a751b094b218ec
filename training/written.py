"""Pieces that a trained network wrote, for another to learn from."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from music.tokenizers import Tokenizer
from server.engine.request import SamplingParams
from training.batches import EncodedPiece
from training.checkpoint import unwritable
from training.config import Config
from training.corpus import Corpus, Split
from training.errors import CheckpointError
from training.export import export
from training.files import replace_file
from training.judge.pieces import hear
from training.judge.sampling import Sampler, prompts_like

WRITTEN: Final = "written.npz"
"""File in the folder of the run whose network wrote them."""
_BUNDLE: Final = "writer"


def written_pieces(
    run: Path, count: int, *, config: Config, tokenizer: Tokenizer, corpus: Corpus, threads: int = 0
) -> list[EncodedPiece]:
    """`count` pieces of the best network of `run`, as long as the training pieces in turn, or those written before.

    They are drawn from the network's own distribution, nothing cut off: what it holds likely, as often as it holds it
    so. The engine that serves bundles draws them.

    Raises:
        CheckpointError: the run has no checkpoint, or the pieces cannot be kept.
        ExportError: the run's graphs do not agree with PyTorch.
    """
    path = run / WRITTEN
    if not path.exists():
        _save(path, _write(run, count, config=config, tokenizer=tokenizer, corpus=corpus, threads=threads))
    pieces = _load(path)
    if len(pieces) != count:
        raise CheckpointError(f"{path} holds {len(pieces)} pieces, not {count}; remove it to have them written anew")
    return pieces


def _write(
    run: Path, count: int, *, config: Config, tokenizer: Tokenizer, corpus: Corpus, threads: int
) -> list[EncodedPiece]:
    heard = hear(corpus, Split.TRAIN, tokenizer)
    with tempfile.TemporaryDirectory(dir=run, prefix=".writer-") as scratch:
        bundle = export(
            run,
            Path(scratch) / _BUNDLE,
            name=_BUNDLE,
            config=config,
            tokenizer=tokenizer,
            check=[
                EncodedPiece(piece.name, piece.encoding.tokens, piece.encoding.clock_start, 0) for piece in heard[:1]
            ],
            measure=lambda bundle: {},
            provenance={},
        )
        samples = Sampler(bundle, threads=threads).sample(
            prompts_like(tokenizer, heard, count), [SamplingParams()] * count, seed=config.training.seed
        )
    return [
        EncodedPiece(
            f"written {index}",
            np.append(sample.tokens, tokenizer.end_token).astype(np.int32),
            heard[index % len(heard)].encoding.clock_start,
            heard[index % len(heard)].encoding.unmetered_start,
        )
        for index, sample in enumerate(samples)
    ]


def _save(path: Path, pieces: Sequence[EncodedPiece]) -> None:
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        tokens=np.concatenate([piece.tokens for piece in pieces]),
        lengths=[len(piece.tokens) for piece in pieces],
        clock_starts=[piece.clock_start for piece in pieces],
        unmetered_starts=[piece.unmetered_start for piece in pieces],
    )
    try:
        replace_file(path, packed.getvalue())
    except OSError as error:
        raise unwritable(path, error) from error


def _load(path: Path) -> list[EncodedPiece]:
    try:
        with np.load(path) as arrays:
            tokens = np.split(arrays["tokens"], np.cumsum(arrays["lengths"])[:-1])
            starts = zip(arrays["clock_starts"].tolist(), arrays["unmetered_starts"].tolist(), strict=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it to have its pieces written anew") from error
    return [
        EncodedPiece(f"written {index}", line, *start)
        for index, (line, start) in enumerate(zip(tokens, starts, strict=True))
    ]
