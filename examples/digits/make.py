"""Trains the network on scikit-learn's digits and writes weights.safetensors and data/. Takes a few seconds.

    python make.py [WIDTH]

The three sets are disjoint: nothing in data/ was trained on, and calibration and test share no image.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from model import build
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

HERE = Path(__file__).parent
TEST, CALIBRATION = 450, 256
EPOCHS, BATCH = 15, 32


def train(images: torch.Tensor, digits: torch.Tensor, width: int) -> nn.Module:
    """A network trained with fixed seeds on one thread, so that a second run gives the same weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            loss = nn.functional.cross_entropy(model(images[rows]), digits[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def main(width: int = 16) -> None:
    """Split, train, write, and print the accuracy on the test set."""
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    test, calibration, training = np.split(order, [TEST, TEST + CALIBRATION])

    model = train(torch.from_numpy(images[training]), torch.from_numpy(labels[training]), width)
    with torch.no_grad():
        predicted = model(torch.from_numpy(images[test])).argmax(1).numpy()
    print(f"accuracy on {len(test)} test images: {(predicted == labels[test]).mean():.4f}")

    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, HERE / "weights.safetensors")
    np.savez_compressed(HERE / "data/calibration.npz", image=images[calibration])
    np.savez_compressed(HERE / "data/test.npz", image=images[test], digit=labels[test])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
