"""A counter-based random generator without state: draw i of a stream is a function of (seed, stream, i) alone.

Philox4x32-10, from Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). The key is
the seed. Of the counter, the low half is the number of a block, word 2 the stream, and word 3 what the words are for:
0 for draws, 1 for derived seeds. A block gives four draws.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS_PER_BLOCK = 4
"""Draws of one block; ranges that start at a multiple of it are the cheapest."""
RESAMPLING_STREAM = 0xFFFFFFFF
"""The stream that no sequence uses."""

_DERIVED_SEEDS = 1  # word 3 of the counter
_DERIVED_SEED_BITS = 53
_ROUNDS = 10
_EVEN_MULTIPLIER, _ODD_MULTIPLIER = _MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_LOW_STEP, _HIGH_STEP = _KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUND_MULTIPLIERS = np.array(_MULTIPLIERS, np.uint64)
_ROUND_KEYS = np.arange(_ROUNDS, dtype=np.uint32)[:, None] * np.array(_KEY_STEPS, np.uint32)
_LOW, _HIGH = (0, 1) if np.little_endian else (1, 0)
_FEW_BLOCKS = 8
_WORD = 0xFFFFFFFF
_UNIT = 2.0**-24


def philox4x32(counters: NDArray[np.uint32], keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Random words (4, ...) of counters (4, ...) and keys (2, ...), which broadcast.

    Word 0 of a counter or a key is the least significant one.
    """
    shape = np.broadcast_shapes(counters.shape[1:], keys.shape[1:])
    broadcast = (slice(None),) + (None,) * len(shape)
    round_keys = keys + _ROUND_KEYS.reshape(_ROUNDS, 2, *(1,) * (keys.ndim - 1))
    multipliers = _ROUND_MULTIPLIERS[broadcast]
    words = np.broadcast_to(counters, (4, *shape))
    even, odd = words[0::2], words[1::2]
    for key in round_keys:
        # The two 64-bit products of a round as 32-bit halves.
        halves = np.multiply(even, multipliers, dtype=np.uint64, order="C")[..., None].view(np.uint32)
        even, odd = halves[::-1, ..., _HIGH] ^ odd ^ key, halves[::-1, ..., _LOW]
    result = np.empty((4, *shape), np.uint32)
    result[0::2], result[1::2] = even, odd
    return result


def uniforms(
    seeds: NDArray[np.uint64],
    first_step: NDArray[np.int64],
    steps: int,
    streams: NDArray[np.uint32] | None = None,
) -> NDArray[np.float32]:
    """The draws of each stream for steps `first_step` to `first_step + steps - 1`.

    Args:
        seeds: (n,).
        first_step: (n,), at least 0.
        steps: number of draws of each stream.
        streams: (n,), which stream of the seed; None for stream 0 of each.

    Returns:
        (n, steps), in [0, 1), multiples of 2^-24, which are exact in float32.
    """
    offsets = first_step % DRAWS_PER_BLOCK
    unused = int(offsets.max(initial=0))
    blocks = -(-(unused + steps) // DRAWS_PER_BLOCK)
    numbers = (first_step // DRAWS_PER_BLOCK)[:, None] + np.arange(blocks)
    counters = np.zeros((4, *numbers.shape), np.uint32)
    counters[0] = numbers & 0xFFFFFFFF
    counters[1] = numbers >> 32
    if streams is not None:
        counters[2] = streams[:, None]
    keys = np.stack([seeds & np.uint64(0xFFFFFFFF), seeds >> np.uint64(32)]).astype(np.uint32)[:, :, None]
    words = philox4x32(counters, keys)
    draws = (words >> 8).astype(np.float32) * np.float32(_UNIT)
    in_order = np.moveaxis(draws, 0, -1).reshape(len(seeds), blocks * DRAWS_PER_BLOCK)
    if not unused:
        return in_order[:, :steps]
    return np.take_along_axis(in_order, offsets[:, None] + np.arange(steps), axis=1)


def first_uniforms(seeds: Sequence[int], steps: int) -> NDArray[np.float32]:
    """The result of `uniforms` for steps 0 to `steps - 1`, (n, steps), computed faster for few draws.

    NumPy takes 70 us for any small number of blocks, plain Python 7 us for each block.
    """
    blocks = range(-(-steps // DRAWS_PER_BLOCK))
    if len(seeds) * len(blocks) > _FEW_BLOCKS:
        return uniforms(np.array(seeds, np.uint64), np.zeros(len(seeds), np.int64), steps)
    words = [[word for number in blocks for word in _block(seed, number)] for seed in seeds]
    return np.array([[(word >> 8) * _UNIT for word in row[:steps]] for row in words], np.float32)


def derive_seed(seed: int, index: int) -> int:
    """The seed of an independent candidate: `seed` itself for index 0, else 53 random bits of (seed, index).

    Seeds of 53 bits are exact in every JSON reader.
    """
    if index == 0:
        return seed
    low, high, *_ = _block(seed, index, purpose=_DERIVED_SEEDS)
    return (low | high << 32) >> (64 - _DERIVED_SEED_BITS)


def resampling_uniform(seed: int, number: int) -> float:
    """The draw of a resampling of particles, in [0, 1), a multiple of 2^-24.

    Args:
        seed: of the request.
        number: of the resampling, from 0.
    """
    block, word = divmod(number, DRAWS_PER_BLOCK)
    return (_block(seed, block, stream=RESAMPLING_STREAM)[word] >> 8) * _UNIT


def _block(seed: int, number: int, stream: int = 0, purpose: int = 0) -> tuple[int, int, int, int]:
    """`philox4x32` of one block of a stream, computed faster than there."""
    a, b, c, d = number & _WORD, number >> 32, stream, purpose
    low_key, high_key = seed & _WORD, seed >> 32
    for _ in range(_ROUNDS):
        first, second = _EVEN_MULTIPLIER * a, _ODD_MULTIPLIER * c
        a, b, c, d = (second >> 32) ^ b ^ low_key, second & _WORD, (first >> 32) ^ d ^ high_key, first & _WORD
        low_key, high_key = (low_key + _LOW_STEP) & _WORD, (high_key + _HIGH_STEP) & _WORD
    return a, b, c, d
