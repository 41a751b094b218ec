import pytest

from bench.goals import Goal, verdicts
from bench.table import as_text
from tests.unit.bench.reports import full_report, report


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal(0.95, least=True), 0.95, True),
        (Goal(0.95, least=True), 0.949, False),
        (Goal(2.0, least=False), 2.0, True),
        (Goal(2.0, least=False), 2.01, False),
    ],
)
def test_a_goal_is_met_from_its_limit_on(goal: Goal, value: float, met: bool) -> None:
    assert goal.met(value) is met
    assert goal.cell(value).endswith("met" if met else "missed")


def test_what_was_not_measured_has_no_verdict() -> None:
    assert [verdict.what for verdict in verdicts(report())] == ["engine / bare loop, width 64"]


def test_every_part_has_its_verdicts() -> None:
    found = {verdict.what: verdict.value for verdict in verdicts(full_report())}

    assert found == {
        "engine / bare loop, width 64": pytest.approx(0.9),
        "service / the best of what others offer (a framework), 64 clients": pytest.approx(9.0),
        "int8 / float32, width 64": pytest.approx(3.5),
        "sampling in a step, int8, width 64": pytest.approx(5.0),
        "first note p99, idle": pytest.approx(8.0),
        "first note p99 at 80% load / idle": pytest.approx(2.5),
        "goodput at 300% load / capacity": pytest.approx(0.97),
        "rejection p99 at 300% load": pytest.approx(4.0),
        "first note of a short piece behind 63 of the greatest length / idle": pytest.approx(1.75),
        "memory gained in the second half of 3,000 tokens": pytest.approx(100 / 201),
        "a primer of 2,000 tokens at once / stepping": pytest.approx(12.0),
        "longest gap in others' streams while it comes in, in runs": pytest.approx(1.25),
    }


def test_the_best_peer_is_the_one_that_counts() -> None:
    (verdict,) = (verdict for verdict in verdicts(full_report(peer_ratio=2.0)) if "others offer" in verdict.what)

    assert verdict.value == pytest.approx(2.0)
    assert not verdict.goal.met(verdict.value)


def test_the_table_says_which_goals_are_missed() -> None:
    lines = as_text(full_report(busy_p99=0.1)).splitlines()
    goals = {line.split("  ")[-1].strip() for line in lines if "first note p99 at 80% load / idle" in line}

    assert goals == {"missed"}
    assert any("3 missed (x idle)" in line for line in lines)
