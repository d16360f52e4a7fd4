"""Where a report comes from: versions, command, time. The only part equal runs differ in."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from limecli import __version__

ALWAYS = ("lime", "scikit-learn", "numpy", "scipy", "pandas")
IF_USED = {"keras": "keras", "onnxruntime": "onnxruntime", "skimage": "scikit-image",
           "PIL": "pillow", "joblib": "joblib", "xgboost": "xgboost", "lightgbm": "lightgbm",
           "catboost": "catboost", "torch": "torch", "skops": "skops",
           "imblearn": "imbalanced-learn"}  # fmt: skip
_USER_INFO = re.compile(r"(?i)(https?://)[^/?#\s]*@")  # user:password@ is nobody's business


def provenance(command: Sequence[str], started: datetime, wall_s: float) -> dict[str, Any]:
    """Provenance of a run that began at `started` (UTC) and took `wall_s` seconds."""
    names = [*ALWAYS, *(name for module, name in IF_USED.items() if module in sys.modules)]
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # xgboost comes in packages of several names
            own = getattr(sys.modules.get(name), "__version__", None)
            if own is not None:
                versions[name] = own
    return {
        "limecli": __version__,
        "versions": {**versions, "python": platform.python_version()},
        "command": [_USER_INFO.sub(r"\1", word) for word in command],
        "created": started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "wall_s": round(wall_s, 3),
    }
