"""What explaining costs: limecli against lime and against the model alone, in one process.

    python tests/benchmarks/speed.py            # some ten minutes
    python tests/benchmarks/speed.py --quick    # fewer repeats, 200 samples a picture: rough
    python tests/benchmarks/speed.py tabular text process     # only some of the parts

Prints a table in Markdown. Figures are ratios of CPU times, medians of runs that take turns, one
thread. "The model alone" predicts the very samples that lime made, as lime hands them over: rows
and texts in one call, pictures in batches of 32 (64 of them, again and again: a thousand would fill
the memory). Both build a new explainer each time: only then does lime repeat itself. Segmentation
is left out: both get the superpixels. Real data lie beside the project; else drawn ones do.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from limecli import registry
from limecli.explainers.segmentation import segment
from limecli.inputs.background import background_from_table
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.table import Table
from limecli.models.frames import bind_columns
from limecli.types import Instance, LimeSettings, Predictor

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
SAMPLES = ROOT / "sample_models"
HASH = "0" * 64
BATCH = 32


@dataclass
class Line:
    """A line of the table. `found` is compared with `limit`; `floor` says that more is better."""

    workload: str
    lime: str
    ours: str
    found: float
    limit: float
    target: str
    difference: float | None
    floor: bool = False

    def __str__(self) -> str:
        missed = self.found < self.limit if self.floor else self.found > self.limit
        mark = " **missed**" if missed else ""
        gap = "" if self.difference is None else f"{self.difference:.0e}"
        return f"| {self.workload} | {self.lime} | {self.ours}{mark} | {self.target} | {gap} |"


def cpu(call: Callable[[], object]) -> float:
    """Seconds of CPU time of one call."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def medians(rounds: int, *calls: Callable[[], object]) -> list[float]:
    """Median CPU seconds of each call; they take turns, now one first and now another, for what
    runs second finds the model in the cache.
    """
    taken: list[list[float]] = [[] for _ in calls]
    for i in range(rounds):
        for j in range(len(calls)):
            place = (i + j) % len(calls) if i % 2 else (i - j) % len(calls)
            taken[place].append(cpu(calls[place]))
    return [statistics.median(times) for times in taken]


class Spy:
    """A model that keeps what it was asked."""

    def __init__(self, predict_fn: Callable) -> None:
        self.predict_fn, self.batches = predict_fn, []

    def __call__(self, batch: object) -> np.ndarray:
        self.batches.append(batch)
        return self.predict_fn(batch)


def predictor_of(predict_fn: Callable, outputs: int, fitted: object = None) -> Predictor:
    """A function as a Predictor."""
    names = tuple(str(c) for c in range(outputs))
    return Predictor(
        predict_fn, "classification", names, "model", HASH, "function", "function", fitted=fitted
    )


