"""PyTorch: TorchScript archives and graphs of torch.export. Pickled modules are refused."""

from __future__ import annotations

import contextlib
import io
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from limecli.errors import ModelError, PredictError
from limecli.models.frames import numbers_of
from limecli.models.info import ModelInfo, Part, Port
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.outputs import checked, in_fixed_batches
from limecli.models.pictures import (
    PictureInput,
    check_channels,
    chosen_preprocess,
    picture_input,
    preprocessor,
    to_model_scale,
)
from limecli.models.torch_archive import (
    Archive,
    is_torch,
)
from limecli.models.torch_export import Program
from limecli.models.torch_script import (
    Layer,
    check_graph,
    script_layers,
    script_tree,
    weights_count,
)
from limecli.types import Predictor, Task

_PICTURES, _ROWS = 32, 1024  # batch sizes
_SIZE_HINT = "if the size of the input does not fit: pictures take --image-size"
_SMALLEST = 8  # pixels: a first layer of fewer inputs takes no flattened picture
_DTYPES = {"DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16"}


@dataclass
class _Network:
    """What the two formats have in common. None in `shape`: the file does not say.

    `forward` takes a tensor and returns what the network returns.
    """

    forward: Callable[[Any], Any]
    estimator: str
    shape: tuple[int | None, ...] | None
    n_outputs: int | None
    last: str  # the last operator, as "softmax"
    dtype: str = "float32"
    most: int | None = None
    fixed: int | None = None
    notes: tuple[str, ...] = ()


class TorchLoader:
    """No pickle is run, and no operator that touches files."""

    requires = ("torch",)

    def matches(self, file: ModelFile) -> bool:
        """Torch's zip or the stream of pickles that torch.save wrote before it."""
        return is_torch(file)

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Raises ModelError for pickles, for what could run code, and for damaged archives."""
        if options.kind == "text":
            raise ModelError(
                f"{file.name} is a PyTorch model, which takes no texts",
                "limecli text takes pickled pipelines and ONNX models",
            )
        network = _opened(file, options)
        task = options.task or _task(network.n_outputs, network.last, options)
        picture: PictureInput | None = None
        preprocess: str | None = None
        notes = network.notes
        if options.kind == "image":
            picture = picture_input(network.shape or (None, 3, None, None), file.name)
            preprocess, said = chosen_preprocess(options.preprocess, scales_itself=False)
            notes += said
            check_channels(preprocess, picture.channels)
            function = preprocessor(preprocess)

        def prepare(batch: Any) -> Any:
            if picture:
                return to_model_scale(batch, picture, function)
            return numbers_of(batch, "float64", file.name)

        limit = network.fixed or min(_PICTURES if picture else _ROWS, network.most or _ROWS)
        return Predictor(
            predict_fn=checked(
                lambda batch: _predict(
                    network, prepare(batch), limit, _SIZE_HINT if picture else ""
                ),
                task,
                options,
                independent=network.last == "sigmoid",
            ),
            task=task,
            class_names=(),
            path=file.name,
            sha256=file.sha256,
            format="torch",
            estimator=network.estimator,
            n_features=network.shape[-1] if network.shape and not picture else None,
            input_shape=picture.shape if picture else network.shape,
            output=options.output,
            preprocess=preprocess,
            notes=notes,
        )

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """The tree of modules, or the graph's inputs and outputs. Torch is not even imported."""
        archive = Archive(file)
        if archive.graphs:
            program = Program(archive)
            refusal = program.refusal()
            return ModelInfo(
                format="torch",
                estimator=Part("", "PyTorch exported program"),
                task=_task(_last_size(program.outputs), _operator(program.last), options),
                inputs=program.inputs,
                outputs=program.outputs,
                saved_with={"torch": program.version} if program.version else {},
                missing=(refusal.message,) if refusal else (),
            )
        if not archive.is_script:
            refusal = archive.refusal()
            return ModelInfo(
                format="torch", missing=(f"{refusal.message}; {refusal.hint}".rstrip("; "),)
            )
        root = _root(archive)
        missing: tuple[str, ...] = ()
        try:
            archive.check_script()
        except ModelError as error:
            missing = (error.message,)
        return ModelInfo(
            format="torch",
            estimator=script_tree(root),
            missing=missing,
            notes=(f"TorchScript, {weights_count(archive):,} numbers in weights and buffers",),
        )


