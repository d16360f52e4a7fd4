"""PyTorch: TorchScript and torch.export archives through the command; what is refused, and why."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_iris

torch = pytest.importorskip("torch", reason="PyTorch is installed in a step of its own")

from torch import nn  # noqa: E402

from limecli.errors import ModelError  # noqa: E402
from limecli.models.interface import LoadOptions, ModelFile  # noqa: E402
from limecli.models.torch import TorchLoader  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch.jit, and what export imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
IRIS = load_iris(as_frame=True)
ROWS = np.array(IRIS.data, dtype=np.float32)
DIGITS = (load_digits().images[:64] * 15).astype(np.uint8)  # uint8[64, 8, 8]


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(8 * 16, 10)

    def forward(self, x):
        with torch.no_grad():
            centre = x.mean()
        x = torch.max_pool2d(torch.relu(self.norm(self.conv(x - 0 * centre))), 2)
        return torch.softmax(self.out(self.drop(x.flatten(1))), -1)


def trained(model, inputs, classes):
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(25):
        loss = nn.functional.nll_loss(torch.log(model(inputs) + 1e-9), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def cnn():
    torch.manual_seed(0)
    pixels = torch.from_numpy(DIGITS[:, None] / np.float32(255))
    return trained(Cnn(), pixels, torch.from_numpy(load_digits().target[:64]).long())


@pytest.fixture(scope="module")
def mlp():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(1))
    return trained(model, torch.from_numpy(ROWS), torch.tensor(list(IRIS.target)))


def traced(model, example, path):
    torch.jit.save(torch.jit.trace(model, example), path)


def scripted(model, example, path):
    torch.jit.save(torch.jit.script(model), path)


def exported(model, example, path):
    batch = ({0: torch.export.Dim("batch")},)
    save_program(torch.export.export(model, (example,), dynamic_shapes=batch), path)


def exported_for_its_batch(model, example, path):
    save_program(torch.export.export(model, (example,)), path)


def save_program(program, path):
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())


def saved_by_torch_2_7(model, example, path):
    from torch._export.serde.serialize import serialize

    parts = serialize(torch.export.export(model, (example,)))
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("version", "8.20")
        out.writestr("serialized_exported_program.json", parts.exported_program)
        out.writestr("serialized_state_dict.pt", parts.state_dict)
        out.writestr("serialized_constants.pt", parts.constants)
        out.writestr("serialized_example_inputs.pt", parts.example_inputs)


BOTH = pytest.mark.parametrize("save", [traced, exported])
EVERY = pytest.mark.parametrize(
    "save", [traced, exported, exported_for_its_batch, saved_by_torch_2_7]
)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "iris.csv"
    IRIS.data.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def digit(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digit.png"
    Image.fromarray(DIGITS[3]).save(path)
    return path


def explained(cli, kind, model, data, *options):
    rows = ("-r", "60") if kind == "tabular" else ()
    result = cli(kind, model, data, *rows, "-n", "100", "--json", "--no-progress", *options)
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def predictions(report):
    scores = report["explanations"][0]["prediction"]
    return [score["value"] for score in sorted(scores, key=lambda score: score["index"])]


def loaded(path, kind="tabular", **options):
    return TorchLoader().load(model_file(path), LoadOptions(kind=kind, **options))


def model_file(path):
    return ModelFile(str(path), path.read_bytes())


# What it predicts


@pytest.mark.parametrize(
    "save", [traced, scripted, exported, exported_for_its_batch, saved_by_torch_2_7]
)
def test_a_table_model_predicts_what_torch_predicts(cli, tmp_path, train, mlp, save):
    save(mlp, torch.from_numpy(ROWS[:5]), tmp_path / "model.pkl")
    report = explained(cli, "tabular", tmp_path / "model.pkl", train)
    assert report["model"]["format"] == "torch"
    assert report["model"]["task"] == "classification"
    expected = mlp(torch.from_numpy(ROWS[60:61]))[0].tolist()
    assert predictions(report) == pytest.approx(expected, abs=1e-6)


@EVERY
def test_a_picture_model_predicts_what_torch_predicts(cli, tmp_path, digit, cnn, save):
    save(cnn, torch.rand(2, 1, 8, 8), tmp_path / "model")
    size = ("--image-size", "8") if save is traced else ()
    report = explained(cli, "image", tmp_path / "model", digit, *size)
    assert report["settings"]["image_size"] == [8, 8]
    expected = cnn(torch.from_numpy(DIGITS[3][None, None] / np.float32(255)))[0].tolist()
    assert predictions(report) == pytest.approx(expected, abs=1e-6)


@EVERY
@pytest.mark.parametrize("n", [1, 2, 7, 1500])
def test_any_number_of_rows(tmp_path, mlp, save, n):
    save(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "model")
    rows = np.tile(ROWS, (10, 1))[:n]
    answer = loaded(tmp_path / "model").predict_fn(_frame(rows))
    np.testing.assert_allclose(answer, mlp(torch.from_numpy(rows)).detach(), atol=1e-6)


def _frame(rows):
    import pandas as pd

    return pd.DataFrame(rows, columns=list(IRIS.data))


@BOTH
def test_a_network_in_training_mode_is_run_in_evaluation(tmp_path, save):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2),
                          nn.Softmax(1)).eval()  # fmt: skip
    expected = model(torch.from_numpy(ROWS[:6])).detach()
    if save is exported:
        model.train()
    save(model, torch.from_numpy(ROWS[:3]), tmp_path / "model")
    predictor = loaded(tmp_path / "model")
    np.testing.assert_allclose(predictor.predict_fn(_frame(ROWS[:6])), expected, atol=1e-6)
    assert any("training mode" in note for note in predictor.notes) == (save is exported)


class Mixed(nn.Module):
    """Several kinds of operators: splits, several results, constants, sizes, attention."""

    def __init__(self):
        super().__init__()
        self.inner = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.project, self.out = nn.Linear(4, 8), nn.Linear(8, 3)
        self.register_buffer("scale", torch.full((3,), 2.0), persistent=False)

    def forward(self, x):
        n = x.shape[0]
        hidden = self.inner(self.project(x.reshape(n, 1, 4).expand(n, 3, 4)))
        best, _ = hidden.max(1)
        a, b = torch.chunk(best, 2, 1)
        ones = torch.ones(n, 1, device=x.device, dtype=x.dtype)
        scores = self.out(torch.cat([b, a], 1)) * self.scale * ones + torch.tensor([0.5, 0.0, 0.1])
        return {"scores": torch.softmax(scores, 1)}


def test_graphs_with_many_kinds_of_operators(tmp_path):
    torch.manual_seed(0)
    model = Mixed().eval()
    exported(model, torch.from_numpy(ROWS[:3]), tmp_path / "model")
    answer = loaded(tmp_path / "model").predict_fn(_frame(ROWS[:9]))
    expected = model(torch.from_numpy(ROWS[:9]))["scores"].detach()
    np.testing.assert_allclose(answer, expected, atol=1e-6)


@BOTH
def test_double_precision_stays_double(tmp_path, mlp, save):
    model = nn.Sequential(nn.Linear(4, 1)).double().eval()
    rows = torch.from_numpy(ROWS[:3]).double()
    save(model, rows, tmp_path / "model")
    predictor = loaded(tmp_path / "model")
    assert predictor.task == "regression"
    np.testing.assert_allclose(
        predictor.predict_fn(_frame(ROWS[:3])), model(rows).detach(), rtol=1e-12
    )


@BOTH
def test_logits_are_named_as_such(fails, cli, tmp_path, train, save):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    save(model, torch.from_numpy(ROWS[:3]), tmp_path / "model")
    result = fails(5, "tabular", tmp_path / "model", train, "-r", "60", "-n", "100")
    assert "--activation softmax" in result.stderr
    report = explained(cli, "tabular", tmp_path / "model", train, "--activation", "softmax")
    logits = model(torch.from_numpy(ROWS[60:61]))
    assert predictions(report) == pytest.approx(torch.softmax(logits, 1)[0].tolist(), abs=1e-6)


@BOTH
def test_one_output_is_a_regression_unless_it_is_a_sigmoid(tmp_path, save):
    example = torch.from_numpy(ROWS[:3])
    save(nn.Sequential(nn.Linear(4, 1)).eval(), example, tmp_path / "line")
    save(nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()).eval(), example, tmp_path / "sigmoid")
    assert loaded(tmp_path / "line").task == "regression"
    assert loaded(tmp_path / "line", activation="sigmoid").task == "classification"
    assert loaded(tmp_path / "sigmoid").task == "classification"


@BOTH
def test_another_number_of_columns_is_an_input_error(fails, tmp_path, mlp, save):
    save(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "model")
    IRIS.data.iloc[:, :3].to_csv(tmp_path / "three.csv", index=False)
    fails(4, "tabular", tmp_path / "model", tmp_path / "three.csv", "-r", "60")


@BOTH
def test_wrong_kinds(fails, tmp_path, train, digit, mlp, cnn, save):
    save(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "rows")
    save(cnn, torch.rand(2, 1, 8, 8), tmp_path / "pictures")
    assert "not pictures" in fails(3, "image", tmp_path / "rows", digit).stderr
    assert "not rows" in fails(3, "tabular", tmp_path / "pictures", train).stderr
    assert "takes no texts" in fails(3, "text", tmp_path / "rows", "a text").stderr


def test_a_size_that_does_not_fit_is_told(fails, tmp_path, digit, cnn):
    traced(cnn, torch.rand(2, 1, 8, 8), tmp_path / "model")
    result = fails(5, "image", tmp_path / "model", digit, "-n", "50", "--image-size", "12")
    assert "the network raised" in result.stderr
    assert "--image-size" in result.stderr


class LastColumns(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 2)

    def forward(self, rows):
        return self.inner(rows[:, 1:]).softmax(1)


def test_rows_are_no_pictures_whose_size_could_be_given(fails, tmp_path, train):
    traced(LastColumns().eval(), torch.rand(3, 5), tmp_path / "model")
    result = fails(5, "tabular", tmp_path / "model", train, "-r", "60", "-n", "50")
    assert "the network raised" in result.stderr
    assert "--image-size" not in result.stderr


def test_a_flat_first_layer_tells_the_size_of_the_picture(cli, tmp_path, digit):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1)).eval()
    traced(model, torch.rand(2, 1, 8, 8), tmp_path / "model")
    report = explained(cli, "image", tmp_path / "model", digit)
    assert report["settings"]["image_size"] == [8, 8]


def test_several_results_are_refused(fails, tmp_path, train):
    class Two(nn.Module):
        def forward(self, x):
            return x, x + 1

    for save in (traced, exported):
        save(Two(), torch.from_numpy(ROWS[:3]), tmp_path / "model")
        result = fails(5, "tabular", tmp_path / "model", train, "-r", "60", "-n", "50")
        assert "one tensor" in result.stderr


def test_text_columns_are_refused(fails, tmp_path, mlp):
    traced(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "model")
    IRIS.data.assign(**{next(iter(IRIS.data)): "red"}).to_csv(tmp_path / "x.csv", index=False)
    assert (
        "numbers only"
        in fails(5, "tabular", tmp_path / "model", tmp_path / "x.csv", "-r", "60").stderr
    )


# What it is


def test_inspect_shows_the_modules_of_torchscript(cli, tmp_path, cnn):
    traced(cnn, torch.rand(2, 1, 8, 8), tmp_path / "model")
    shown = cli("inspect", tmp_path / "model")
    assert shown.code == 0, shown.stderr
    for word in ("Cnn", "Conv2d", "BatchNorm2d", "Linear", "1,403 numbers"):
        assert word in shown.stdout
    told = json.loads(cli("inspect", tmp_path / "model", "--json").stdout)
    assert [part["name"] for part in told["estimator"]["parts"]] == ["conv", "norm", "drop", "out"]


def test_inspect_shows_the_signature_of_an_exported_graph(cli, tmp_path, cnn):
    exported(cnn, torch.rand(2, 1, 8, 8), tmp_path / "model")
    shown = cli("inspect", tmp_path / "model")
    assert shown.code == 0, shown.stderr
    assert torch.__version__ in shown.stdout
    told = json.loads(cli("inspect", tmp_path / "model", "--json").stdout)
    assert told["inputs"][0]["shape"] == [None, 1, 8, 8]
    assert told["outputs"][0]["shape"] == [None, 10]
    assert told["task"] == "classification"
    assert told["versions"]["torch"]["saved"] == torch.__version__


def test_inspect_imports_no_torch(tmp_path, cnn):
    traced(cnn, torch.rand(2, 1, 8, 8), tmp_path / "script")
    exported(cnn, torch.rand(2, 1, 8, 8), tmp_path / "graph")
    torch.save(cnn, tmp_path / "pickle")
    code = (
        "import sys\n"
        "from limecli.models.torch import TorchLoader\n"
        "from limecli.models.interface import LoadOptions, ModelFile\n"
        "for path in sys.argv[1:]:\n"
        "    TorchLoader().inspect(ModelFile(path), LoadOptions(kind='image'))\n"
        "assert 'torch' not in sys.modules"
    )
    files = [str(tmp_path / name) for name in ("script", "graph", "pickle")]
    subprocess.run([sys.executable, "-c", code, *files], check=True)


# Pickles


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_is_refused_by_name(fails, cli, tmp_path, train, cnn, zipped):
    torch.save(cnn, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    result = fails(3, "tabular", tmp_path / "model.pt", train)
    assert f"{Cnn.__module__}.Cnn" in result.stderr
    assert "torch.jit.trace" in result.stderr
    told = json.loads(cli("inspect", tmp_path / "model.pt", "--json").stdout)
    assert "Cnn" in told["missing"][0]


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_alone_are_refused_as_weights(fails, tmp_path, train, cnn, zipped):
    for content in (cnn.state_dict(), {"epoch": 3, "model": cnn.state_dict(), "best": 0.5}):
        torch.save(content, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
        result = fails(3, "tabular", tmp_path / "model.pt", train)
        assert "only weights" in result.stderr
        assert "torch.export.save" in result.stderr


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def marker(tmp_path):
    """A file that must not come into being."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_by_what_it_wants(fails, tmp_path, train, marker, zipped):
    torch.save([torch.ones(2), Evil(marker)], tmp_path / "model.pt",
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    assert "posix.system" in fails(3, "tabular", tmp_path / "model.pt", train).stderr


# Hostile graphs: torch.export.load runs the first five of them


def rewritten(path, edit, extra=()):
    """The archive with each member's bytes as `edit(name, bytes)` gives them."""
    with zipfile.ZipFile(path) as source:
        members = {name: edit(name, source.read(name)) for name in source.namelist()}
    folder = next(iter(members)).partition("/")[0]
    with zipfile.ZipFile(path, "w") as out:
        for name, data in [*members.items(), *((f"{folder}/{n}", d) for n, d in extra)]:
            out.writestr(name, data)
    return path


def pickled(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def graph_edit(change):
    def edit(name, data):
        if not name.endswith("models/model.json"):
            return data
        document = json.loads(data)
        change(document["graph_module"]["graph"], document)
        return json.dumps(document)

    return edit


def call(marker):
    return f"__import__('os').system('touch {marker}')"


def symbol(marker):
    def change(graph, document):
        name = document["graph_module"]["signature"]["input_specs"][-1]["user_input"]["arg"]
        meta = graph["tensor_values"][name["as_tensor"]["name"]]
        meta["sizes"][0] = {"as_expr": {"expr_str": call(marker), "hint": None}}

    return graph_edit(change)


def guard(marker):
    return graph_edit(lambda _, document: document.update(guards_code=[f"{call(marker)} == 0"]))


def weight(marker):
    def edit(name, data):
        if name.endswith("weights_config.json"):
            return data.replace(b'"use_pickle": false', b'"use_pickle": true')
        return pickled(Evil(marker)) if "weights/weight_" in name else data

    return edit


def constant(marker):
    config = {"config": {"x": {"path_name": "opaque_obj_0", "is_param": False,
                               "use_pickle": True, "tensor_meta": None}}}  # fmt: skip
    return lambda name, data: json.dumps(config) if "constants_config" in name else data


def sample_inputs(marker):
    return lambda name, data: pickled(Evil(marker)) if "sample_inputs" in name else data


def operator_of(target):
    def make(marker):
        def change(graph, _):
            graph["nodes"][-1] |= {"target": target, "inputs": [
                {"name": "filename", "arg": {"as_string": str(marker)}, "kind": 1},
                {"name": "shared", "arg": {"as_bool": True}, "kind": 1},
                {"name": "size", "arg": {"as_int": 4}, "kind": 1}]}  # fmt: skip

        return graph_edit(change)

    return make


@pytest.mark.parametrize(
    "attack", [symbol, guard, weight, constant, sample_inputs, operator_of("torch.os.system"),
               operator_of("torch.ops.load_library"), operator_of("torch.hub.load"),
               operator_of("torch.ops.aten.from_file.default"),
               operator_of("torch.ops.higher_order.wrap_with_autocast"),
               operator_of("torch._library.custom_ops._call_custom_autograd_function_in_pre_dispatch"),
               operator_of("torch.ops.aten.__class__.mro")],
)  # fmt: skip
def test_a_hostile_graph_runs_nothing(tmp_path, mlp, marker, attack):
    exported(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "model")
    extra = [("data/constants/opaque_obj_0", pickled(Evil(marker)))]
    rewritten(tmp_path / "model", attack(marker), extra)
    TorchLoader().inspect(model_file(tmp_path / "model"), LoadOptions(kind="tabular"))
    if attack in (guard, sample_inputs):  # which are not even read
        assert loaded(tmp_path / "model").predict_fn(_frame(ROWS[:2])).shape == (2, 3)
    elif attack is symbol:
        loaded(tmp_path / "model").predict_fn(_frame(ROWS[:2]))
    else:
        with pytest.raises(ModelError, match=r"refused|has no operator"):
            loaded(tmp_path / "model")


def test_weights_of_an_old_graph_are_unpickled_as_weights_only(tmp_path, mlp, marker):
    saved_by_torch_2_7(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "model")

    def edit(name, data):
        return pickled({"0.weight": Evil(marker)}) if name.endswith("state_dict.pt") else data

    with zipfile.ZipFile(tmp_path / "model") as source:
        members = {name: edit(name, source.read(name)) for name in source.namelist()}
    with zipfile.ZipFile(tmp_path / "model", "w") as out:
        for name, data in members.items():
            out.writestr(name, data)
    with pytest.raises(ModelError, match="damaged"):
        loaded(tmp_path / "model")


def test_compiled_code_is_refused(tmp_path, mlp):
    with zipfile.ZipFile(tmp_path / "model", "w") as out:
        out.writestr("model/archive_format", "pt2")
        out.writestr("model/data/aotinductor/model/a.so", b"\x7fELF")
    with pytest.raises(ModelError, match="AOTInductor"):
        loaded(tmp_path / "model")


# Hostile TorchScript: code in torch's language, which can write files


CODE = """class Sequential(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  def forward(self: __torch__.torch.nn.modules.container.Sequential,
    x: Tensor) -> Tensor:
    {line}
    return x
"""
DATA = (
    b"\x80\x02c__torch__.torch.nn.modules.container\nSequential\nq\x00)\x81}(X\x08\x00\x00\x00"
    b"training\x89ub."
)


def script_archive(path, code, data=DATA, extra=()):
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("m/data.pkl", data)
        out.writestr("m/code/__torch__/torch/nn/modules/container.py", code)
        out.writestr("m/constants.pkl", b"\x80\x02).")
        out.writestr("m/version", "3\n")
        for name, content in extra:
            out.writestr(name, content)
    return path


def test_the_archives_made_here_are_real_ones(tmp_path):
    script_archive(tmp_path / "model", CODE.format(line="y = torch.relu(x)"))
    predictor = loaded(tmp_path / "model", task="classification", independent=True)
    one = np.full((1, 4), 0.25, np.float32)
    assert predictor.predict_fn(_frame(one)).tolist() == one.tolist()
    assert torch.jit.load(tmp_path / "model")(torch.ones(1)) == 1


@pytest.mark.parametrize(
    "line",
    [
        'torch.save(x, "{marker}")',
        'x = torch.from_file("{marker}", True, 4)',
        'x = getattr(torch, "from_file")("{marker}", True, 4)',
        't = torch\n    t.save(x, "{marker}")',
        'if torch.gt(torch.size(x, 0), 0):\n      torch.save(x, "{marker}")\n    else:\n      pass',
        "x = ops.inductor._reinterpret_tensor(x, [9], [1], 0)",
        "y = ops.profiler._record_function_enter_new('a')",
        "y = __torch__.torch.classes.profiling._ScopeProfile.__new__(__torch__.torch.classes.p)",
    ],
)
def test_torchscript_that_does_more_than_compute_is_refused(tmp_path, marker, line):
    code = CODE.format(line=line.replace("{marker}", str(marker)))
    with pytest.raises(ModelError):
        loaded(script_archive(tmp_path / "model", code), "image")


def test_what_nobody_uses_is_not_computed(tmp_path, marker):
    code = CODE.format(line=f'y = torch.from_file("{marker}", True, 4)')
    predictor = loaded(script_archive(tmp_path / "model", code), task="classification",
                       independent=True)  # fmt: skip
    for _ in range(4):  # interpreted, profiled, optimised
        predictor.predict_fn(_frame(np.full((3, 4), 0.25, np.float32)))


def test_torch_itself_would_run_such_an_archive(tmp_path):
    """Why the graph is looked at: loading and calling it as torch does writes the file."""
    written = tmp_path / "written"
    code = CODE.format(line=f'torch.save(x, "{written}")')
    torch.jit.load(script_archive(tmp_path / "model", code))(torch.ones(1))
    assert written.exists()


SETSTATE = """  def __getstate__(self: __torch__.torch.nn.modules.container.Sequential) -> bool:
    return True
  def __setstate__(self: __torch__.torch.nn.modules.container.Sequential,
    state: bool) -> NoneType:
    self.training = state
    torch.save(1, "{marker}")
    return None
"""


def test_torchscript_that_would_run_while_it_is_loaded_is_refused(fails, tmp_path, marker, train):
    code = CODE.format(line="pass") + SETSTATE.format(marker=marker)
    state = b"\x80\x02c__torch__.torch.nn.modules.container\nSequential\n)\x81\x89b."
    path = script_archive(tmp_path / "model", code, state)
    assert "__setstate__" in fails(3, "tabular", path, train).stderr
    info = TorchLoader().inspect(model_file(path), LoadOptions(kind="image"))
    assert "__setstate__" in info.missing[0]


def test_a_second_copy_of_the_code_is_not_what_torch_reads(tmp_path, marker):
    """Torch finds members whatever their case, so only what was checked is handed to it."""
    evil = CODE.format(line=f'torch.save(x, "{marker}")')
    name = "m/CODE/__torch__/torch/nn/modules/container.py"
    with zipfile.ZipFile(tmp_path / "model", "w") as out:
        out.writestr(name, evil)
    good = script_archive(tmp_path / "good", CODE.format(line="pass"))
    with zipfile.ZipFile(tmp_path / "model", "a") as out, zipfile.ZipFile(good) as source:
        for member in source.namelist():
            out.writestr(member, source.read(member))
    predictor = loaded(tmp_path / "model", task="classification", independent=True)
    predictor.predict_fn(_frame(np.full((1, 4), 0.25, np.float32)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_occurs_twice_is_refused(tmp_path):
    good = CODE.format(line="pass")
    twice = ("m/code/__torch__/torch/nn/modules/container.py", good)
    with pytest.raises(ModelError, match="twice"):
        loaded(script_archive(tmp_path / "model", good, extra=[twice]))


# Damage and size


@EVERY
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_called_damaged(fails, tmp_path, train, mlp, save, share):
    save(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "model.pt").write_bytes(data[: max(60, int(len(data) * share))])
    if save is saved_by_torch_2_7:
        fails(3, "tabular", tmp_path / "model.pt", train)  # python's zips have no mark of torch
    else:
        assert "damaged" in fails(3, "tabular", tmp_path / "model.pt", train).stderr


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_truncated_file_of_old_torch_is_refused(fails, tmp_path, train, mlp, share):
    torch.save(mlp.state_dict(), tmp_path / "whole", _use_new_zipfile_serialization=False)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "model.pt").write_bytes(data[: int(len(data) * share)])
    fails(3, "tabular", tmp_path / "model.pt", train)


@BOTH
def test_flipped_bits_never_count_as_a_bug(cli, tmp_path, train, mlp, save):
    save(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "whole")
    data, rng = (tmp_path / "whole").read_bytes(), np.random.default_rng(0)
    unforeseen = []
    for _ in range(60):
        damaged = bytearray(data)
        at = int(rng.integers(len(data)))
        damaged[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "model").write_bytes(damaged)
        result = cli("tabular", tmp_path / "model", train, "-r", "0", "-n", "10", "--no-progress")
        if result.code not in (0, 2, 3, 4, 5) or "Traceback" in result.stderr:
            unforeseen.append((at, result.stderr))
    assert unforeseen == []


@pytest.mark.parametrize(
    "document",
    ["", "[]", "{}", "[" * 100000, '{"graph_module": {"graph": {}, "signature": {}}}', "\0\1"],
)
def test_a_graph_that_is_no_graph_is_called_damaged(tmp_path, mlp, document):
    exported(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "model")
    rewritten(tmp_path / "model",
              lambda name, data: document if name.endswith("model.json") else data)  # fmt: skip
    for use in (loaded, lambda path: TorchLoader().inspect(model_file(path), None)):
        with pytest.raises(ModelError, match="damaged"):
            use(tmp_path / "model")


def test_weights_larger_than_their_data_are_refused(tmp_path, mlp):
    exported(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "model")

    def edit(name, data):
        if not name.endswith("weights_config.json"):
            return data
        document = json.loads(data)
        for item in document["config"].values():
            item["tensor_meta"]["sizes"] = [{"as_int": 1 << 40}]
            item["tensor_meta"]["strides"] = [{"as_int": 0}]
        return json.dumps(document)

    with pytest.raises(ModelError, match="larger than its data"):
        loaded(rewritten(tmp_path / "model", edit))


def test_a_zip_bomb_is_refused_by_its_declared_size(tmp_path):
    with zipfile.ZipFile(tmp_path / "model", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("m/code/a.py", b"")
        with out.open("m/data.pkl", "w", force_zip64=True) as member:
            for _ in range(40):
                member.write(bytes(1 << 20))
    with pytest.raises(ModelError, match="would unpack to 40 MB"):
        loaded(tmp_path / "model")


def test_a_zip_of_something_else_is_no_torch_model(tmp_path):
    with zipfile.ZipFile(tmp_path / "model", "w") as out:
        out.writestr("readme.txt", "hello")
    assert not TorchLoader().matches(model_file(tmp_path / "model"))


def test_a_graph_under_the_name_of_a_script_is_still_a_graph(cli, tmp_path, train, mlp):
    exported(mlp, torch.from_numpy(ROWS[:3]), tmp_path / "model.onnx")
    assert explained(cli, "tabular", tmp_path / "model.onnx", train)["model"]["format"] == "torch"
