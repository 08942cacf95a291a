"""Weights and pictures that C++ tests draw as well (tests/drawn_network.h), so that golden files hold
results alone: Philox numbers of one seed, each tensor in a stream of its name.
"""
import numpy
import torch

SEED = 2024


def philox(seed, stream, count):
    """Philox 4x32-10 of indices 0 … count-1, as tensor/random.cpp: four words each."""
    low = numpy.uint64(0xFFFFFFFF)
    half = numpy.uint64(32)
    index = numpy.arange(count, dtype=numpy.uint64)
    c = [index & low, index >> half] + [numpy.full(count, word, numpy.uint64)
                                        for word in (stream & 0xFFFFFFFF, stream >> 32)]
    ka, kb = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        a, b = numpy.uint64(0xD2511F53) * c[0], numpy.uint64(0xCD9E8D57) * c[2]
        c = [(b >> half) ^ c[1] ^ numpy.uint64(ka), b & low,
             (a >> half) ^ c[3] ^ numpy.uint64(kb), a & low]
        ka, kb = (ka + 0x9E3779B9) & 0xFFFFFFFF, (kb + 0xBB67AE85) & 0xFFFFFFFF
    return c


def fnv1a(text):
    """64-bit FNV-1a, the stream that a tensor of this name is drawn from."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def draw(name, shape, low, high):
    words = philox(SEED, fnv1a(name), int(numpy.prod(shape)))
    bits = (words[0] << numpy.uint64(32) | words[1]) >> numpy.uint64(11)
    return (low + (high - low) * (bits.astype(numpy.float64) * 2.0**-53)).reshape(shape)


def draw_state(name, value):
    if value.dim() == 4:
        k, c, r, s = value.shape
        bound = numpy.sqrt(6 / (c * r * s))
        return torch.from_numpy(draw(name, (k, r, s, c), -bound, bound)).permute(0, 3, 1, 2)
    if value.dim() == 2:
        bound = numpy.sqrt(6 / value.shape[1])
        return torch.from_numpy(draw(name, tuple(value.shape), -bound, bound))
    if value.dim() == 0:  # num_batches_tracked
        return torch.zeros_like(value)
    scales = name.endswith("running_var") or (name.endswith("weight"))
    return torch.from_numpy(draw(name, tuple(value.shape), *((0.5, 1.5) if scales else (-0.5, 0.5))))
