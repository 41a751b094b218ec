"""A decode graph without its sampler."""

from collections.abc import Iterable
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Final

import onnx

from bench.bare import Session
from bench.options import Provider
from music.bundle import Bundle
from server.engine.onnx_runner import open_session

_LOGITS: Final = "logits_{}"
"""The name, inside a decode graph, of the logits of a step."""


def session_without_sampling(bundle: Bundle, name: str, *, provider: Provider, threads: int) -> Session:
    """The graph with the forced token taken wherever it would choose between that and a drawn one.

    All that only the draw needs is removed. The logits of each step become outputs: nothing else uses them then, and to
    compute them is no part of sampling.
    """
    model = onnx.load(bundle.file(name), load_external_data=False)
    without_sampling(model.graph)
    with TemporaryDirectory() as folder:
        for file in bundle.manifest.files:
            if not file.endswith(".onnx"):
                copyfile(bundle.file(file), Path(folder) / file)
        (Path(folder) / name).write_bytes(model.SerializeToString())
        cut = Bundle(Path(folder), bundle.manifest, bundle.digest, bundle.tokenizer)
        session: Session = open_session(cut, name, provider=provider, threads=threads)
        return session


def without_sampling(graph: onnx.GraphProto) -> None:
    """Cut the sampler out of a decode graph, in place."""
    makers = {output: node for node in graph.node for output in node.output}
    forced = _derived(graph, "forced")
    for node in graph.node:
        if node.op_type == "Where" and node.input[1] in forced and makers[node.input[0]].op_type == "GreaterOrEqual":
            node.input[2] = node.input[1]
    rows = ("batch", _width(graph, "allowed"))
    steps = range(_width(graph, "forced"))
    logits = [onnx.helper.make_tensor_value_info(_LOGITS.format(step), onnx.TensorProto.FLOAT, rows) for step in steps]
    graph.output.extend(logits)
    needed = _needed(graph)
    kept = [node for node in graph.node if needed.intersection(node.output)]
    inputs = [value for value in graph.input if value.name in needed]
    del graph.node[:], graph.input[:]
    graph.node.extend(kept)
    graph.input.extend(inputs)


def _width(graph: onnx.GraphProto, name: str) -> int:
    """How many columns an input has."""
    (value,) = (value for value in graph.input if value.name == name)
    return int(value.type.tensor_type.shape.dim[1].dim_value)


def _derived(graph: onnx.GraphProto, name: str) -> set[str]:
    """The input itself, or what it is split into."""
    split = (node.output for node in graph.node if node.op_type == "Split" and node.input[0] == name)
    return {name, *(output for outputs in split for output in outputs)}


def _needed(graph: onnx.GraphProto) -> set[str]:
    """Every value that an output depends on."""
    makers = {output: node for node in graph.node for output in node.output}
    needed: set[str] = set()
    waiting: list[str] = [value.name for value in graph.output]
    while waiting:
        value = waiting.pop()
        if value in needed:
            continue
        needed.add(value)
        if value in makers:
            waiting.extend(_inputs(makers[value].input))
    return needed


def _inputs(names: Iterable[str]) -> list[str]:
    return [name for name in names if name]
