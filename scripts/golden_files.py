"""Safetensors files for scripts, of golden values for example, read and written with nothing but
NumPy. Types other than those below do not occur in them.
"""
import json
import struct

import numpy

TYPES = {"F64": numpy.float64, "F32": numpy.float32, "I64": numpy.int64}
NAMES = {numpy.dtype(kind): name for name, kind in TYPES.items()}


def read(path):
    """-> ({name: array}, metadata)"""
    data = path.read_bytes()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = numpy.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(
            entry["shape"])
    return tensors, metadata


def write(path, tensors, metadata):
    """Arrays of the types above, {name: array}."""
    header, offset = {"__metadata__": metadata}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": NAMES[value.dtype], "shape": list(value.shape),
                        "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text +
                     b"".join(value.tobytes() for value in tensors.values()))
