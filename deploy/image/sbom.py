"""Writes the bill of materials of the image: Python packages, packages of the base image, models.

Runs in the build of the image, with cyclonedx-bom installed. The output is CycloneDX JSON, checked against its schema.

Usage: sbom.py PYTHON DPKG MODELS VERSION
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def debian_packages(folder: Path) -> Iterator[dict[str, Any]]:
    """The installed packages that a dpkg folder lists, in `status` or, in images without dpkg, in `status.d/`."""
    files = [folder / "status"] if (folder / "status").is_file() else sorted((folder / "status.d").glob("*"))
    for file in files:
        if file.suffix == ".md5sums":
            continue
        for entry in file.read_text(encoding="utf-8").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and line[0] != " ")
            if "Package" in fields and fields.get("Status", "install ok installed") == "install ok installed":
                name, version, architecture = (fields[key] for key in ("Package", "Version", "Architecture"))
                # https://github.com/package-url/purl-spec/blob/main/types-doc/deb-definition.md
                purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
                yield {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def model_bundles(folder: Path) -> Iterator[dict[str, Any]]:
    """The bundles below a folder. The digest of a bundle is the sha256 of its manifest."""
    for path in sorted(folder.rglob("manifest.json")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        yield {
            "type": "machine-learning-model",
            "name": json.loads(path.read_bytes())["name"],
            "version": digest,
            "hashes": [{"alg": "SHA-256", "content": digest}],
            "bom-ref": f"model:{path.parent.relative_to(folder)}",
        }


def main(python: str, dpkg: str, models: str, version: str) -> None:
    """Print the bill of materials.

    Raises:
        ValueError: it does not fit the schema of CycloneDX.
    """
    command = [Path(sys.executable).with_name("cyclonedx-py"), "environment", "--output-reproducible", python]
    bill = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)  # noqa: S603
    bill["metadata"]["component"] = {
        "type": "application",
        "name": "fantasia",
        "version": version,
        "licenses": [{"license": {"id": "MIT"}}],
        "bom-ref": "fantasia",
    }
    found = [*bill.get("components", []), *debian_packages(Path(dpkg)), *model_bundles(Path(models))]
    bill["components"] = sorted(found, key=lambda component: str(component["bom-ref"]))
    text = json.dumps(bill, indent=1)
    if error := JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(text):
        raise ValueError(f"not a valid bill of materials: {error}")
    print(text)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
