"""A decode graph without its sampler."""

from collections.abc import Iterable
from typing import Final

import onnx

from bench.bare import Session
from bench.options import Provider
from music.bundle import Bundle
from server.engine.onnx_runner import open_session

_LOGITS: Final = "logits_{}"
"""The name, inside a decode graph, of the logits of a step."""


def session_without_sampling(bundle: Bundle, name: str, *, provider: Provider, threads: int) -> Session:
    """The graph with the likeliest token in the drawn one's place; all that only the draw needs is removed.

    An ArgMax of the logits stays, which whoever wants any token needs. Without it no step would depend on the one
    before by its token: ONNX Runtime would look everything up for all steps first, and a shorter way through the caches
    would pass for the price of sampling.
    """
    model = onnx.load(bundle.file(name), load_external_data=False)
    without_sampling(model.graph)
    session: Session = open_session(bundle, name, provider=provider, threads=threads, changed=model.SerializeToString())
    return session


def without_sampling(graph: onnx.GraphProto) -> None:
    """Cut the sampler out of a decode graph, in place."""
    forced = _derived(graph, "forced")
    nodes: list[onnx.NodeProto] = []
    step = 0
    for node in graph.node:
        if node.op_type == "Where" and node.input[1] in forced:
            likeliest = f"likeliest_{step}"
            nodes.append(onnx.helper.make_node("ArgMax", [_LOGITS.format(step)], [likeliest], axis=1, keepdims=1))
            node.input[2] = likeliest
            step += 1
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    needed = _needed(graph)
    kept = [node for node in nodes if needed.intersection(node.output)]
    inputs = [value for value in graph.input if value.name in needed]
    del graph.node[:], graph.input[:]
    graph.node.extend(kept)
    graph.input.extend(inputs)


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
