"""Options in groups that several commands share, and the decorator that spreads them out."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from limecli.cli.console import Console, use
from limecli.errors import UsageError

SCALES = ("probability", "margin", "decision")
_SIZE = re.compile(r"([0-9]{1,15})([KMGTkmgt]?)")
_LEAST_MEMORY = 1 << 20


class Color(StrEnum):
    """When to colour."""

    auto = "auto"
    always = "always"
    never = "never"


class ErrorFormat(StrEnum):
    """How errors are told."""

    text = "text"
    json = "json"


class TaskName(StrEnum):
    """What the model does."""

    classification = "classification"
    regression = "regression"


class ActivationName(StrEnum):
    """What turns logits into probabilities."""

    none = "none"
    softmax = "softmax"
    sigmoid = "sigmoid"


class Selection(StrEnum):
    """lime's ways to choose features."""

    auto = "auto"
    none = "none"
    forward_selection = "forward_selection"
    highest_weights = "highest_weights"
    lasso_path = "lasso_path"


class Metric(StrEnum):
    """Distances between interpretable samples."""

    euclidean = "euclidean"
    cosine = "cosine"
    manhattan = "manhattan"


class Engine(StrEnum):
    """Who draws and fits."""

    lime = "lime"
    limecli = "limecli"


class Sampler(StrEnum):
    """How samples are drawn; `auto` takes the most accurate that applies."""

    auto = "auto"
    exact = "exact"
    sobol = "sobol"
    hadamard = "hadamard"
    pairs = "pairs"
    lime = "lime"


class Discretizer(StrEnum):
    """How number columns are cut into bins."""

    quartile = "quartile"
    decile = "decile"
    entropy = "entropy"
    none = "none"


class Resize(StrEnum):
    """How a picture is brought to the model's size."""

    crop = "crop"
    stretch = "stretch"
    pad = "pad"


@dataclass
class CommonOptions:
    """What every command understands."""

    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No notes on stderr.")] = False
    verbose: Annotated[
        int,
        typer.Option(
            "-v", "--verbose", count=True, help="Say what took how long; -vv shows tracebacks."
        ),
    ] = 0
    color: Annotated[Color, typer.Option(help="When to use colour.")] = Color.auto
    error_format: Annotated[
        ErrorFormat, typer.Option(help="Errors and notes as text or as JSON lines.")
    ] = ErrorFormat.text
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False

    def console(self) -> Console:
        """The console that these options describe, put to use."""
        return use(
            Console(
                self.quiet,
                self.verbose,
                self.color.value,
                self.error_format.value,
                not self.no_progress,
            )
        )


@dataclass
class TrustOptions:
    """What a pickle may do."""

    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE.NAME",
            help="Let a pickle use this name; its code will run. Repeatable.",
            allow_from_autoenv=False,
        ),
    ] = None
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle",
            help="Let a pickle run whatever it holds: only for a file that you made yourself.",
            allow_from_autoenv=False,
        ),
    ] = False

    @property
    def names(self) -> frozenset[str]:
        """The trusted names."""
        return frozenset(self.trust or ())


@dataclass
class ModelOptions(TrustOptions):
    """What the user says about the model."""

    task: Annotated[
        TaskName | None, typer.Option(help="Classification or regression, where in doubt.")
    ] = None
    activation: Annotated[
        ActivationName | None,
        typer.Option(help="For models that return logits; none takes any values in 0..1."),
    ] = None
    class_names: Annotated[
        str | None,
        typer.Option(metavar="FILE|imagenet", help="Names of the classes, one a line or JSON."),
    ] = None
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.1, max=86400, help="How long a URL may take for one batch."
        ),
    ] = 30.0


