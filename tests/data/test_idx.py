import struct

import pytest
import torch

from clearhead.data.idx import parse_idx
from clearhead.errors import CorruptDataError

# Two images of 3 × 5 pixels that show their own place.
WHOLE = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 5) + bytes(range(30))


def test_values_come_in_their_order_with_their_shape() -> None:
    images = parse_idx(WHOLE, axes=3)
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (2, 3, 5))
    assert images[1, 2, 3].item() == 1 * 15 + 2 * 5 + 3
    labels = parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 255]), axes=1)
    assert labels.tolist() == [7, 0, 255]


def test_the_tensor_has_memory_of_its_own() -> None:
    images = parse_idx(WHOLE, axes=3)
    images.zero_()
    assert parse_idx(WHOLE, axes=3).sum() == sum(range(30))


def test_a_file_cut_or_lengthened_anywhere_is_refused_by_name() -> None:
    for damaged in [*(WHOLE[:length] for length in range(len(WHOLE))), WHOLE + b"\x00"]:
        with pytest.raises(CorruptDataError, match=r"^digits.*get the file again$"):
            parse_idx(damaged, axes=3, name="digits")


def test_a_flipped_bit_anywhere_in_the_header_is_refused() -> None:
    for place in range(16):
        for bit in range(8):
            changed = bytearray(WHOLE)
            changed[place] ^= 1 << bit
            with pytest.raises(CorruptDataError):
                parse_idx(bytes(changed), axes=3)


def test_sizes_that_are_huge_or_zero_are_refused_without_memory_for_them() -> None:
    huge = bytes([0, 0, 8, 3]) + b"\xff" * 12 + bytes(30)
    with pytest.raises(CorruptDataError, match=f"announces {16 + (2**32 - 1) ** 3} bytes"):
        parse_idx(huge, axes=3)
    with pytest.raises(CorruptDataError, match="empty"):
        parse_idx(bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 3, 5), axes=3)
