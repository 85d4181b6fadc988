"""Cache of values derived from frozen parameters alone, valid until these change."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")

DEFAULT_STREAM = 0
"""Handle of the default stream, on every CUDA device."""


class _Source(NamedTuple):
    """A tensor's state when a value was derived from it."""

    owner: weakref.ref[Tensor]
    """The tensor, or its base if it is a view. Compared by identity: versions of different objects are unrelated."""
    state: tuple[Any, ...]
    memory: torch.UntypedStorage
    """Kept alive, so that no other tensor gets its address."""

    @classmethod
    def of(cls, tensor: Tensor) -> _Source:
        return cls(weakref.ref(_owner(tensor)), _state(tensor), tensor.untyped_storage())


def _state(tensor: Tensor) -> tuple[Any, ...]:
    return tensor._version, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


class _Entry(NamedTuple):
    sources: list[_Source]
    variant: Hashable
    value: Any

    def is_of(self, tensors: Sequence[Tensor], variant: Hashable) -> bool:
        """Whether the value is valid for `tensors`. On every call's critical path: one loop, no function calls."""
        if self.variant != variant or len(self.sources) != len(tensors):
            return False
        for (owner, state, _), tensor in zip(self.sources, tensors, strict=True):
            base = tensor._base
            if tensor.requires_grad or owner() is not (tensor if base is None else base):
                return False
            if state != (tensor._version, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()):
                return False
        return True


_lock = threading.Lock()
_entries: dict[int, tuple[weakref.ref[Tensor], dict[Hashable, _Entry]]] = {}
"""By the id of the first source's owner, then by name; an owner's entries are dropped when it is freed."""


def remembered(
    sources: Sequence[Tensor],
    name: Hashable,
    make: Callable[[], Value],
    variant: Hashable = None,
    apart: Callable[[Value], Value] | None = None,
) -> Value:
    """`make()`, or its last value under that name if it had the same variant and no source has changed since.

    A source has changed if it is another tensor, has other memory, or another version: in-place operations increment
    the version. Fused optimizers and graph replays do not, so nothing is cached for tensors that require gradients.
    Writes through `.data` do not either (autograd misses them too); call `forget` after them. A cached value must not
    refer to the sources: if that of `make()` does, `apart` maps it to one that does not. Do not modify cached values.

    On CUDA devices values are shared only among calls on the default stream, which run in order. Graphs are captured on
    other streams, and their replays must not read memory freed in the meantime.
    """
    if torch.compiler.is_compiling() or not _on_shared_stream(sources[0]):
        return make()
    owner = _owner(sources[0])
    with _lock:
        of_owner = _entries.get(id(owner))
        found = None if of_owner is None else of_owner[1].get(name)
    if found is not None and found.is_of(sources, variant):
        value: Value = found.value
        return value
    if any(tensor.requires_grad or tensor.is_inference() for tensor in sources):  # inference tensors have no version
        return make()
    before = [_Source.of(tensor) for tensor in sources]
    with torch.inference_mode(False), torch.no_grad():
        value = make() if apart is None else apart(make())
    _keep(owner, name, _Entry(before, variant, value))
    return value


def _keep(owner: Tensor, name: Hashable, entry: _Entry) -> None:
    key, entries = id(owner), _entries  # the global may be gone at interpreter exit

    def drop(_: object) -> None:
        entries.pop(key, None)

    with _lock:
        of_owner = entries.get(key)
        if of_owner is None or of_owner[0]() is not owner:
            of_owner = entries[key] = weakref.ref(owner, drop), {}
        of_owner[1][name] = entry


def forget() -> None:
    """Empty the cache."""
    with _lock:
        _entries.clear()


def _owner(tensor: Tensor) -> Tensor:
    return tensor if tensor._base is None else tensor._base


def _on_shared_stream(tensor: Tensor) -> bool:
    return not tensor.is_cuda or torch._C._cuda_getCurrentRawStream(tensor.get_device()) == DEFAULT_STREAM
