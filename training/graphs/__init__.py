"""The network as ONNX graphs: `prefill` reads a whole sequence, `decode` draws K tokens in one run.

All graphs share one file of weights. Decoding is unrolled: each step is a written-out LSTM cell, then the sampler,
then whatever runs beside the LSTM (grammar, clock, voices), which are table lookups too. It comes in two precisions.
"""

from training.graphs.arithmetic import ARITHMETIC
from training.graphs.decode import decode_graph
from training.graphs.prefill import prefill_graph
from training.graphs.weights import Weights

__all__ = ["ARITHMETIC", "Weights", "decode_graph", "prefill_graph"]
