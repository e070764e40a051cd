"""Random programs over sizes, as people write Python: another grammar than that of networks.py.

A program is Python text: statements that read sizes, compute with them, branch on them, and use
them as shapes, indices, keys and data. ``STATEMENTS`` is the table of their templates, by kind;
templates are separated by an empty line. To add one, write its lines there.

In a template, ``$`` and a name stand for a random choice, the same one wherever it occurs in the
template; ``$k`` and ``$k2`` are two choices of the same kind:

- ``$d`` a size read from a shape; ``$n`` such a size or a number computed before; ``$i``, ``$f``
  and ``$c`` an integer, a float and a condition made of these, see ``EXPRESSIONS``;
- ``$k``, ``$K`` and so on a constant, see ``CONSTANTS``;
- ``$v`` a new variable, an integer that later statements may use; ``$u`` any other new variable.

``4|`` or ``34>2|`` in front says for which numbers of axes of ``x`` a statement is meant (2, 3 or
4 if nothing is said), and how many there are after it. Lines before ``@@`` stand before the
program.
"""

import contextlib
import enum
import functools
import itertools
import linecache
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv as jc
from tests.support.networks import Network, promise
from tests.support.oracle import is_considered, names_of, outcome

LARGEST = 320  # sizes that are compared: what programs compute with NumPy stays small
MODULES = {
    "contextlib": contextlib, "enum": enum, "functools": functools, "itertools": itertools,
    "jax": jax, "jc": jc, "jnp": jnp, "lax": lax, "math": math, "np": np,
}  # fmt: skip

CONSTANTS = {
    "s": "0 1 1 2 3",
    "k": "2 2 2 3 4",
    "K": "3 4 6 7 8 12 14 16 28",
    "large": "49 64 100 147 196",
    "t": "3.5 7.0 7. 13.5 14.0 224/16 28/2 19.6 1e1",
    "op": "< <= > >= == !=",
    "axis": "1 1 0 -1 -2",
    "mode": "constant edge reflect wrap symmetric",
    "method": "nearest linear cubic",
    "error": "TypeError ValueError Exception (TypeError,ValueError) IndexError",
}

# One expression per line: those that are common, and after the empty line the others.
EXPRESSIONS = {
    "i": """
$n // $k
($n - 1) // $k + 1
-(-$n // $k)
$n - $s
$n + $s
$k * $n
$n % $k
$n // $k * $k
min($n, $K)
max($n, $K)
len(x)

$n * $m
min($n, $m)
abs($n - $K)
$n ** 2
$n & 7
$n | 1
$n ^ 3
$n << 1
$n >> 1
$n & ($n - 1)
$n & -$n
$n.bit_length()
divmod($n, $k)[0]
sum(divmod($n, $k))
int($n * 0.5)
int($n / $k)
int($n * 2.0)
round($n / $k)
round($n * 0.75)
math.ceil($n / $k)
math.floor($n / $k)
math.isqrt($n)
math.gcd($n, $K)
math.gcd($n, $m)
math.prod(x.shape[1:])
int(math.log2($n))
int(math.sqrt($n))
int($n ** 0.5)
int(($n - 1) ** 0.5)
int(np.sqrt($n))
int(np.ceil($n / $k))
int(np.floor($n * 0.5))
int(np.prod(x.shape[1:]))
int(np.log2($n))
np.minimum($n, $K)
np.int64($n) // $k
int(float($n))
len(range(0, $n, $k))
len(np.arange(0, $n, $k))
x.size
x.size // $K
x.ndim * $n
sorted(x.shape)[1]
sorted(x.shape)[-1]
max(x.shape)
max([s for s in x.shape if s != $n] + [1])
sum(x.shape)
sum(s > $K for s in x.shape)
x.shape.index($n)
[$K, $K2, $n].index($n)
{$K: $k, $K2: $k2}.get($n, 1)
int(str($n)[0])
len(str($n))
int($n > $K)
$k if $n > $K else $k2
(lambda n: n // $k)($n)
functools.reduce(lambda a, b: a * b, x.shape[1:])
next(i for i in range(1, $K2 + 1) if i * i >= $n)
""",
    "f": """
$n / $k
$n * 0.5
$n ** 0.5
$n ** -0.5

float($n)
math.sqrt($n)
np.sqrt($n)
np.log($n)
math.log($n) / math.log(2)
1 / $n
$n / $m
np.float32($n)
1e-3 * $n
jnp.float32($n)
jnp.sqrt($n)
sum(x.shape) / len(x.shape)
np.mean(x.shape)
""",
    "c": """
$n $op $K
$n >= $K
$n % $k == 0
not $n % $k
$n % $k
$n in ($K, $K2)
$n == $m

$n > $large
$n $op $m
$n $op $t
$n $op $t
$n == $K / 16
$n == 224 / 16
$n in (7., 14.)
$n not in [$K, $K2, $t]
$n in {$K, $K2}
$n in {$K: 1, $K2: 2}
$n in range(0, $K, $k)
$n in frozenset(range($K))
$n in np.array([7, $K])
$n in x.shape[2:]
np.any(np.array([14, $K]) == $n)
np.all(np.array(x.shape[1:]) >= $k)
np.equal($n, $K)
np.array_equal(x.shape[1:], [$K, $K2])
$n == np.int64($K)
$n / 16 == $n // 16
$n / $k == $n // $k
$n / $m == 1
$n / $m > $t
$n * 0.5 $op $K
$n ** 0.5 $op $k
math.sqrt($n) $op 3
math.sqrt($n).is_integer()
($n / $k).is_integer()
float($n).is_integer()
math.isclose($n, $K)
round($n / $K) == $k
$k < $n < $K
$k < $n <= $m
$n > $k and $m > $k2
$n == $K or $m == $K2
not ($n < $K and $m)
any(s % $k for s in x.shape[1:])
all(s >= $K for s in x.shape[1:-1])
len(set(x.shape)) == $k
x.shape[1:3] == ($K, $K)
x.shape[1:] == x.shape[1:][::-1]
x.shape[0] == x.shape[-1] or $n == $K
$n & 1
$n & ($n - 1) == 0
$n ^ $K
bool($n - $K)
str($n) == "$K"
f"{$n}" in ("7", "14")
$n * $m > $large
$n * $m == $large
$n ** 2 < $large
x.size > $large
x.size % $K == 0
isinstance($n, int)
math.gcd($n, $m) == 1
max($n, $m) == $n
$n == max(x.shape)
$n - $m in (0, 1)
($n, $m) == ($K, $K2)
($n, $m) < ($K, $K2)
hash($n) == hash($K)
""",
}

