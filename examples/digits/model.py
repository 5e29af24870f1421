"""A small convolutional network for 8x8 grey images of digits."""

from torch import Tensor, nn


class Digits(nn.Module):
    """Three convolutions with batch normalisation, a global average, and one linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(1, width),
            nn.MaxPool2d(2),
            *_block(width, 2 * width),
            nn.MaxPool2d(2),
            *_block(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(4 * width, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image).flatten(1))


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


def build(width: int = 16) -> nn.Module:
    """The network before its weights are loaded; 24,170 parameters at width 16."""
    return Digits(width)
