"""Zeros among weights: the smallest of all, or two of any four. What a weight belongs to is the caller's business."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelspec.stages import _prune_layers as layers
from modelspec.stages._prune_options import Magnitude, TwoFour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True)
class Weight:
    """The weights of a layer."""

    name: str
    """Of the tensor."""
    layer: str
    values: "Array"
    inner: int | None
    """The axis over which products are summed; None where 2:4 does not apply."""


@dataclass(frozen=True)
class Sparse:
    """Weights with their zeros, and why the others have none."""

    values: "dict[str, Array]"
    kept: dict[str, str]


def sparse(weights: Sequence[Weight], method: Magnitude | TwoFour) -> Sparse:
    """The weights by the name of their tensor, with zeros; those that keep all are left out."""
    names = list(dict.fromkeys(weight.layer for weight in weights))
    left_out = layers.excluded(method.exclude, names)
    kept = dict.fromkeys(sorted(left_out), "excluded")
    rest = [weight for weight in weights if weight.layer not in left_out]
    if isinstance(method, TwoFour):
        values = {w.name: _two_of_four(w.values, w.inner) for w in rest if _has_fours(w)}
        reason = "its inputs are no multiple of four"
        return Sparse(values, kept | {w.layer: reason for w in rest if w.name not in values})
    shares = layers.shares(method.layers, method.sparsity, [name for name in names if name not in left_out])
    own = layers.shares(method.layers, None, names)
    groups = [[w] for w in rest if w.layer in shares and (method.scope == "layer" or w.layer in own)]
    if method.scope == "global":
        groups.append([w for w in rest if w.layer in shares and w.layer not in own])
    values = {}
    for group in filter(None, groups):
        values |= _smallest(group, shares[group[0].layer])
    kept |= {w.layer: "no share is given for it" for w in rest if w.layer not in shares}
    layers.require_effect(method.layers, {w.layer for w in rest if w.name in values}, kept)
    return Sparse(values, kept)


def _smallest(weights: Sequence[Weight], share: float) -> "dict[str, Array]":
    """The weights with exactly that share of zeros: the smallest, and of equal ones the first."""
    import numpy as np

    flat = np.concatenate([np.abs(weight.values).ravel() for weight in weights])
    count = round(share * len(flat))
    if not count:
        return {}
    is_zero = np.zeros(len(flat), bool)
    is_zero[np.argsort(flat, kind="stable")[:count]] = True
    found: dict[str, Array] = {}
    start = 0
    for weight in weights:
        own = is_zero[start : start + weight.values.size].reshape(weight.values.shape)
        start += weight.values.size
        found[weight.name] = np.where(own, weight.values.dtype.type(0), weight.values)
    return found


def _has_fours(weight: Weight) -> bool:
    return weight.inner is not None and weight.values.shape[weight.inner] % 4 == 0


def _two_of_four(values: "Array", axis: int | None) -> "Array":
    import numpy as np

    assert axis is not None
    moved = np.moveaxis(values, axis, -1)
    fours = moved.reshape(-1, 4).copy()
    smaller = np.argsort(np.abs(fours), axis=1, kind="stable")[:, :2]
    np.put_along_axis(fours, smaller, 0, axis=1)
    return np.ascontiguousarray(np.moveaxis(fours.reshape(moved.shape), -1, axis))