STATEMENTS = {
    "integers": """
$v = $i

$v = $i
x = x[:, :$v]

$v = $i
x = jnp.pad(x, [(0, $v)] + [(0, 0)] * (x.ndim - 1))

$v, $u = divmod($n, $k)
x = x[:, $u:]

$v = $i
$u = jnp.zeros(($v, x.shape[-1])) + x[:1].max()

$v = $i
$u = x.reshape($v, -1)
""",
    "floats": """
$u = $f
x = x * $u

x = x / $f

x = x[:, :int($f)]

$v = int($f)

x = x + ($k if $f > $t else $k2)

if $f $op $t:
    x = x[:, ::2]

$v = round($f + 0.5)

x = jax.nn.softmax(x * $n ** -0.5, axis=-1)
""",
    "numpy": """
x = x + np.arange($d)

x = x * np.arange(x.shape[-1])

x = jnp.take(x, np.arange(0, $d, $k), axis=$axis)

x = jnp.take(x, np.arange(x.shape[1])[::-1], axis=1)

$u = np.zeros($d)
x = x[:, :len($u[::$k])]

3| x = x @ np.tri(x.shape[2])

3| x = jnp.where(np.tri(n, dtype=bool)[None, :, :1], x, 0)

x = x[:, np.linspace(0, x.shape[1] - 1, $K).astype(int)]

$u = np.linspace(0, 1, $d)
x = x * $u[$s]

$u = np.hanning($d)
x = x * $u.max()

$v = int(np.sum(np.arange($d) % $k == 0))
x = x[:, :$v]

x = x * np.eye($d)[0]

x = x[:, np.arange($d) % $k == 0]

$u = np.unravel_index($d - 1, x.shape[:2])
x = x[$u]

$u = np.array(x.shape) // $k
x = jnp.broadcast_to(x[:1, :1], (x.shape[0], int($u[1]), *x.shape[2:]))

$u = np.array([x.shape[1], $d])
$v = int($u.min())

$u = [$K, $K2, 32, 64]
$v = $u[np.searchsorted($u, $d)]
x = jnp.pad(x, [(0, 0), (0, $v - $d)] + [(0, 0)] * (x.ndim - 2))
""",
    "if": """
if $c:
    x = x[:, ::2]

if $c:
    x = x[:, 1:]
else:
    x = x[:, :-1]

if $c:
    x = jnp.concatenate([x, x], axis=$axis)
elif $c2:
    x = x.swapaxes(0, 1)

x = x if $c else x[:, :$k]

$v = $i if $c else $i2

$v = $n if $n > $K else $K

if $c:
    $v = $k
else:
    $v = $n // $k
x = x[:, :$v]

if $c and $c2:
    raise ValueError(f"got {x.shape}")

if x.shape[1] > $K:
    x = x[:, :$K]

if $n:
    x = x[:, :$n]

x = x[:, :($n > $K) + 1]

if isinstance($n, int) and $c:
    x = x + 1
""",
    "assert": """
assert $c, f"bad size {$n}"

assert $c

assert x.shape[1] % $k == 0, f"{x.shape[1]} is not a multiple of $k, rest {x.shape[1] % $k}"

if not ($c):
    raise ValueError(f"size {$n:4d} of {x.shape}, {$n / 2:.1f}")

if $c:
    raise RuntimeError("unexpected size %d" % $n)

assert x.shape[1] in ($K, $K2, $n)

if not $c:
    raise NotImplementedError
""",
    "match": """
match $n:
    case $K:
        x = x[:, :2]
    case 1 | 2:
        x = x * 2
    case _:
        x = x[:, 1:]

match x.shape:
    case (_, $K, *_):
        x = x[:, ::2]
    case (1, *_):
        x = x[0][None]
    case _:
        pass

match $n % $k:
    case 0:
        x = x[:, :$n // $k]
    case 1:
        x = x[:, :1]

match $n:
    case n if n > $K:
        x = x[:, :$K]
    case 1:
        raise ValueError("too small")

match x.shape[1:]:
    case (a, b, *_) if a == b:
        x = x + x.swapaxes(1, 2)
    case _:
        x = x[:, :1]

match $n:
    case int():
        x = x[:, :$k]
    case _:
        raise TypeError(f"{$n} is not a number")

match $n:
    case 7.0 | 14.0:
        x = x[:, ::2]
""",
    "while": """
4| while x.shape[1] > $K:
    x = jc.max_pool(x, 2)

$v = $d
while $v % 2 == 0:
    $v //= 2

$v = 0
while 2 ** $v < $d:
    $v += 1
x = x[:, :$v]

while x.shape[1] > $K:
    x = x[:, ::2]

$v = 1
while $v * $v < $d:
    $v += 1

4| while min(x.shape[1:3]) >= $K:
    x = x[:, 1:-1, 1:-1]

$v = $d
while $v > $K:
    $v = $v - $k
    if $v == $K:
        break
else:
    x = x[:, :2]

a, e = $d, $K
while e:
    a, e = e, a % e
x = x[:, :a]
""",
    "containers": """
$u = {$K: 1, $K2: 2, 1: 3}
x = x[:, :$u.get($n, 4)]

$u = {$K: "a", $K2: "b"}
if $n in $u:
    x = x[:, :$K]

$u = {(x.shape[1], 1): x}
x = $u[($n, 1)]

$u = {s: i for i, s in enumerate(x.shape)}
x = x.sum($u[$n], keepdims=True)

$v = [$K, $K2, 14].index($n)
x = x * $v

$v = sorted([$n, $K, $K2])[1]
x = x[:, :$v]

$v = max([$n, $K], key=lambda n: n % $k)

$u = dict(zip("abcd", x.shape))
x = x[:, :$u["b"] // $k]

a, *rest = x.shape
x = x.reshape(a, *rest[::-1])

$u = set(x.shape[1:])
if len($u) == 1:
    x = x[:, ::$k]

$u = [x]
for s in sorted({$n, $K, $k}):
    $u.append(x[:, :s])
x = jnp.concatenate($u, 1)

class $u(enum.IntEnum):
    SMALL = $K
    LARGE = 28
$u2 = $u($n)

class $u(enum.Enum):
    A = $K
    B = $K2
x = x[:, :2] if $n in [e.value for e in $u] else x

$u = [x[:, :1]] * ($n // $K) + [x]
x = $u[0]

$u = list(range($K))
x = x[:, $u[$n % $K]:]

$u = [n for n in x.shape if n % $k == 0]
x = x.reshape(-1, $u[0])

$u = $K in x.shape
x = x[:, ::1 + $u]

$u = "abcdefgh"[$n - 1]
x = x + ord($u)

$v = x.shape.count($n)
x = x[:, :$v]
""",
    "caches": """
@functools.lru_cache
def $u(n):
    return n // $k
x = x[:, :$u($n)]

@functools.lru_cache(maxsize=None)
def $u(n):
    return np.arange(n) % $k
@@
x = x + $u(x.shape[-1])

@functools.cache
def $u(n, m=1):
    if n < $K:
        raise ValueError(f"{n} is too small")
    return n - m
@@
x = x[:, :$u($n)]

$u = {}
@@
x = x[:, :$u.setdefault($n, $n)]

class $u:
    size = None
$u = $u()
@@
$u.size = $u.size or x.shape[1]
x = x + 1

$u = []
@@
$u.append(x.shape[1])
x = x[:, :$u[-1] // $k]

def $u(shape, cache={}):
    if shape not in cache:
        cache[shape] = len(cache)
    return shape[1]
@@
x = x[:, :$u(x.shape)]

@functools.singledispatch
def $u(n):
    raise TypeError(f"not a number: {n}")
@$u.register
def _(n: int):
    return n // $k
@@
x = x[:, :$u($n)]
""",
    "try": """
try:
    $v = int($n)
except $error:
    $v = $K
x = x[:, :$v // $k]

try:
    x = x.reshape(x.shape[0], -1, $K)
    x = x.reshape(x.shape[0], -1)[:, :$K]
except $error:
    x = x.reshape(x.shape[0], -1)
b, d = x.shape

try:
    x = jnp.concatenate([x, jnp.ones((1, $K, *x.shape[2:]))], axis=0)
except $error:
    x = x[:, :1]

try:
    $u = jnp.split(x, $k, axis=1)
except $error:
    $u = [x]
x = $u[0]

try:
    $u = jnp.split(x, $d, axis=1)
    x = $u[-1]
except $error:
    pass

try:
    x = x.squeeze(1)[:, None]
except $error:
    x = x[:, 1:]

try:
    x = x + jnp.ones(($K, x.shape[-1]))
except $error:
    x = x[:, ::2]

try:
    $v = len(list(x))
except $error:
    $v = $k
x = x[:$v]

with contextlib.suppress($error):
    x = x.reshape(-1, $K)
    x = x.reshape(-1, 7, $K)
x = x.reshape(x.shape[0], -1)
b, d = x.shape

with contextlib.suppress(ValueError, TypeError):
    x = jnp.stack([x, x.swapaxes(0, 1)])[0]

try:
    assert $c
except AssertionError:
    x = x[:, 1:]

try:
    $u = {$K: 1}[$n]
except KeyError:
    x = x[:, :$K]

try:
    $u = [0, 1, 2, 3][$n]
except IndexError:
    x = x[:, ::2]

try:
    $v = $K // ($n - $k)
except ZeroDivisionError:
    $v = 1
x = x[:, :$v]

try:
    $u = math.sqrt($n - $K)
except ValueError:
    x = x[:, :1]

for axis in (1, 0):
    try:
        x = jnp.squeeze(x, axis)[None]
        break
    except $error:
        continue

try:
    raise ValueError(f"{$n}") if $c else KeyError
except ValueError:
    x = x[:, 1:]
except KeyError:
    x = x[:, :-1]
finally:
    x = x + 1
""",
    "indexing": """
x = x[:, $d // $k][:, None]

x = x[:, :$d // $k]

x = x[:, $d // $k:]

x = x[:, -($d // $k):]

x = x[:, ::$k]

x = x[:, $s::$k]

x = x[:, :-$k]

x = x[:, -1:]

x = x[-1][None]

x = x[:, $K][:, None]

x = x[:, $s:-$s2]

x = x[..., $k]
x = x[..., None]

x = x.at[:, $s].set(0)

x = x.at[:, : $d // $k].set(1.0)

x = x.at[:, $d - 1].add(1)

x = x.at[$k:].multiply(jnp.ones($K))

x = lax.dynamic_slice_in_dim(x, $d // 4, $d // 2, 1)

x = lax.dynamic_slice_in_dim(x, $s, $K, 1)

x = lax.slice_in_dim(x, $s, $d, $k, axis=1)

x = lax.dynamic_update_slice(x, jnp.ones((1, $K, *[1] * (x.ndim - 2))), (0,) * x.ndim)

x = lax.dynamic_index_in_dim(x, $d // 2, 1)

x = jnp.take(x, jnp.array([0, $k]), axis=1)

x = jnp.take(x, $d // 2, axis=1)[:, None]

x = jnp.roll(x, $d // $k, axis=1)

x = jnp.flip(x, $axis)

x = x[:, jnp.arange($d)]

x = x[:, jnp.argsort(x[0, :, ..., 0].reshape($d, -1)[:, 0])]

x = x[:, $d % $k :]

x = x[::-1, ::-1]

x = x[:, slice(0, $i)]

x = x[:, [0, $s, -1]]

x = jnp.tile(x, (1, $k) + (1,) * (x.ndim - 2))

x = jnp.repeat(x, $k, axis=$axis)

x = jnp.diff(x, axis=1)
""",
    "loops": """
for i in range($d // $K):
    x = x + i

$u = []
for i in range(0, x.shape[1] // 8):
    $u.append(x[:, 8 * i : 8 * i + 8].mean(1))
x = jnp.stack($u, 1)

$u = [row for row in x]
x = jnp.stack($u[::$k])

for row in x[:, :3]:
    $u = row.sum()
x = x + $u

x = lax.fori_loop(0, $d // 2, lambda i, a: a + i, x)

x = lax.fori_loop(0, $d, lambda i, a: a.at[:, i].set(0), x)

x = lax.scan(lambda a, _: (a * 2, None), x, length=$d)[0]

x = lax.scan(lambda a, _: (a * 2, a.sum()), x, length=$d // $k)[1][None, :, None]
x = jnp.broadcast_to(x, (2, x.shape[1], 2))
b, n, d = x.shape

x = lax.scan(lambda a, row: (a + row, row[:1]), jnp.zeros(x.shape[1:]), x)[1]

x = lax.map(lambda row: row[::$k], x)

x = lax.while_loop(lambda s: s[0] < $d, lambda s: (s[0] + 1, s[1] * 2), (0, x))[1]

for i, s in enumerate(x.shape[1:]):
    if s % $k:
        x = jnp.concatenate([x, lax.slice_in_dim(x, 0, 1, axis=i + 1)], i + 1)

for s in ($K, $k):
    if x.shape[1] > s:
        x = x[:, s:]

for i in range(min($n, 4)):
    x = jnp.concatenate([x, x[:, i:i + 1]], 1)

$v = sum(i % $k == 0 for i in range($d))
x = x[:, :$v]

x = lax.associative_scan(jnp.add, x, axis=1)

x = sum(x[:, i::$k][:, : x.shape[1] // $k] for i in range($k))

for i in range(x.shape[1].bit_length()):
    x = x + i

x = jnp.stack([x[:, i] for i in range(0, $d, $K)], 1)

x = lax.cond(x.sum() > 0, lambda a: a[:, :$K], lambda a: a[:, -$K:], x)
""",
    "resize": """
4| x = jax.image.resize(x, (x.shape[0], $K, $K2, x.shape[3]), "$method")

4| x = jax.image.resize(x, (b, h * $k, w * $k, c), "$method")

4| x = jax.image.resize(x, (b, h // $k, w // $k, c), "$method")

4| x = jax.image.resize(x, (b, int(h * 0.5), round(w * 1.5), c), "$method")

4| x = x + jax.image.resize(x[:, ::$k, ::$k], x.shape, "$method")

4| for s in (3, 5, 7, 9, 11):
    x = x + jax.image.resize(x[:, :1, :1], (x.shape[0], s, s, x.shape[3]), "nearest").mean()

4| x = jax.image.resize(x, (b, $d, $d2, c), "$method")

4| $u = jnp.ones(2)
x = jax.image.scale_and_translate(x, (b, $K, $K, c), (1, 2), $u, 0 * $u, "$method")
""",
    "pads": """
4| x = jnp.pad(x, ((0, 0), ($s, $k), ($k, $s), (0, 0)), mode="$mode")

x = jnp.pad(x, [(0, 0), (0, -x.shape[1] % $k)] + [(0, 0)] * (x.ndim - 2))

x = jnp.pad(x, [(0, 0), (0, $K - x.shape[1])] + [(0, 0)] * (x.ndim - 2))

x = jnp.pad(x, [(0, 0), (0, max(0, $K - x.shape[1]))] + [(0, 0)] * (x.ndim - 2))

x = jnp.pad(x, [(0, 0), ($d // 2, $d // 2)] + [(0, 0)] * (x.ndim - 2), mode="$mode")

x = lax.pad(x, 0.0, [(0, 0, 0), (-$s, $d // $k, 0)] + [(0, 0, 0)] * (x.ndim - 2))

2| x = jnp.pad(x, $k, mode="$mode")

x = jnp.pad(x, 1)
""",
    "reshapes": """
>2| x = x.reshape(x.shape[0], -1)

>2| x = x.reshape(-1, $K)

>2| x = x.reshape(-1, x.shape[-1])

2>3| x = x.reshape(x.shape[0], -1, $k)

34>4| x = x.reshape(x.shape[0], x.shape[1] // $k, $k, -1)

4>3| x = x.reshape(b, h * w, c)

4>3| x = x.reshape(b, -1, 2 * c)

4>3| x = x.reshape(b, h // $k, w * c * $k)

3>4| x = x.reshape(b, int(n ** 0.5), int(n ** 0.5), d)

3>4| $v = math.isqrt(n)
x = x.reshape(b, $v, n // $v, d)

3>4| x = x.reshape(b, n // 14, 14, d)

4| x = x.reshape(b, h // $k, $k, w // $k, $k, c)
x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // $k, w // $k, $k * $k * c)

4| x = x.reshape(b, h // $k, $k, w, c).mean(2)

>2| x = x.reshape(-1, 147)

>3| x = x.reshape(-1, $K, $k)

>2| x = jnp.ravel(x).reshape($d, -1)

x = x.reshape(x.shape[::-1])

3| x = x.reshape(b, n, $k, d // $k).swapaxes(1, 2).reshape(b, n, d)

3| x = x.reshape(b * n, d).reshape(-1, n, d)

4| x = x.reshape(b, w, h, c)
""",
    "einsum": """
4| x = jnp.einsum("bhwc,cd->bhwd", x, jnp.ones(($K, 4)))

4| x = jnp.einsum("bhwc,hd->bdwc", x, jnp.ones(($K, 4)))

4| x = jnp.einsum("bhwc,bwkc->bhkc", x, x)

3| x = jnp.einsum("bnd,bmd->bnm", x, x)

3| x = jnp.einsum("b n d, n -> b n d", x, jnp.arange(n * 1.0))

2>3| x = jnp.einsum("i j, k j -> i j k", x, x[:$k])

4| x = jnp.einsum("b h w c, h w -> b h w c", x, jnp.ones(($K, $K)))

x = jnp.einsum("a...,...->a...", x, x[0])

3| x = jnp.tensordot(x, jnp.ones(($K, 3)), 1)

3| x = x @ x.swapaxes(1, 2)

x = x @ jnp.ones(($K, 4))

2| x = x @ x.T

x = x @ jnp.ones((x.shape[-1], $K))
""",
    "joins": """
x = jnp.concatenate([x, x[:, ::$k]], axis=1)

x = jnp.concatenate([x, x[:, :$d // $k]], axis=0)

x = jnp.concatenate([x[:, ::2], x[:, 1::2]], axis=0)

$u = jnp.split(x, $k, axis=1)
x = $u[0] + $u[-1]

$u = jnp.split(x, [$s, $k], axis=1)
x = jnp.concatenate($u[::-1], axis=1)

x = jnp.split(x, [$d // 2], axis=1)[1]

x = jnp.array_split(x, $k, axis=1)[0]

x = jnp.stack([x[:, ::2], x[:, 1::2]]).sum(0)

x = jnp.hstack([x, x]) + jnp.hstack([x, x[:, : $K]]).mean()

x = jnp.stack([x, x[::-1]], $s).max($s)

x = jnp.split(x, x.shape[1] // $k, axis=1)[0]

x = jnp.vstack([x, jnp.ones((1, *x.shape[1:-1], $K))])
""",
    "broadcast": """
x = x + jnp.ones(($K, x.shape[-1]))

x = x + jnp.ones($K)

x = x * jnp.arange($d)

x = x + x.swapaxes(0, 1)

4| x = x + x.swapaxes(1, 2)

4| x = x + jnp.ones((1, $K, 1, 1))

4| x = x + jnp.ones((1, $K, $K2, 1))

x = x - x[:, :$k].mean(1, keepdims=True)

x = jnp.where(jnp.arange(x.shape[1])[:, None] < $d // 2, x, 0) if x.ndim < 4 else x

x = jnp.broadcast_to(x, ($k, *x.shape)).sum(0)

x = jnp.broadcast_to(x, (x.shape[0], $K, *x.shape[2:]))

x = x + jnp.linspace(0, 1, $d)

x = x + x[:1, : $d // $k]

x = jnp.minimum(x, x[:, $s:])
""",
    "squeeze": """
4>3| x = x.squeeze(1)

4>3| x = x[:, :$s].squeeze(1)

4>3| x = jc.max_pool(x, $K)
x = x.squeeze(2)

34>2| x = jnp.squeeze(x)
b, d = x.shape

x = jnp.squeeze(x, 0)[None]

4| x = x.squeeze((0, 1))[None, None]

4>2| x = jc.global_avg_pool(x)

34>2| x = x.mean(tuple(range(1, x.ndim - 1)))
""",
    "layers": """
4| x = jc.max_pool(x, $k)

4| x = jc.avg_pool(x, $k, stride=$k2)

4| x = jc.avg_pool(x, (h // $k, w // $k))

4| x = jc.conv(x, jnp.ones((3, 3, x.shape[-1], 4)), stride=$k, padding="VALID")

4| x = jc.conv(x, jnp.ones(($k, $k, 3, 4)))

4| $u = ("NHWC", "HWIO", "NHWC")
x = lax.conv_general_dilated(x, jnp.ones((3, 3, c, 2)), ($k, $k), "SAME", dimension_numbers=$u)

4| x = lax.reduce_window(x, -jnp.inf, lax.max, (1, $k, $k, 1), (1, $k2, $k2, 1), "VALID")

4| x = jc.conv(x, jnp.ones((3, 3, c, 4)), dilation=$k, padding=$s)

4| x = jc.conv_transpose(x, jnp.ones((2, 2, c, 2)), stride=2)

4| x = lax.reduce_window(x, 0.0, lax.add, (1, h, w, 1), (1, 1, 1, 1), "VALID") / (h * w)

4| x = jc.max_pool(x, max(1, h // $K))

4>2| x = jc.flatten(x)

4>2| x = jc.dense(jc.flatten(x), jnp.ones(($large, 5)))

3| x = jnp.cumsum(x, axis=1)

3| x = jax.nn.dot_product_attention(x[:, :, None], x[:, :, None], x[:, :, None])[:, :, 0]

x = jax.nn.one_hot(jnp.argmax(x, -1), $d)

x = jax.lax.top_k(x, $K)[0]

x = jnp.sort(x, axis=1)[:, -$K:]
""",
    "transforms": """
x = jax.vmap(lambda r: r[: r.shape[0] // $k])(x)

x = jax.vmap(lambda r: r[::$k] if r.shape[0] > $K else r, in_axes=$s)(x)

x = jax.grad(lambda a: (a[:, ::$k] ** 2).sum())(x)

4| x = jax.grad(lambda a: jc.max_pool(a, $k).sum())(x)

x = jax.jit(lambda a: a[:, : a.shape[1] // $k])(x)

x = jax.checkpoint(lambda a: a + a.shape[1])(x)

x = jax.vmap(lambda r, s: r + s)(x, jnp.ones(($K, 1)))

x = jax.vmap(lambda r: r / lax.psum(1, "i"), axis_name="i")(x)

x = jax.jit(lambda a, n: a[:, :n], static_argnums=1)(x, $d // $k)

x = jax.eval_shape(lambda a: a[:, :$k], x).shape[1] * x

$u = functools.partial(lambda n, a: a[:, : n // $k], $n)
x = $u(x)
""",
    "sizes": """
$v = $n + x.shape[1]

$v = x.shape[1] * x.shape[-1]
x = jnp.broadcast_to(x.max(), (2, $v))
b, d = x.shape

x = x * $n

x = x + $n / $m

x = x + jnp.array([$n, $m]).sum()

x = x + jnp.asarray(x.shape, x.dtype)[1]

x = jnp.full(x.shape, $n) + x

x = jnp.full((2, $d, $d2), $k) * x.mean()
b, n, d = x.shape

x = x[:, : $i]

print(end=f"{$n}"[:0])

$u = "x".join([str(s) for s in x.shape])

$u = jax.random.normal(jax.random.key(0), ($d, x.shape[-1]))
x = x + $u.mean()

x = jax.random.permutation(jax.random.key($s), x, axis=1)
""",
}
TWO_ARGUMENTS = """
x = x + y

x = jnp.concatenate([x, y], axis=$axis)

x = x[:, : y.shape[1]] + y

if x.shape != y.shape:
    raise ValueError(f"{x.shape} and {y.shape}")

x = x * y[:, : x.shape[1]]

assert len(x) == len(y) and x.size >= y.size

x = jnp.where(y > 0, x, 0)

x = jnp.stack([x, y]).max(0)

x = x[: min(len(x), len(y))] + y[: min(len(x), len(y))]

for a, e in zip(x.shape, y.shape):
    if a % e:
        raise ValueError(f"{a} is not a multiple of {e}")

x = jnp.broadcast_to(y, x.shape) + x

x = jnp.tile(y, (x.shape[0] // y.shape[0],) + (1,) * (x.ndim - 1)) + x

try:
    x = x + y
except TypeError:
    x = jnp.concatenate([x, y], 1)

x, y = (y, x) if $c else (x, y)

x = x @ y.swapaxes(-1, -2)

x = jnp.einsum("b...,b...->b...", x, y)

x = x[:, y.shape[1] :]
"""
STATEMENTS["two arguments"] = TWO_ARGUMENTS
# Kinds of which half of all statements are.
COMMON = ["if", "assert", "indexing", "reshapes", "joins", "broadcast", "layers", "pads"]

