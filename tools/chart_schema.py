"""Writes the settings of the server into the schema of the chart's values.

Usage: `python -m tools.chart_schema`
"""

import json
from pathlib import Path
from typing import Any, Final

from server.settings import Settings

SCHEMA: Final = Path(__file__).resolve().parents[1] / "deploy" / "chart" / "values.schema.json"
# The chart sets these: ports and paths in the container, and what has a section of its own in the values.
ELSEWHERE: Final = frozenset(
    {
        "callers_file",
        "health_host",
        "health_port",
        "host",
        "metrics_port",
        "models",
        "port",
        "resume_key_file",
        "tls_certificate_file",
        "tls_client_ca_file",
        "tls_key_file",
    }
)
_KEYS: Final = ("type", "minimum", "maximum", "enum", "description")


def settings_schema() -> dict[str, Any]:
    """The JSON schema of the settings that the values may name."""
    properties = Settings.model_json_schema()["properties"]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {key: field[key] for key in _KEYS if key in field}
            for name, field in properties.items()
            if name not in ELSEWHERE
        },
    }


def main() -> None:
    """Write the file anew."""
    schema = json.loads(SCHEMA.read_text())
    schema["properties"]["settings"] = settings_schema()
    SCHEMA.write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main()
