"""Who answers at a URL, which of the two protocols they speak, and what they tell of the model."""

from __future__ import annotations

import ast
import contextlib
import re
from dataclasses import dataclass
from typing import Any

from limecli.errors import ModelError
from limecli.models.endpoint_http import TOKEN, Answer, Connection, Target
from limecli.models.endpoint_plans import Plan, inference_plan, mlflow_plan
from limecli.models.endpoint_protocols import Tensor
from limecli.models.interface import LoadOptions, ModelFile

_INFERENCE = re.compile(
    r"(?P<root>.*/v2)/models/(?P<name>[^/]+)(?P<version>/versions/[^/]+)?(?:/infer|/ready)?"
)
FORMS = "MODEL is http://host:8080/v2/models/NAME or, for MLflow, http://host:5000/invocations"
_LISTED = 20


@dataclass
class Service:
    """A server that was reached, and which of the protocols it speaks. MLflow has no metadata."""

    connection: Connection
    name: str
    model_path: str
    predict_path: str
    metadata: dict[str, Any] | None = None
    version: str | None = None

    @classmethod
    def at(cls, file: ModelFile, options: LoadOptions) -> Service:
        """Raises ModelError when nobody answers there, or nobody who speaks a known protocol."""
        target = Target.parse(file.name)
        file.name = target.shown
        connection = Connection(target, options.timeout_s)
        path = target.path
        if found := _INFERENCE.fullmatch(path):
            base = f"{found['root']}/models/{found['name']}{found['version'] or ''}"
            metadata = _metadata(connection, base, found["root"], found["name"])
            return cls(connection, found["name"], base, f"{base}/infer", metadata)
        if path.endswith("/invocations"):
            before = path.removesuffix("/invocations")
            version = _mlflow_version(connection, before, path)
            name = before.rpartition("/")[2] or "MLflow"
            return cls(connection, name, path, path, version=version)
        raise _unclear(connection)

    def tensors(self, key: str) -> list[Tensor]:
        """The inputs or outputs that metadata lists; none where it lists none."""
        entries = (self.metadata or {}).get(key) or []
        try:
            return [Tensor.parse(entry) for entry in entries]
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"{self.connection.target.shown} describes its {key} in a form that the Open"
                f" Inference Protocol does not know: {error}"
            ) from None

    def plan(self, options: LoadOptions) -> Plan:
        """How to ask it for what the user wants."""
        shown = self.connection.target.shown
        if self.metadata is None:
            columns = _signature(self.connection, self.predict_path)
            return mlflow_plan(options, columns if options.kind == "tabular" else None)
        return inference_plan(shown, self.tensors("inputs"), self.tensors("outputs"), options)

    def about(self) -> tuple[str, ...]:
        """Which server it is, in its own words."""
        if self.metadata is None:
            return (f"MLflow {self.version}",) if self.version else ()
        root = self.model_path.partition("/v2/models/")[0] + "/v2"
        server = _json_object(self.connection.call("GET", root))
        notes = [f"served by {server['name']} {server.get('version', '')}".strip()] * (
            "name" in server
        )
        if self.metadata.get("platform"):
            notes.append(f"platform {self.metadata['platform']}")
        if self.metadata.get("versions"):
            notes.append(f"versions {', '.join(map(str, self.metadata['versions']))}")
        return tuple(notes)

    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the way there."""
        target = self.connection.target
        local = target.host in ("localhost", "::1") or target.host.startswith("127.")
        if target.authorization and target.scheme == "http" and not local:
            return (f"{target.shown} is not https: the token or password goes there in the clear",)
        return ()


def status_hint(status: int, text: str) -> str:
    """What to do about a status, and about what the server says with it."""
    if status in (401, 403):
        return f"put its token into the environment variable {TOKEN}"
    low = text.lower()
    if "unknown categor" in low:
        return "if a number column is really a category, name it with --categorical COLUMN"
    if "safely convert" in low:
        return "LIME draws fractions: log the model with a signature of float columns"
    return "the server's own log tells more" if status >= 500 else ""


def _json_object(answer: Answer) -> dict[str, Any]:
    """The answer's JSON object; {} for whatever else it is."""
    try:
        content = answer.json() if answer.status == 200 else {}
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _metadata(connection: Connection, path: str, root: str, name: str) -> dict[str, Any]:
    answer = connection.call("GET", path)
    shown = connection.target.shown
    metadata = _json_object(answer)
    if "name" in metadata or "inputs" in metadata:
        return metadata
    text = connection.error_text(answer)
    if answer.status in (401, 403):
        raise ModelError(f"{shown} answered {answer.status}: {text}", status_hint(401, ""))
    if answer.status in (400, 404) and (models := _models(connection, root)):
        raise ModelError(f"{shown}: no model {name!r} is served there", f"served: {models}")
    what = f"{answer.status} {text}".strip() if answer.status != 200 else answer.kind()
    raise ModelError(
        f"{shown} does not speak the Open Inference Protocol: it answers with {what}", FORMS
    )


