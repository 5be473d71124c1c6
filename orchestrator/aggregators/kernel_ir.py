"""Weighted mean and sum as LLVM IR (https://llvm.org/docs/LangRef.html): one pass over updates, sums in registers.

For each chunk of elements, for each group of updates, for each tile of the chunk, for each update of the group: add the
weighted values to the tile's sums. So each element's sum is in the order of the updates, as it is in NumPy. Nothing is
fused or reordered where that could change a bit, as no instruction has a fast-math flag. Sums that are kept need
neither chunks nor groups.
"""

from __future__ import annotations

import struct
from string import Template
from typing import Any

import numpy as np

TILE = 32
"""Elements whose sums are in registers: four of AVX-512's, eight of AVX2's, sixteen of NEON's."""
WHOLE_TILE = 64
"""As many whole sums, int32, take the same registers."""
CHUNK = 2**14
"""Elements whose sums wait in the cache for the next group of updates: 128 KiB."""
GROUP = 8
"""Updates that are read side by side: a cache keeps eight lines at addresses that are equal in their low bits."""

# Adds the updates from $from up to $to to %former, the sums of the tile at %i, in the order of the updates.
_UPDATE = """\
update:
  %k = phi i64 [$from, %begin_sums], [%k.next, %update]
  %sum = phi $sums [%former, %begin_sums], [%sum.next, %update]
  %update.slot = getelementptr ptr, ptr %updates, i64 %k
  %update.k = load ptr, ptr %update.slot, align 8
  %x.slot = getelementptr $value, ptr %update.k, i64 %i
  %x = load $values, ptr %x.slot, align 1
  $widen
  %weight.slot = getelementptr $sum, ptr %weights, i64 %k
  %weight = load $sum, ptr %weight.slot, align $align
  %weight.0 = insertelement $sums poison, $sum %weight, i64 0
  %weights.k = shufflevector $sums %weight.0, $sums poison, <$tile x i32> zeroinitializer
  %product = ${multiply} $sums %wide, %weights.k
  %sum.next = ${add} $sums %sum, %product
  %k.next = add i64 %k, 1
  %more_updates = icmp ult i64 %k.next, $to
  br i1 %more_updates, label %update, label %summed
"""

_LEAST = "declare i64 @llvm.umin.i64(i64, i64)"
_OF_TILES = """
declare $doubles @llvm.rint.v${tile}f64($doubles)
declare $ints @llvm.umin.v${tile}i32($ints, $ints)
declare $doubles @llvm.fma.v${tile}f64($doubles, $doubles, $doubles)
"""

_MEAN = """
define void @${mean}(ptr %updates, ptr %weights, ptr %sums, ptr %result, i64 %num_updates, double %total, i64 %size) {
entry:
  %total.0 = insertelement $doubles poison, double %total, i64 0
  %totals = shufflevector $doubles %total.0, $doubles poison, <$tile x i32> zeroinitializer
  br label %chunk

chunk:
  %begin = phi i64 [0, %entry], [%end, %chunk.done]
  %rest = sub i64 %size, %begin
  %length = call i64 @llvm.umin.i64(i64 %rest, i64 $chunk)
  %end = add i64 %begin, %length
  br label %group

group:
  %from = phi i64 [0, %chunk], [%to, %group.done]
  %others = sub i64 %num_updates, %from
  %members = call i64 @llvm.umin.i64(i64 %others, i64 $group)
  %to = add i64 %from, %members
  %is_first = icmp eq i64 %from, 0
  %is_last = icmp eq i64 %to, %num_updates
  br label %tile

tile:
  %i = phi i64 [%begin, %group], [%i.next, %tile.done]
  %i.sums = sub i64 %i, %begin
  %sums.i = getelementptr $sum, ptr %sums, i64 %i.sums
  br i1 %is_first, label %begin_sums, label %resume_sums

resume_sums:
  %kept = load $sums, ptr %sums.i, align $align
  br label %begin_sums

begin_sums:
  %former = phi $sums [zeroinitializer, %tile], [%kept, %resume_sums]
  br label %update

$update
summed:
  br i1 %is_last, label %finish, label %keep_sums

keep_sums:
  store $sums %sum.next, ptr %sums.i, align $align
  br label %tile.done

finish:
  $finish
  %result.slot = getelementptr $value, ptr %result, i64 %i
  store $values %rounded, ptr %result.slot, align 1
  br label %tile.done

tile.done:
  %i.next = add i64 %i, $tile
  %more_tiles = icmp ult i64 %i.next, %end
  br i1 %more_tiles, label %tile, label %group.done

group.done:
  br i1 %is_last, label %chunk.done, label %group

chunk.done:
  %more_chunks = icmp ult i64 %end, %size
  br i1 %more_chunks, label %chunk, label %done

done:
  ret void
}
"""