def limecli(predictor, instances, settings, background=None) -> list:
    """Explanations by a new explainer."""
    build = registry.load(registry.EXPLAINERS, f"limecli-{settings.kind}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(build(predictor, background, settings, lambda count: None).explain(instances))


def difference(explanation, lime, label: int) -> float:
    """The largest difference of weights, a feature that one of them lacks counting as 0."""
    ours = {p.index: p.weight for s in explanation.surrogates if s.index == label
            for p in s.attributions}  # fmt: skip
    theirs = dict(lime.local_exp[label])
    return max(abs(ours.get(j, 0.0) - theirs.get(j, 0.0)) for j in ours.keys() | theirs.keys())


# Tables


@dataclass
class Bed:
    """Data, a model on codes, and the instances behind the rows."""

    codes: np.ndarray
    categorical: list[int]
    predict_fn: Callable[[np.ndarray], np.ndarray]
    outputs: int
    background: object
    instances: list[Instance]

    @property
    def predictor(self) -> Predictor:
        return predictor_of(self.predict_fn, self.outputs)

    def lime(self, seed: int = 0):
        from lime.lime_tabular import LimeTabularExplainer

        return LimeTabularExplainer(
            self.codes, categorical_features=self.categorical, random_state=seed
        )


def bed(frame: pd.DataFrame, target: np.ndarray, model) -> Bed:
    """A bed over all rows of a frame."""
    table = Table("train.csv", HASH, frame.astype(object), untyped=False)
    background = background_from_table(table, list(frame), "quartile")
    encoder = RowEncoder(background)
    instances = [encoder.encode(table, i, str(i)) for i in range(min(len(table), 600))]
    categorical = [j for j, column in enumerate(background.columns) if not column.continuous]
    codes = np.empty(frame.shape)
    for j, column in enumerate(background.columns):
        cells = frame.iloc[:, j]
        codes[:, j] = cells if column.continuous else cells.map(column.categories.index)
    if categorical:
        model = model.fit(frame, target)
        plain = predictor_of(model.predict_proba, len(model.classes_))
        predict_fn = bind_columns(plain, background.columns).predict_fn
    else:
        predict_fn = model.fit(codes, target).predict_proba
    return Bed(codes, categorical, predict_fn, len(model.classes_), background, instances)


def census() -> tuple[pd.DataFrame, np.ndarray]:
    """14 mixed columns: the adult census data, or drawn ones of the same kinds."""
    path = SHARED / "adult_train.csv"
    if path.exists():
        frame = pd.read_csv(path, nrows=5000)
        target = frame.pop("income").astype(str).to_numpy()
        text = [name for name in frame if frame[name].dtype.kind not in "if"]
        frame[text] = frame[text].astype(object).where(frame[text].notna(), "?")
        return frame, target
    rng = np.random.default_rng(0)
    numbers = {f"n{j}": rng.gamma(2.0, 10.0, 5000).round() for j in range(6)}
    words = {f"c{j}": rng.choice([f"v{i}" for i in range(3 + 2 * j)], 5000) for j in range(8)}
    frame = pd.DataFrame({**numbers, **words})
    return frame, ((frame["n0"] > 20) ^ (frame["c3"] == "v1")).to_numpy().astype(str)


def beds() -> Iterator[tuple[str, Bed, float]]:
    """Name, bed, and how many times the model's own time it may cost."""
    from sklearn.compose import make_column_transformer
    from sklearn.datasets import load_breast_cancer, load_iris
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    iris, cancer = load_iris(as_frame=True), load_breast_cancer(as_frame=True)
    forest = RandomForestClassifier(50, random_state=0)
    yield "iris, forest of 50", bed(iris.data, iris.target.to_numpy(), forest), 1.2
    frame, target = census()
    text = [name for name in frame if frame[name].dtype.kind not in "if"]
    numbers = [name for name in frame if name not in text]
    mixed = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), text),
                                (StandardScaler(), numbers)),
        RandomForestClassifier(50, min_samples_leaf=5, random_state=0),
    )  # fmt: skip
    yield "14 mixed columns, pipeline with a forest of 50", bed(frame, target, mixed), 1.2
    boosting = HistGradientBoostingClassifier(random_state=0)
    yield "breast_cancer, HistGradientBoosting", bed(
        cancer.data, cancer.target.to_numpy(), boosting
    ), 1.3  # fmt: skip


def ratios(bed: Bed, k: int, rounds: int) -> tuple[float, float, float, float]:
    """lime, limecli and the model alone in CPU seconds, and the largest difference of weights."""
    instance = bed.instances[60]
    spy = Spy(bed.predict_fn)
    reference = bed.lime().explain_instance(instance.payload, spy, num_features=k, labels=(1,))
    settings = LimeSettings(kind="tabular", num_features=k, discretizer="quartile", labels=(1,))
    (ours,) = limecli(bed.predictor, [instance], settings, bed.background)
    (samples,) = spy.batches
    times = medians(
        rounds,
        lambda: bed.lime().explain_instance(
            instance.payload, bed.predict_fn, num_features=k, labels=(1,)
        ),
        lambda: limecli(bed.predictor, [instance], settings, bed.background),
        lambda: bed.predict_fn(samples),
    )
    return (*times, difference(ours, reference, 1))


def tabular(quick: bool) -> Iterator[Line]:
    """Single rows against the model alone, 100 features against lime, many rows against a loop."""
    from sklearn.linear_model import LogisticRegression

    rounds = 3 if quick else 9
    for name, found, limit in beds():
        for k in (10, 5):
            lime, ours, alone, gap = ratios(found, k, rounds if k == 10 else max(3, rounds // 2))
            yield Line(f"{name}, k = {k} (model {alone * 1000:.0f} ms)", f"{lime / alone:.1f}",
                       f"{ours / alone:.2f}", ours / alone, limit, f"<= {limit}", gap)  # fmt: skip
    yield many_rows(found, 5 if quick else 20, rounds=1 if quick else 3)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(1000, 100)), columns=[f"x{j}" for j in range(100)])
    target = (frame.iloc[:, :10].sum(axis=1) > 0).to_numpy().astype(int)
    wide = bed(frame, target, LogisticRegression())
    for k, limit in ((10, 6.0), (5, 50.0)):
        lime, ours, alone, gap = ratios(wide, k, (1 if quick else 3) if k == 5 else rounds)
        yield Line(f"100 features, logistic, k = {k}", f"{lime / alone:.0f}",
                   f"{ours / alone:.0f}; {lime / ours:.1f} times faster than lime", lime / ours,
                   limit, f">= {limit:.0f} times faster", gap, floor=True)  # fmt: skip


