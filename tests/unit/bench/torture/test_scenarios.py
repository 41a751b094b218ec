from pathlib import Path

import pytest

from bench.options import BenchError
from bench.torture.attacks import ATTACKS
from bench.torture.scenarios import SCENARIOS, check_names, run_scenario, scenarios
from bench.torture.stopping import NAME, stop_under_load


@pytest.mark.torture
@pytest.mark.parametrize("name", ["full disk", "corrupted bundle", "rapid reset"])
def test_others_are_served_meanwhile(name: str, small_bundle: Path, tmp_path: Path) -> None:
    models = small_bundle.parent
    with scenarios(models, tmp_path, (name,)) as (wanted, _):
        (scenario,) = wanted
        found = run_scenario(scenario, models, seconds=1.0, settle_seconds=1.0)

    assert found.scenario == name
    assert found.calls
    assert found.faults == ()


@pytest.mark.torture
def test_a_signal_under_load_loses_nothing(small_bundle: Path) -> None:
    found = stop_under_load(small_bundle.parent)

    assert found.scenario == NAME
    assert found.faults == ()


def test_all_scenarios_are_there_and_names_are_checked(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    with scenarios(models, tmp_path, ()) as (found, skipped):
        names = [scenario.name for scenario in found]
    assert {attack.name for attack in ATTACKS} < set(names)
    assert set(names) == set(SCENARIOS) - ({"clock jumps"} if skipped else set())
    check_names((*SCENARIOS, NAME))
    with pytest.raises(BenchError, match="there is no scenario 'flod'"):
        check_names(("flod",))
