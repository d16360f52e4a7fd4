"""Which ways to draw there are for each kind, and what the settings of a run may not combine."""

from __future__ import annotations

from limecli.errors import UsageError
from limecli.types import LimeSettings

SAMPLERS = {
    "tabular": ("auto", "exact", "sobol", "lime"),
    "image": ("auto", "hadamard", "pairs", "lime"),
    "text": ("auto", "pairs", "lime"),
}
MAX_SAMPLES = 1 << 17  # where --settle gives up
TIE_TOLERANCE = 0.05  # of the largest weight


def check_sampler(settings: LimeSettings) -> None:
    """Raise UsageError for a sampler that the kind lacks, or for what a sampler cannot do."""
    kind, sampler = settings.kind, settings.sampler
    if settings.engine == "lime" and sampler not in ("auto", "lime"):
        raise UsageError(
            f"--sampler {sampler}: lime's own classes draw in their own way only",
            "leave out --engine lime",
        )
    if sampler not in SAMPLERS[kind]:
        raise UsageError(
            f"--sampler {sampler} is not for {kind} explanations",
            f"one of {', '.join(SAMPLERS[kind])}",
        )
    lime = sampler == "lime" or settings.engine == "lime"
    if settings.settle is not None and lime:
        raise UsageError(
            "--settle goes on drawing until the order is settled, which lime's stream cannot",
            "choose another --sampler, or leave it to auto",
        )
    if settings.control_variate and (lime or sampler == "hadamard"):
        other = "sobol" if kind == "tabular" else "pairs"
        raise UsageError(f"--control-variate needs limecli's draws: --sampler {other}")
    if settings.engine == "lime" and settings.auto_width:
        raise UsageError("--kernel-width auto needs limecli's own engine")
