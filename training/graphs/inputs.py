"""The embeddings that every network has, in the graphs."""

from training.graphs.builder import Graph


def inputs(graph: Graph, previous: str, clock: str, grammar: str) -> str:
    """Sum of the embedded token, clock row and, if the network is told of it, grammar state: (..., embedding)."""
    values = graph.op(
        "Add",
        graph.op("Gather", graph.weight("rows_token"), previous),
        graph.op("Gather", graph.weight("rows_clock"), clock),
    )
    if not graph.weights.told_grammar:
        return values
    return graph.op("Add", values, graph.op("Gather", graph.weight("rows_grammar"), grammar))
