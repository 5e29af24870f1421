"""Fits a pipeline on scikit-learn's breast cancer data and writes model.skops and data/test.csv.

python make.py
"""

import csv
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops.io import dump

HERE = Path(__file__).parent


def main() -> None:
    """Split, fit, write, and print the accuracy on the test set."""
    cancer = load_breast_cancer()
    # float32 is what the built model takes: fitted on the same, the two agree to the last few bits.
    features = cancer.data.astype(np.float32)
    train, test, train_labels, test_labels = train_test_split(
        features, cancer.target, test_size=0.3, stratify=cancer.target, random_state=0
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000)).fit(train, train_labels)
    print(f"accuracy on {len(test)} test rows: {model.score(test, test_labels):.4f}")

    dump(model, HERE / "model.skops")
    with (HERE / "data/test.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*(name.replace(" ", "_") for name in cancer.feature_names), "benign"])
        rows.writerows([*row, label] for row, label in zip(test.astype(str), test_labels, strict=True))


if __name__ == "__main__":
    main()
