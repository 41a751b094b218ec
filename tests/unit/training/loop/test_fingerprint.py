from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from music.tokenizers import GridTokenizer
from training.config import load_config
from training.loop.fingerprint import Fingerprint, find_difference, make_fingerprint
from training.loop.tbptt import EncodedPiece

GRID = GridTokenizer(voices=2, lowest_pitch=48, highest_pitch=80)
OLD_KEYS = {
    "network": {"voice_features": "told", "interval_output": "relative"},
    "training": {"batch_size": "lanes", "ema_decay": "average", "meter_dropout": "unknown_meter"},
}


def fingerprint(**changes: str) -> Fingerprint:
    config = load_config("smoke", {f"training.{key}": value for key, value in changes.items()})
    piece = EncodedPiece("a", np.array([4, 5, GRID.end_token], np.int32), 0, 0)
    return make_fingerprint(config, GRID, [piece], [piece])


def with_old_keys(values: Fingerprint) -> dict[str, Any]:
    """The fingerprint as earlier versions wrote it."""
    old = deepcopy(values)
    for table, keys in OLD_KEYS.items():
        for new, name in keys.items():
            old["config"][table][name] = old["config"][table].pop(new)
    return old


def test_a_run_with_old_names_of_the_configuration_is_resumed() -> None:
    assert find_difference(with_old_keys(fingerprint()), fingerprint()) is None


def test_a_run_from_before_a_key_had_its_default() -> None:
    before = fingerprint()
    before["config"]["network"].pop("skip")
    before["config"]["training"].pop("length_dropout")
    before["config"]["training"].pop("schedule")
    assert find_difference(before, fingerprint()) is None
    before["config"]["network"].pop("length_input")
    difference = find_difference(before, fingerprint())
    assert difference == "was started with another configuration (network.length_input was False, is True)"


def test_a_difference_is_reported_by_the_current_name() -> None:
    difference = find_difference(with_old_keys(fingerprint()), fingerprint(batch_size="3"))
    assert difference == "was started with another configuration (training.batch_size was 4, is 3)"


@pytest.mark.parametrize("key", ["epochs", "patience", "calibrate"])
def test_values_that_do_not_decide_the_weights_may_change(key: str) -> None:
    value = "true" if key == "calibrate" else "9"
    assert find_difference(fingerprint(), fingerprint(**{key: value})) is None


def test_other_pieces_are_a_difference() -> None:
    other = fingerprint() | {"pieces": "0"}
    assert find_difference(other, fingerprint()) == "was started with another corpus"
