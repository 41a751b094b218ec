"""The graph that writes rows: valid ONNX, and run by ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.bundle import Bundle
from music.graph_names import NOTE_STATE
from music.tokenizers import EventsTokenizer
from runtime.row_graph import SlotArray, row_graph
from runtime.state import initial_state, slot_axis, stack_slots

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)


def test_the_row_graph_is_an_onnx_model() -> None:
    """Names and sizes beyond 127 need more than one byte for their lengths."""
    name = "r" * 200
    model = onnx.load_from_string(row_graph({"h": SlotArray((2, 300, 8), FLOAT, 1), name: SlotArray((300,), INT, 0)}))
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


@pytest.mark.slow
@given(slots=st.integers(1, 9), rows=st.integers(1, 4), seed=st.integers(0, 99))
def test_rows_come_from_their_source(slots: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    session = onnxruntime.InferenceSession(
        row_graph({"h": SlotArray((2, slots, 3), FLOAT, 1), "clock": SlotArray((slots,), INT, 0)})
    )
    source = random.integers(0, slots + rows, slots)
    h, h_rows = random.random((2, slots, 3), np.float32), random.random((2, rows, 3), np.float32)
    clock, clock_rows = random.integers(0, 99, slots), random.integers(0, 99, rows)
    feed = {"source": source, "h": h, "h_rows": h_rows, "clock": clock, "clock_rows": clock_rows}
    h_next, clock_next = session.run(("h_next", "clock_next"), feed)

    assert h_next.tolist() == np.concatenate([h, h_rows], axis=1)[:, source].tolist()
    assert clock_next.tolist() == np.concatenate([clock, clock_rows])[source].tolist()


def test_a_state_with_the_past_of_the_notes_has_a_row_graph(bundle: Bundle) -> None:
    tokenizer = EventsTokenizer(lowest_pitch=60, highest_pitch=71)
    assert tokenizer.note_tracker is not None
    network = bundle.network.model_copy(update={"note_state_size": tokenizer.note_tracker.size})
    piano = Bundle(bundle.path, bundle.manifest.model_copy(update={"network": network}), bundle.digest, tokenizer)
    state = stack_slots(initial_state(piano), 2)
    arrays = {name: SlotArray(values.shape, values.dtype, slot_axis(name)) for name, values in state.items()}
    session = onnxruntime.InferenceSession(row_graph(arrays))
    rows = {f"{name}_rows": np.take(values, [0], slot_axis(name)) + 1 for name, values in state.items()}
    (notes,) = session.run([f"{NOTE_STATE}_next"], {**state, **rows, "source": np.array([2, 0])})

    assert notes.dtype == np.int32
    np.testing.assert_array_equal(notes, state[NOTE_STATE] + [[1], [0]])