# How a program ends, likewise.
ENDS = """
return x
return x.reshape(x.shape[0], -1)
return x @ jnp.ones(($K, 3))

return x.sum()
return x, $d
return x, ($d, x.shape[1])
return {"map": x, "sizes": x.shape}
return [x, x.mean(0)]
return x, $f
return x, $i
return x.shape
return x, None, np.arange($d)
return x.reshape(-1, $K)
return x + jnp.ones((1, $K, *[1] * (x.ndim - 2)))
return x[:, $K]
"""
DECORATORS = ["", "", "", "", "", "", "@jax.jit", "@jax.vmap", "@jax.checkpoint"]

TYPICAL = [1, 2, 4, 7, 8, 12, 14, 16, 28, 32, 64]  # sizes at which a program is tried

AXES = {2: "b d", 3: "b n d", 4: "b h w c"}  # names in a program, by the number of axes
SPECS = {
    2: ["b d", "b d", "b 2*d", "n n", "b 14", "m n"],
    3: ["b n d", "b n d", "b n 8", "2 n d", "b t t", "1 n d"],
    4: ["b h w 3", "b h w 3", "b h w 2", "1 h w 3", "b h h 3", "b 2*h w 4", "2 h w c", "b h 14 3"],
}
SECOND = {
    2: ["b d", "b k", "k d", "1 k"],
    3: ["b n d", "b m d", "1 n d", "b k 8"],
    4: ["b h w 3", "b h w 2", "b i j 3", "k h w 3", "b h w 1", "1 i j 3"],
}
CONDITIONS = [
    "{} >= 4", "{} >= 8", "{} <= 64", "{} >= 2 and {} <= 40", "{} == {}", "{} >= {}", "{} == 14",
    "{} % 4 == 0", "{} // {} >= 2", "64 // {} >= 4", "{} % {} == 0", "{} >= 3, {} >= 5",
    "2*{} >= {}",
]  # fmt: skip


