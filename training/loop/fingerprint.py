"""The fingerprint of a run: everything that decides its weights. A checkpoint with another one is not resumed."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from music.tokenizers import Tokenizer
from training.config import Config, NetworkConfig, TrainingConfig
from training.loop.tbptt import EncodedPiece

_VERSION: Final = 2
"""Version of the fingerprint and of the layout of an epoch. A run of another version cannot be resumed."""
_FREE: Final = {"calibrate", "epochs", "patience"}
"""Values of `training` that may change when a run is resumed: its length, and what comes after it."""
_MAX_NAMED: Final = 4
"""Most differences that a message names."""

Fingerprint = dict[str, Any]


def make_fingerprint(
    config: Config,
    tokenizer: Tokenizer,
    train: Sequence[EncodedPiece],
    valid: Sequence[EncodedPiece],
    started_from: str | None = None,
) -> Fingerprint:
    """The fingerprint of a run, as it is stored in a checkpoint.

    Args:
        config: of the run.
        tokenizer: of the run.
        train: training pieces.
        valid: validation pieces.
        started_from: digest of the model whose weights the run starts from; None for random weights.
    """
    pieces = hashlib.sha256()
    for piece in (*train, *valid):
        pieces.update(piece.tokens.tobytes())
        pieces.update(f"{piece.first_position},{piece.unmetered_first_position}".encode())
    return {
        "version": _VERSION,
        "config": {
            "network": config.network.model_dump(mode="json"),
            "training": config.training.model_dump(mode="json", exclude=_FREE),
        },
        "tokenizer": tokenizer.hash,
        "pieces": pieces.hexdigest(),
    } | ({} if started_from is None else {"started_from": started_from})


def find_difference(before: Any, now: Fingerprint) -> str | None:
    """Why a run cannot be resumed, as a part of a sentence. None if it can.

    Args:
        before: fingerprint in the checkpoint.
        now: fingerprint of the run that would resume it.
    """
    if before == now:
        return None
    if not isinstance(before, dict) or before.get("version") != now["version"]:
        return "was started by another version of Fantasia"
    start, other = before.get("started_from"), now.get("started_from")
    if start != other:
        return f"was started from {_named(start)}, not from {_named(other)}"
    # An older run had no values of newer keys, and behaved like their defaults.
    config = {
        "network": _defaults(NetworkConfig) | NetworkConfig.current_keys(before["config"]["network"]),
        "training": _defaults(TrainingConfig, *_FREE) | TrainingConfig.current_keys(before["config"]["training"]),
    }
    changed = list(_changed(config, now["config"]))
    if changed:
        more = f" and {len(changed) - _MAX_NAMED} more" if len(changed) > _MAX_NAMED else ""
        return f"was started with another configuration ({', '.join(changed[:_MAX_NAMED])}{more})"
    if before["tokenizer"] != now["tokenizer"]:
        return "was started with another corpus or tokenizer"
    if before["pieces"] != now["pieces"]:
        return "was started with another corpus"
    return None


def _named(digest: str | None) -> str:
    return "random weights" if digest is None else f"the model with digest {digest[:12]}"


def _defaults(table: type[BaseModel], *left_out: str) -> dict[str, Any]:
    """The defaults of a table as JSON has them."""
    fields = {name: field for name, field in table.model_fields.items() if name not in left_out}
    defaults = {name: field.default for name, field in fields.items() if not field.is_required()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Each value that differs, by its name in the configuration."""
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changed(old, new, f"{path}{key}.")
        elif old != new:
            yield f"{path}{key} was {old}, is {new}"
