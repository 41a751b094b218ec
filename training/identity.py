"""What decides the weights of a run: a checkpoint of something else is not resumed."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from music.tokenizers import Tokenizer
from training.batches import EncodedPiece
from training.config import Config

_VERSION: Final = 2
"""Of what an identity says and of how an epoch is laid out; a run of another version cannot go on as it began."""
_FREE: Final = {"calibrate", "epochs", "patience"}
"""What of `training` may change on the way: how long it goes on, and what comes after it."""

_NAMED: Final = 4
"""Values that are named at most."""

Identity = dict[str, Any]


def identity(
    config: Config, tokenizer: Tokenizer, train: Sequence[EncodedPiece], valid: Sequence[EncodedPiece]
) -> Identity:
    """What a run is made from, ready for a checkpoint."""
    pieces = hashlib.sha256()
    for piece in (*train, *valid):
        pieces.update(piece.tokens.tobytes())
        pieces.update(f"{piece.clock_start},{piece.unmetered_start}".encode())
    return {
        "version": _VERSION,
        "config": {
            "network": config.network.model_dump(mode="json"),
            "training": config.training.model_dump(mode="json", exclude=_FREE),
        },
        "tokenizer": tokenizer.hash,
        "pieces": pieces.hexdigest(),
    }


def difference(before: Any, now: Identity) -> str | None:
    """Why a run that began as `before` cannot go on as `now`, as a part of a sentence; None where it can."""
    if before == now:
        return None
    if not isinstance(before, dict) or before.get("version") != now["version"]:
        return "was begun by another version of Fantasia"
    changed = list(_changed(before["config"], now["config"]))
    if changed:
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        return f"was begun with another configuration ({', '.join(changed[:_NAMED])}{more})"
    if before["tokenizer"] != now["tokenizer"]:
        return "was begun with another corpus or tokenizer"
    return "was begun with another corpus"


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Each value that differs, by its name in the configuration."""
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changed(old, new, f"{path}{key}.")
        elif old != new:
            yield f"{path}{key} was {old}, is {new}"
