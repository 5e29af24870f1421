"""The training loop, and the one of the user in its place. Everything random follows from the seed."""

import copy
import math
import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.feed import batch_size, read_inputs
from modelspec.framework import Framework
from modelspec.signature import Signature
from modelspec.stage import Job
from modelspec.stages import _finetune_data as data
from modelspec.stages._finetune_data import Samples, Set

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from modelspec.stages.finetune import Finetune

    Masks = Mapping[str, Tensor]
    Measure = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def pinned(threads: int, seed: int) -> Iterator[None]:
    """So many threads, only algorithms that give the same bits each time, and everything random from the seed."""
    import numpy as np
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(before)


def masks(module: "nn.Module", names: Collection[str]) -> "Masks":
    """Where pruned weights are zero."""
    own = module.state_dict()
    return {name: own[name] == 0 for name in names}


def mask(module: "nn.Module", zeros: "Masks") -> None:
    """Make them zero again."""
    import torch

    own = dict(module.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, zero in zeros.items():
            own[name].masked_fill_(zero, 0)


def require_sound(module: "nn.Module") -> None:
    """Raises MS534 where a weight is no number."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise _diverged(f"{name!r} holds what is no number")


def _diverged(what: str) -> Exception:
    return fail("MS534", f"the training diverged: {what}", help="lower learning_rate", path=("learning_rate",))


def train(
    options: "Finetune",
    module: "nn.Module",
    samples: Samples,
    zeros: "Masks",
    framework: Framework,
    signature: Signature,
) -> tuple[list[dict[str, Any]], int]:
    """Train the module in place; returns loss and metric of each epoch, and the epoch whose weights it has."""
    import torch

    _set_dropout(module, options)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        raise fail("MS534", "the module has no parameters to train: all are frozen", help="leave some unfrozen")
    size = batch_size(signature, options.batch_size)
    optimizer = _optimizer(options, trained)
    steps = options.epochs * math.ceil(len(samples.train) / size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _factor(options.schedule, steps))
    measure = _measure(samples.train, data.weights_of_classes(samples.train, options))
    draws = torch.Generator().manual_seed(options.seed)

    def answer(inputs: "Mapping[str, Tensor]") -> "Tensor":
        found: Tensor = framework.forward(module, signature, inputs)[samples.train.output]
        return found

    loop = _Loop(options, module, trained, optimizer, schedule, measure, answer, draws, zeros, size)
    return loop.run(samples)


@dataclass
class _Loop:
    options: "Finetune"
    module: "nn.Module"
    trained: "list[nn.Parameter]"
    optimizer: Any
    schedule: Any
    measure: "Measure"
    answer: "Callable[[Mapping[str, Tensor]], Tensor]"
    draws: "Generator"
    zeros: "Masks"
    size: int

    def run(self, samples: Samples) -> tuple[list[dict[str, Any]], int]:
        history: list[dict[str, Any]] = []
        best: tuple[float, int, dict[str, Any]] | None = None
        stopping = self.options.early_stopping
        for epoch in range(1, self.options.epochs + 1):
            history.append({"epoch": epoch, **self.epoch(samples.train)})
            if samples.watched is not None:
                figures = self.watched(samples.watched)
                history[-1] |= {f"watched_{name}": value for name, value in figures.items()}
                if best is None or figures["loss"] < best[0]:
                    best = (figures["loss"], epoch, copy.deepcopy(self.module.state_dict()))
            _say(history[-1], self.options.epochs)
            if best is not None and stopping is not None and epoch - best[1] >= stopping.patience:
                break
        if best is not None:
            self.module.load_state_dict(best[2])
        return history, best[1] if best else len(history)

    def epoch(self, samples: Set) -> dict[str, float]:
        """One pass. A last batch of one sample is left out: batch normalization cannot be trained on it."""
        self.module.train()
        rows = data.order(samples, self.options, self.draws)
        total, right, seen = 0.0, 0.0, 0
        for start in range(0, len(rows), self.size):
            batch = samples.take(rows[start : start + self.size])
            if len(batch) == 1 and seen and self.size > 1:
                continue
            loss, given = self.step(batch)
            if not math.isfinite(loss):
                raise _diverged("the loss is no number")
            total += loss * len(batch)
            right += _right(given, batch)
            seen += len(batch)
        return _figures(samples, total / seen, right / seen)

    def step(self, batch: Set) -> tuple[float, "Tensor"]:
        """Loss and answers before the step."""
        import torch

        given = self.answer(data.augmented(batch.inputs, self.options, self.draws))
        loss = self.measure(given, batch.right)
        if self.options.l1:
            loss = loss + self.options.l1 * sum(parameter.abs().sum() for parameter in self.trained)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.schedule.step()
        mask(self.module, self.zeros)
        return float(loss.detach()), given.detach()

    def watched(self, samples: Set) -> dict[str, float]:
        """Loss and metric on samples that nothing is learnt from."""
        import torch

        self.module.eval()
        total, right = 0.0, 0.0
        with torch.no_grad():
            for start in range(0, len(samples), self.size):
                batch = samples.take(torch.arange(start, min(start + self.size, len(samples))))
                given = self.answer(batch.inputs)
                total += float(self.measure(given, batch.right)) * len(batch)
                right += _right(given, batch)
        return _figures(samples, total / len(samples), right / len(samples))


def _right(given: "Tensor", batch: Set) -> float:
    return float((given.argmax(1) == batch.right).sum()) if batch.classes else 0.0


def _figures(samples: Set, loss: float, right: float) -> dict[str, float]:
    return {"loss": loss, "accuracy": right} if samples.classes else {"loss": loss}


def _say(figures: Mapping[str, Any], epochs: int) -> None:
    """A line of progress for the log of the action."""
    values = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items() if name != "epoch")
    sys.stdout.write(f"epoch {figures['epoch']}/{epochs}  {values}\n")
    sys.stdout.flush()


def _set_dropout(module: "nn.Module", options: "Finetune") -> None:
    from torch import nn

    if options.dropout is None:
        return
    layers = [layer for layer in module.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    attention = [layer for layer in module.modules() if isinstance(layer, nn.MultiheadAttention)]
    if not layers and not attention:
        raise fail("MS534", "the module has no dropout layers", help="remove dropout", path=("dropout",))
    for layer in layers:
        layer.p = options.dropout
    for owner in attention:
        owner.dropout = options.dropout


def _optimizer(options: "Finetune", parameters: "list[nn.Parameter]") -> Any:
    import torch

    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=options.learning_rate, momentum=0.9, weight_decay=options.weight_decay)
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=options.learning_rate, weight_decay=options.weight_decay)


def _factor(schedule: str, steps: int) -> Callable[[int], float]:
    """The share of the learning rate at each step."""
    if schedule == "constant":
        return lambda _: 1.0
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def _measure(samples: Set, weights: "Tensor | None") -> "Measure":
    """The loss of answers against right ones."""
    from torch.nn import functional

    def classes(given: "Tensor", right: "Tensor") -> "Tensor":
        if samples.sums_to_one:
            return functional.nll_loss(given.clamp(min=1e-12).log(), right, weight=weights)
        return functional.cross_entropy(given, right, weight=weights)

    def binary(given: "Tensor", right: "Tensor") -> "Tensor":
        if samples.sums_to_one:
            return functional.binary_cross_entropy(given, right)
        return functional.binary_cross_entropy_with_logits(given, right)

    found: dict[str, Measure] = {
        "cross_entropy": classes,
        "binary_cross_entropy": binary,
        "mse": functional.mse_loss,
        "source": functional.mse_loss,
        "mae": functional.l1_loss,
        "huber": functional.huber_loss,
    }
    return found[samples.loss]


def by_user(options: "Finetune", module: "nn.Module", job: Job, signature: Signature) -> None:
    """Train the module with the user's callable. Raises MS534 when another module comes of it."""
    from modelspec.user_code import call

    trainer = options.trainer
    assert trainer is not None
    module.train()

    inputs, labels = read_inputs(job.input("data"), signature)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    names = ("epochs", "learning_rate", "batch_size", "weight_decay", "seed", "threads")
    given = {name: getattr(options, name) for name in names}
    returned = call(trainer, job.files.code, module, inputs, labels, given, **options.params)
    trained = module if returned is None else returned
    found: dict[str, Any] = trained.state_dict() if hasattr(trained, "state_dict") else {}
    if {name: tuple(tensor.shape) for name, tensor in found.items()} != shapes:
        raise fail("MS534", f"{trainer} returned another module than it was given",
                   help="train the module that comes as first argument, and return it or None", path=("trainer",))  # fmt: skip
    if trained is not module:
        module.load_state_dict(found)
