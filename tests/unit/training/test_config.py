from pathlib import Path

import pytest

from training.config import load_config, named_configs
from training.errors import ConfigurationError


@pytest.mark.parametrize("name", ["chorales", "origin", "smoke"])
def test_the_named_configurations_are_whole(name: str) -> None:
    assert name in named_configs()
    assert load_config(name).training.epochs > 0


def test_an_override_changes_one_value() -> None:
    config = load_config("smoke", {"training.epochs": "9", "training.transpose": "[-1, 1]", "bundle.tempo_bpm": "60.5"})
    assert (config.training.epochs, config.training.transpose, config.bundle.tempo_bpm) == (9, (-1, 1), 60.5)
    assert config.network == load_config("smoke").network


def test_a_file_is_a_configuration_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((Path("training/configs/smoke.toml")).read_text().replace("hidden = 32", "hidden = 48"))
    assert load_config(str(path)).network.hidden == 48


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training.epochs", "0", "training.epochs"),
        ("training.learning_rate", "nan", "training.learning_rate"),
        ("training.transpose", "[1, 2]", "transpose must be"),
        ("network.hidden", '"wide"', "network.hidden"),
        ("network.colour", "1", "network.colour"),
        ("network.told", '["profile"]', "told must name 'sounding'"),
        ("network.told", '["weather"]', "network.told"),
        ("tokenizer.name", '"braille"', "unknown tokenizer 'braille'"),
        ("bundle.top_p", "0.0", "bundle.top_p"),
        ("training.epochs", "three", "not TOML"),
        ("training.epochs.deep", "3", "names no table"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_config("smoke", {key: value})


def test_an_unknown_configuration_lists_the_known() -> None:
    with pytest.raises(ConfigurationError, match="chorales, folk, origin, piano, smoke"):
        load_config("symphony")