_ADD = """
define void @add(ptr %updates, ptr %weights, ptr %before, ptr %sums, i64 %num_updates, i64 %size) {
entry:
  %is_first = icmp eq ptr %before, null
  br label %tile

tile:
  %i = phi i64 [0, %entry], [%i.next, %summed]
  br i1 %is_first, label %begin_sums, label %resume_sums

resume_sums:
  %before.i = getelementptr double, ptr %before, i64 %i
  %kept = load $doubles, ptr %before.i, align 8
  br label %begin_sums

begin_sums:
  %former = phi $doubles [zeroinitializer, %tile], [%kept, %resume_sums]
  br label %update

$update
summed:
  %sums.i = getelementptr double, ptr %sums, i64 %i
  store $doubles %sum.next, ptr %sums.i, align 8
  %i.next = add i64 %i, $tile
  %more_tiles = icmp ult i64 %i.next, %size
  br i1 %more_tiles, label %tile, label %done

done:
  ret void
}
"""

_FLOATS = {2: "half", 4: "float", 8: "double"}

_WIDEN_FLOAT = {
    2: """
  %single = fpext $values %x to $floats
  %wide = fpext $floats %single to $doubles""",
    4: "%wide = fpext $values %x to $doubles",
    8: "%wide = bitcast $values %x to $doubles",
}

# Rounded to float and then to half, a number would be rounded twice. But where the bits that a float has no room for
# leave a mark in its last bit, the second rounding is as good as the only one ("rounding to odd": Boldo, Melquiond:
# Emulation of a FMA and correctly rounded sums, IEEE Transactions on Computers 57(4), 2008).
_NARROW_FLOAT = {
    2: """
  %bits = bitcast $doubles %mean to $longs
  %lost = and $longs %bits, splat (i64 536870911)
  %is_inexact = icmp ne $longs %lost, zeroinitializer
  %mark = select $flags %is_inexact, $longs splat (i64 536870912), $longs zeroinitializer
  %cut = and $longs %bits, splat (i64 -536870912)
  %marked = or $longs %cut, %mark
  %odd = bitcast $longs %marked to $doubles
  %single.mean = fptrunc $doubles %odd to $floats
  %rounded = fptrunc $floats %single.mean to $values""",
    4: "%rounded = fptrunc $doubles %mean to $values",
    8: "%rounded = bitcast $doubles %mean to $values",
}

_WIDEN_BOOLEAN = """
  %is_true = icmp ne $values %x, zeroinitializer
  %whole = zext $flags %is_true to $ints
  %wide = sitofp $ints %whole to $doubles"""

_NARROW_BOOLEAN = """
  %nearest = call $doubles @llvm.rint.v${tile}f64($doubles %mean)
  %is_not_zero = fcmp une $doubles %nearest, zeroinitializer
  %rounded = zext $flags %is_not_zero to $values"""

# Small ones by way of i32, as i64 is slower to convert.
_WIDEN_SMALL = """
  %whole = ${extend} $values %x to $ints
  %wide = sitofp $ints %whole to $doubles"""
_WIDEN_LARGE = "%wide = ${to_double} $values %x to $doubles"

# The largest whole number may be one less than its double: what reaches that is replaced, and converted as the least.
_NARROW_WHOLE = """
  %nearest = call $doubles @llvm.rint.v${tile}f64($doubles %mean)
  %is_below = fcmp olt $doubles %nearest, splat (double $least)
  %is_above = fcmp oge $doubles %nearest, splat (double $most)
  %is_beyond = or $flags %is_below, %is_above
  %within = select $flags %is_beyond, $doubles splat (double $least), $doubles %nearest"""
_NARROW_SMALL = """
  %whole.mean = fptosi $doubles %within to $ints
  %converted = trunc $ints %whole.mean to $values"""
_NARROW_LARGE = """
  %converted = ${from_double} $doubles %within to $values"""
_NARROW_REPLACED = """
  %rounded = select $flags %is_above, $values splat ($value $largest), $values %converted"""


_WHOLE_SUMS = {"sum": "i32", "sums": f"<{WHOLE_TILE} x i32>", "multiply": "mul", "add": "add", "align": "4"}

_WIDEN_WHOLE = {
    "i": "%wide = sext $values %x to $sums",
    "u": "%wide = zext $values %x to $sums",
    "b": """
  %number = zext $values %x to $sums
  %wide = call $sums @llvm.umin.v${tile}i32($sums %number, $sums splat (i32 1))""",
}

# Dividing takes longer than all else. The sum S and the total T are whole numbers below 2**31, so S / T is exact in
# float64 where it lies halfway between two whole numbers, and else at least 2**-32 away from there. The product of S
# and the inverse of T has an error of some last digits; what it leaves of S, which a fused operation gives exactly,
# takes that away (Markstein: Computation of elementary functions on the IBM RISC System/6000 processor, IBM Journal of
# Research and Development 34(1), 1990).
_FINISH_WHOLE = """
  %exact = sitofp $sums %sum.next to $doubles
  %inverses = fdiv $doubles splat (double 1.0), %totals
  %about = fmul $doubles %exact, %inverses
  %minus = fneg $doubles %about
  %left = call $doubles @llvm.fma.v${tile}f64($doubles %minus, $doubles %totals, $doubles %exact)
  %mean = call $doubles @llvm.fma.v${tile}f64($doubles %left, $doubles %inverses, $doubles %about)
  %nearest = call $doubles @llvm.rint.v${tile}f64($doubles %mean)
  %whole.mean = fptosi $doubles %nearest to $ints
  %rounded = trunc $ints %whole.mean to $values"""


