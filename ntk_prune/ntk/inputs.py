"""Inputs of a function: an array ``[n, ...]``, or a tree of arrays that share their first axis."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Inputs = Any
"""An array ``[n, ...]``, or a tree of such arrays: tokens with their mask, images with a tag."""


def count(x: Inputs) -> int:
    """``n``. ValueError unless all arrays have the same number of examples, and some."""
    numbers = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    if len(numbers) != 1 or numbers == {()}:
        shapes = ", ".join(str(jnp.shape(leaf)) for leaf in jax.tree.leaves(x)) or "none"
        raise ValueError(f"inputs must be arrays [n, ...] with one n, got shapes {shapes}")
    ((number,),) = numbers
    if number == 0:
        raise ValueError("the kernel of no inputs was asked for")
    return number


def take(x: Inputs, rows: slice) -> Inputs:
    """The examples in ``rows``."""
    return jax.tree.map(lambda leaf: leaf[rows], x)


def alone(example: Inputs) -> Inputs:
    """A batch ``[1, ...]`` of one example."""
    return jax.tree.map(lambda leaf: leaf[None], example)


def spec(x: Inputs, number: int) -> Inputs:
    """Shapes and types of ``number`` such examples."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((number, *leaf.shape[1:]), leaf.dtype), x)


def check_alike(x1: Inputs, x2: Inputs) -> None:
    """Raise ValueError unless examples of both have the same structure, shapes and types."""
    first, second = (jax.tree.flatten(spec(x, 1)) for x in (x1, x2))
    if first[1] != second[1]:
        raise ValueError(f"inputs differ in structure: {first[1]} and {second[1]}")
    for a, b in zip(first[0], second[0], strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ValueError(
                f"inputs differ in shape or type: {a.dtype} {a.shape[1:]} and {b.dtype} "
                f"{b.shape[1:]} an example"
            )


def gathered(tree: Any) -> Any:
    """A tree whose arrays that are spread over several devices are whole on the first of these.

    XLA's partitioned gradient of a convolution, example by example, is wrong (jax 0.10.2, on
    CPUs), and few operations of a network pass under an explicit mesh. What is traced stays. Raises
    ValueError for arrays with a part on another process.
    """
    return jax.tree.map(_gathered, tree)


def _gathered(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array):
        return leaf
    try:
        devices = sorted(leaf.devices(), key=lambda device: device.id)
    except jax.errors.ConcretizationTypeError:
        return leaf
    if not leaf.is_fully_addressable:
        raise ValueError(
            f"an array {leaf.shape} has parts on other processes: gather it first, as by "
            "jax.experimental.multihost_utils.process_allgather"
        )
    if len(devices) == 1:
        return leaf
    # by a sharding: put on a bare device, an array of an explicit mesh would go on belonging to it
    return jax.device_put(leaf, jax.sharding.SingleDeviceSharding(devices[0]))


def another(x: Inputs) -> Inputs:
    """An example that differs from the first: the next such one, or else one made from it."""
    for i in range(1, min(count(x), 8)):
        rows = slice(i, i + 1)
        pairs = zip(jax.tree.leaves(take(x, rows)), jax.tree.leaves(take(x, slice(1))), strict=True)
        if any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs):
            return jax.tree.map(jnp.asarray, take(x, rows))
    return jax.tree.map(lambda leaf: _changed(np.asarray(leaf)), take(x, slice(1)))


def _changed(first: np.ndarray) -> jax.Array:
    """Other numbers; integers, which may be indices, in the opposite order."""
    if jnp.issubdtype(first.dtype, jnp.floating):
        return jnp.asarray(1 - first)
    return jnp.asarray(first.reshape(1, -1)[:, ::-1].reshape(first.shape))