def _opened(file: ModelFile, options: LoadOptions) -> _Network:
    archive = Archive(file)
    if archive.graphs:
        return _exported(Program(archive), options)
    if archive.is_script:
        return _script(archive, options)
    raise archive.refusal()


# torch.export


def _exported(program: Program, options: LoadOptions) -> _Network:
    name = program.archive.name
    refusal = program.refusal()
    if refusal:
        raise refusal
    shape = program.inputs[0].shape if len(program.inputs) == 1 else None
    if shape is None:
        names = ", ".join(port.name for port in program.inputs)
        raise ModelError(f"{name} has {len(program.inputs)} inputs ({names}); one tensor is needed")
    if options.kind == "tabular" and len(shape) != 2:
        raise ModelError(
            f"{name} takes an input of {len(shape)} dimensions, not rows of a table",
            "limecli image explains image networks",
        )
    _import(name)
    program.check_operators()
    weights = program.weights()
    notes = ("exported in training mode: dropout is off, batch norm uses its stored means",)
    return _Network(
        forward=lambda batch: program.run(weights, batch),
        estimator="PyTorch exported program",
        shape=shape,
        n_outputs=_last_size(program.outputs),
        last=_operator(program.last),
        dtype=program.inputs[0].type,
        most=program.most,
        fixed=shape[0],
        notes=notes if program.trains else (),
    )


def _last_size(outputs: tuple[Port, ...]) -> int | None:
    return outputs[0].shape[-1] if outputs and outputs[0].shape else None


def _operator(target: str) -> str:
    """The bare name in "torch.ops.aten.softmax.int" or "aten::softmax"."""
    parts = target.replace("::", ".").split(".")
    name = parts[parts.index("aten") + 1] if "aten" in parts[:-1] else ""
    return name.strip("_")


# TorchScript


def _root(archive: Archive) -> Any:
    root, damage = archive.contents.root, archive.contents.damage
    if getattr(getattr(root, "maker", None), "module", "").startswith("__torch__"):
        return root
    reason = damage.message if damage else "its data.pkl holds no module"
    raise ModelError(f"{archive.name} is damaged: {reason}")


def _script(archive: Archive, options: LoadOptions) -> _Network:
    archive.check_script()
    root = _root(archive)
    layers = list(script_layers(root))
    shape = _first_shape(layers, options, archive.name)
    torch = _import(archive.name)
    with _quiet():
        try:
            module = torch.jit.load(io.BytesIO(archive.script_bytes()), map_location="cpu").eval()
            graph = module.forward.inlined_graph
        except Exception as error:  # the parser, the zip reader and C++ raise each their own
            raise ModelError(
                f"{archive.name} cannot be loaded by PyTorch {torch.__version__}: {_reason(error)}"
            ) from error
    check_graph(graph, archive.name)
    if len(list(graph.inputs())) != 2:  # the first one is the module itself
        names = ", ".join(value.debugName() for value in list(graph.inputs())[1:])
        raise ModelError(f"{archive.name} has several inputs ({names}); one tensor is needed")
    kinds = [value.node().kind() for value in graph.outputs()]
    sizes = [layer.shape[0] for layer in layers if layer.estimator in ("Linear", "Conv2d")]
    dtype = _DTYPES.get(layers[0].storage, "float32") if layers else "float32"
    network = _Network(
        forward=module.forward,
        estimator=f"TorchScript {root.maker.name.rpartition('.')[2]}",
        shape=shape,
        n_outputs=sizes[-1] if sizes else None,
        last=_operator(kinds[0]) if kinds else "",
        dtype=dtype,
    )
    if options.kind == "image" and shape is None:
        network.notes = ("3 channels by assumption: the file does not say what it takes",)
    if options.kind == "tabular" and shape is not None:
        _try_row(network)
    return network


