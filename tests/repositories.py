"""Model repositories for tests: versions of one small bundle that differ in their description only."""

import json
import shutil
from pathlib import Path


def add_version(repository: Path, source: Path, name: str, version: int | str, text: str = "") -> Path:
    """Copy a bundle into `repository/name/version`, with a name and a description of its own; its folder.

    The folder appears with all its files at once.
    """
    return copy_bundle(source, repository / name / str(version), name, text or f"Version {version}.")


def copy_bundle(source: Path, target: Path, name: str, text: str = "") -> Path:
    """Copy a bundle, with a name and a description of its own. The folder appears with all its files at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    copy = target.parent / f".{target.name}.copy"
    shutil.copytree(source, copy)
    document = json.loads((copy / "manifest.json").read_text())
    document |= {"name": name, "description": text or document["description"]}
    (copy / "manifest.json").write_text(json.dumps(document))
    copy.rename(target)
    return target


def break_weights(bundle: Path) -> None:
    """Flip one byte of the weights."""
    data = bytearray((bundle / "weights.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "weights.bin").write_bytes(data)


def break_tokenizer(bundle: Path) -> None:
    """State the hash of another tokenizer."""
    document = json.loads((bundle / "manifest.json").read_text())
    document["tokenizer"]["hash"] = "0" * 64
    (bundle / "manifest.json").write_text(json.dumps(document))