class Writer:
    """Writes a program: the random choices, and what is known at the line that is written."""

    def __init__(self, seed, attempt):
        self.seed, self.rng = seed, np.random.default_rng([seed, attempt, 13])
        self.kinds = []
        self.before, self.body = [], []
        self.numbers, self.made, self.two = [], 0, False
        self.rank = self.one([2, 3, 4, 4])
        self.sizes = []
        self.read_shape()

    def one(self, options):
        return options[self.rng.integers(len(options))]

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def chance(self, share):
        return self.rng.random() < share

    def line(self, table):
        """A line of a table: one of the common ones in half of all cases."""
        common, rare = table.strip().split("\n\n")
        return self.one((common if self.chance(0.5) else rare).split("\n"))

    def read_shape(self):
        """Write the line that reads the sizes of x."""
        names = AXES[self.rank].split()
        self.body.append(f"{', '.join(names)} = x.shape")
        self.sizes = [*names, *names[1:], "x.shape[1]", "x.shape[-1]", "x.shape[1]"]

    def fill(self, template):
        """Replace the choices of a template."""
        chosen, new = {}, []

        def choice(match):
            key = match.group()
            if key not in chosen:
                chosen[key] = self.choose(match[1], new)
            return chosen[key]

        text = re.sub(r"\$([a-zA-Z]+)\d*", choice, template)
        self.numbers += new
        return text

    def choose(self, kind, new):
        """The text of a choice; a new number is added to ``new``."""
        if kind in ("v", "u"):
            self.made += 1
            name = f"{kind}{self.made}"
            new += [name] * (kind == "v")
            return name
        if kind in ("n", "m"):
            recent = self.numbers and self.chance(0.4)
            return self.numbers[-1] if recent else self.one([*self.sizes, *self.numbers])
        if kind == "d":
            return self.one(self.sizes)
        if kind in EXPRESSIONS:
            return f"({self.fill(self.line(EXPRESSIONS[kind]))})"
        return self.one(CONSTANTS[kind].split())

    def statement(self):
        """Write one statement that fits the number of axes of x."""
        while True:
            kind = self.one(COMMON if self.chance(0.5) else [*STATEMENTS])
            if self.two and self.chance(0.2):
                kind = "two arguments"
            template = self.one(templates(kind))
            ranks, becomes, text = RANKS.fullmatch(template).groups()
            if str(self.rank) in (ranks or "234") and (kind != "two arguments" or self.two):
                break
        self.kinds.append(kind)
        before, _, text = self.fill(text).rpartition("@@\n")
        self.before += before.splitlines()
        self.body += text.splitlines()
        read = re.findall(r"^(b, (?:n, )?d) = x.shape$", text, re.MULTILINE)
        rank = int(becomes or (len(read[-1].split(",")) if read else self.rank))
        if rank != self.rank or self.chance(0.7):
            self.rank = rank
            self.read_shape()