def module_ir(dtype: np.dtype[Any]) -> str:
    """Return a module with functions ``mean`` and ``add`` for arrays of floats, integers or booleans of ``dtype``.

    The arguments of both begin with the addresses of K addresses of the updates' values, and of K weights, float64.
    Those of ``mean`` go on with the addresses of ``CHUNK`` float64 of scratch and of the result's values; those of
    ``add`` with the addresses of the sums so far, or null where there are none, and of the sums with the updates, both
    float64, which may be the same. Then comes K, at least 1; for ``mean`` what to divide the sums by; and how many
    values each update has, a multiple of ``TILE`` and not 0. Values may be at any address, aligned or not.

    Integers of two bytes or one, and booleans, have a function ``mean_whole`` too: as ``mean``, but weights and scratch
    are int32, none of the weights is negative, what the sums are divided by is the weights' sum, which times the
    largest value that there is must not be beyond int32, and tiles are ``WHOLE_TILE``.
    """
    widen, narrow = _conversions(dtype)
    parts = {"widen": widen, "finish": f"%mean = fdiv $doubles %sum.next, %totals{narrow}", "mean": "mean"}
    functions = _function(_MEAN, "%from", "%to", parts) + _function(_ADD, "0", "%num_updates", parts)
    module = _LEAST + Template(_OF_TILES + functions).substitute(_words(dtype, TILE))
    if has_whole(dtype):
        parts = {"widen": _WIDEN_WHOLE[dtype.kind], "finish": _FINISH_WHOLE, "mean": "mean_whole"}
        words = _words(dtype, WHOLE_TILE) | _WHOLE_SUMS
        module += Template(_OF_TILES + _function(_MEAN, "%from", "%to", parts)).substitute(words)
    return module


def has_whole(dtype: np.dtype[Any]) -> bool:
    """Say whether the module has a function ``mean_whole``."""
    return dtype.kind in "iub" and dtype.itemsize < np.dtype(np.int32).itemsize


def _function(template: str, first: str, last: str, parts: dict[str, str]) -> str:
    """Return a template of a function with its parts in their places, which goes over these updates."""
    whole = template.replace("$update", _UPDATE).replace("$from", first).replace("$to", last)
    for name, part in parts.items():
        whole = whole.replace(f"${name}", part).replace(f"${{{name}}}", part)
    return whole


def _words(dtype: np.dtype[Any], tile: int) -> dict[str, str]:
    """Return what stands for what in a template whose tiles are of so many elements, and whose sums are float64."""
    value = _FLOATS[dtype.itemsize] if dtype.kind == "f" else f"i{8 * dtype.itemsize}"
    return {
        "value": value,
        "values": f"<{tile} x {value}>",
        **{f"{name}s": f"<{tile} x {name}>" for name in ("double", "float")},
        "longs": f"<{tile} x i64>",
        "ints": f"<{tile} x i32>",
        "flags": f"<{tile} x i1>",
        "sum": "double",
        "sums": f"<{tile} x double>",
        "multiply": "fmul",
        "add": "fadd",
        "align": "8",
        "tile": str(tile),
        "chunk": str(CHUNK),
        "group": str(GROUP),
        **(_whole_words(dtype) if dtype.kind in "iu" else {}),
    }


def _conversions(dtype: np.dtype[Any]) -> tuple[str, str]:
    """Return what makes ``%wide`` of ``%x``, and ``%rounded`` of ``%mean``."""
    if dtype.kind == "f":
        return _WIDEN_FLOAT[dtype.itemsize], _NARROW_FLOAT[dtype.itemsize]
    if dtype.kind == "b":
        return _WIDEN_BOOLEAN, _NARROW_BOOLEAN
    is_small = dtype.itemsize < np.dtype(np.int32).itemsize
    widen, narrow = (_WIDEN_SMALL, _NARROW_SMALL) if is_small else (_WIDEN_LARGE, _NARROW_LARGE)
    return widen, _NARROW_WHOLE + narrow + _NARROW_REPLACED


def _whole_words(dtype: np.dtype[Any]) -> dict[str, str]:
    limits, is_signed = np.iinfo(dtype), dtype.kind == "i"
    return {
        "extend": "sext" if is_signed else "zext",
        "to_double": "sitofp" if is_signed else "uitofp",
        "from_double": "fptosi" if is_signed else "fptoui",
        "least": _double(limits.min),
        "most": _double(limits.max),
        "largest": str(limits.max),
    }


def _double(number: int) -> str:
    """Return a number as LLVM writes doubles: the bits in hexadecimal."""
    return f"0x{struct.pack('>d', number).hex().upper()}"
