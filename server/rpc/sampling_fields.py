"""Reads how tokens are sampled."""

from typing import Final

import numpy as np

from fantasia.v1 import generation_pb2 as pb
from music.manifest import Defaults
from runtime.sampling import SamplingParams
from server.rpc.validation import RequestValidator

MIN_TEMPERATURE: Final = float(np.float32(0.01))  # a single-precision 0.01 is a little less than 0.01
MAX_TEMPERATURE: Final = 10.0
MAX_TOP_K: Final = 1024


def read_sampling(asked: pb.Sampling, default: Defaults, validator: RequestValidator) -> SamplingParams:
    """The sampling parameters, with the model's defaults for unset and invalid fields."""
    temperature, top_k, top_p = default.temperature, default.top_k, default.top_p
    if asked.HasField("temperature") and validator.in_range(
        "sampling.temperature", asked.temperature, MIN_TEMPERATURE, MAX_TEMPERATURE
    ):
        temperature = asked.temperature
    if asked.HasField("top_k") and validator.in_range("sampling.top_k", asked.top_k, 0, MAX_TOP_K):
        top_k = asked.top_k
    if asked.HasField("top_p") and validator.positive("sampling.top_p", asked.top_p, 1.0):
        top_p = asked.top_p
    return SamplingParams(temperature, top_k, top_p)
