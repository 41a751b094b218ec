"""Write the Python stubs of the contract: `python proto/generate.py [OUT]`, which `make proto` calls.

OUT is the folder that holds `fantasia/`; without it, the one that this file lies in.
"""

import sys
import sysconfig
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent


def generate(out: Path) -> int:
    """Write the stubs of every `.proto` file below `out`, and return protoc's exit code."""
    scripts = Path(sysconfig.get_path("scripts"))
    plugins = [f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python")]
    # The plugins are told to be quiet: else they list what they write on stderr.
    outputs += [f"--{kind}_out=quiet:{out}" for kind in ("mypy", "mypy_grpc")]
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    return int(protoc.main(["protoc", f"--proto_path={PROTO}", *plugins, *outputs, *sources]))


if __name__ == "__main__":
    sys.exit(generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTO))
