"""Models behind a URL: a real server on this machine, faithful or not, and the command.

The server serves genuine scikit-learn models by both protocols. Run as a program, this file serves
the joblib files of a folder, prints its port, and dies after a number of predictions.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

pytest.importorskip("urllib3")

# --- The server


class ModelServer(ThreadingHTTPServer):
    """`models` maps names to (estimator, inputs, outputs) as metadata lists them.

    `mischief` is called as (handler, body) before a prediction; it answers itself and returns
    True, or lets the faithful answer happen.
    """

    daemon_threads = True

    def __init__(self, models, mischief=None, mlflow_method="predict_proba"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.mischief, self.mlflow_method = models, mischief, mlflow_method
        self.requests, self.bodies, self.connections, self.released = [], [], 0, threading.Event()

    def process_request(self, request, address):
        self.connections += 1
        super().process_request(request, address)

    def handle_error(self, request, address):
        """Clients hang up in these tests."""

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/v2/models/{name}"

    @property
    def invocations(self):
        return f"http://127.0.0.1:{self.server_port}/invocations"


@contextmanager
def serving(models, mischief=None, **options):
    server = ModelServer(models, mischief, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, content, status=200, kind="application/json", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.requests.append(("GET", self.path, dict(self.headers)))
        path = self.path.partition("?")[0]
        if path == "/v2":
            return self.reply({"name": "mlserver", "version": "1.7.1", "extensions": []})
        if path == "/version":
            return self.reply(b"3.17.2")
        if path == "/ping":
            return self.reply(b"\n")
        name = path.removeprefix("/v2/models/").partition("/versions/")[0]
        if name not in self.server.models:
            return self.reply({"error": f"Model {name} not found"}, 404)
        _, inputs, outputs = self.server.models[name]
        return self.reply({"name": name, "versions": [], "platform": "sklearn",
                           "inputs": inputs, "outputs": outputs})  # fmt: skip

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(("POST", self.path, dict(self.headers)))
        self.server.bodies.append(body)
        if self.path == "/v2/repository/index":
            return self.reply([{"name": name, "state": "READY"} for name in self.server.models])
        if self.server.mischief and self.server.mischief(self, body):
            return None
        content = json.loads(body)
        try:
            if self.path == "/invocations":
                return self.reply({"predictions": self.invocations(content)})
            return self.reply(self.infer(content))
        except LookupError as error:
            return self.reply({"error": str(error)}, 400)
        except Exception as error:  # as MLServer does
            text = f"Traceback (most recent call last):\n  ...\n{type(error).__name__}: {error}\n"
            return self.reply(text.encode(), 500, "text/plain")

    def infer(self, content):
        """As MLServer's scikit-learn runtime."""
        name = self.path.removeprefix("/v2/models/").partition("/")[0]
        model, _, outputs = self.server.models[name]
        asked = [entry["name"] for entry in content.get("outputs", [])] or ["predict"]
        listed = outputs[0]["name"] if outputs else "predict"
        method = "predict" if asked[0] == listed != "probabilities" else "predict_proba"
        if not hasattr(model, method):
            raise LookupError(f"{type(model)} models do not support {asked[0]!r}")
        values = getattr(model, method)(self.decoded(content))
        values = values[:, None] if values.ndim == 1 else values
        kind = "INT64" if values.dtype.kind == "i" else "FP64"
        kind = "BYTES" if values.dtype.kind in "UO" else kind
        return {"model_name": name, "id": "1", "parameters": {}, "outputs": [
            {"name": asked[0], "shape": list(values.shape), "datatype": kind,
             "parameters": {"content_type": "np"}, "data": values.ravel().tolist()}]}  # fmt: skip

    @staticmethod
    def decoded(content):
        def tensor(entry):
            dtype = {"FP32": "f4", "FP64": "f8", "INT64": "i8", "UINT8": "u1"}.get(
                entry["datatype"], object
            )
            values = np.array(entry["data"], dtype=dtype)
            assert values.size == np.prod(entry["shape"])
            return values.reshape(entry["shape"])

        entries = content["inputs"]
        if content.get("parameters", {}).get("content_type") == "pd":
            return pd.DataFrame({entry["name"]: tensor(entry).ravel() for entry in entries})
        (entry,) = entries
        if entry["datatype"] == "BYTES" and len(entry["shape"]) == 1:
            return list(tensor(entry))
        return tensor(entry)

    def invocations(self, content):
        """As MLflow's scoring server."""
        model, signature, _ = self.server.models["mlflow"]
        if "dataframe_split" in content:
            found = content["dataframe_split"]
            data = pd.DataFrame(found["data"], columns=found["columns"])
            if signature and set(signature) - set(data.columns):
                raise LookupError(f"Failed to predict data ''. \nError: Model is missing inputs"
                                  f" {list(signature)}.")  # fmt: skip
        else:
            data = np.array(content["inputs"])
        return getattr(model, self.server.mlflow_method)(data).tolist()