def _models(connection: Connection, root: str) -> str:
    """The names of a server's models, where it lists them."""
    answer = connection.call("POST", f"{root}/repository/index", {})
    try:
        content = answer.json() if answer.status == 200 else []
    except ValueError:
        return ""
    names = [
        entry["name"] for entry in content if isinstance(entry, dict) and "name" in entry
    ] if isinstance(content, list) else []  # fmt: skip
    listed = ", ".join(sorted({str(name)[:100] for name in names})[:_LISTED])
    return listed + (", ..." if len(names) > _LISTED else "")


def _mlflow_version(connection: Connection, before: str, path: str) -> str | None:
    """MLflow's version, None where only the form of its errors tells that it is there."""
    answer = connection.call("GET", f"{before}/version")
    text = answer.body[:40].decode("ascii", "replace").strip()
    if answer.status == 200 and re.fullmatch(r"\d+(\.\w+)+", text):
        return text
    if _pings(connection, before):
        return None
    # Hosted servers have neither: ask for nothing, and see whether the refusal is MLflow's.
    refusal = _answer_to_nothing(connection, path)
    if refusal is None:
        return None
    shown = connection.target.shown
    if refusal.status in (401, 403):
        raise ModelError(
            f"{shown} answered {refusal.status}: {connection.error_text(refusal)}",
            status_hint(401, ""),
        )
    try:
        speaks = refusal.status in (200, 400, 422, 500) and isinstance(refusal.json(), dict | list)
    except ValueError:
        speaks = False
    if not speaks:
        what = f"{refusal.status}" if refusal.status != 200 else refusal.kind()
        raise ModelError(f"{shown} is no MLflow scoring server: it answers with {what}", FORMS)
    return None


def _answer_to_nothing(connection: Connection, path: str) -> Answer | None:
    """To a table without columns; None where the server hangs up on it: rows it may well answer."""
    try:
        return connection.call("POST", path, {"dataframe_split": {"columns": [], "data": []}})
    except ModelError:
        if connection.dropped:
            return None
        raise


def _pings(connection: Connection, root: str) -> bool:
    """Whether /ping answers as MLflow's: with nothing, where a web site has a page."""
    answer = connection.call("GET", f"{root}/ping")
    return answer.status == 200 and not answer.body.strip()


def _signature(connection: Connection, path: str) -> tuple[str, ...] | None:
    """The columns of an MLflow model's signature: its server names those that a table lacks."""
    answer = _answer_to_nothing(connection, path)
    if answer is None:
        return None
    text = answer.body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(answer.json()["message"])
    found = re.search(r"Model is missing inputs (\[.*?\])\.", text)
    if answer.status != 400 or found is None or "(optional)" in text:
        return None
    try:
        names = ast.literal_eval(found[1])
    except (ValueError, SyntaxError):
        return None
    return tuple(map(str, names)) or None


def _unclear(connection: Connection) -> ModelError:
    """What to say to a URL that names no model, after a look at what is there."""
    target = connection.target
    root = target.path.removesuffix("/models").removesuffix("/v2")
    at = target.origin + root
    if "name" in _json_object(connection.call("GET", f"{root}/v2")):
        models = _models(connection, f"{root}/v2")
        served = f"; served: {models}" if models else ""
        return ModelError(f"{target.shown} names no model", f"give {at}/v2/models/NAME{served}")
    if _pings(connection, root):
        return ModelError(
            f"{target.shown} names no model", f"if it is an MLflow server: {at}/invocations"
        )
    return ModelError(f"{target.shown} is not the address of a model", FORMS)
