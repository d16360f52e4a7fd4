"""Models behind a URL: servers of the Open Inference Protocol v2, and MLflow's scoring server.

MODEL is `http://host:8080/v2/models/NAME` or `http://host:5000/invocations`. A token for it goes
into the environment as LIMECLI_ENDPOINT_TOKEN and is sent as `Authorization: Bearer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limecli.errors import ModelError, PredictError
from limecli.models.endpoint_http import Answer, Connection
from limecli.models.endpoint_plans import Plan, output_task
from limecli.models.endpoint_protocols import Form, LabelsError, NotAnswerError, Tensor
from limecli.models.endpoint_service import FORMS, Service, status_hint
from limecli.models.info import ModelInfo, Part, Port
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.outputs import checked, in_fixed_batches
from limecli.types import Predictor, Task

if TYPE_CHECKING:
    from limecli.types import FloatArray

_ROWS, _PICTURES = 1024, 32  # batch sizes
_REFUSED = frozenset({200, 400, 404, 415, 422, 500, 501})  # worth another form of the question


class EndpointLoader:
    """Asks a server for predictions. Nothing is known of the model but what the server says."""

    requires = ("urllib3",)

    def matches(self, file: ModelFile) -> bool:
        """The scheme says it."""
        return not file.is_file and file.name.lower().startswith(("http://", "https://"))

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Raises ModelError when the server cannot be reached or speaks neither protocol."""
        service = Service.at(file, options)
        plan = service.plan(options)
        size = options.batch_size or (_PICTURES if options.kind == "image" else _ROWS)
        ask = _Asker(service.connection, service.predict_path, plan.forms, size, plan.fixed)
        task, notes = _settle_task(ask, plan, options)
        service.connection.opened(PredictError)
        shown = service.connection.target.shown
        return Predictor(
            predict_fn=checked(ask, task, options),
            task=task,
            class_names=(),
            path=shown,
            sha256=None,
            format="endpoint",
            estimator=f"endpoint {service.name}",
            feature_names=plan.feature_names,
            text_features=plan.text_features,
            n_features=plan.n_features,
            input_shape=plan.input_shape,
            output=options.output,
            preprocess=plan.preprocess,
            notes=(
                f"answers of {shown} are not covered by a hash: the same input may be explained"
                " differently when the server changes",
                *service.warnings(),
                *plan.notes,
                *notes,
            ),
        )

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """What the server's metadata says. No prediction is asked for."""
        service = Service.at(file, options)
        estimator = Part("", f"endpoint {service.name}")
        if service.metadata is None:
            text = "MLflow's scoring server tells neither its inputs nor its outputs"
            return ModelInfo("endpoint", estimator, notes=(*service.about(), text))
        inputs, outputs = service.tensors("inputs"), service.tensors("outputs")
        named = len(inputs) > 1 and all(tensor.is_column for tensor in inputs)
        single = len(inputs) == 1 and len(inputs[0].shape) == 2
        return ModelInfo(
            format="endpoint",
            estimator=estimator,
            task=options.task or output_task(outputs),
            feature_names=tuple(tensor.name for tensor in inputs) if named else None,
            n_features=inputs[0].width if single else None,
            inputs=tuple(_port(tensor) for tensor in inputs),
            outputs=tuple(_port(tensor) for tensor in outputs),
            notes=(*service.about(), *service.warnings()),
        )


def _port(tensor: Tensor) -> Port:
    return Port(tensor.name, tensor.datatype, tensor.shape)


