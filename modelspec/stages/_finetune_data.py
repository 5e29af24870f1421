"""What `finetune` trains on: inputs and right answers as tensors, who is drawn when, and changes to the inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.feed import answered, batch_size
from modelspec.framework import Framework
from modelspec.signature import Signature
from modelspec.words import closest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from modelspec.stages.finetune import Finetune

    Array = NDArray[Any]


@dataclass(frozen=True)
class Set:
    """Samples with the right answer to each."""

    inputs: "dict[str, Tensor]"
    right: "Tensor"
    output: str
    """The output that should answer so."""
    loss: str
    classes: int
    """How many there are; 0 where answers are no classes."""
    sums_to_one: bool
    """Whether what the source gives are probabilities already."""

    def __len__(self) -> int:
        return len(self.right)

    def take(self, rows: "Tensor") -> "Set":
        """Some of the samples."""
        inputs = {name: tensor[rows] for name, tensor in self.inputs.items()}
        return Set(inputs, self.right[rows], self.output, self.loss, self.classes, self.sums_to_one)


@dataclass(frozen=True)
class Samples:
    """What to train on, and what to watch."""

    train: Set
    watched: Set | None

    @classmethod
    def of(cls, train: Set, watched: Set | None, options: "Finetune") -> "Samples":
        """Hold a share out where no data set is there to watch."""
        import torch

        stopping = options.early_stopping
        if stopping is None or watched is not None:
            return cls(train, watched)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(options.seed))
        count = round(stopping.holdout * len(train))
        if not 0 < count < len(train):
            message = f"a share of {stopping.holdout:g} of {len(train)} samples holds out {count}"
            raise fail("MS534", message, help="name a data set: early_stopping: {data: ...}",
                       path=("early_stopping", "holdout"))  # fmt: skip
        return cls(train.take(order[count:]), train.take(order[:count]))


def answers(
    source: Any, framework: Framework, signature: Signature, inputs: "Mapping[str, Array]", labels: "Array | None",
    options: "Finetune",
) -> Set:  # fmt: skip
    """The set with its right answers: the labels, or what the source says. Raises MS534 where they do not fit the loss."""
    import torch

    found = answered(lambda batch: framework.run(source, signature, batch), dict(inputs), batch_size(signature, 64))
    output = _judged(found, options.output)
    given = found[output]
    loss = options.loss or ("cross_entropy" if labels is not None and labels.dtype.kind in "iubOUS" else "mse")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    if loss == "source":
        return Set(tensors, torch.from_numpy(given.copy()), output, loss, 0, sums_to_one=False)
    assert labels is not None, "the rules of the spec ask for labels"
    sums_to_one = bool((given >= 0).all() and (abs(given.sum(axis=-1) - 1) < 1e-3).all())
    if loss == "cross_entropy":
        right = _classes(labels, given.shape)
        return Set(tensors, torch.from_numpy(right), output, loss, given.shape[1], sums_to_one)
    if labels.dtype.kind not in "iubf" or labels.size != given.size:
        raise fail("MS534", f"the labels are {labels.dtype} {list(labels.shape)}, and the output {output!r} is {list(given.shape)}",
                   help="give one number for each that the output has", path=("loss",))  # fmt: skip
    right = labels.reshape(given.shape).astype(given.dtype)
    within = bool((given >= 0).all() and (given <= 1).all())
    if loss == "binary_cross_entropy" and not set(right.ravel().tolist()) <= {0, 1}:
        raise fail("MS534", "binary_cross_entropy takes labels of 0 and 1", help="use another loss", path=("loss",))
    return Set(tensors, torch.from_numpy(right), output, loss, 0, within)


def _judged(found: "Mapping[str, Array]", asked: str | None) -> str:
    if asked is not None and asked not in found:
        near = closest(asked, found)
        fix = f"did you mean {near!r}?" if near else "name one of them"
        raise fail("MS534", f"the model has no output {asked!r} with a row for each sample; it has {', '.join(found)}",
                   help=fix, path=("output",))  # fmt: skip
    floats = [name for name, array in found.items() if array.dtype.kind == "f"]
    if asked is None and len(floats) != 1:
        what = f"several outputs, {', '.join(floats)}" if floats else "no output of numbers with a row for each sample"
        raise fail("MS534", f"the model has {what}, and finetune does not say which to train",
                   help=f"add output: {floats[0] if floats else '...'}", path=("output",))  # fmt: skip
    return asked or floats[0]


def _classes(labels: "Array", shape: tuple[int, ...]) -> "Array":
    """Labels as places among the classes: themselves where they are such, else their place among the sorted labels."""
    import numpy as np

    if len(shape) != 2 or labels.size != shape[0]:
        raise fail("MS534", f"cross_entropy takes one class for each sample, and scores of each class; the labels are "
                   f"{list(labels.shape)}, and the output is {list(shape)}",
                   help="use another loss: mse, mae, huber, binary_cross_entropy or source", path=("loss",))  # fmt: skip
    labels = labels.reshape(-1)
    if labels.dtype.kind in "iub" and labels.min() >= 0 and labels.max() < shape[1]:
        return labels.astype(np.int64)
    names, places = np.unique(labels, return_inverse=True)
    if len(names) != shape[1]:
        raise fail("MS534", f"the labels have {len(names)} values, and the output {shape[1]} classes",
                   help="correct the labels, or use another loss", path=("loss",))  # fmt: skip
    return places.astype(np.int64)


def _require_classes(train: Set, option: str) -> None:
    if not train.classes:
        message = f"'{option}' has no effect: the loss is {train.loss}, told by the labels, and knows no classes"
        raise fail("MS534", message, help="remove it, or use loss: cross_entropy", path=(option,))


def weights_of_classes(train: Set, options: "Finetune") -> "Tensor | None":
    """The factor of each class in the loss."""
    import torch

    asked = options.class_weights
    if asked is None:
        return None
    _require_classes(train, "class_weights")
    if isinstance(asked, tuple):
        if len(asked) != train.classes:
            raise fail("MS534", f"there are {len(asked)} class weights and {train.classes} classes",
                       help="give one for each class", path=("class_weights",))  # fmt: skip
        return torch.tensor(asked, dtype=torch.float32)
    counts = torch.bincount(train.right, minlength=train.classes)
    return len(train) / (train.classes * counts.clamp(min=1)).float()


def order(train: Set, options: "Finetune", random: "Generator") -> "Tensor":
    """The samples of an epoch: each once, or as many drawn so that every class is as likely."""
    import torch

    if options.resample is None:
        return torch.randperm(len(train), generator=random)
    _require_classes(train, "resample")
    counts = torch.bincount(train.right, minlength=train.classes).clamp(min=1)
    return torch.multinomial(1 / counts[train.right].double(), len(train), replacement=True, generator=random)


def augmented(inputs: "Mapping[str, Tensor]", options: "Finetune", random: "Generator") -> "dict[str, Tensor]":
    """The inputs, changed as asked: noise on all that are floating point, the rest on images."""
    import torch

    asked = options.augment
    if asked is None:
        return dict(inputs)
    found: dict[str, Tensor] = {}
    changed = False
    for name, tensor in inputs.items():
        is_float, is_image = tensor.is_floating_point(), tensor.is_floating_point() and tensor.ndim >= 3
        if is_image:
            for axis in [{"horizontal": -1, "vertical": -2}[side] for side in asked.flip]:
                chosen = torch.rand(len(tensor), generator=random) < 0.5
                tensor = torch.where(chosen.reshape(-1, *[1] * (tensor.ndim - 1)), tensor.flip(axis), tensor)
            for axis in (-1, -2) if asked.shift else ():
                tensor = _shifted(tensor, axis, asked.shift or 0, random)
        if is_float and asked.noise:
            tensor = tensor + asked.noise * torch.randn(tensor.shape, generator=random, dtype=tensor.dtype)
        changed |= is_image or (is_float and not asked.flip and not asked.shift)
        found[name] = tensor
    if not changed:
        what = "of images, with at least three axes" if asked.flip or asked.shift else "of floating point"
        raise fail("MS534", f"no input is {what}, so that nothing can be augmented", help="remove augment",
                   path=("augment",))  # fmt: skip
    return found


def _shifted(tensor: "Tensor", axis: int, most: int, random: "Generator") -> "Tensor":
    """Each sample moved along the axis by a distance of its own."""
    import torch

    size = tensor.shape[axis]
    distance = torch.randint(-most, most + 1, (len(tensor),), generator=random)
    places = torch.arange(size)[None] - distance[:, None]
    index = places.clamp(0, size - 1)
    shape = [len(tensor), *[1] * (tensor.ndim - 1)]
    shape[axis] = size
    moved = torch.gather(tensor, axis % tensor.ndim, index.reshape(shape).expand(tensor.shape))
    return moved * ((places >= 0) & (places < size)).reshape(shape)
