from pathlib import Path

import pytest

from training.config import load_config, named_configs
from training.errors import ConfigurationError


@pytest.mark.parametrize("name", ["chorales", "origin", "smoke"])
def test_the_named_configurations_are_valid(name: str) -> None:
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
        ("network.voice_features", '["profile"]', "voice_features must contain 'sounding'"),
        ("network.voice_features", '["weather"]', "network.voice_features"),
        ("tokenizer.name", '"braille"', "unknown tokenizer 'braille'"),
        ("bundle.top_p", "0.0", "bundle.top_p"),
        ("bundle.closing_temperature", "0.0", "bundle.closing_temperature"),
        ("training.epochs", "three", "not TOML"),
        ("training.epochs.deep", "3", "names no table"),
    ],
)
def test_the_message_names_a_wrong_value(key: str, value: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_config("smoke", {key: value})


def test_only_a_network_that_sees_the_length_has_a_closing_temperature() -> None:
    changes = {"bundle.closing_temperature": "0.5", "network.length_input": "true"}
    assert load_config("smoke", changes).bundle.closing_temperature == 0.5
    with pytest.raises(ConfigurationError, match=r"closing_temperature must be 1 if network\.length_input is false"):
        load_config("smoke", changes | {"network.length_input": "false"})


def test_an_unknown_configuration_lists_the_known() -> None:
    with pytest.raises(ConfigurationError, match="chorales, folk, origin, piano, smoke"):
        load_config("symphony")


def test_old_names_of_values_are_still_read(tmp_path: Path) -> None:
    path = tmp_path / "old.toml"
    text = Path("training/configs/smoke.toml").read_text()
    path.write_text(text.replace("batch_size =", "lanes =").replace("meter_dropout =", "unknown_meter ="))
    assert load_config(str(path)) == load_config("smoke")
    old, new = (
        {"training.lanes": "7", "network.relative": "false"},
        {
            "training.batch_size": "7",
            "network.interval_output": "false",
        },
    )
    assert load_config("smoke", old) == load_config(str(path), new) == load_config("smoke", new)
    path.write_text(text.replace("batch_size = 4", "batch_size = 4\nlanes = 4"))
    with pytest.raises(ConfigurationError, match="batch_size is given twice: lanes is its old name"):
        load_config(str(path))
