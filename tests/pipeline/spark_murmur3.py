"""Spark's Murmur3_x86_32 and HashExpression in plain Python, written from their definition."""

from __future__ import annotations

import math
import struct

M = 0xFFFFFFFF


def _rotl(x: int, r: int) -> int:
    return ((x << r) | (x >> (32 - r))) & M


def _mix_k1(k1: int) -> int:
    k1 = k1 * 0xCC9E2D51 & M
    return _rotl(k1, 15) * 0x1B873593 & M


def _mix_h1(h1: int, k1: int) -> int:
    return (_rotl(h1 ^ k1, 13) * 5 + 0xE6546B64) & M


def _fmix(h1: int, length: int) -> int:
    h1 ^= length
    h1 ^= h1 >> 16
    h1 = h1 * 0x85EBCA6B & M
    h1 ^= h1 >> 13
    h1 = h1 * 0xC2B2AE35 & M
    return h1 ^ (h1 >> 16)


def hash_int(value: int, seed: int) -> int:
    return _fmix(_mix_h1(seed, _mix_k1(value & M)), 4)


def hash_long(value: int, seed: int) -> int:
    h1 = _mix_h1(seed, _mix_k1(value & M))
    return _fmix(_mix_h1(h1, _mix_k1((value >> 32) & M)), 8)


def hash_bytes(value: bytes, seed: int) -> int:
    h1 = seed
    aligned = len(value) // 4 * 4
    for (word,) in struct.iter_unpack("<I", value[:aligned]):
        h1 = _mix_h1(h1, _mix_k1(word))
    for byte in value[aligned:]:
        h1 = _mix_h1(h1, _mix_k1((byte - 256 if byte >= 128 else byte) & M))
    return _fmix(h1, len(value))


def hash_float(value: float, seed: int) -> int:
    value = 0.0 if value == 0 else value
    bits = 0x7FC00000 if math.isnan(value) else struct.unpack("<i", struct.pack("<f", value))[0]
    return hash_int(bits, seed)


def hash_double(value: float, seed: int) -> int:
    value = 0.0 if value == 0 else value
    bits = 0x7FF8000000000000 if math.isnan(value) else struct.unpack("<q", struct.pack("<d", value))[0]
    return hash_long(bits, seed)


def hash_decimal(unscaled: int, precision: int, seed: int) -> int:
    if precision <= 18:
        return hash_long(unscaled, seed)
    # java.math.BigInteger.toByteArray: (bitLength() / 8) + 1 bytes, big-endian.
    bits = (unscaled if unscaled >= 0 else ~unscaled).bit_length()
    return hash_bytes(unscaled.to_bytes(bits // 8 + 1, "big", signed=True), seed)


def signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value
