"""Generates the Python stubs of the contract: `python proto/generate.py [OUT]`; `make proto` calls it.

OUT is the folder for `fantasia/`, by default the folder of this file.
"""

import sys
import sysconfig
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent


def generate(out: Path) -> int:
    """Write the stubs of all `.proto` files below `out` and return the exit code of protoc."""
    scripts = Path(sysconfig.get_path("scripts"))
    plugins = [f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python")]
    # Without `quiet`, the plugins list their files on stderr.
    outputs += [f"--{kind}_out=quiet:{out}" for kind in ("mypy", "mypy_grpc")]
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    return int(protoc.main(["protoc", f"--proto_path={PROTO}", *plugins, *outputs, *sources]))


if __name__ == "__main__":
    sys.exit(generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTO))
