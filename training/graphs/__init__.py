"""Builds the ONNX graphs of a network: `prefill` reads a whole sequence, `decode` samples K tokens in one run.

All graphs share one file of weights. Decoding is unrolled: each step is a written-out LSTM cell, the sampler, and table
lookups for grammar, position and voices. It comes in float32 and int8. `from_bundle` loads a network from its graphs.
"""

from training.graphs.arithmetic import ARITHMETIC
from training.graphs.decode import decode_graph
from training.graphs.prefill import prefill_graph
from training.graphs.weights import Weights

__all__ = ["ARITHMETIC", "Weights", "decode_graph", "prefill_graph"]
