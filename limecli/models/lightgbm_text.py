"""LightGBM's text format, checked here before LightGBM sees it.

LightGBM aborts the process on a cut file, and loops for ever in a tree whose nodes point in a
circle. So sizes, lengths and every index that a prediction follows are looked at first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from limecli.errors import ModelError
from limecli.types import Task

_LIST = re.compile(r"\[categorical_feature: ([\d,]*)\]")
_CATEGORIES = "pandas_categorical:"


@dataclass(frozen=True)
class Header:
    """What stands above the first tree, and the categories below the last."""

    version: str
    objective: str
    num_class: int
    outputs: int
    feature_names: tuple[str, ...]
    n_trees: int
    categories: dict[int, list[Any] | None]

    @property
    def task(self) -> Task:
        """By the objective; a model with an objective of the user's own is a regression."""
        name = self.objective.partition(" ")[0]
        classes = name in ("binary", "multiclass", "multiclassova")
        return "classification" if classes or self.num_class > 1 else "regression"

    @property
    def named(self) -> bool:
        """Whether the names are more than the numbers that LightGBM gives itself."""
        return self.feature_names != tuple(f"Column_{i}" for i in range(len(self.feature_names)))


def read_header(text: str, path: str) -> Header:
    """The header of a sound model text. Raises ModelError for a damaged one."""
    try:
        return _checked(text)
    except (ValueError, KeyError, IndexError, OverflowError, RecursionError, TypeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ModelError(
            f"{path} is a damaged LightGBM model: {what[:200]}", "copy or save the file again"
        ) from None


def for_booster(text: str) -> str:
    """A checked text without its training parameters: predictions need none of them, and a damaged
    line among them crashes LightGBM. What they say of the categories stays.
    """
    model, found, rest = text.partition("\nparameters:\n")
    if not found:
        return text
    parameters, _, tail = rest.partition("\nend of parameters")
    kept = _LIST.search(parameters)
    block = f"\nparameters:\n{kept[0]}\n\nend of parameters\n" if kept else ""
    return f"{model}\n{block}\n{tail.lstrip()}"


def check_pickled_model(text: str, path: str) -> str:
    """The text of a pickled Booster as it may be loaded. Raises ModelError for a damaged one."""
    text = text.replace("\r\n", "\n")
    read_header(text, path)
    return for_booster(text)


def _require(sound: Any, what: str) -> None:
    if not sound:
        raise ValueError(what)


def _pairs(block: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line in block.split("\n"):
        key, equals, value = line.partition("=")
        _require(key or not line, "a line that begins with =")
        _require(key not in pairs or not key, f"{key} stands there twice")
        pairs[key] = value if equals else ""
    return pairs


def _checked(text: str) -> Header:
    # LightGBM ends lines and numbers at other places than Python: both must read the same.
    _require("\0" not in text and "\r" not in text, "a zero byte or a lone CR in the text")
    head, found, _ = text.partition("\nTree=0\n")
    _require(found or "\nend of trees" in head, "cut short before its first tree")
    start = len(head) + 1
    head = head if found else head.partition("\nend of trees")[0]
    pairs = _pairs(head.rstrip("\n"))
    _require(
        not any(key.startswith(("Tree", "parameters:", "end of ")) for key in pairs),
        "more than one beginning",
    )
    names = tuple(pairs["feature_names"].split(" "))
    n_features = _whole(pairs["max_feature_idx"]) + 1
    _require(len(names) == n_features > 0, f"{len(names)} names for {n_features} features")
    infos = pairs.get("feature_infos", "").split(" ")
    _require(len(infos) == n_features, f"{len(infos)} feature_infos for {n_features} features")
    num_class, outputs = (_whole(pairs[key]) for key in ("num_class", "num_tree_per_iteration"))
    _require(0 < num_class < 1 << 20 and outputs in (1, num_class), f"{num_class} classes")
    objective = pairs.get("objective", "")
    inner = dict(part.split(":") for part in objective.split(" ")[1:] if part.count(":") == 1)
    _require(_whole(inner.get("num_class", str(num_class))) == num_class, f"{num_class} classes")
    _require(float(inner.get("sigmoid", 1)) > 0, "sigmoid")
    sizes = [_whole(size) for size in pairs.get("tree_sizes", "").split()]
    _require(len(sizes) % outputs == 0, f"{len(sizes)} trees for {outputs} outputs")
    _require(bool(sizes) == bool(found), "tree_sizes")
    if found:
        _check_trees(text[start:].encode(), sizes, n_features)
    tail = text[text.index("\nend of trees") :]
    _require("\nparameters:\n" not in tail or "\nend of parameters" in tail, "cut short at its end")
    return Header(
        pairs.get("version", ""), objective, num_class, outputs, names, len(sizes),
        _categories(tail, infos),
    )  # fmt: skip


def _check_trees(data: bytes, sizes: list[int], n_features: int) -> None:
    at = 0
    for i, size in enumerate(sizes):
        block = data[at : at + size].decode()
        _require(
            size > 0 and block.startswith(f"Tree={i}\n"), f"tree {i} is not where it should be"
        )
        try:
            lines = block.partition("\n")[2].rstrip("\n")
            _require(all("=" in line for line in lines.split("\n")), "a line without a value")
            _require(not re.search("[^ -~]|_", _values(lines)), "letters among its numbers")
            _check_tree(_pairs(lines), n_features)
        except KeyError as error:
            raise ValueError(f"tree {i} lacks {error}") from None
        except ValueError as error:
            raise ValueError(f"tree {i}: {error}") from None
        at += size
    _require(data[at:].lstrip(b"\n").startswith(b"end of trees"), "more than its trees")


def _whole(text: str) -> int:
    _require(re.fullmatch("-?[0-9]{1,18}", text), f"{text[:40]!r} for a whole number")
    return int(text)


def _values(lines: str) -> str:
    return "".join(line.partition("=")[2] for line in lines.split("\n"))


def _numbers(pairs: dict[str, str], key: str, count: int, cast: Callable[[str], Any]) -> Any:
    import numpy as np

    values = np.array([cast(word) for word in pairs[key].split(" ") if word])
    _require(len(values) == count, f"{len(values)} {key}, not {count}")
    return values.astype(np.int64) if cast is int else values


def _check_tree(pairs: dict[str, str], n_features: int) -> None:
    import numpy as np

    leaves, num_cat = _whole(pairs["num_leaves"]), _whole(pairs["num_cat"])
    _require(0 < leaves < 1 << 31 and 0 <= num_cat < 1 << 31, f"{leaves} leaves")
    _numbers(pairs, "leaf_value", leaves, float)
    float(pairs.get("shrinkage", "1"))
    nodes = leaves - 1
    of_leaves = dict.fromkeys(("leaf_weight", "leaf_count"), leaves)
    of_nodes = dict.fromkeys(
        ("split_gain", "internal_value", "internal_weight", "internal_count"), nodes
    )
    for key, count in (of_leaves | of_nodes).items():
        if pairs.get(key):
            _numbers(pairs, key, count, int if key.endswith("count") else float)
    if pairs.get("is_linear", "0") != "0":
        _check_linear(pairs, leaves, n_features)
    if nodes == 0:
        return
    feature, kind, left, right = (
        _numbers(pairs, key, nodes, int)
        for key in ("split_feature", "decision_type", "left_child", "right_child")
    )
    threshold = _numbers(pairs, "threshold", nodes, float)
    _require(bool(((feature >= 0) & (feature < n_features)).all()), "a split by no feature")
    # Each node but the root and each leaf (-1 is the first) has one parent: no circles.
    children = np.sort(np.concatenate([left, right]))
    expected = np.concatenate([np.arange(-leaves, 0), np.arange(1, nodes)])
    _require(np.array_equal(children, expected), "its nodes do not form a tree")
    _require(bool(((kind >= 0) & (kind < 16)).all()), "decision_type")
    by_category = (kind & 1) == 1
    if num_cat:
        starts = _numbers(pairs, "cat_boundaries", num_cat + 1, int)
        _require(starts[0] == 0 and bool((np.diff(starts) >= 0).all()), "cat_boundaries")
        bits = _numbers(pairs, "cat_threshold", int(starts[-1]), int)
        _require(bool(((bits >= 0) & (bits < 1 << 32)).all()), "cat_threshold")
    places = threshold[by_category]
    _require(bool(((places >= 0) & (places < num_cat)).all()), "a split by no category")


def _check_linear(pairs: dict[str, str], leaves: int, n_features: int) -> None:
    _numbers(pairs, "leaf_const", leaves, float)
    counts = _numbers(pairs, "num_features", leaves, int)
    _require(bool((counts >= 0).all()), "num_features")
    used = _numbers(pairs, "leaf_features", int(counts.sum()), int)
    _numbers(pairs, "leaf_coeff", int(counts.sum()), float)
    _require(bool(((used >= 0) & (used < n_features)).all()), "leaf_features")


def _categories(tail: str, infos: list[str]) -> dict[int, list[Any] | None]:
    """The categories of the training frame's category columns, by feature.

    LightGBM keeps them in the order of the columns and does not say of which: they are the
    features declared categorical, or those with a list of bins (ordered ones have none).
    """
    by_bins = [j for j, info in enumerate(infos) if ":" in info and not info.startswith("[")]
    found = _LIST.search(tail)
    declared = [int(word) for word in found[1].split(",") if word] if found else []
    _require(all(j < len(infos) for j in declared), "categorical_feature")
    line = next((line for line in tail.split("\n") if line.startswith(_CATEGORIES)), "")
    known = json.loads(line.removeprefix(_CATEGORIES) or "null") or []
    _require(all(isinstance(item, list) for item in known), "pandas_categorical")
    for columns in (sorted(set(declared)), by_bins):
        if len(columns) == len(known):
            return dict(zip(columns, known, strict=True))
    if not known:
        return dict.fromkeys(declared or by_bins)
    raise ValueError(
        f"it has categories for {len(known)} columns and does not say which; ordered categories"
        " are not supported"
    )
