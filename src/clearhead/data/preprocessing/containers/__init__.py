"""Picture files as bytes: each format walked to its very end before anything is decoded.

Decoders forgive a file that was cut (a missing end marker, a missing last row) and obey one that
asks for gigabytes in its metadata. So each module here checks what its format demands, reads the
size in pixels, and keeps only the parts that the pixels of the first picture need.
"""