def bomb(handler, _):
    """A quarter of a gigabyte of zeros in a quarter of a megabyte."""
    handler.reply(gzip.compress(bytes(256 << 20), 1), Content_Encoding="gzip")
    return True


def dying_after(count):
    """The process ends without a word when it is asked for the prediction after `count`."""

    def mischief(handler, _):
        predictions = sum(path.endswith("/infer") for _, path, _ in handler.server.requests)
        if predictions > count:
            os._exit(1)

    return mischief


def hang(handler, _):
    handler.server.released.wait(30)
    return True


def drip(handler, _):
    """One header byte at a time: no single read ever takes long."""
    for char in "HTTP/1.1 200 OK\r\nX-Slow: " + "a" * 10_000:
        handler.wfile.write(char.encode())
        handler.wfile.flush()
        if handler.server.released.wait(0.05):
            break
    return True


# --- Models, and the same ones as files

IRIS = load_iris(as_frame=True)
TEXTS = ["win a prize", "see you at home", "free prize now", "dinner at home"] * 3
DRAWN = ("--sampler", "sobol")
"""How a server's answers are explained; from the file, some of the models would need no draws."""


def tensor(name, datatype, *shape):
    return {"name": name, "datatype": datatype, "shape": list(shape)}


class Brightness:
    """Classes by the mean of each colour."""

    def predict_proba(self, pixels):
        means = np.asarray(pixels, dtype=float).mean(axis=(1, 2))
        return np.exp(means) / np.exp(means).sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The models as joblib files, and their tables."""
    path = tmp_path_factory.mktemp("models")
    frame = pd.DataFrame({"city": ["Ulm", "Bonn"] * 40, "size": np.arange(80.0)})
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    for name, table in (("iris", IRIS.data), ("city", frame), ("diabetes", x)):
        table.to_csv(path / f"{name}.csv", index=False)
    models = {
        "iris": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(
            IRIS.data.to_numpy(), IRIS.target
        ),
        "named": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(
            IRIS.data, IRIS.target_names[IRIS.target]
        ),
        "svc": LinearSVC().fit(IRIS.data.to_numpy(), IRIS.target),
        "diabetes": RandomForestRegressor(5, random_state=0).fit(x.to_numpy(), y),
        "city": make_pipeline(
            ColumnTransformer(
                [("city", OneHotEncoder(), ["city"]), ("size", StandardScaler(), ["size"])]
            ),
            LogisticRegression(),
        ).fit(frame, np.arange(80) > 30),
        "spam": make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
            TEXTS, ["spam", "ham"] * 6
        ),
    }
    for name, model in models.items():
        joblib.dump(model, path / f"{name}.joblib")
    return path


@pytest.fixture(scope="module")
def models(folder):
    """What the server serves: (model, inputs, outputs); "mlflow" is added by the tests."""
    load = {path.stem: joblib.load(path) for path in folder.glob("*.joblib")}
    columns = [tensor("city", "BYTES", -1), tensor("size", "FP64", -1)]
    return {
        **{name: (model, [], []) for name, model in load.items()},
        "iris-matrix": (load["iris"], [tensor("x", "FP64", -1, 4)], []),
        "iris-listed": (load["iris"], [tensor("x", "FP64", -1, 4)],
                        [tensor("predict", "INT64", -1)]),
        "iris-proba": (load["iris"], [tensor("x", "FP64", -1, 4)],
                       [tensor("probabilities", "FP64", -1, 3)]),
        "iris-single": (load["iris"], [tensor("x", "FP32", -1, 4)], []),
        "iris-by-five": (load["iris"], [tensor("x", "FP64", 5, 4)], []),
        "city-columns": (load["city"], columns, []),
        "city-narrow": (load["city"],
                        [tensor("city", "BYTES", -1, 1), tensor("size", "FP64", -1, 1)], []),
        "diabetes-matrix": (load["diabetes"], [tensor("x", "FP64", -1, 10)], []),
        "svc-matrix": (load["svc"], [tensor("x", "FP64", -1, 4)], []),
        "spam-listed": (load["spam"], [tensor("text", "BYTES", -1)], []),
        "brightness": (Brightness(), [tensor("x", "FP32", -1, 16, 16, 3)],
                       [tensor("probabilities", "FP32", -1, 3)]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def server(models):
    with serving(models) as found:
        yield found


@pytest.fixture
def table(folder):
    """Options that explain row 60 of a table on a fixed background."""

    def words(name="iris"):
        path = folder / f"{name}.csv"
        return (path, "-r", "60", "-b", path, "-n", "300")

    return words


@pytest.fixture
def report(cli):
    def run(*args):
        result = cli(*args, "--json")
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)

    return run


def numbers(report):
    """Predictions, then weights."""
    (item,) = report["explanations"]
    scores = sorted(item["prediction"], key=lambda score: score["index"])
    weights = [
        part["weight"]
        for label in item["labels"]
        for part in sorted(label["attributions"], key=lambda part: part["index"])
    ]
    return [score["value"] for score in scores] + weights


# --- The same numbers as from the file


@pytest.mark.parametrize(
    ("served", "file", "data"),
    [
        ("iris", "iris", "iris"),
        ("iris-matrix", "iris", "iris"),
        ("iris-listed", "iris", "iris"),
        ("iris-proba", "iris", "iris"),
        ("iris-by-five", "iris", "iris"),
        ("named", "named", "iris"),
        ("city", "city", "city"),
        ("city-columns", "city", "city"),
        ("city-narrow", "city", "city"),
        ("diabetes-matrix", "diabetes", "diabetes"),
    ],
)
@pytest.mark.filterwarnings("ignore:X (has|does not have)")
def test_open_inference_equals_the_file(report, server, table, folder, served, file, data):
    remote = report("tabular", server.url(served), *table(data))
    local = report("tabular", folder / f"{file}.joblib", *table(data), *DRAWN)
    assert numbers(remote) == pytest.approx(numbers(local), rel=1e-9, abs=1e-9)
    assert remote["model"]["path"] == server.url(served)
    assert remote["model"]["sha256"] is None
    assert (remote["model"]["format"], remote["model"]["estimator"]) == (
        "endpoint", f"endpoint {served}",
    )  # fmt: skip
    assert remote["model"]["task"] == local["model"]["task"]


def test_single_precision_gets_numbers_that_it_can_hold(report, server, table):
    remote = report("tabular", server.url("iris-single"), *table())
    sent = json.loads(server.bodies[-1])["inputs"][0]["data"]
    assert sent == np.float32(sent).tolist()
    exact = report("tabular", server.url("iris-matrix"), *table())
    assert numbers(remote) == pytest.approx(numbers(exact), abs=1e-5)


@pytest.mark.parametrize("suffix", ["/infer", "/versions/v1", "/versions/v1/infer", "/"])
def test_every_form_of_the_url(report, server, table, suffix):
    remote = report("tabular", server.url("iris-matrix") + suffix, *table())
    assert remote["model"]["estimator"] == "endpoint iris-matrix"


@pytest.mark.parametrize("served", ["spam", "spam-listed"])
def test_open_inference_text(report, server, folder, served):
    words = ("a frée prize at home", "-n", "200")
    remote = report("text", server.url(served), *words)
    assert numbers(remote) == pytest.approx(
        numbers(report("text", folder / "spam.joblib", *words)), abs=1e-9
    )


def test_open_inference_image(report, server, tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    remote = report("image", server.url("brightness"), tmp_path / "picture.png", "-n", "40",
                    "--segmentation", "grid")  # fmt: skip
    means = pixels.mean(axis=(0, 1)) / 255
    scores = sorted(remote["explanations"][0]["prediction"], key=lambda score: score["index"])
    assert [score["value"] for score in scores] == pytest.approx(
        np.exp(means) / np.exp(means).sum(), abs=1e-6
    )


@pytest.mark.parametrize("signature", [None, tuple(IRIS.data.columns)])
@pytest.mark.filterwarnings("ignore:X (has|does not have)")
def test_mlflow_table(report, models, table, folder, signature):
    with serving({**models, "mlflow": (models["named"][0], signature, [])}) as server:
        remote = report("tabular", server.invocations, *table())
    local = report("tabular", folder / "named.joblib", *table(), *DRAWN)
    assert numbers(remote) == pytest.approx(numbers(local), rel=1e-9, abs=1e-9)
    assert remote["model"]["estimator"] == "endpoint MLflow"


def test_mlflow_signature_settles_the_task_and_the_columns(report, fails, models, table, folder):
    columns = tuple(load_diabetes(as_frame=True).data.columns)
    served = {**models, "mlflow": (models["diabetes"][0], columns, [])}
    with serving(served, mlflow_method="predict") as server:
        assert report("tabular", server.invocations, *table("diabetes"))["model"]["task"] == (
            "regression"
        )
        lacking = fails(4, "tabular", server.invocations, *table("iris"))
        assert "age" in lacking.stderr


def test_mlflow_text(report, models, folder):
    words = ("a free prize at home", "-n", "200")
    with serving({**models, "mlflow": (models["spam"][0], None, [])}) as server:
        remote = report("text", server.invocations, *words)
    local = report("text", folder / "spam.joblib", *words)
    assert numbers(remote) == pytest.approx(numbers(local), abs=1e-9)


class ColumnReader:
    """A vectorizer that got a table: one answer, whatever the texts."""

    def predict_proba(self, data):
        return np.array([[0.4, 0.6]])


def test_one_answer_for_every_text_is_found_out(fails, models):
    with serving({"mlflow": (ColumnReader(), None, [])}) as server:
        result = fails(5, "text", server.invocations, "a free prize")
    assert "1 predictions for 2 inputs" in result.stderr


@pytest.mark.parametrize("url", ["svc-matrix", "svc"])
def test_labels_are_no_probabilities(fails, server, table, url):
    result = fails(5, "tabular", server.url(url), *table())
    assert "class labels" in result.stderr
    assert "predict_proba" in result.stderr


def test_mlflow_labels(fails, models, table):
    served = {"mlflow": (models["iris"][0], None, [])}
    with serving(served, mlflow_method="predict") as server:
        result = fails(5, "tabular", server.invocations, *table())
    assert "pyfunc_predict_fn='predict_proba'" in result.stderr


# --- How it asks


def test_batches_one_connection_and_no_secrets(report, models, table, monkeypatch):
    monkeypatch.setenv("LIMECLI_ENDPOINT_TOKEN", "s3cret")
    with serving(models) as server:
        remote = report("tabular", server.url("iris-proba"), *table(), "--batch-size", "50")
        sizes = [len(json.loads(body)["inputs"][0]["data"]) // 4 for body in server.bodies]
        assert max(sizes) == 50
        assert server.connections == 1
        assert {fields["Authorization"] for _, _, fields in server.requests} == {"Bearer s3cret"}
    assert "s3cret" not in json.dumps(remote)


def test_user_and_password_are_sent_but_never_recorded(cli, models, table, tmp_path):
    with serving(models) as server:
        url = server.url("iris-proba").replace("://", "://ada:p%40ss@")
        result = cli("tabular", url, *table(), "--json")
        shown = cli("inspect", url).stdout
        assert server.requests[0][2]["Authorization"] == "Basic YWRhOnBAc3M="
    assert result.code == 0
    assert server.url("iris-proba") in shown
    for text in (result.stdout, result.stderr, shown):
        assert "ada" not in text
        assert "p%40ss" not in text
    command = json.loads(result.stdout)["provenance"]["command"]
    assert command[2] == server.url("iris-proba")


def test_a_batch_that_is_too_large_is_halved(report, models, table, folder):
    def small(handler, body):
        if len(json.loads(body)["inputs"][0]["data"]) > 40 * 4:
            handler.reply({"error": "too large"}, 413)
            return True
        return False

    with serving(models, small) as server:
        remote = report("tabular", server.url("iris-matrix"), *table())
    local = report("tabular", folder / "iris.joblib", *table())
    assert numbers(remote) == pytest.approx(numbers(local), abs=1e-9)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(report, models, table, status):
    calls = []

    def busy(handler, _):
        calls.append(1)
        if len(calls) in (2, 3):
            handler.reply({"error": "busy"}, status, Retry_After="0")
        return len(calls) in (2, 3)

    with serving(models, busy) as server:
        report("tabular", server.url("iris-proba"), *table())


def test_a_connection_that_breaks_is_made_again(report, models, table):
    calls = []

    def breaks(handler, _):
        calls.append(1)
        if len(calls) == 2:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
        return len(calls) == 2

    with serving(models, breaks) as server:
        report("tabular", server.url("iris-proba"), *table())


def hang_up(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
    return True


def test_a_server_that_hangs_up_on_a_table_without_rows(report, models, table, folder):
    def raises(handler, body):
        return hang_up(handler) if json.loads(body)["dataframe_split"]["data"] == [] else False

    with serving({**models, "mlflow": (models["named"][0], None, [])}, raises) as server:
        remote = report("tabular", server.invocations, *table())
    local = report("tabular", folder / "named.joblib", *table(), *DRAWN)
    assert numbers(remote) == pytest.approx(numbers(local), rel=1e-9, abs=1e-9)


def test_a_server_that_hangs_up_on_a_row_that_is_made_up(report, models, table):
    def raises(handler, body):
        data = json.loads(body)["inputs"][0]["data"]
        return hang_up(handler) if not np.any(data) else False

    with serving(models, raises) as server:
        report("tabular", server.url("iris-matrix"), *table())


def test_a_server_that_hangs_up_on_everything(fails, models, table):
    with serving(models, lambda handler, _: hang_up(handler)) as server:
        result = fails(5, "tabular", server.invocations, *table())
    assert "Remote end closed" in result.stderr or "broke" in result.stderr


def test_no_proxy_that_the_user_did_not_point_at(report, server, table, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    report("tabular", server.url("iris-proba"), *table())


# --- What goes wrong while predicting: exit 5, one sentence, in time


def answers(content, status=200, kind="application/json", **headers):
    def mischief(handler, _):
        handler.reply(content, status, kind, **headers)
        return True

    return mischief


def changed(change):
    """The faithful answer, changed."""

    def mischief(handler, body):
        content = handler.infer(json.loads(body))
        change(content["outputs"][0])
        handler.reply(json.dumps(content).encode())
        return True

    return mischief


def set_first(value):
    return changed(lambda output: output["data"].__setitem__(0, value))


def drop_row(output):
    output["shape"][0] += 1
    output["data"] += output["data"][:3]


MISCHIEF = {
    "hangs": (hang, "did not answer within 1.5 s"),
    "drips headers": (drip, "did not answer within 1.5 s"),
    "500": (answers({"error": "disk on\x1b[31m fire\nmore"}, 500), "500: disk on [31m fire\n"),
    "401": (answers({"error": "who are you"}, 401), "LIMECLI_ENDPOINT_TOKEN"),
    "503 for ever": (answers({"error": "busy"}, 503), "answered 503: busy"),
    "asks to wait": (answers(b"", 503, Retry_After="3600"), "asks to wait 3600 s"),
    "NaN": (set_first(float("nan")), "NaN or infinity for 1 of"),
    "null": (set_first(None), "NaN or infinity for 1 of"),
    "a word": (set_first("yes"), "class labels"),
    "too many rows": (changed(drop_row), "2 predictions for 1 inputs"),
    "a lying shape": (changed(lambda output: output["shape"].append(7)), "for an output of shape"),
    "no outputs": (answers({}), "JSON without outputs"),
    "no JSON": (answers(b"hello"), "something that is no JSON"),
    "nested": (answers(b"[" * 200_000), "no JSON"),
    "a page": (answers(b"<!doctype html><title>Login</title>", kind="text/html"), "an HTML page"),
    "an error page": (answers(b"<html><title>Bad Day</title>x", 500, "text/html"), "500: Bad Day"),
    "empty": (answers(b""), "an empty answer"),
    "elsewhere": (answers(b"", 307, Location="http://user:pw@example.org/x"),
                  "redirects to http://example.org/x, another server"),
    "in circles": (answers(b"", 307, Location="/v2/models/iris-proba/infer"), "in circles"),
    "huge": (answers(b" " * (65 << 20)), "more than 64 MiB"),
    "bomb": (bomb, "more than 64 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISCHIEF)
def test_mischief(fails, models, table, name):
    mischief, words = MISCHIEF[name]
    timeout = "1.5" if name in ("hangs", "drips headers") else "20"
    with serving(models, mischief) as server:
        begun = time.monotonic()
        result = fails(5, "tabular", server.url("iris-proba"), *table(), "--timeout", timeout)
        assert time.monotonic() - begun < 12
    assert words in result.stderr
    assert "\x1b" not in result.stderr


def test_a_redirect_that_stays_is_followed(report, models, table):
    def to_version(handler, _):
        if "/versions/" not in handler.path:
            handler.reply(b"", 308, Location="/v2/models/iris-proba/versions/v1/infer")
            return True
        return False

    with serving(models, to_version) as server:
        report("tabular", server.url("iris-proba"), *table())


def test_a_body_that_drips_is_given_up(fails, models, table):
    def mischief(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not handler.server.released.wait(0.05):
            handler.wfile.write(b" ")
        return True

    with serving(models, mischief) as server:
        result = fails(5, "tabular", server.url("iris-proba"), *table(), "--timeout", "1")
    assert "did not answer within 1 s" in result.stderr


def test_a_server_that_dies_half_way(fails, folder, table):
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), "6"], stdout=subprocess.PIPE, text=True
    )
    try:
        port = process.stdout.readline().strip()
        url = f"http://127.0.0.1:{port}/v2/models/iris"
        result = fails(5, "tabular", url, *table(), "-n", "4096")
        # The row itself, then 4096 draws: whole blocks of points, so none more, none fewer.
        assert re.search(r"failed: Connection refused \(after \d+ of 4097 rows\)", result.stderr)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_how_far_it_came(models, folder):
    from limecli.errors import PredictError
    from limecli.models.detect import load_model
    from limecli.models.interface import LoadOptions

    def fails_at_third(handler, _):
        count = sum(method == "POST" for method, _, _ in handler.server.requests)
        if count == 3:
            handler.reply({"error": "lost"}, 500)
        return count == 3

    with serving(models, fails_at_third) as server:
        options = LoadOptions(kind="tabular", batch_size=40)
        predictor = load_model(server.url("iris-proba"), options)
        with pytest.raises(PredictError, match=r"500: lost \(after 80 of 150 rows\)"):
            predictor.predict_fn(IRIS.data)


# --- What cannot even be opened: exit 3


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def test_nobody_there(fails, table):
    url = f"http://ada:secret@127.0.0.1:{unused_port()}/v2/models/iris"
    result = fails(3, "tabular", url, *table())
    assert "cannot be reached: Connection refused" in result.stderr
    assert "secret" not in result.stderr


def test_no_such_host(fails, table):
    result = fails(3, "tabular", "http://no-such-host.invalid/v2/models/iris", *table())
    assert "cannot be reached" in result.stderr


@pytest.mark.parametrize(
    "url",
    ["http://", "http://u:p/w@host/v2/models/iris", "http://host:99999/v2/models/x", "http://[::1",
     "http://a b/v2/models/x"],
)  # fmt: skip
def test_no_valid_url_is_not_repeated(fails, table, url):
    result = fails(3, "tabular", url, *table())
    assert "p/w" not in result.stderr


def test_a_model_that_is_not_served(fails, server, table):
    result = fails(3, "tabular", server.url("nope"), *table())
    assert "no model 'nope'" in result.stderr
    assert "iris-matrix" in result.stderr


def test_a_url_without_a_model(fails, server, table):
    base = server.url("x").removesuffix("/v2/models/x")
    for url in (base, f"{base}/", f"{base}/v2", f"{base}/v2/models"):
        result = fails(3, "tabular", url, *table())
        assert f"{base}/v2/models/NAME" in result.stderr
        assert "iris-matrix" in result.stderr


class WebSite(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<html><title>Shop</title>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_):
        pass


@contextmanager
def web_site(wrap=None):
    site = ThreadingHTTPServer(("127.0.0.1", 0), WebSite)
    site.daemon_threads, site.handle_error = True, lambda *_: None
    if wrap:
        site.socket = wrap(site.socket)
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site.server_port
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.mark.parametrize("path", ["/v2/models/x", "/invocations", "/predict"])
def test_a_web_site_is_no_model(fails, table, path):
    with web_site() as port:
        result = fails(3, "tabular", f"http://127.0.0.1:{port}{path}", *table())
    assert "/v2/models/NAME" in result.stderr


def test_a_certificate_that_nobody_vouches_for(fails, table, tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key,
         "-out", certificate], check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with web_site(lambda plain: context.wrap_socket(plain, server_side=True)) as port:
        url = f"https://127.0.0.1:{port}/v2/models/x"
        result = fails(3, "tabular", url, *table())
        assert "its certificate is refused: " in result.stderr
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        result = fails(3, "tabular", url, *table())
        assert "it answers with an HTML page" in result.stderr


# --- inspect


def test_inspect_shows_metadata_and_asks_for_no_prediction(cli, models):
    with serving(models) as server:
        shown = cli("inspect", server.url("city-columns")).stdout
        assert {method for method, _, _ in server.requests} == {"GET"}
        content = json.loads(cli("inspect", server.url("iris-proba"), "--json").stdout)
    for words in ("city BYTES[?]", "size FP64[?]", "mlserver 1.7.1", "2: city, size"):
        assert words in shown
    assert (content["task"], content["n_features"], content["sha256"]) == (
        "classification",
        4,
        None,
    )


def test_inspect_mlflow(cli, server):
    shown = cli("inspect", server.invocations).stdout
    assert "MLflow 3.17.2" in shown


# --- The real ones, where they are installed


def wait_for(url, process):
    import urllib3

    for _ in range(120):
        assert process.poll() is None, "the server ended"
        try:
            if urllib3.request("GET", url, retries=False, timeout=2).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.5)
    pytest.fail(f"{url} did not come up")


@contextmanager
def real_server(command, ready, cwd):
    search = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, "PATH": search}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(ready, process)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def found_command(name, variable):
    """A server's command: named by an environment variable, or on the path."""
    command = os.environ.get(variable) or shutil.which(name)
    if command is None:
        pytest.skip(f"{name} is not installed, and {variable} does not say where it is")
    return command


