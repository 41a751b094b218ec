import math
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from music.bundle import Bundle, load_bundle
from training.__main__ import main
from training.drawing import draw_structure
from training.errors import ExportError
from training.graph_structure import GraphStructure, read_structure

SHIPPED = Path(__file__).parents[3] / "models" / "chorales"


@pytest.fixture(params=["small", "shipped"])
def bundle(request: pytest.FixtureRequest, small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle if request.param == "small" else SHIPPED)


@pytest.fixture
def graph(bundle: Bundle) -> onnx.GraphProto:
    return onnx.load(path(bundle), load_external_data=False).graph


@pytest.fixture
def structure(bundle: Bundle) -> GraphStructure:
    return read_structure(path(bundle))


def path(bundle: Bundle) -> Path:
    return bundle.path / bundle.manifest.graphs.decode[1]


def drawn(figure: Figure) -> list[str]:
    return [gid for axes in figure.axes for patch in axes.patches if (gid := patch.get_gid())]


def test_there_is_one_cell_of_the_right_width_per_layer(bundle: Bundle, structure: GraphStructure) -> None:
    network = bundle.manifest.network
    assert [cell.index for cell in structure.cells] == list(range(network.layers))
    assert {cell.hidden for cell in structure.cells} == {network.hidden}
    for cell in structure.cells:
        assert [weights.shape for weights in cell.recurrent] == [(4 * network.hidden, network.hidden)]
        assert cell.gates == {"i": "Sigmoid", "f": "Sigmoid", "o": "Sigmoid", "g": "Tanh"}
        assert cell.state == ("h", "c")
        assert cell.state_after == ("h_next", "c_next")


def test_each_cell_reads_the_cell_below_and_the_lowest_the_inputs(structure: GraphStructure) -> None:
    lowest, *others = structure.cells
    known = structure.inputs.keys() | {weights.weights for weights in lowest.inputs}
    assert {source for weights in lowest.inputs for source in weights.reads} <= known
    assert {"token", "registers"} & {source for weights in lowest.inputs for source in weights.reads}
    for cell in others:
        assert {source for weights in cell.inputs for source in weights.reads} == {f"cell {cell.index - 1}"}
    top = f"cell {structure.cells[-1].index}"
    assert any(top in weights.reads for weights in structure.projections)
    assert "TopK" in structure.sampler


def test_shapes_are_those_of_the_graph(graph: onnx.GraphProto, structure: GraphStructure) -> None:
    dims = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    matrices = [*structure.projections, *(w for cell in structure.cells for w in (*cell.recurrent, *cell.inputs))]
    assert all(dims[weights.weights] == weights.shape for weights in matrices)


def test_the_drawing_has_exactly_one_box_for_each_part(structure: GraphStructure) -> None:
    lowest = structure.cells[0]
    expected = [
        f"weights {weights.weights}" for weights in (*lowest.inputs, *structure.projections, lowest.recurrent[0])
    ]
    expected += [f"cell {cell.index}" for cell in structure.cells]
    expected += ["sampler", *(f"gate {letter}" for letter in "ifgo")]
    expected += [f"join {name}" for name in lowest.joins]
    figure = Figure()
    draw_structure(figure, structure, "a title")
    assert sorted(drawn(figure)) == sorted(expected)
    words = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    for weights in (*lowest.inputs, *structure.projections):
        assert " × ".join(map(str, weights.shape)) in words


def test_the_network_has_the_parameters_that_the_boxes_show(bundle: Bundle, structure: GraphStructure) -> None:
    """All but the folded tables and the biases: recurrences and projections, four gates each."""
    hidden = bundle.manifest.network.hidden
    shown = sum(math.prod(w.shape) for cell in structure.cells for w in cell.recurrent)
    shown += sum(math.prod(w.shape) for cell in structure.cells[1:] for w in cell.inputs)
    assert shown == (2 * len(structure.cells) - 1) * 4 * hidden * hidden


@pytest.mark.slow
def test_the_command_draws_a_bundle(small_bundle: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["draw", str(small_bundle), "--out", str(tmp_path / "deep" / "lstm.png")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "deep" / "lstm.png").read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(main, ["draw", str(small_bundle), "--out", str(tmp_path / "lstm.txt")])
    assert result.exit_code == 1
    assert "must end in .png or .svg" in result.output


def test_a_file_that_is_not_a_decode_graph_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no LSTM cell of single nodes"):
        read_structure(small_bundle / "prefill_float32.onnx")
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match="is not an ONNX graph"):
        read_structure(tmp_path / "x.onnx")
