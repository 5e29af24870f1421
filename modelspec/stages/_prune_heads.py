"""Finds the layers whose outputs the module's code splits into parts, such as the heads of an attention.

Which outputs belong to which part is the code's own business. Cut without knowing it, the module may well run, with heads
made of pieces of others.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    Forward = Callable[[nn.Module], Mapping[str, Tensor]]

_SPLITTING = {"view", "reshape", "unflatten"}


def split(module: "nn.Module", forward: "Forward", layers: "Mapping[Any, str]") -> set[str]:
    """The names of such layers, among convolutions and linear layers."""
    from torch import nn
    from torch.overrides import TorchFunctionMode

    makers: dict[Any, Any] = {}
    found: set[str] = set()
    inside: list[Any] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if getattr(func, "__name__", "") in _SPLITTING and not inside and result.ndim > args[0].ndim:
                for layer in _upstream(args[0].grad_fn, makers):
                    size = layer.weight.shape[1 if getattr(layer, "transposed", False) else 0]
                    if size in args[0].shape and size not in result.shape:
                        found.add(layers[layer])
            return result

    def note(layer: Any, _: Any, output: Any) -> None:
        makers[output.grad_fn] = layer

    hooks = []
    for layer in module.modules():
        if isinstance(layer, nn.MultiheadAttention):  # splits by itself, and is cut with regard to it
            hooks.append(layer.register_forward_pre_hook(lambda *_: inside.append(True)))
            hooks.append(layer.register_forward_hook(lambda *_: bool(inside.pop()) and None))
        elif layer in layers:
            hooks.append(layer.register_forward_hook(note))
    try:
        with Watch():
            forward(module)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _upstream(function: Any, makers: Mapping[Any, Any]) -> set[Any]:
    """The nearest layers from which a result comes."""
    found: set[Any] = set()
    seen: set[Any] = set()
    waiting = [function]
    while waiting:
        current = waiting.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        if current in makers:
            found.add(makers[current])
        else:
            waiting += [following for following, _ in current.next_functions]
    return found
