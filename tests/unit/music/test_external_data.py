from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from music.external_data import external_files


def tensor(location: str) -> TensorProto:
    stored = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in (("offset", "0"), ("location", location), ("length", "8")):
        stored.external_data.add(key=key, value=value)
    return stored


def model(*nodes: NodeProto, graph: GraphProto | None = None) -> bytes:
    graph = GraphProto() if graph is None else graph
    graph.node.extend(nodes)
    return ModelProto(graph=graph).SerializeToString()


def node(**attribute: Any) -> NodeProto:
    return NodeProto(op_type="Constant", attribute=[AttributeProto(name="value", **attribute)])


@pytest.mark.parametrize(
    "data",
    [
        model(graph=GraphProto(initializer=[tensor("w.bin")])),
        model(graph=GraphProto(sparse_initializer=[SparseTensorProto(values=tensor("w.bin"))])),
        model(graph=GraphProto(sparse_initializer=[SparseTensorProto(indices=tensor("w.bin"))])),
        model(node(t=tensor("w.bin"))),
        model(node(tensors=[tensor("w.bin")])),
        model(node(sparse_tensor=SparseTensorProto(values=tensor("w.bin")))),
        model(node(sparse_tensors=[SparseTensorProto(values=tensor("w.bin"))])),
        model(node(g=GraphProto(initializer=[tensor("w.bin")]))),
        model(node(graphs=[GraphProto(node=[node(t=tensor("w.bin"))])])),
        ModelProto(functions=[onnx.FunctionProto(node=[node(t=tensor("w.bin"))])]).SerializeToString(),
        ModelProto(
            functions=[onnx.FunctionProto(attribute_proto=[AttributeProto(t=tensor("w.bin"))])]
        ).SerializeToString(),
        ModelProto(
            training_info=[onnx.TrainingInfoProto(algorithm=GraphProto(initializer=[tensor("w.bin")]))]
        ).SerializeToString(),
    ],
)
def test_a_file_is_found_wherever_a_tensor_may_be(data: bytes) -> None:
    assert external_files(data) == {"w.bin"}


def test_other_text_is_no_location() -> None:
    named = onnx.StringStringEntryProto(key="location", value="nowhere")
    data = ModelProto(
        graph=GraphProto(name="location", initializer=[TensorProto(name="location", raw_data=b"\n\x08location")]),
        metadata_props=[named],
    )
    assert external_files(data.SerializeToString()) == set()


def test_other_fields_are_skipped() -> None:
    numbers = TensorProto(float_data=[1.0], int64_data=[-1, 2**62], double_data=[0.5], dims=[0], uint64_data=[2**63])
    attribute = AttributeProto(f=1.0, i=-1, s=b"x", floats=[1.0], ints=[-5])
    data = model(NodeProto(attribute=[attribute]), graph=GraphProto(initializer=[numbers, tensor("ä.bin")]))
    assert external_files(data) == {"ä.bin"}


def test_a_location_that_is_not_utf8_names_no_file() -> None:
    data = model(graph=GraphProto(initializer=[tensor("wxyz")])).replace(b"wxyz", b"w\xff\xfez")
    assert external_files(data) == {"w��z"}


@pytest.mark.parametrize("data", [b"no graph", b"\x3a\x05\x0a", b"\x3a", b"\x0a\xff", b"\xff" * 20, b"\x0d\x00"])
def test_invalid_messages_raise_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|message|varint|wire type"):
        external_files(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(ValueError):
        external_files(b"\x3a" + bytes([len(data) % 128]) + data)


@pytest.mark.parametrize("name", ["chorales", "folk"])
def test_the_shipped_graphs_read_only_their_weights(name: str) -> None:
    graphs = list(Path("models", name).glob("*.onnx"))
    assert len(graphs) == 11
    for path in graphs:
        assert external_files(path.read_bytes()) == {"weights.bin"}
        stored = onnx.load(path, load_external_data=False)
        expected = {
            entry.value for t in stored.graph.initializer for entry in t.external_data if entry.key == "location"
        }
        assert external_files(path.read_bytes()) == expected
