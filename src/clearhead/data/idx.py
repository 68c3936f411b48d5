"""The IDX format of MNIST: two zero bytes, the type, the number of axes, their sizes, the values.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits". Sizes are
32-bit big-endian integers, the last axis varies fastest. Only bytes (type 0x08) are read here.
"""

import math
import struct

import torch
from jaxtyping import UInt8
from torch import Tensor

from clearhead.errors import CorruptDataError

UNSIGNED_BYTE = 0x08


def parse_idx(content: bytes, axes: int, name: str = "IDX file") -> UInt8[Tensor, "..."]:
    """The values as a tensor of their own memory, with `axes` axes.

    Raises `CorruptDataError` unless header and length are exactly right; `name` is for its message.
    """
    shape = _shape(content, axes, name)
    start = 4 + 4 * axes
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise CorruptDataError(
            f"{name}: its header announces {expected} bytes, but it has {len(content)}; "
            "get the file again"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def _shape(content: bytes, axes: int, name: str) -> tuple[int, ...]:
    header = bytes((0, 0, UNSIGNED_BYTE, axes))
    if content[:4] != header:
        raise CorruptDataError(
            f"{name}: an IDX file of bytes with {axes} axes begins with {header.hex(' ')}, "
            f"this one with {content[:4].hex(' ') or 'nothing'}; get the file again"
        )
    if len(content) < 4 + 4 * axes:
        raise CorruptDataError(f"{name}: it ends within its header; get the file again")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    if 0 in shape:
        raise CorruptDataError(f"{name}: it is empty, its shape is {shape}; get the file again")
    return shape