def many_rows(bed: Bed, looped: int, rounds: int) -> Line:
    """1000 rows in one call, against a loop over lime with a fresh explainer each."""
    instances = [replace(bed.instances[i % 569], id=str(i), index=i) for i in range(1000)]
    settings = LimeSettings(kind="tabular", discretizer="quartile", labels=(1,))
    loop_of = instances[:: len(instances) // looped][:looped]
    references: list = []

    def loop() -> None:
        references[:] = [
            bed.lime().explain_instance(item.payload, bed.predict_fn, labels=(1,))
            for item in loop_of
        ]

    lime, ours = medians(
        rounds, loop, lambda: limecli(bed.predictor, instances, settings, bed.background)
    )
    found = limecli(bed.predictor, instances, settings, bed.background)
    gap = max(difference(found[item.index], reference, 1)
              for item, reference in zip(loop_of, references, strict=True))  # fmt: skip
    times = (lime / looped) / (ours / 1000)
    return Line(f"1000 rows of breast_cancer in one call (lime: {looped} of them in a loop)",
                f"{looped / lime:.1f} rows/s", f"{1000 / ours:.0f} rows/s; {times:.0f} times",
                times, 50.0, ">= 50 times faster", gap, floor=True)  # fmt: skip


# Pictures


def session(model: object):
    """An ONNX session of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options)


def convolution() -> bytes:
    """Two layers of convolution, 3 -> 32 -> 64 channels, for pictures of 512 x 512: ONNX bytes."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int):
        scale = 1.0 / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(rng.normal(0, scale, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Transpose", ["image"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w1"], ["c1"], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["scores"], alpha=0.02),
        helper.make_node("Softmax", ["scores"], ["p"], axis=1),
    ]
    shape = ["n", 512, 512, 3]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 10])],
        [weights("w1", 32, 3, 5, 5), weights("w2", 64, 32, 3, 3), weights("w3", 64, 10)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def picture(side: int) -> Instance:
    """A cat, with quickshift's superpixels."""
    from PIL import Image

    opened = Image.open(SAMPLES / "chelsea.jpg").convert("RGB")
    pixels = np.asarray(opened.resize((side, side), Image.Resampling.BICUBIC))
    segments = segment(pixels, "quickshift").labels
    return Instance("cat", 0, "image", pixels, HASH, None, (), segments)


def image_settings(samples: int, label: int = 0) -> LimeSettings:
    """lime's defaults, one label."""
    return LimeSettings(
        kind="image",
        num_samples=samples,
        num_features=None,
        labels=(label,),
        distance_metric="cosine",
        segmentation="auto",
        batch_size=BATCH,
    )


def image(quick: bool) -> Iterator[Line]:
    """Pictures of 224 and 512 pixels."""
    n, rounds = (200, 1) if quick else (1000, 3)
    models = {224: ("EfficientNet-Lite0", session(SAMPLES / "efficientnet-lite0.onnx"), 0.2),
              512: ("two convolutions in ONNX", session(convolution()), 0.8)}  # fmt: skip
    for side, (name, model, composing) in models.items():
        yield from _picture_lines(side, name, model, composing, n, rounds)


def _picture_lines(side, name, model, composing: float, n: int, rounds: int) -> Iterator[Line]:
    """One size: against the model alone, and what a sample costs where the model costs nothing."""
    from lime.lime_image import LimeImageExplainer

    instance = picture(side)
    kept: list[np.ndarray] = []

    def predict_fn(batch):
        return model.run(None, {"image": np.asarray(batch, dtype=np.float32)})[0]

    def looking(batch):
        if len(kept) < 64 // BATCH:
            kept.append(np.array(batch))
        return predict_fn(batch)

    def lime():
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            return LimeImageExplainer(random_state=0).explain_instance(
                instance.payload, looking, labels=(label,), top_labels=None, num_samples=n,
                batch_size=BATCH, segmentation_fn=lambda _: instance.segments,
            )  # fmt: skip

    def alone():
        for i, start in enumerate(range(0, n, BATCH)):
            predict_fn(kept[i % len(kept)][: n - start])

    first = predict_fn(instance.payload[None])[0]
    label = int(first.argmax())
    settings = image_settings(n, label)
    references: list = []
    lime_s = cpu(lambda: references.append(lime()))
    predictor = predictor_of(predict_fn, len(first))
    (found,) = limecli(predictor, [instance], settings)
    ours_s, alone_s = medians(rounds, lambda: limecli(predictor, [instance], settings), alone)
    rng = np.random.default_rng(0)
    free = predictor_of(lambda batch: rng.dirichlet([1.0, 1.0], len(batch)), 2)
    settings = image_settings(n)
    (own,) = medians(3, lambda: limecli(free, [instance], settings))
    yield Line(f"image {side}², {name} (model {alone_s / n * 1000:.0f} ms a sample)",
               f"{lime_s / alone_s:.1f}", f"{ours_s / alone_s:.2f}", ours_s / alone_s, 1.15,
               "<= 1.15", difference(found, references[0], label))  # fmt: skip
    yield Line(f"image {side}², composition and all else besides the model",
               f"{(lime_s - alone_s) / n * 1000:.1f} ms a sample",
               f"{own / n * 1000:.2f} ms a sample", own / n * 1000, composing,
               f"<= {composing} ms", None)  # fmt: skip


# Texts


def messages() -> tuple[list[str], list[str]]:
    """Texts and labels: short messages, or drawn words where these are not at hand."""
    path = SHARED / "sms_spam.tsv"
    if path.exists():
        lines = [line.split("\t", 1) for line in path.read_text("utf-8").splitlines() if line]
        return [text for _, text in lines], [label for label, _ in lines]
    rng = np.random.default_rng(0)
    drawn = [" ".join(f"w{i}" for i in rng.zipf(1.3, 15) % 5000) for _ in range(5000)]
    return drawn, ["spam" if "w7 " in text else "ham" for text in drawn]


def text(quick: bool) -> Iterator[Line]:
    """Texts of three lengths, by the model of lime's tutorial and by one that takes no time."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    corpus, labels = messages()
    words = " ".join(corpus[:1000]).split()
    forest = RandomForestClassifier(500, random_state=0)
    for name, last, rounds in (("forest of 500", forest, 3), ("logistic", LogisticRegression(), 7)):
        model = make_pipeline(TfidfVectorizer(), last).fit(corpus[:2000], labels[:2000])
        for count, limit in ((100, 1.35), (500, 1.10), (2000, 1.10)):
            written = " ".join(words[:count])
            what = f"text of {count} words, TF-IDF and {name}"
            yield _text_line(what, written, model, 1 if quick else rounds, limit)


def _text_line(what: str, written: str, model, rounds: int, limit: float) -> Line:
    """One text; its words are counted with repetitions."""
    from lime.lime_text import LimeTextExplainer

    def lime(classify):
        return LimeTextExplainer(random_state=0).explain_instance(written, classify, labels=(1,))

    settings = LimeSettings(kind="text", labels=(1,), distance_metric="cosine",
                            split_expression=r"\W+", bow=True, char_level=False)  # fmt: skip
    instance = Instance("0", 0, "text", written, HASH)
    predict_fn = model.predict_proba
    predictor = predictor_of(predict_fn, 2, fitted=model)
    spy = Spy(predict_fn)
    reference = lime(spy)
    (found,) = limecli(predictor, [instance], settings)
    (samples,) = spy.batches
    theirs, ours, alone = medians(
        rounds,
        lambda: lime(predict_fn),
        lambda: limecli(predictor, [instance], settings),
        lambda: predict_fn(samples),
    )
    gap = difference(found, reference, 1)
    return Line(f"{what} (model {alone:.1f} s)", f"{theirs / alone:.1f}", f"{ours / alone:.2f}",
                ours / alone, limit, f"<= {limit:.2f}", gap)  # fmt: skip


# Whole processes


def children(rounds: int, *commands: list[str]) -> list[float]:
    """Median CPU seconds of processes that take turns; the first turn is not counted."""
    # An installed package has its bytecode; here the first turn writes it.
    written = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    taken = []
    for _ in range(rounds + 1):
        times = []
        for command in commands:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                command, check=True, capture_output=True, cwd=tempfile.gettempdir(), env=written
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        taken.append(times)
    return [statistics.median(times) for times in zip(*taken[1:], strict=True)]


def process(quick: bool) -> Iterator[Line]:
    """What starting the command costs, from the shell's side."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rounds = 9 if quick else 15
    script = Path(sys.executable).with_name("limecli")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "limecli"]
    ours, typer = children(rounds, [*command, "--help"], [sys.executable, "-c", "import typer"])
    yield Line("`limecli --help` against `python -c 'import typer'`", "", f"{ours / typer:.2f}",
               ours / typer, 2.5, "<= 2.5", None)  # fmt: skip
    data = load_breast_cancer(as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target)
    with tempfile.TemporaryDirectory() as folder:
        path, row = Path(folder) / "model.pkl", Path(folder) / "row.csv"
        path.write_bytes(pickle.dumps(model))
        data.data.to_csv(Path(folder) / "train.csv", index=False)
        data.data.iloc[:1].to_csv(row, index=False)
        sidecar = [*command, "background", str(Path(folder) / "train.csv"), "-o",
                   f"{path}.background.json"]  # fmt: skip
        subprocess.run(sidecar, check=True, capture_output=True)
        load = f"import pickle; m = pickle.load(open({str(path)!r}, 'rb'))\n"
        reads = f"import pandas\n{load}m.predict_proba(pandas.read_csv({str(row)!r}))"
        values = data.data.iloc[0].tolist()
        bare = (
            f"import warnings; warnings.simplefilter('ignore')\n{load}m.predict_proba([{values}])"
        )
        ours, plain, least = children(
            rounds,
            [*command, "tabular", str(path), str(row), "--json"],
            [sys.executable, "-c", reads],
            [sys.executable, "-c", bare],
        )
    yield Line("`limecli tabular` on a logistic pickle, whole process, against a script that"
               f" unpickles, reads the row with pandas and predicts once ({plain:.1f} s; with the"
               f" row in the script: {ours / least:.2f})", "", f"{ours / plain:.2f}", ours / plain,
               1.1, "<= 1.1", None)  # fmt: skip