def _first_shape(
    layers: list[Layer], options: LoadOptions, name: str
) -> tuple[int | None, ...] | None:
    """What the first layer tells of the input, which TorchScript does not record."""
    first = layers[0] if layers else Layer("", (), "")
    if options.kind == "image":
        for layer in layers:
            if layer.estimator == "Conv2d" and len(layer.shape) == 4:
                return None, layer.shape[1], None, None
    elif first.estimator in ("Conv2d", "BatchNorm2d"):
        raise ModelError(
            f"{name} begins with {first.estimator}, which takes pictures, not rows of a table",
            "limecli image explains image networks",
        )
    if first.estimator == "Linear" and len(first.shape) == 2:
        count = first.shape[1]
        return (None, count) if options.kind == "tabular" else _flattened(count)
    return None


def _flattened(count: int) -> tuple[int | None, ...]:
    """The picture behind a first layer of `count` inputs: square, of 1 or 3 channels."""
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if side >= _SMALLEST and side * side * channels == count:
            return None, channels, side, side
    return None, count  # refused as no picture


def _try_row(network: _Network) -> None:
    """Ask the network itself; a first layer that sees only some columns tells nothing."""
    import numpy as np

    try:
        answer = _predict(network, np.zeros((2, (network.shape or (0,))[-1] or 0)), _ROWS)
        network.n_outputs = answer.shape[-1] if answer.ndim == 2 else 1
    except (PredictError, ValueError):
        network.shape = network.n_outputs = None


# Both


def _import(name: str) -> Any:
    with _quiet():
        try:
            import torch
        except (ImportError, OSError) as error:
            raise ModelError(
                f"PyTorch, which {name} needs, cannot be imported: {error}",
                "install it: pip install 'limecli[torch]'",
            ) from None
    return torch


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _task(n_outputs: int | None, activation: str, options: LoadOptions) -> Task:
    several = n_outputs is None or n_outputs > 1
    if several or activation in ("sigmoid", "softmax") or options.activation != "none":
        return "classification"
    return "regression"


def _predict(network: _Network, inputs: Any, limit: int, hint: str = "") -> Any:
    """`float[n, n_outputs]` of float64. Raises PredictError for what the network raises."""
    import torch

    dtype = getattr(torch, network.dtype)

    def run(indices: Any) -> Any:
        batch = torch.from_numpy(inputs[indices]).to(dtype)
        with torch.inference_mode(), _quiet():
            try:
                answer = _single(network.forward(batch))
            except (RuntimeError, KeyError, TypeError, ValueError, IndexError) as error:
                raise PredictError(
                    f"the network raised {type(error).__name__}: {_reason(error)}",
                    hint,
                ) from error
        return answer.detach().to(torch.float64).numpy()

    # Of two at least: exported graphs may treat a batch of one differently.
    size = network.fixed or min(limit, max(len(inputs), 2))
    return in_fixed_batches(run, len(inputs), size)


def _single(answer: Any) -> Any:
    import torch

    if isinstance(answer, dict):
        answer = list(answer.values())
    while isinstance(answer, list | tuple) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, torch.Tensor):
        return answer
    count = f" of {len(answer)}" if isinstance(answer, list | tuple) else ""
    raise PredictError(
        f"the network returns a {type(answer).__name__}{count}; one tensor of scores is needed",
        "save a network that returns its scores alone",
    )


def _reason(error: Exception) -> str:
    """The last sentence: TorchScript puts its own traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("RuntimeError:", "torch.jit.Error:"))]
    return (told or lines or [type(error).__name__])[-1 if told else 0][:300]
