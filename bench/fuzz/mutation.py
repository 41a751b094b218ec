"""Mutations of bytes."""

import random
from collections.abc import Sequence
from typing import Final

_EXTREMES: Final = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
_MAX_MUTATIONS: Final = 6
_MAX_BLOCK: Final = 64
_MAX_COPIES: Final = 8


def mutated(rng: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The bytes with one to six random changes.

    Bits are flipped, bytes are replaced, and blocks are removed, repeated, moved, filled or taken from other data.

    Args:
        rng: decides.
        data: to change; it may be empty.
        others: data to take blocks from.
    """
    changed = bytearray(data)
    for _ in range(rng.randint(1, _MAX_MUTATIONS)):
        place = rng.randint(0, len(changed))
        size = min(1 << rng.randint(0, 6), _MAX_BLOCK, len(changed) - place)
        match rng.randrange(8):
            case 0 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 1 if place < len(changed):
                changed[place] = rng.choice(_EXTREMES)
            case 2:
                del changed[place : place + size]
            case 3:
                block = changed[place : place + size]
                changed[place:place] = block * rng.randint(1, _MAX_COPIES)
            case 4:
                changed[place:place] = rng.randbytes(rng.randint(1, _MAX_BLOCK))
            case 5 if rng.random() < 0.3:
                del changed[place:]
            case 6 if others:
                source = rng.choice(others)
                start = rng.randint(0, len(source))
                changed[place : place + size] = source[start : start + rng.randint(1, 4 * _MAX_BLOCK)]
            case 7:
                changed[place : place + size] = bytes([rng.choice(_EXTREMES)]) * size
    return bytes(changed)
