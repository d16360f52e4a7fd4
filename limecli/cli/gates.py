"""Gates: what an explanation must reach, or the command ends with exit code 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from limecli.errors import ExitCode, LimecliError
from limecli.types import Background, Explanation, Skipped, Surrogate


class GateError(LimecliError):
    """A gate failed. What an explanation does not reach, its report says all the same."""

    code = ExitCode.FINDING


@dataclass
class GateOptions:
    """What to demand of every explained label."""

    min_fidelity: Annotated[
        float | None, typer.Option(max=1, help="Exit 1 below this R² (held out).")
    ] = None
    min_stability: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit 1 below this expected agreement of two runs."),
    ] = None
    max_gap: Annotated[
        float | None,
        typer.Option(min=0, help="Exit 1 where surrogate and model differ by more than this."),
    ] = None

    def check(self, results: Sequence[Explanation | Skipped]) -> None:
        """Raise GateError when a label of an explanation does not reach what is demanded."""
        found = [
            f"{item.instance.id}, {surrogate.label}: {fault}"
            for item in results
            if isinstance(item, Explanation)
            for surrogate in item.surrogates
            for fault in self._faults(surrogate)
        ]
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise GateError(f"gate failed: {found[0]}{more}", "the report says how each one fares")

    def _faults(self, surrogate: Surrogate) -> Iterator[str]:
        # What could not be measured has not been reached.
        for name, least, value in (
            ("fidelity", self.min_fidelity, surrogate.fidelity),
            ("stability", self.min_stability, surrogate.stability),
        ):
            if least is not None and value is None:
                yield f"{name} could not be measured, --min-{name} asks for {least:g}"
            elif least is not None and value is not None and value < least:
                yield f"{name} {value:.6g} is below --min-{name} {least:g}"
        gap = abs(surrogate.local_prediction - surrogate.model_prediction)
        if self.max_gap is not None and gap > self.max_gap:
            yield f"surrogate and model differ by {gap:.6g}, more than --max-gap {self.max_gap:g}"


def check_background(background: Background | None) -> None:
    """Raise GateError for a background that nobody gave (`--require-background`)."""
    if background is None or background.source in ("file", "sidecar"):
        return
    where = {"model": "recovered from the model", "rows": "taken from the rows themselves"}
    raise GateError(
        f"gate failed: --require-background, but it was {where[background.source]}",
        "give --background TRAIN.csv",
    )
