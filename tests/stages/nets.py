"""Torch modules of the shapes that pruning meets; their file is the user's code of the tests."""

from typing import Any

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, image: Tensor) -> Any:
        x = torch.relu(self.norm(self.first(image)))
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


class Block(nn.Module):
    """A residual block; its second convolution may be grouped, its skip may be a convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Any:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(self.skip(x) + inner)


class Resnet(nn.Module):
    """Skip connections, a grouped and a depthwise convolution, and a flattened map before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 1, 1)
        self.a, self.b = Block(16, 16), Block(16, 32, 2, groups=4)
        self.depthwise = nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.pointwise = nn.Conv2d(32, 48, 1)
        self.head = nn.Linear(48 * 16, 10)

    def forward(self, image: Tensor) -> Any:
        x = self.b(self.a(torch.relu(self.stem(image))))
        return self.head(self.pointwise(torch.relu(self.depthwise(x))).flatten(1))


class Attention(nn.Module):
    """Self-attention as people write it: the number of heads is no layer's business."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Any:
        batch, steps, size = x.shape
        q, k, v = self.qkv(x).reshape(batch, steps, 3, 4, size // 4).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (size // 4) ** 0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, steps, size))


class Transformer(nn.Module):
    """One block over the eight rows of an image, with an attention of its own or torch's."""

    def __init__(self, *, own: bool = True) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.position = nn.Parameter(torch.randn(1, 8, 32) * 0.1)
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.attention = Attention(32) if own else nn.MultiheadAttention(32, 4, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Any:
        x = self.embed(image.flatten(1, 2)) + self.position
        y = self.norm1(x)
        x = x + (self.attention(y) if isinstance(self.attention, Attention) else self.attention(y, y, y)[0])
        x = x + self.fc2(torch.nn.functional.gelu(self.fc1(self.norm2(x))))
        return self.head(x.mean(1))


class Torchs(Transformer):
    """With torch's own attention."""

    def __init__(self) -> None:
        super().__init__(own=False)


class Tied(nn.Module):
    """Two names for one matrix, and a layer that two outputs share."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(64, 32)
        self.one, self.two = nn.Linear(32, 32), nn.Linear(32, 32)
        self.two.weight = self.one.weight
        self.head, self.score = nn.Linear(32, 10), nn.Linear(32, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.two(torch.relu(self.one(torch.relu(self.body(image.flatten(1))))))
        return self.head(x), torch.sigmoid(self.score(x))
