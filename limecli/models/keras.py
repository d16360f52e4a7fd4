"""Keras models, `.h5` and `.keras`, on whichever Keras backend is installed."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from limecli.errors import ModelError
from limecli.models.frames import numbers_of
from limecli.models.info import ModelInfo
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.keras_config import check_storage, describe_config
from limecli.models.outputs import checked, in_fixed_batches
from limecli.models.pictures import (
    PictureInput,
    check_channels,
    chosen_preprocess,
    picture_input,
    preprocessor,
    to_model_scale,
)
from limecli.types import Predictor, Task

BACKENDS = ("tensorflow", "torch", "jax", "openvino")
_PICTURES, _ROWS = 32, 1024  # batch sizes
_FREE_NUMBERS = 16 << 20  # weights that a file of any size may ask for
_HDF5 = b"\x89HDF\r\n\x1a\n"


class KerasLoader:
    """Loads with `safe_mode`, so a Lambda layer's code is refused, and without compiling."""

    requires = ("keras", "h5py")

    def matches(self, file: ModelFile) -> bool:
        """HDF5, or a zip with Keras' own configuration."""
        return file.head.startswith(_HDF5) or {"config.json", "metadata.json"} <= file.zip_names

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Raises ModelError for what Keras refuses or cannot read, with its reason in one line."""
        keras = import_keras()
        if options.kind == "text":
            raise ModelError(
                f"{file.name} is a Keras model, which takes no texts",
                "limecli text takes pickled pipelines and ONNX models",
            )
        model = _load(keras, file)
        shape = _single_shape(model, file)
        n_outputs = model.output_shape[-1]
        task = options.task or _task(model, n_outputs, options)
        picture: PictureInput | None = None
        preprocess: str | None = None
        notes: tuple[str, ...] = ()
        if options.kind == "image":
            picture = picture_input(shape, file.name)
            preprocess, notes = chosen_preprocess(options.preprocess, _scales_its_input(model))
            check_channels(preprocess, picture.channels)
            prepare = _picture_batch(picture, preprocess)
        else:
            prepare = _row_batch(shape, file)
        size = _PICTURES if picture else _ROWS
        return Predictor(
            predict_fn=checked(
                lambda batch: _predict(model, prepare(batch), size),
                task,
                options,
                independent=_last_activation(model) == "sigmoid",
            ),
            task=task,
            class_names=(),
            path=file.name,
            sha256=file.sha256,
            format="keras",
            estimator=f"Keras {type(model).__name__}",
            n_features=shape[-1] if picture is None else None,
            input_shape=picture.shape if picture else shape,
            output=options.output,
            preprocess=preprocess,
            notes=notes,
        )

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """The layers that the file's own configuration names. Keras is not even imported."""
        return describe_config(file, file.head.startswith(_HDF5))


def _predict(model: Any, batch: Any, size: int) -> Any:
    # Every back end but torch compiles for each batch size that it meets, and OpenVINO in Keras
    # 3.13 takes only the first one.
    return in_fixed_batches(lambda i: model.predict_on_batch(batch[i]), len(batch), size)


def import_keras() -> Any:
    """Import Keras on the first backend that is installed, unless KERAS_BACKEND names one."""
    missing = "install it: pip install 'limecli[keras]'"
    if "KERAS_BACKEND" not in os.environ and "keras" not in sys.modules:
        found = [name for name in BACKENDS if importlib.util.find_spec(name)]
        if not found:
            raise ModelError(f"Keras needs one of its backends: {', '.join(BACKENDS)}", missing)
        os.environ["KERAS_BACKEND"] = found[0]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet():
        try:
            import keras
        except ImportError as error:
            raise ModelError(f"Keras cannot be imported: {error}", missing) from None
    if keras.config.backend() == "openvino":
        _compute_in_float32()
    return keras


def _compute_in_float32() -> None:
    """OpenVINO computes in bfloat16 where the processor can: probabilities move by several per cent
    and depend on the machine. Keras passes no configuration, so it is set where Keras calls.
    """
    import openvino

    if not isinstance(openvino.compile_model, functools.partial):
        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        openvino.compile_model = functools.partial(openvino.compile_model, config=hint)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load(keras: Any, file: ModelFile) -> Any:
    # Keras goes by the suffix, people do not: give it the bytes under the suffix they deserve.
    hdf5 = file.head.startswith(_HDF5)
    suffix = ".h5" if hdf5 else ".keras"
    check_storage(file, hdf5)
    with tempfile.TemporaryDirectory(prefix="limecli-") as folder, _quiet():
        copy = Path(folder) / f"model{suffix}"
        copy.write_bytes(file.data)
        try:
            with _bounded(keras, file) as excess:
                return keras.models.load_model(copy, compile=False, safe_mode=True)
        except Exception as error:  # h5py, zipfile, json and Keras each raise their own
            if excess:
                raise excess[0] from None
            text = " ".join(str(error).replace(str(copy), file.name).split())
            if "lambda" in text.lower():
                raise ModelError(
                    f"{file.name} has a Lambda layer, which carries Python code: refused",
                    "replace it by a registered layer and save the model again",
                ) from None
            raise ModelError(
                f"{file.name} cannot be loaded by Keras {keras.__version__}: {text[:200]}"
            ) from error


@contextlib.contextmanager
def _bounded(keras: Any, file: ModelFile) -> Iterator[list[ModelError]]:
    """Stop before a layer makes far more weights than the file can hold: they would fill the memory
    before Keras finds them missing. Keras wraps what is raised in its own: it is kept in a list.
    """
    layer = keras.layers.Layer
    original, excess = layer.add_weight, []
    left = _FREE_NUMBERS + 4 * len(file.data)

    @functools.wraps(original)
    def add_weight(self: Any, shape: Any = None, *args: Any, **options: Any) -> Any:
        nonlocal left
        sizes = shape if isinstance(shape, list | tuple) else (shape,)
        left -= math.prod(size for size in sizes if isinstance(size, int))
        if left < 0:
            text = f"{file.name} asks for far more weights than it holds: refused"
            excess.append(ModelError(text, "copy or save the file again"))
            raise excess[0]
        return original(self, shape, *args, **options)

    layer.add_weight = add_weight
    try:
        yield excess
    finally:
        layer.add_weight = original


def _single_shape(model: Any, file: ModelFile) -> tuple[int | None, ...]:
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and len(model.outputs) == 1:
        return shape
    raise ModelError(
        f"{file.name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs;"
        " one of each is needed"
    )


def _last_activation(model: Any) -> str:
    last = model.layers[-1]
    own = getattr(getattr(last, "activation", None), "__name__", "")
    return str(own or type(last).__name__).lower()  # a Softmax may be a layer of its own


def _task(model: Any, n_outputs: int | None, options: LoadOptions) -> Task:
    several = n_outputs is None or n_outputs > 1
    if several or _last_activation(model) in ("sigmoid", "softmax"):
        return "classification"
    return "classification" if options.activation != "none" else "regression"


def _scales_its_input(model: Any) -> bool:
    return any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in _layers(model))


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


def _picture_batch(picture: PictureInput, preprocess: str) -> Callable[[Any], Any]:
    function = preprocessor(preprocess)
    return lambda batch: to_model_scale(batch, picture, function)


def _row_batch(shape: tuple[int | None, ...], file: ModelFile) -> Callable[[Any], Any]:
    if len(shape) != 2:
        raise ModelError(
            f"{file.name} takes an input of {len(shape)} dimensions, not rows of a table",
            "limecli image explains image networks",
        )
    return lambda frame: numbers_of(frame, "float32", file.name)
