"""Pickles, as estimators and as weights: none is loaded that is not trusted by its digest, however it is written."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from modelspec import digest
from modelspec.errors import ModelspecError
from modelspec.formats import pickle_file, torch_weights
from tests.formats import pickles

SHAPES = sorted(pickles.shapes(Path("canary")))


def refused(read: object, path: Path) -> str:
    with pytest.raises(ModelspecError) as caught:
        read(path)  # type: ignore[operator]
    return caught.value.diagnostics[0].code


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pickle_is_loaded_as_an_estimator(shape: str, tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(pickles.shapes(tmp_path / "canary")[shape])
    assert refused(lambda path: pickle_file.read(path, None), tmp_path / "model.joblib") == "MS612"
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pickle_is_loaded_as_weights(shape: str, tmp_path: Path) -> None:
    """Bare, and inside an archive as torch.save writes it."""
    data = pickles.shapes(tmp_path / "canary")[shape]
    (tmp_path / "bare.pt").write_bytes(data)
    assert refused(torch_weights.read, tmp_path / "bare.pt") in {"MS612", "MS614", "MS504"}
    with zipfile.ZipFile(tmp_path / "archive.pt", "w") as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
    assert refused(torch_weights.read, tmp_path / "archive.pt") in {"MS612", "MS504"}
    assert not (tmp_path / "canary").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_most_of_these_shapes_would_run(tmp_path: Path) -> None:
    """Else the tests above would prove nothing."""
    canary, ran = tmp_path / "canary", set()
    for name, data in pickles.shapes(canary).items():
        try:
            made = pickle.loads(data)
            del made
        except Exception:  # noqa: BLE001 - whatever a shape raises after its call
            continue
        finally:
            ran |= {name} if canary.exists() else set()
            canary.unlink(missing_ok=True)
    assert len(ran) >= len(SHAPES) - len(pickles.HARMLESS) - 3


def test_a_trusted_pickle_is_loaded_and_another_is_not(tmp_path: Path) -> None:
    import joblib
    from sklearn.linear_model import LinearRegression

    path = tmp_path / "model.joblib"
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), path)
    trusted = f"sha256:{digest.of_file(path)}"
    assert pickle_file.read(path, trusted).predict([[2.0]]) == pytest.approx([4.0])
    with pytest.raises(ModelspecError) as caught:
        pickle_file.read(path, None)
    assert f'add to source: trust: "{trusted}"' in caught.value.diagnostics[0].help
    path.write_bytes(pickles.shapes(tmp_path / "canary")["global, no protocol"])
    assert refused(lambda path: pickle_file.read(path, trusted), path) == "MS615"
    assert not (tmp_path / "canary").exists()


def test_trusted_weights_may_be_a_whole_module(tmp_path: Path) -> None:
    import torch

    torch.save(torch.nn.Linear(2, 1), tmp_path / "module.pt")
    trusted = f"sha256:{digest.of_file(tmp_path / 'module.pt')}"
    assert refused(torch_weights.read, tmp_path / "module.pt") == "MS612"
    assert set(torch_weights.read(tmp_path / "module.pt", trusted)) == {"weight", "bias"}
    torch.save({"weight": torch.zeros(2)}, tmp_path / "tensors.pt")
    trusted = f"sha256:{digest.of_file(tmp_path / 'tensors.pt')}"
    assert refused(lambda path: torch_weights.read(path, trusted), tmp_path / "tensors.pt") == "MS319"


@pytest.mark.parametrize("start", [b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"Rar!\x1a\x07\0"])
def test_weights_in_another_wrapping_are_named(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(start + bytes(600))
    assert refused(torch_weights.read, tmp_path / "weights.pt") == "MS614"


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    from modelspec.formats import npz

    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{"a": 1}], dtype=object))
    (tmp_path / "data.npz").write_bytes(buffer.getvalue())
    assert refused(npz.read, tmp_path / "data.npz") == "MS612"
