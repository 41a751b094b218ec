from pathlib import Path

import pytest

from music.bundle import Bundle, load_bundle
from runtime import precision
from runtime.errors import PrecisionUnavailableError
from runtime.precision import choose_precision, has_fast_int8, int8_instructions

VNNI = "processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni\n\nprocessor\t: 1\nflags\t\t: fpu\n"
HASWELL = "processor\t: 0\nflags\t\t: fpu sse2 avx2\n"
OLD = "processor\t: 0\nflags\t\t: fpu sse2 avx\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd crc32 asimddp\n"


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        ("x86_64", VNNI, ("avx2", "avx512_vnni")),
        ("AMD64", VNNI.replace("avx512_vnni", "avx_vnni"), ("avx2", "avx_vnni")),
        ("x86_64", HASWELL, ("avx2",)),
        ("x86_64", OLD, ()),
        ("x86_64", "", ()),
        ("aarch64", ARM, ("asimddp",)),
        ("aarch64", ARM.replace(" asimddp", ""), ()),
        ("riscv64", VNNI, ()),
    ],
)
def test_int8_instructions_come_from_the_cpu_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, text: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    (tmp_path / "cpuinfo").write_text(text)
    assert int8_instructions(tmp_path / "cpuinfo") == expected
    assert has_fast_int8(tmp_path / "cpuinfo") is bool(expected)


def test_unknown_systems_have_no_fast_int8_except_apple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert not has_fast_int8(tmp_path / "nothing")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert has_fast_int8(tmp_path / "nothing")


@pytest.fixture
def bundle(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def without_int8(bundle: Bundle) -> Bundle:
    graphs = bundle.manifest.graphs.model_copy(update={"decode_int8": {}})
    manifest = bundle.manifest.model_copy(update={"graphs": graphs})
    return Bundle(bundle.path, manifest, bundle.digest, bundle.tokenizer)


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_int8_if_bundle_and_cpu_support_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(precision, "has_fast_int8", lambda: fast)
    assert choose_precision(bundle, "auto", cpu=True) == ("int8" if fast else "float32")
    assert choose_precision(bundle, "auto", cpu=False) == "float32"
    assert choose_precision(without_int8(bundle), "auto", cpu=True) == "float32"
    assert choose_precision(bundle, "float32", cpu=True) == "float32"


def test_int8_is_refused_without_support(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_fast_int8", lambda: True)
    assert choose_precision(bundle, "int8", cpu=True) == "int8"
    with pytest.raises(PrecisionUnavailableError, match="bundle small has no int8 graphs"):
        choose_precision(without_int8(bundle), "int8", cpu=True)
    with pytest.raises(PrecisionUnavailableError, match="int8 runs on CPUs alone"):
        choose_precision(bundle, "int8", cpu=False)
    monkeypatch.setattr(precision, "has_fast_int8", lambda: False)
    assert choose_precision(bundle, "int8", cpu=True) == "int8"  # slow there, and exact all the same