def test_real_mlserver(report, table, folder, tmp_path):
    command = found_command("mlserver", "LIMECLI_TEST_MLSERVER")
    port = unused_port()
    for name in ("iris", "spam"):
        (tmp_path / name).mkdir()
        shutil.copy(folder / f"{name}.joblib", tmp_path / name / "model.joblib")
        (tmp_path / name / "model-settings.json").write_text(json.dumps({
            "name": name, "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": "./model.joblib"}}))  # fmt: skip
    (tmp_path / "settings.json").write_text(json.dumps({
        "host": "127.0.0.1", "http_port": port, "grpc_port": unused_port(),
        "metrics_endpoint": None, "parallel_workers": 0}))  # fmt: skip
    base = f"http://127.0.0.1:{port}/v2"
    with real_server([command, "start", "."], f"{base}/health/ready", tmp_path):
        for kind, name, words in (
            ("tabular", "iris", (*table(), *DRAWN)),
            ("text", "spam", ("a free prize", "-n", "200")),
        ):
            remote = report(kind, f"{base}/models/{name}", *words)
            local = report(kind, folder / f"{name}.joblib", *words)
            assert numbers(remote) == pytest.approx(numbers(local), abs=1e-9)


def test_real_mlflow(report, table, folder, tmp_path):
    command = found_command("mlflow", "LIMECLI_TEST_MLFLOW")
    port = unused_port()
    save = (
        "import joblib, mlflow, sys\n"
        "mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2],"
        " pyfunc_predict_fn='predict_proba', serialization_format='cloudpickle')\n"
    )
    python = Path(command).with_name("python")
    subprocess.run([python, "-c", save, folder / "named.joblib", tmp_path / "model"], check=True,
                   capture_output=True)  # fmt: skip
    serve = [command, "models", "serve", "-m", "model", "--env-manager", "local", "-h",
             "127.0.0.1", "-p", str(port), "-w", "1"]  # fmt: skip
    with real_server(serve, f"http://127.0.0.1:{port}/ping", tmp_path):
        remote = report("tabular", f"http://127.0.0.1:{port}/invocations", *table())
    local = report("tabular", folder / "named.joblib", *table(), *DRAWN)
    assert numbers(remote) == pytest.approx(numbers(local), abs=1e-9)


if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    models = {path.stem: (joblib.load(path), [], []) for path in folder.glob("*.joblib")}
    server = ModelServer(models, dying_after(count))
    print(server.server_port, flush=True)
    server.serve_forever()
