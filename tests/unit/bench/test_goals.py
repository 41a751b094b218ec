import pytest

from bench.goals import Goal, goals
from tests.unit.bench.records import full_record, record


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal("ratio", 0.95, 0.95), True),
        (Goal("ratio", 0.949, 0.95), False),
        (Goal("delay", 2.0, 2.0, minimum=False), True),
        (Goal("delay", 2.01, 2.0, minimum=False), False),
    ],
)
def test_a_goal_is_met_from_its_limit_on(goal: Goal, met: bool) -> None:
    assert goal.met is met
    assert goal.cells()[-1] == ("met" if met else "missed")


def test_what_was_not_measured_has_no_goal() -> None:
    assert [goal.name for goal in goals(record())] == ["engine / bare loop, width 64"]


def test_every_part_has_its_goals() -> None:
    found = {goal.name: goal.value for goal in goals(full_record())}

    assert found == {
        "engine / bare loop, width 64": pytest.approx(0.9),
        "service / fastest peer (a framework), 64 clients": pytest.approx(9.0),
        "int8 / float32, width 64": pytest.approx(3.5),
        "first token p99, idle": pytest.approx(8.0),
        "first token p99 at 80% load / idle": pytest.approx(2.5),
        "goodput at 300% load / capacity": pytest.approx(0.97),
        "rejection p99 at 300% load": pytest.approx(4.0),
        "first token of a short piece beside 63 long ones / idle": pytest.approx(1.75),
        "capacity beside 2 computing processes / alone, in fair shares": pytest.approx(0.9),
        "primer of 2,000 tokens: prefill / stepping": pytest.approx(12.0),
        "longest gap of concurrent pieces meanwhile, in runs": pytest.approx(1.25),
    }


def test_the_fastest_peer_is_the_one_that_counts() -> None:
    (goal,) = (goal for goal in goals(full_record(peer_ratio=2.0)) if "peer" in goal.name)

    assert goal.value == pytest.approx(2.0)
    assert not goal.met


def test_a_missed_goal_is_named() -> None:
    (cells,) = (goal.cells() for goal in goals(full_record(busy_p99=0.1)) if "at 80% load / idle" in goal.name)

    assert cells == ("first token p99 at 80% load / idle", "12.50", "at most 3", "missed")