class _Asker:
    """Sends a batch in pieces, in the first form that the server takes."""

    def __init__(
        self,
        connection: Connection,
        path: str,
        forms: tuple[Form, ...],
        size: int,
        fixed: int | None,
    ) -> None:
        self._connection, self._path = connection, path
        self.forms, self._size, self._fixed = forms, size, fixed

    @property
    def dropped(self) -> bool:
        """Whether the server hung up on the last question."""
        return self._connection.dropped

    def __call__(self, batch: Any) -> FloatArray:
        """`float[n, k]` for n inputs. Raises PredictError, saying how far it came."""
        import numpy as np

        n, start = len(batch), 0
        if self._fixed is not None:
            run = self._required
            return np.asarray(in_fixed_batches(lambda i: run(_taken(batch, i)), n, self._fixed))
        parts: list[FloatArray] = []
        while start < n:
            piece = _taken(batch, slice(start, start + self._size))
            try:
                part = self._required(piece) if len(piece) == 1 else self._ask(piece)
            except PredictError as error:
                if start == 0:
                    raise
                text = f"{error.message} (after {start} of {n} rows)"
                raise PredictError(text, error.hint) from None
            if part is None:
                self._size = (len(piece) + 1) // 2
                continue
            parts.append(part)
            start += len(piece)
        return np.concatenate(parts)

    def _required(self, batch: Any) -> FloatArray:
        part = self._ask(batch)
        if part is None:
            shown = self._connection.target.shown
            count = f"{len(batch)} inputs" if len(batch) > 1 else "a single input"
            raise PredictError(f"{shown} answered 413: {count} is too large for it")
        return part

    def _ask(self, batch: Any) -> FloatArray | None:
        """None when the server finds the batch too large."""
        failures: list[tuple[Form, PredictError]] = []
        for form in self.forms:
            try:
                content = form.encode(batch)
            except PredictError as error:
                failures.append((form, error))
                continue
            answer = self._connection.call("POST", self._path, content)
            if answer.status == 413:
                return None
            try:
                values = self._values(answer, form, len(batch))
            except PredictError as error:
                failures.append((form, error))
                # By order would work where by name does not: never try that.
                if answer.status not in _REFUSED or "feature names" in error.message.lower():
                    break
                continue
            self.forms = (form,)
            return values
        raise _most_telling(failures)

    def _values(self, answer: Answer, form: Form, n: int) -> FloatArray:
        shown = self._connection.target.shown
        if answer.status != 200:
            text = self._connection.error_text(answer)
            raise PredictError(
                f"{shown} answered {answer.status}" + (f": {text}" if text else ""),
                status_hint(answer.status, text),
            )
        try:
            return form.decode(answer.json(), n)
        except NotAnswerError as wrong:
            raise PredictError(f"{shown} answers with {wrong}", FORMS) from None
        except ValueError:
            raise PredictError(
                f"{shown} answers with {answer.kind()}, not with predictions", FORMS
            ) from None


def _taken(batch: Any, index: Any) -> Any:
    """Some of a DataFrame, an array or a list."""
    if hasattr(batch, "iloc"):
        return batch.iloc[index]
    if isinstance(batch, list) and not isinstance(index, slice):
        return [batch[i] for i in index]
    return batch[index]


def _most_telling(failures: list[tuple[Form, PredictError]]) -> PredictError:
    """That labels came; else what is not merely about an output that the server does not have."""
    for _, error in failures:
        if isinstance(error, LabelsError):
            return error
    for form, error in failures:
        if form.asks is None or form.asks not in error.message:
            return error
    return failures[-1][1]


def _settle_task(ask: _Asker, plan: Plan, options: LoadOptions) -> tuple[Task, tuple[str, ...]]:
    """The user's word, else metadata's, else what the answer to a made-up row looks like."""
    if options.task is not None:
        return options.task, ()
    if options.activation != "none" or options.kind == "image":
        return "classification", ()
    if plan.task is not None:
        return plan.task, ()
    if plan.sample is not None:
        try:
            values = ask(plan.sample())
        except LabelsError:
            raise
        except PredictError:  # a made-up row need not make sense to the model
            pass
        except ModelError:
            if not ask.dropped:
                raise
        else:
            several = values.ndim > 1 and values.shape[1] > 1
            asked = ask.forms[0].asks is not None and "prob" in ask.forms[0].asks
            return ("classification" if several or asked else "regression"), ()
    text = "the server does not say what it predicts: taken for a classifier (--task)"
    return "classification", (text,)
