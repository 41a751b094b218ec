"""Unit tests mirror the source tree. CONTRIBUTING.md states the rule; this file holds the repository to it."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

# folder of tests: folder of the sources that they mirror
MIRRORS = {
    Path("tests/unit"): Path(),
    Path("clients/python/tests"): Path("clients/python/src/fantasia_client"),
}
SOURCE_FOLDERS = (
    "bench", "clients/python/src", "docs/site", "music", "report", "research", "runtime", "server", "tools",
    "training",
)  # fmt: skip

# A module of at least this many lines has a test file of its own, or its package has one.
LONG_LINES = 150

# Test files that mirror no source module, and why.
STRAY_TESTS: dict[str, str] = {}

# Long modules without a test file of their own, and the tests that cover them.
COVERED_BY: dict[str, str] = {
    "bench/http2_peer.py": "tests/integration/test_service_flood.py",
    "bench/fuzz/target.py": "tests/unit/bench/fuzz/test_main.py",
    "clients/python/src/fantasia_client/async_client.py": "clients/python/tests/test_client.py",
    "clients/python/src/fantasia_client/model_info.py": "clients/python/tests/test_messages.py",
    "music/manifest.py": "tests/unit/music/test_bundle.py",
    "research/reproduction/network.py": "tests/unit/research/reproduction/test_experiment.py",
    "runtime/runner.py": "tests/unit/runtime/test_host_runner.py",
    "server/app.py": "tests/integration/test_service_lifecycle.py",
    "server/engine/run_loop.py": "tests/unit/server/engine/test_engine.py",
    "server/errors.py": "tests/unit/server/rpc/test_status.py",
    "server/repository/repository.py": "tests/integration/test_model_repository.py",
    "server/rpc/service.py": "tests/integration/test_service_generate.py",
    "server/rpc/server.py": "tests/integration/test_service_start.py",
    "training/commands/prepare.py": "tests/unit/training/corpus/test_prepare.py",
    "training/bundle_writer.py": "tests/unit/training/test_export.py",
    "training/preflight.py": "tests/unit/training/commands/test_pipeline.py",
    "training/graph_structure.py": "tests/unit/training/test_drawing.py",
    "training/graphs/decode.py": "tests/unit/training/test_export.py",
    "training/graphs/from_bundle.py": "tests/unit/training/test_export.py",
    "training/graphs/voices.py": "tests/unit/training/test_export.py",
    "training/graphs/weights.py": "tests/unit/training/test_export.py",
    "training/network/model.py": "tests/unit/training/test_export.py",
    "training/network/note_layers.py": "tests/unit/training/graphs/test_notes.py",
    "training/readers/performance.py": "tests/unit/training/readers/test_midi.py",
}


def unit_tests() -> list[Path]:
    """Every test file below a mirrored folder. Files directly in `tests/unit` are about the repository itself."""
    return sorted(
        path.relative_to(REPOSITORY)
        for folder in MIRRORS
        for path in (REPOSITORY / folder).rglob("test_*.py")
        if path.parent != REPOSITORY / "tests/unit"
    )


def source_of(test: Path) -> Path | None:
    """The module or package that a test file names: the longest one whose name begins the test's.

    `test_engine.py` and `test_engine_cancel.py` test `engine.py` or the package `engine`; `test_main.py` tests
    `__main__.py`.
    """
    tests, sources = next((tests, sources) for tests, sources in MIRRORS.items() if tests in test.parents)
    words = test.stem.removeprefix("test_").split("_")
    for count in range(len(words), 0, -1):
        name = "_".join(words[:count])
        module = sources / test.parent.relative_to(tests) / ("__main__" if name == "main" else name)
        for path in (module.with_suffix(".py"), module / "__init__.py"):
            if (REPOSITORY / path).is_file():
                return path
    return None


def is_long(module: Path) -> bool:
    return len((REPOSITORY / module).read_text(encoding="utf-8").splitlines()) >= LONG_LINES


def long_modules() -> set[Path]:
    paths = [path for folder in SOURCE_FOLDERS for path in (REPOSITORY / folder).rglob("*.py")]
    return {path.relative_to(REPOSITORY) for path in paths if is_long(path)}


def test_every_test_file_mirrors_a_source_module() -> None:
    strays = {str(test) for test in unit_tests() if source_of(test) is None}
    assert strays - set(STRAY_TESTS) == set(), "rename them after the module that they test, or give a reason"
    assert set(STRAY_TESTS) - strays == set(), "these are no exceptions any more"


def test_every_long_module_has_a_test_file() -> None:
    tested = {source_of(test) for test in unit_tests()}
    untested = {
        str(module) for module in long_modules() if module not in tested and module.parent / "__init__.py" not in tested
    }
    assert untested - set(COVERED_BY) == set(), "write a test file for them, or say which test covers them"
    assert set(COVERED_BY) - untested == set(), "these are no exceptions any more"


def test_what_covers_an_exception_exists() -> None:
    assert {test for test in COVERED_BY.values() if not (REPOSITORY / test).is_file()} == set()