RANKS = re.compile(r"(?:(\d*)(?:>(\d))?\| )?(.*)", re.DOTALL)


@functools.cache
def templates(kind):
    return STATEMENTS[kind].strip("\n").split("\n\n")


def compiled(source, path):
    """The function ``program`` of a source text, whose lines are shown in tracebacks."""
    lines = source.splitlines(keepends=True)
    linecache.cache[path] = (len(source), None, lines, path)
    space = {"__name__": "size_program", **MODULES}
    exec(compile(source, path, "exec"), space)
    return space["program"]


def numbers_in(code):
    """The numbers in the code of a function, also those that Python computed from others."""
    for value in code.co_consts:
        for each in value if isinstance(value, tuple | frozenset) else (value,):
            if isinstance(each, int | float) and 1 < each <= LARGEST:
                yield int(each)
            elif hasattr(each, "co_consts"):
                yield from numbers_in(each)


def text_of(writer, length, decorator):
    """The source text of a program, as written by a writer."""
    arguments = "x, y" if writer.two else "x"
    for _ in range(length):
        writer.statement()
    writer.body.append(writer.fill(writer.line(ENDS)))
    head = [*writer.before, decorator] if decorator else writer.before
    return "\n".join([*head, f"def program({arguments}):", *(f"    {t}" for t in writer.body), ""])


