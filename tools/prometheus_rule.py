"""Writes the rules of deploy/monitoring as an object of the Prometheus Operator, for kustomize.

Kustomize cannot put a file into an object. The chart can: it reads the rules themselves.
Usage: `python -m tools.prometheus_rule`
"""

import textwrap
from pathlib import Path
from typing import Final

from fantasia import __version__

DEPLOY: Final = Path(__file__).resolve().parents[1] / "deploy"
RULES: Final = DEPLOY / "monitoring" / "rules.yaml"
OBJECT: Final = DEPLOY / "components" / "monitoring" / "prometheus-rule.yaml"
_HEAD: Final = f"""\
# Generated from deploy/monitoring/rules.yaml: `python -m tools.prometheus_rule` writes it.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fantasia
  labels:
    app.kubernetes.io/name: fantasia
    app.kubernetes.io/instance: fantasia
    app.kubernetes.io/version: {__version__}
spec:
"""


def prometheus_rule() -> str:
    """The object, as YAML."""
    groups = RULES.read_text(encoding="utf-8")
    return _HEAD + textwrap.indent(groups[groups.index("\ngroups:") + 1 :], "  ")


def main() -> None:
    """Write the file anew."""
    OBJECT.write_text(prometheus_rule(), encoding="utf-8")


if __name__ == "__main__":
    main()
