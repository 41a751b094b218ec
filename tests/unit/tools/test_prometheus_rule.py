import yaml

from tools import prometheus_rule


def test_the_object_has_the_rules() -> None:
    found = yaml.safe_load(prometheus_rule.prometheus_rule())

    assert found["kind"] == "PrometheusRule"
    assert found["spec"] == yaml.safe_load(prometheus_rule.RULES.read_text())
    assert len(found["spec"]["groups"]) >= 2


def test_the_file_is_up_to_date() -> None:
    written = prometheus_rule.OBJECT.read_text()

    assert written == prometheus_rule.prometheus_rule(), "run `python -m tools.prometheus_rule`"
