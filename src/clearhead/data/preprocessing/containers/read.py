"""Any picture file: which format it is in, told by its first bytes."""

from clearhead.data.preprocessing.containers.bmp import SIGNATURE as BMP
from clearhead.data.preprocessing.containers.bmp import read_bmp
from clearhead.data.preprocessing.containers.container import Container
from clearhead.data.preprocessing.containers.gif import SIGNATURES as GIF
from clearhead.data.preprocessing.containers.gif import read_gif
from clearhead.data.preprocessing.containers.jpeg import SIGNATURE as JPEG
from clearhead.data.preprocessing.containers.jpeg import read_jpeg
from clearhead.data.preprocessing.containers.netpbm import SIGNATURES as NETPBM
from clearhead.data.preprocessing.containers.netpbm import read_netpbm
from clearhead.data.preprocessing.containers.png import SIGNATURE as PNG
from clearhead.data.preprocessing.containers.png import read_png
from clearhead.data.preprocessing.containers.tiff import SIGNATURES as TIFF
from clearhead.data.preprocessing.containers.tiff import read_tiff
from clearhead.data.preprocessing.containers.webp import is_webp, read_webp
from clearhead.errors import ImageError

_READERS = (
    ((PNG,), read_png),
    ((JPEG,), read_jpeg),
    (GIF, read_gif),
    ((BMP,), read_bmp),
    (tuple(TIFF), read_tiff),
    (NETPBM, read_netpbm),
)


def read_container(data: bytes) -> Container:
    """The walk that suits the bytes; `ImageError` if they are cut, or no picture at all."""
    if not data:
        raise ImageError("this file is empty; give a picture")
    for signatures, read in _READERS:
        if data.startswith(signatures):
            return read(data)
    if is_webp(data):
        return read_webp(data)
    raise ImageError(
        "this is not a picture that can be read; known are PNG, JPEG, GIF, BMP, TIFF, WebP and "
        "raw Netpbm"
    )