def draft(writer):
    """A program, as it comes."""
    rank, writer.two = writer.rank, writer.chance(0.2)
    specs = (writer.one(SPECS[rank]), *([writer.one(SECOND[rank])] if writer.two else []))
    decorator, length = writer.one(DECORATORS), writer.number(1, 5)
    source = text_of(writer, length, decorator)
    if decorator == "@jax.vmap":
        specs = tuple(f"images {spec}" for spec in specs)
    path = writer.one([f"program_{writer.seed}.py"] * 4 + [f"<stdin {writer.seed}>"])
    where = None
    if writer.chance(0.2):
        names = writer.rng.permutation(names_of(specs))
        where = writer.one(CONDITIONS).format(*(str(name) for name in (*names, *names)[:2]))
    made = Network(compiled(source, path), specs, None, tuple(writer.kinds), where)
    special = tuple(sorted({*numbers_in(compile(source, path, "exec"))}))
    return made._replace(largest=LARGEST, special=special, source=source, path=path)


def works(made, writer):
    """Whether a program accepts one of a few sizes."""
    names = names_of(made.specs)
    points = [{name: writer.one(TYPICAL) for name in names} for _ in range(6)]
    return any(is_considered(made, point) and outcome(made, point) for point in points)


def program(seed):
    """The random program of this number. Most accept some sizes."""
    for attempt in range(5):
        writer = Writer(seed, attempt)
        made = draft(writer)
        if works(made, writer):
            break
    names = names_of(made.specs)
    returns = promise(writer, made, names) if writer.chance(0.25) else None
    # What the program keeps between calls is forgotten.
    return made._replace(returns=returns, fn=compiled(made.source, made.path))
