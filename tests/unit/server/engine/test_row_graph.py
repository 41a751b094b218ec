"""The graph that writes rows, as ONNX reads it and as ONNX Runtime runs it."""

import numpy as np
import onnx
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st

from server.engine.row_graph import Table, row_graph

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)


def test_it_is_an_onnx_model() -> None:
    """Names and sizes beyond 127 need more than one byte for their lengths."""
    name = "r" * 200
    model = onnx.load_from_string(row_graph({"h": Table((2, 300, 8), FLOAT, 1), name: Table((300,), INT, 0)}))
    onnx.checker.check_model(model, full_check=True)

    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "source": [300],
        "h": [2, 300, 8],
        "h_rows": [2, "rows", 8],
        "h_next": [2, 300, 8],
        name: [300],
        f"{name}_rows": ["rows"],
        f"{name}_next": [300],
    }


@given(slots=st.integers(1, 9), rows=st.integers(1, 4), seed=st.integers(0, 99))
def test_rows_come_from_where_the_source_says(slots: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    session = onnxruntime.InferenceSession(
        row_graph({"h": Table((2, slots, 3), FLOAT, 1), "clock": Table((slots,), INT, 0)})
    )
    source = random.integers(0, slots + rows, slots)
    h, h_rows = random.random((2, slots, 3), np.float32), random.random((2, rows, 3), np.float32)
    clock, clock_rows = random.integers(0, 99, slots), random.integers(0, 99, rows)
    feed = {"source": source, "h": h, "h_rows": h_rows, "clock": clock, "clock_rows": clock_rows}
    h_next, clock_next = session.run(("h_next", "clock_next"), feed)

    assert h_next.tolist() == np.concatenate([h, h_rows], axis=1)[:, source].tolist()
    assert clock_next.tolist() == np.concatenate([clock, clock_rows])[source].tolist()
