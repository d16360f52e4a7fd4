"""What a model format has to offer, and what the command line may ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from limecli.types import Kind, Predictor, Task

Output = Literal["probability", "decision"]
Activation = Literal["none", "softmax", "sigmoid"]


@dataclass(frozen=True)
class LoadOptions:
    """What the user said about the model. None means: find out."""

    kind: Kind
    task: Task | None = None
    output: Output = "probability"
    activation: Activation = "none"
    independent: bool = False  # several labels may be true at once: no sum to check
    class_names: tuple[str, ...] | None = None
    target: str | None = None
    preprocess: str | None = None
    trust: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ModelFile:
    """A file read once: what was hashed is what is loaded."""

    path: Path
    data: bytes
    sha256: str

    @property
    def name(self) -> str:
        """The path as the user wrote it, for messages."""
        return str(self.path)


class ModelLoader(Protocol):
    """One model format. Importing the module that holds it must be cheap.

    `requires` names the packages that it imports; the extra that installs them is called like the
    format's entry point.
    """

    requires: tuple[str, ...]

    def matches(self, file: ModelFile) -> bool:
        """Whether the content (never the suffix) is of this format."""
        ...

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Open the model. Raises ModelError, or PredictError when it cannot give what was asked."""
        ...