# Memory


_CHILD = """
import re, sys
sys.path.insert(0, {folder!r})
import speed
from pathlib import Path
model = speed.session(speed.convolution())
instance = speed.picture(512)
import numpy as np
sizes = []
def predict_fn(batch):
    sizes.append(len(batch))
    return model.run(None, {{"image": np.asarray(batch, dtype=np.float32)}})[0]
predictor = speed.predictor_of(predict_fn, 10)
settings = speed.replace(speed.image_settings({samples}), batch_size=None)
speed.registry.load(speed.registry.EXPLAINERS, "limecli-image")
if {batch}:
    for start in range(0, {samples}, {batch}):
        predict_fn(np.repeat(instance.payload[None], min({batch}, {samples} - start), axis=0))
else:
    speed.limecli(predictor, [instance], settings)
# ru_maxrss would be the parent's where that was larger
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1], max(sizes))
"""


def _peak(samples: int, batch: int) -> tuple[float, int]:
    """Peak MiB of a child that explains, or predicts so many samples in batches of one picture."""
    code = _CHILD.format(folder=str(Path(__file__).parent), samples=samples, batch=batch)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    peak, size = done.stdout.split()
    return int(peak) / 1024, int(size)


def memory(quick: bool) -> Iterator[Line]:
    """Peak memory of explaining above that of the model on batches as large as explaining's."""
    samples = 200 if quick else 1000
    explaining, size = _peak(samples, 0)
    plain, _ = _peak(samples, size)
    above = explaining - plain
    yield Line(f"peak memory, image 512², above the model on as many batches of {size}"
               f" ({plain:.0f} MiB)", "", f"{above:.0f} MiB", above, 150 * 1e6 / 2**20,
               "<= 150 MB", None)  # fmt: skip


PARTS = {"tabular": tabular, "image": image, "text": text, "process": process, "memory": memory}


def main() -> None:
    """Print the table, line by line as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer repeats and samples")
    asked = parser.parse_args()
    unknown = set(asked.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # what is loaded from here on, and the children
    threadpool_limits(1)  # what is loaded already
    warnings.simplefilter("ignore")
    print("| workload | lime / model alone | limecli / model alone | target | weights differ by |")
    print("| --- | --- | --- | --- | --- |")
    for name in asked.parts or PARTS:
        for line in PARTS[name](asked.quick):
            print(line, flush=True)


# As limecli itself starts (__main__.py): no call crosses an edge of CPython's chunks of frames.
main.__code__ = main.__code__.replace(co_stacksize=1 << 16)

if __name__ == "__main__":
    main()
