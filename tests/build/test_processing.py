"""Text in, names out: built, verified, and asked by a standard client as a user would."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tritonclient.utils import InferenceServerException

from modelspec import digest
from modelspec.formats import npz
from modelspec.runtime.processing import text_input
from tests import served_text, texts
from tests.build.conftest import Project

TOKENIZER = {"path": "tokenizer.json", "max_length": 16}


def made(folder: Path, **changes: Any) -> Project:
    folder.mkdir()
    return Project(texts.write_project(folder, **changes), folder.parent / "cache")


def published(project: Project, target: str = "cpu-fp32") -> Path:
    return project.folder / "dist" / "moods" / "1.0.0" / target


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = made(tmp_path_factory.mktemp("moods") / "project")
    project.build()
    return project


@pytest.fixture(scope="module")
def served(built: Project) -> Iterator[dict[str, str]]:
    with served_text.server(published(built)) as (http, grpc):
        yield {"http": http, "grpc": grpc}


def test_what_is_published_is_of_text_and_names(built: Project) -> None:
    folder = published(built)
    signature, runtime = (json.loads((folder / f"{name}.json").read_text()) for name in ("signature", "runtime"))
    assert signature["inputs"] == [{"name": "text", "dtype": "string", "shape": ["batch"]}]
    assert signature["outputs"][0]["labels"] == ["poor", "fine"]
    assert [each["name"] for each in runtime["processing"]["tokenizer"]["inputs"]] == ["input_ids", "attention_mask"]
    assert (folder / "tokenizer.json").read_bytes() == (built.folder / "tokenizer.json").read_bytes()
    assert (folder / "labels.txt").read_text() == "poor\nfine\n"
    golden = npz.read(folder / "golden" / "inputs.npz")
    assert golden["text"].tolist() == list(texts.TEXTS[:4])
    card = (folder.parent / "MODEL_CARD.md").read_text()
    assert "Takes text, cut after 16 tokens." in card
    assert "Classes, in order: poor, fine." in card
    assert built.run("inspect", str(folder.parent)).returncode == 0
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert metrics["accuracy"] == 1, "labels in the data are names, and are told apart by the labels file"


def test_verified_and_rebuilt_to_the_same_bytes(built: Project) -> None:
    done = built.run("verify", str(published(built).parent), "--rebuild", "-f", "model.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "golden   cpu-fp32: exact" in done.stdout
    assert "rebuild  exact" in done.stdout


def test_another_tokenizer_in_the_published_folder_shows(built: Project, tmp_path: Path) -> None:
    folder = tmp_path / "dist"
    shutil.copytree(published(built).parent, folder)
    texts.write_tokenizer(folder / "cpu-fp32" / "tokenizer.json", (*texts.WORDS[:5], *texts.WORDS[:4:-1]))
    done = built.run("serve", str(folder / "cpu-fp32"), "--port=0")
    assert done.returncode == 5, done.stderr
    assert "the golden output 'scores' is not what was recorded" in done.stderr


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_standard_client_sends_text_and_gets_names(served: dict[str, str], protocol: str) -> None:
    module = import_module(f"tritonclient.{protocol}")
    asked = np.array(["A GREAT book, great", "dull song", "", "\u6771 na\u00efve bad"], dtype=object)
    with module.InferenceServerClient(served[protocol]) as client:
        given = module.InferInput("text", [4], "BYTES")
        given.set_data_from_numpy(asked)
        scores = client.infer("moods", [given]).as_numpy("scores")
        assert scores.tolist() == [[0, 2], [1, 0], [0, 0], [1, 0]]
        named = client.infer("moods", [given], outputs=[module.InferRequestedOutput("scores", class_count=1)])
        assert named.as_numpy("scores").tolist() == [[b"2.000000:1:fine"], [b"1.000000:0:poor"], [b"0.000000:0:poor"], [b"1.000000:0:poor"]]  # fmt: skip
        both = client.infer("moods", [given], outputs=[module.InferRequestedOutput("scores", class_count=9)])
        assert both.as_numpy("scores").shape == (4, 2)
        given.set_data_from_numpy(np.array(["a" * 70_000] * 4, dtype=object))
        with pytest.raises(InferenceServerException, match="70000 characters, and at most 65536 are taken"):
            client.infer("moods", [given])


def test_the_document_is_valid_and_says_what_comes(served: dict[str, str]) -> None:
    def ask(method: str, path: str, body: Any = None) -> Any:
        status, answer = served_text.ask(served["http"], method, path, body)
        return status, json.loads(answer)

    document = ask("GET", "/openapi.json")[1]
    OpenAPIV31SpecValidator(document).validate()
    schemas = document["components"]["schemas"]
    asks, answers = (jsonschema.Draft202012Validator({**schemas[n], "components": document["components"]}) for n in ("request", "response"))  # fmt: skip
    post = document["paths"]["/v2/models/moods/infer"]["post"]
    example = post["requestBody"]["content"]["application/json"]["example"]
    assert ask("POST", "/v2/models/moods/infer", example)[1] == post["responses"]["200"]["content"]["application/json"]["example"]  # fmt: skip
    named = {**example, "outputs": [{"name": "scores", "parameters": {"classification": 1}}]}
    for right in (example, named):
        asks.validate(right)
        status, found = ask("POST", "/v2/models/moods/infer", right)
        assert status == 200, found
        answers.validate(found)
    wrong = {**example, "outputs": [{"name": "scores", "parameters": {"classification": 0}}]}
    assert not asks.is_valid(wrong)
    assert ask("POST", "/v2/models/moods/infer", wrong)[0] == 400
    assert ask("GET", "/v2")[1]["extensions"] == ["binary_tensor_data", "classification"]


def test_predicted_classes_are_counted_by_name(built: Project) -> None:
    with served_text.server(published(built)) as (http, _):
        body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [3], "data": ["good", "dull", "great"]}]}
        served_text.ask(http, "POST", "/v2/models/moods/infer", body)
        figures = served_text.ask(http, "GET", "/metrics")[1].decode()
    assert 'modelspec_predicted_total{class="fine"} 2.0' in figures
    assert 'modelspec_predicted_total{class="poor"} 1.0' in figures


def test_joined_requests_answer_as_alone(built: Project) -> None:
    spec = json.loads(built.spec.read_text())
    del spec["evaluate"], spec["data"]
    project = made(built.folder.parent / "joined", **{**spec, "evaluate": None, "data": None, "serve": {"batching": {"max_size": 8, "max_delay": "50ms"}}})  # fmt: skip
    project.build()
    asked = [*texts.TEXTS, "a", ""]
    with served_text.server(published(project)) as (http, _), ThreadPoolExecutor(10) as clients:
        found = list(clients.map(lambda text: score(http, text), asked))
    assert found == [[sum(w in {"bad", "dull"} for w in t.split()), sum(w in {"good", "great"} for w in t.split())] for t in asked]  # fmt: skip


def score(address: str, text: str) -> list[float]:
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    answer = served_text.ask(address, "POST", "/v2/models/moods/infer", body)[1]
    data: list[float] = json.loads(answer)["outputs"][0]["data"]
    return data


def test_what_is_not_installed_is_named_with_its_extra(built: Project) -> None:
    from modelspec.build import Asked, prepare
    from modelspec.phases import packages_needed
    from modelspec.resolve import missing_packages

    prepared = prepare(Asked(built.spec, built.cache))
    assert packages_needed(prepared.whole, prepared.resolved.loaded.spec.source)["text"] == ("tokenizers",)
    (problem,) = missing_packages({"text": ("no-such-distribution",)})
    assert (problem.code, problem.help) == ("MS401", "pip install 'modelspec-build[text]'")
    hidden = "import sys, runpy; sys.modules['tokenizers'] = None; runpy.run_module('modelspec.runtime', run_name='__main__', alter_sys=True)"
    done = subprocess.run(
        [sys.executable, "-c", hidden, str(published(built)), "--port=0"], capture_output=True, text=True
    )
    assert done.returncode == 4, done.stderr
    assert "the model takes text, which needs tokenizers: pip install tokenizers" in done.stderr


def test_a_spec_without_processing_keeps_its_keys(tmp_path: Path) -> None:
    """Data of the same bytes has the same key, whether or not another spec has a tokenizer."""
    from modelspec.build import Asked, prepare

    keys = {}
    for name in ("one", "two"):
        project = made(tmp_path / name, processing=None if name == "one" else {"labels": "labels.txt"}, evaluate=None, data=None)  # fmt: skip
        prepared = prepare(Asked(project.spec, tmp_path / "keys"))
        keys[name] = {a.stage.name: digest.of_json(a.preimage({})) for a in prepared.whole.actions.values()}
    assert "processing" not in keys["one"]
    assert {stage: keys["two"][stage] for stage in keys["one"]} == keys["one"]


def test_only_what_reads_text_is_made_again_for_another_length(tmp_path: Path) -> None:
    project = made(tmp_path / "project")
    project.build()
    project.spec.write_text(project.spec.read_text().replace('"max_length": 16', '"max_length": 12'))
    said = project.build()
    assert "convert         cached" in said
    assert "golden          done" in said


def test_static_calibration_takes_texts_and_ready_ids(tmp_path: Path) -> None:
    quantize = {"int8": {"method": "static", "data": "calibration"}}
    ids = np.array([[2, 5, 4, 0], [3, 8, 9, 2]])
    for name, path in (("texts", "calibration.jsonl"), ("ids", "calibration.npz")):
        data = {"test": {"path": "test.jsonl", "labels": "mood"}, "calibration": {"path": path}}
        project = made(tmp_path / name, data=data, quantize=quantize, targets=[{"device": "cpu", "precision": "int8"}])
        np.savez(project.folder / "calibration.npz", input_ids=ids, attention_mask=np.sign(ids))
        (project.folder / "calibration.jsonl").write_text('{"text": "a good song"}\n{"text": "the bad bad book"}\n')
        project.build()
        assert json.loads((published(project, "cpu-int8") / "metrics.json").read_text())["metrics"]["accuracy"] == 1


def test_ready_ids_are_refused_where_text_is_measured(tmp_path: Path) -> None:
    project = made(tmp_path / "project", data={"test": {"path": "ids.npz", "labels": "mood"}})
    ids = np.array([[2, 5], [3, 8]])
    np.savez(
        project.folder / "ids.npz", input_ids=ids, attention_mask=np.ones_like(ids), mood=np.array(["fine", "poor"])
    )
    said = project.build(exits=3)
    assert "error[MS508]: evaluate: the data set holds no texts, and the model is asked in text" in said


def test_without_data_a_few_texts_of_its_own_are_golden(tmp_path: Path) -> None:
    project = made(tmp_path / "project", data=None, evaluate=None, processing={"tokenizer": TOKENIZER})
    project.build()
    golden = npz.read(published(project) / "golden" / "inputs.npz")
    assert len(golden["text"]) == 4


def test_texts_in_a_csv_file(tmp_path: Path) -> None:
    data = {"test": {"path": "test.csv", "labels": "mood", "text": ["review"]}}
    project = made(tmp_path / "project", data=data)
    rows = [f'"{text}",{mood}' for text, mood in zip(texts.TEXTS, texts.MOODS, strict=True)]
    (project.folder / "test.csv").write_text("\n".join(["review,mood", *rows]))
    project.build()


def test_a_model_of_a_fixed_length(tmp_path: Path) -> None:
    tokenizer = {**TOKENIZER, "max_length": 7}
    project = made(tmp_path / "project", processing={"tokenizer": tokenizer, "labels": "labels.txt"})
    texts.write_model(project.folder / "model.onnx", mask=False, length=7)
    said = project.build(exits=3)
    assert "error[MS525]: convert: the model takes 7 tokens, always" in said
    assert "write max_length: 7 and padding: max_length" in said
    fixed = {"tokenizer": {**tokenizer, "padding": "max_length"}, "labels": "labels.txt"}
    texts.write_project(project.folder, processing=fixed)
    texts.write_model(project.folder / "model.onnx", mask=False, length=7)
    project.build()
    read = text_input(json.loads((published(project) / "runtime.json").read_text()), published(project))
    assert read is not None
    assert read({"text": np.array(["good"])})["input_ids"].tolist() == [[5, 0, 0, 0, 0, 0, 0]]


def without_data(tmp_path: Path, **tokenizer: Any) -> Project:
    return made(tmp_path / "project", data=None, evaluate=None, processing={"tokenizer": {**TOKENIZER, **tokenizer}})


def test_filling_up_without_a_mask_is_refused(tmp_path: Path) -> None:
    project = without_data(tmp_path)
    texts.write_model(project.folder / "model.onnx", mask=False)
    said = project.build(exits=3)
    assert "error[MS525]: processing: the model takes no 'attention_mask', so what a text is padded to" in said
    assert "model.yaml:1:" in said


def test_ids_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    project = without_data(tmp_path)
    texts.write_tokenizer(project.folder / "tokenizer.json", (*texts.WORDS, "more", "words"))
    said = project.build(exits=3)
    assert "error[MS525]: processing: the tokenizer has the token id 12, on which the model fails" in said


def test_ids_beyond_the_declared_range_are_refused(tmp_path: Path) -> None:
    project = without_data(tmp_path)
    spec = json.loads(project.spec.read_text())
    shape = ["batch", "sequence"]
    spec["signature"] = {
        "inputs": {
            "input_ids": {"dtype": "int64", "shape": shape, "range": [0, 7]},
            "attention_mask": {"dtype": "int32", "shape": shape, "range": [0, 1]},
        }
    }
    project.spec.write_text(json.dumps(spec))
    assert "the tokenizer has the token id 10, and 'input_ids' goes to 7" in project.build(exits=3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"processing": {}}, "MS319"),
        ({"processing": {"labels": "labels.txt", "tokenizer": {"path": "tokenizer.json"}}}, "MS202"),
        ({"processing": {"tokenizer": {**TOKENIZER, "max_length": 0}}}, "MS205"),
        ({"processing": {"tokenizer": {**TOKENIZER, "input": "a b"}}}, "MS206"),
        ({"processing": {"tokenizer": {**TOKENIZER, "path": "absent.json"}}}, "MS317"),
        ({"processing": {"labels": "../labels.txt"}}, "MS211"),
    ],
)
def test_wrong_blocks(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    project = made(tmp_path / "project", **change)
    done = project.run("validate")
    assert done.returncode == 2
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("poor\n", "names one class alone"),
        ("poor\npoor\n", "lines 1 and 2 of labels.txt are both 'poor'"),
        ("poor\n\nfine\n", "line 2 of labels.txt is no name"),
        ("poor\nfin\n", "the label 'fine' is none of the 2 class names"),
        ("poor\nfine\nodd\n", "there are 3 class names, and no output has as many classes"),
    ],
)
def test_wrong_names(names: str, said: str, tmp_path: Path) -> None:
    project = made(tmp_path / "project")
    (project.folder / "labels.txt").write_text(names)
    assert said in project.build(exits=3)


def test_a_file_from_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    texts.write_tokenizer(elsewhere)
    remote = {"uri": f"file://{elsewhere}", "sha256": digest.of_file(elsewhere)}
    project = made(
        tmp_path / "project", processing={"tokenizer": {**TOKENIZER, "path": remote}, "labels": "labels.txt"}
    )
    (project.folder / "tokenizer.json").unlink()
    project.build()
    assert (published(project) / "tokenizer.json").read_bytes() == elsewhere.read_bytes()
