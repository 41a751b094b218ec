import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser

from tools.grafana_dashboard import dashboard_json

FILE = Path(__file__).parents[3] / "deploy" / "monitoring" / "dashboard.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_file_is_what_the_program_writes() -> None:
    assert FILE.read_text() == dashboard_json(), "run make dashboard"


def test_no_two_panels_have_the_same_id_or_place() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert one["x"] + one["w"] <= 24


def test_each_panel_says_what_it_shows_and_asks_the_chosen_data_source() -> None:
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_each_query_is_promql_and_uses_known_variables_only() -> None:
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    for panel in PANELS:
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables, panel["title"]
            promql_parser.parse(target["expr"].replace("$__rate_interval", "1m"))