@dataclass
class LimeOptions:
    """LIME's own settings."""

    num_samples: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--num-samples",
            min=10,
            max=10_000_000,
            help="Samples [5000; images 1000; audits of rows 16384].",
        ),
    ] = None
    num_features: Annotated[
        int | None,
        typer.Option("-k", "--num-features", min=1, help="Features shown [10; images all]."),
    ] = None
    label: Annotated[
        list[str] | None,
        typer.Option("-l", "--label", metavar="NAME|index:N", help="Class to explain. Repeatable."),
    ] = None
    top_labels: Annotated[
        int, typer.Option("-t", "--top-labels", min=1, help="Explain the N likeliest classes.")
    ] = 1
    kernel_width: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTH|auto",
            help="Kernel width, or that of the best held-out fidelity"
            " [0.75 sqrt(columns); images 0.25; text 25].",
        ),
    ] = None
    distance_metric: Annotated[
        Metric | None, typer.Option(help="Distance [euclidean; images and text cosine].")
    ] = None
    feature_selection: Annotated[Selection, typer.Option(help="How features are chosen.")] = (
        Selection.auto
    )
    engine: Annotated[
        Engine, typer.Option(help="Who draws and fits: lime's own classes, or limecli.")
    ] = Engine.limecli
    sampler: Annotated[
        Sampler,
        typer.Option(
            help="How samples are drawn: rows exact, sobol or lime; images hadamard, pairs or lime;"
            " text pairs or lime."
        ),
    ] = Sampler.auto
    control_variate: Annotated[
        bool,
        typer.Option("--control-variate", help="Sobol and pairs: fewer samples, more time to fit."),
    ] = False
    settle: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="K", help="Sample until the order of the K strongest is settled."
        ),
    ] = None
    max_samples: Annotated[
        int | None,
        typer.Option(min=10, max=10_000_000, help="Where --settle gives up [131072]."),
    ] = None
    tie_tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="What --settle takes for a tie, as a share of the top weight [0.05]."
        ),
    ] = None
    flips: Annotated[
        int | None,
        typer.Option(
            min=0, max=20, help="How many changes of the decision to look for [1; audits 0]."
        ),
    ] = None
    flip_threshold: Annotated[
        float | None, typer.Option(help="What a flip moves the output of a regression across.")
    ] = None
    seed: Annotated[
        int, typer.Option("-s", "--seed", min=0, max=2**32 - 1, help="Seed of every instance.")
    ] = 0
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples given to the model at a time.")
    ] = None
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Bounds the samples held at a time: 32M, 2G or bytes [64M].",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Raises UsageError before a model is loaded for nothing."""
        _ = self.width, self.max_bytes
        if self.engine is Engine.lime and (self.flips or self.flip_threshold is not None):
            raise UsageError("--flips looks among limecli's own samples: leave out --engine lime")
        if self.settle is None and (self.max_samples, self.tie_tolerance) != (None, None):
            raise UsageError("--max-samples and --tie-tolerance need --settle K")
        if None not in (self.num_samples, self.max_samples) and (
            (self.num_samples or 0) > (self.max_samples or 0)
        ):
            raise UsageError("--num-samples, where --settle begins, is more than --max-samples")
        for name in ("tie_tolerance", "flip_threshold"):
            if not math.isfinite(getattr(self, name) or 0.0):
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)} is no number")

    @property
    def width(self) -> float | None:
        """`kernel_width` as a number; None for lime's default or `auto`. Raises UsageError."""
        if self.kernel_width in (None, "auto"):
            return None
        try:
            found = float(self.kernel_width or "")
        except ValueError:
            raise UsageError(f"--kernel-width {self.kernel_width} is no number") from None
        if not 1e-6 <= found <= 1e6:
            raise UsageError(f"--kernel-width {self.kernel_width}: it must lie in 1e-6 to 1e6")
        return found

    @property
    def max_bytes(self) -> int | None:
        """`max_memory` in bytes. Raises UsageError when it is no size, or less than 1M."""
        if self.max_memory is None:
            return None
        found = _SIZE.fullmatch(self.max_memory.strip())
        if found is None:
            raise UsageError(
                f"--max-memory {self.max_memory} is no size",
                "say 64M, 2G or a number of bytes; 1K is 1024 bytes",
            )
        size = int(found[1]) << 10 * " KMGT".index(found[2].upper() or " ")
        if size < _LEAST_MEMORY:
            raise UsageError(f"--max-memory {self.max_memory} is too little: at least 1M")
        return size


@dataclass
class TrialOptions:
    """What is tried out besides, of a few explanations."""

    tune: Annotated[
        bool,
        typer.Option("--tune", help="Try bins and kernel widths, take the best held-out fidelity."),
    ] = False
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity", help="Which signs and ranks hold with other widths and backgrounds."
        ),
    ] = False
    repeats: Annotated[
        int | None,
        typer.Option(min=2, max=100, help="Explain again with other seeds, and say what stays."),
    ] = None


@dataclass
class OutputOptions:
    """Where the result goes, and which of the model's outputs it is about."""

    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|probability|margin|decision",
            help="Write a file, format by its suffix (.json .csv .png .parquet; audits: .jsonl"
            " .parquet .csv .html), repeatable; or choose"
            " which of the model's outputs is explained: probability, margin (the raw score of"
            " boosting and linear classifiers, log-odds as a rule) or decision"
            " (decision_function).",
        ),
    ] = None

    @property
    def files(self) -> list[str]:
        """The files asked for. No file is called "decision": it would have no suffix."""
        return [item for item in self.output or () if item not in SCALES]

    @property
    def scale(self) -> str:
        """The model output asked for. Raises UsageError when two are."""
        asked = [item for item in self.output or () if item in SCALES]
        if len(set(asked)) > 1:
            raise UsageError("--output names two of the model's outputs", "choose one")
        return asked[0] if asked else SCALES[0]


@dataclass
class ReportOptions(OutputOptions):
    """The formats of a report, and what else is written."""

    format: Annotated[
        str | None, typer.Option("-f", "--format", help="Format on stdout: limecli formats.")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Short for -f json.")] = False
    save_neighborhood: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.npz",
            help="Save samples, weights and predictions; {id} in the name for several.",
        ),
    ] = None
