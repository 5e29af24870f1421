"""External data of ONNX models: wherever a tensor stands, its data is beside the model, whole, and read once."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from modelspec.errors import ModelspecError
from modelspec.formats import onnx_model
from modelspec.formats.onnx_parts import parts
from tests.formats.onnx_places import DATA, INDICES, MORE_PLACES, NAME, PLACES, external, save

SECRET = b"a secret of 32 bytes: 0123456789"
LOCATIONS = ("parent", "absolute", "symlink", "symlinked parent", "hard link", "empty", "dot", "in-memory marker")


def location(kind: str, folder: Path, outside: Path) -> str:
    """Prepare a way out of the folder; returns what the model says."""
    if kind == "symlink":
        (folder / "link.bin").symlink_to(outside / "secret.bin")
    elif kind == "symlinked parent":
        (folder / "sub").symlink_to(outside)
    elif kind == "hard link":
        os.link(outside / "secret.bin", folder / "hard.bin")
    return {
        "parent": "../outside/secret.bin",
        "absolute": str(outside / "secret.bin"),
        "symlink": "link.bin",
        "symlinked parent": "sub/secret.bin",
        "hard link": "hard.bin",
        "empty": "",
        "dot": ".",
        "in-memory marker": "*/_ORT_MEM_ADDR_/*",
    }[kind]


def refused(path: Path) -> str:
    with pytest.raises(ModelspecError) as caught:
        onnx_model.read(path)
    (problem,) = caught.value.diagnostics
    assert problem.code == "MS613", problem
    assert "secret of 32" not in str(problem)
    return problem.message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.bin").write_bytes(SECRET)
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


@pytest.mark.parametrize("place", [*PLACES, *MORE_PLACES])
@pytest.mark.parametrize("kind", LOCATIONS)
def test_no_way_leads_out(folder: Path, kind: str, place: str) -> None:
    model = (PLACES | MORE_PLACES)[place]()
    refused(save(model, folder, location(kind, folder, folder.parent / "outside")))


@pytest.mark.parametrize("place", [*PLACES, *MORE_PLACES])
def test_data_beside_the_model_is_read_in_every_place(folder: Path, place: str) -> None:
    path = save((PLACES | MORE_PLACES)[place](), folder)
    whole = INDICES if place in {"sparse indices", "list of sparse tensors"} else DATA
    (folder / NAME).write_bytes(whole.tobytes())
    model = onnx_model.read(path)
    found = [tensor for tensor in parts(model).tensors if tensor.name in {"w", "i"}]
    assert found
    for tensor in found:
        assert not tensor.external_data
        assert numpy_helper.to_array(tensor).tolist() == [0, 1, 2, 3]
    assert b"weights.bin" not in model.SerializeToString()


@pytest.mark.parametrize("place", PLACES)
def test_short_data_is_refused(folder: Path, place: str) -> None:
    path = save(PLACES[place](), folder)
    (folder / NAME).write_bytes(DATA.tobytes()[:-1])
    assert "too short" in refused(path)
    (folder / NAME).write_bytes(b"")
    assert "too short" in refused(path)
    (folder / NAME).unlink()
    assert "is missing" in refused(path)


def changed(folder: Path, *entries: tuple[str, str]) -> Path:
    model = PLACES["initializer"]()
    tensor = model.graph.initializer[0]
    tensor.ClearField("external_data")
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    (folder / NAME).write_bytes(bytes(64))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


PLACE = ("location", NAME)


@pytest.mark.parametrize("entries", [
    [],
    [("offset", "0")],
    [PLACE, ("offset", "-1")],
    [PLACE, ("offset", "1e1")],
    [PLACE, ("offset", "0x10")],
    [PLACE, ("offset", " 1")],
    [PLACE, ("offset", "")],
    [PLACE, ("offset", "\u0661")],
    [PLACE, ("offset", "9" * 19)],
    [PLACE, ("offset", str(2**63))],
    [PLACE, ("offset", "49")],
    [PLACE, ("length", "-16")],
    [PLACE, ("length", "15")],
    [PLACE, ("length", "17")],
    [PLACE, ("length", str(2**63))],
    [PLACE, ("length", "9" * 5000)],
    [PLACE, PLACE],
    [PLACE, ("location", "../model/" + NAME)],
    [PLACE, ("__class__", "x")],
    [PLACE, ("__dict__", "x")],
    [PLACE, ("basepath", "/")],
    [PLACE, ("prepacked_0", "x")],
    [PLACE, ("Location", NAME)],
    [("location", NAME + "\0")],
    [("location", "sub\\" + NAME)],
    [("location", "./" + NAME)],
    [("location", "a" * 5000)],
])  # fmt: skip
def test_odd_entries_are_refused(folder: Path, entries: list[tuple[str, str]]) -> None:
    refused(changed(folder, *entries))


@pytest.mark.parametrize("entries", [
    [PLACE],
    [PLACE, ("offset", "48"), ("length", "16")],
    [PLACE, ("checksum", "da39a3ee5e6b4b0d3255bfef95601890afd80709")],
])  # fmt: skip
def test_plain_entries_are_not(folder: Path, entries: list[tuple[str, str]]) -> None:
    assert onnx_model.read(changed(folder, *entries)).graph.initializer[0].raw_data == bytes(16)


def test_a_location_that_is_not_text_is_refused(folder: Path) -> None:
    path = changed(folder, PLACE)
    path.write_bytes(path.read_bytes().replace(b"weights.bin", b"weight\xff.bin"))
    refused(path)


@pytest.mark.parametrize("offsets", [(0, 8), (0, 0), (8, 0), (0, 15)])
def test_overlapping_data_is_refused(folder: Path, offsets: tuple[int, int]) -> None:
    model = PLACES["initializer"]()
    model.graph.ClearField("initializer")
    model.graph.initializer.extend([external("w", DATA, offsets[0]), external("v", DATA, offsets[1])])
    (folder / NAME).write_bytes(bytes(64))
    assert "share bytes" in refused(save(model, folder))


def test_neighbours_do_not_overlap(folder: Path) -> None:
    model = PLACES["initializer"]()
    model.graph.initializer.append(external("v", DATA, 16))
    model.graph.initializer.append(external("none", np.zeros(0, np.float32), 16))
    (folder / NAME).write_bytes(DATA.tobytes() * 2)
    read = onnx_model.read(save(model, folder))
    assert [tensor.raw_data for tensor in read.graph.initializer] == [DATA.tobytes(), DATA.tobytes(), b""]


def test_a_tensor_that_has_both_is_refused(folder: Path) -> None:
    for change in (
        lambda t: t.float_data.extend([1, 2, 3, 4]),
        lambda t: setattr(t, "raw_data", bytes(16)),
        lambda t: setattr(t, "data_location", TensorProto.DEFAULT),
        lambda t: setattr(t, "data_type", TensorProto.STRING),
    ):
        model = PLACES["initializer"]()
        change(model.graph.initializer[0])
        (folder / NAME).write_bytes(DATA.tobytes())
        refused(save(model, folder))


def test_special_files_are_refused_without_waiting(folder: Path) -> None:
    path = save(PLACES["initializer"](), folder)
    os.mkfifo(folder / NAME)
    assert "not a plain file" in refused(path)
    (folder / NAME).unlink()
    (folder / NAME).mkdir()
    assert "not a plain file" in refused(path)


def test_the_library_alone_would_not_do(folder: Path) -> None:
    """Why the preflight is our own. When this fails, the library has learned it, and the code here can go."""
    path = save(PLACES["sparse values"](), folder, "../outside/secret.bin")
    onnx.load(path)
    path = changed(folder, PLACE)
    (folder / NAME).write_bytes(b"")
    onnx.checker.check_model(str(path))


def _tensor_fields(message: type, seen: frozenset[str] = frozenset()) -> set[tuple[str, ...]]:
    """Every path of fields from a message to a tensor, each message entered once."""
    found: set[tuple[str, ...]] = set()
    for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
        if field.message_type is None:
            continue
        name = field.message_type.name
        if name == "TensorProto":
            found.add((field.name,))
        elif name not in seen:
            below = field.message_type._concrete_class
            found |= {(field.name, *rest) for rest in _tensor_fields(below, seen | {name})}
    return found


PATHS = sorted(_tensor_fields(ModelProto))


@pytest.mark.parametrize("path", PATHS, ids=["-".join(path) for path in PATHS])
def test_every_tensor_that_the_format_has_is_looked_at(path: tuple[str, ...]) -> None:
    """The places come from the library's description of the format: a new one fails here."""
    message: object = (model := ModelProto())
    for name in path:
        value = getattr(message, name)
        message = value.add() if hasattr(value, "add") else value
    assert isinstance(message, TensorProto)
    message.name = "here"
    assert [tensor.name for tensor in parts(model).tensors if tensor.name] == ["here"]


def test_there_are_that_many_places() -> None:
    assert len(PATHS) > 20


def test_large_weights_are_written_beside_the_model_again_and_again(tmp_path: Path) -> None:
    """As of models beyond 2 GiB, with a lower bound: what lies there from before is replaced, not added to."""
    from onnx import helper, numpy_helper

    from modelspec.formats import onnx_model
    from modelspec.formats.onnx_session import open_session
    from modelspec.targets.cpu import Cpu

    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", 1, ["batch", 64])],
        [helper.make_tensor_value_info("y", 1, ["batch", 64])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "in" / "model.onnx"
    path.parent.mkdir()
    onnx_model.write(model, path, external_bytes=1000)
    first = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert len(first["model.onnx.data"]) == weights.nbytes
    onnx_model.write(onnx_model.read(path), path, external_bytes=1000)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == first
    artifact = tmp_path / "out"
    artifact.mkdir()
    Cpu(device="cpu").compile(path, artifact)
    assert [file.name for file in artifact.iterdir()] == ["model.onnx"]  # it fits into one file
    x = {"x": weights[:4]}
    np.testing.assert_allclose(open_session(artifact / "model.onnx").run(x)["y"], open_session(path).run(x)["y"])
