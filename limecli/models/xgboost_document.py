"""XGBoost's model document, JSON or UBJSON, read and checked here before XGBoost sees it.

XGBoost trusts what it loads: a cut or altered file makes it read outside its arrays and takes the
process down. So every index that a prediction follows is looked at first. Layout: XGBoost's
`doc/model.schema` and "Introduction to Model IO".
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from limecli.errors import ModelError

_JSON = re.compile(rb'\s*\{\s*("version"\s*:\s*\[[\d,\s]*\]\s*,\s*)?"learner"\s*:')
_UBJSON = re.compile(rb"\{([iU].|I..|l.{4}|L.{8})learner", re.DOTALL)
_NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "u": ">u2", "l": ">i4", "L": ">i8",
            "d": ">f4", "D": ">f8"}  # fmt: skip
_PLAIN = {"T": True, "F": False, "Z": None}
_MAX_DEPTH = 60


def is_document(head: bytes) -> bool:
    """Whether a file begins like a model that XGBoost saved as JSON or UBJSON."""
    return _JSON.match(head) is not None or _UBJSON.match(head) is not None


def is_old_binary(head: bytes) -> bool:
    """The binary format that XGBoost wrote before 3.1: 136 bytes of parameters, an objective."""
    if head.startswith(b"binf"):
        return True
    length = int.from_bytes(head[136:144], "little")
    objective = head[144 : 144 + length] if length < 64 else b""
    return re.fullmatch(rb"[a-z]+:[a-z0-9]+", objective) is not None


def read_document(data: bytes, path: str) -> dict[str, Any]:
    """The checked document. Raises ModelError for what is damaged."""
    with _damaged(path):
        document = _parsed(data, _UBJSON.match(data[:64]) is not None)
        _check(document)
    return document  # type: ignore[no-any-return]


def check_pickled_handle(handle: bytes | bytearray, path: str) -> None:
    """Raises ModelError unless a Booster's state, {"Config": ..., "Model": ...}, is sound."""
    data = bytes(handle)
    if not data.startswith(b"{"):
        raise ModelError(
            f"{path} has a Booster in XGBoost's old binary format, which is not read",
            "load it with the version that saved it, and save it as JSON:"
            " booster.save_model('model.json')",
        )
    with _damaged(path):
        # XGBoost, too, tells JSON from UBJSON by the second byte.
        content = _parsed(data, data[1:2] not in (b'"', b" ", b"\n", b"\t", b"\r", b"}"))
        _require(content.keys() == {"Config", "Model"}, "a Booster without its two halves")
        _check(content["Model"])
        _check_config(content["Config"]["learner"], content["Model"]["learner"])


def _check_config(learner: dict[str, Any], model: dict[str, Any]) -> None:
    """Training's parameters are loaded over the model's own: those of its shape must agree."""
    for key in ("num_feature", "num_class", "num_target"):
        for own in (learner.get("learner_model_param") or {}, learner.get("learner_train_param")):
            said = (own or {}).get(key)
            known = model["learner_model_param"].get(key, 1)
            _require(said is None or int(said) == int(known), f"{key} {said}, but {known}")
    booster, known = learner["gradient_booster"], model["gradient_booster"]
    _require(booster["name"] == known["name"], f"booster {booster['name']!r}")
    forest, trees = ((item.get("gbtree") or item) for item in (booster, known))
    said = forest.get("gbtree_model_param") or {}
    known = (trees.get("model") or {}).get("gbtree_model_param") or {}
    for key in said.keys() & known.keys():
        _require(int(said[key]) == int(known[key]), f"{key} {said[key]}, but {known[key]}")
    objective, known = learner["objective"], model["objective"]
    _require(objective["name"] == known["name"], f"objective {objective['name']!r}")
    n_classes = int(model["learner_model_param"]["num_class"])
    said = objective.get("softmax_multiclass_param", {}).get("num_class", n_classes)
    _require(int(said) == n_classes, f"{n_classes} classes, but {said} in its configuration")


def _parsed(data: bytes, ubjson: bool) -> Any:
    if ubjson:
        return _Ubjson(data).document()
    return json.loads(data.decode("utf-8"), object_pairs_hook=_unique)


@contextlib.contextmanager
def _damaged(path: str) -> Iterator[None]:
    try:
        yield
    except (
        ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError,
        struct.error,
    ) as error:  # fmt: skip
        what = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ModelError(
            f"{path} is a damaged XGBoost model: {what[:200]}", "copy or save the file again"
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands there twice")
    return content


class _Ubjson:
    """A strict reader of UBJSON (draft 12), with typed arrays as numpy's."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def document(self) -> Any:
        content = self._value(self._marker(), 0)
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes after its end")
        return content

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data) - self._at:
            raise ValueError(f"cut short at byte {len(self._data)}")
        self._at += count
        return self._data[self._at - count : self._at]

    def _marker(self) -> str:
        return self._take(1).decode("latin-1")

    def _number(self, marker: str) -> Any:
        import numpy as np

        dtype = np.dtype(_NUMBERS[marker])
        return np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()

    def _length(self) -> int:
        marker = self._marker()
        if marker not in "iUIulL":
            raise ValueError(f"no length at byte {self._at}")
        return int(self._number(marker))

    def _text(self) -> str:
        return self._take(self._length()).decode("utf-8")

    def _value(self, marker: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        if marker == "{":
            return self._object(depth)
        if marker == "[":
            return self._array(depth)
        if marker == "S":
            return self._text()
        if marker in _NUMBERS:
            return self._number(marker)
        if marker in _PLAIN:
            return _PLAIN[marker]
        raise ValueError(f"byte {self._at - 1} begins no value")

    def _object(self, depth: int) -> dict[str, Any]:
        pairs = []
        while self._data[self._at : self._at + 1] != b"}":
            pairs.append((self._text(), self._value(self._marker(), depth + 1)))
        self._at += 1
        return _unique(pairs)

    def _array(self, depth: int) -> Any:
        import numpy as np

        marker = self._marker()
        if marker == "$":
            dtype = np.dtype(_NUMBERS[self._marker()])
            if self._marker() != "#":
                raise ValueError(f"an array without a length at byte {self._at}")
            return np.frombuffer(self._take(self._length() * dtype.itemsize), dtype)
        if marker == "#":
            count = self._length()
            if count > len(self._data):
                raise ValueError("an array longer than the file")
            return [self._value(self._marker(), depth + 1) for _ in range(count)]
        items = []
        while marker != "]":
            items.append(self._value(marker, depth + 1))
            marker = self._marker()
        return items


def _require(sound: Any, what: str) -> None:
    if not sound:
        raise ValueError(what)


def _check(document: Any) -> None:
    learner = document["learner"]
    parameters = learner["learner_model_param"]
    n_features = int(parameters["num_feature"])
    n_classes = int(parameters["num_class"])
    n_targets = int(parameters.get("num_target", 1))
    _require(0 < n_features < 1 << 31, f"{n_features} features")
    _require(0 <= n_classes < 1 << 24 and 0 < n_targets < 1 << 16, f"{n_classes} classes")
    groups = max(n_classes, n_targets, 1)
    _require(len(base_scores(learner)) in (1, groups), "base_score")
    objective = learner["objective"]
    _require(isinstance(objective["name"], str), "its objective has no name")
    inner = objective.get("softmax_multiclass_param", {}).get("num_class", n_classes)
    _require(int(inner) == n_classes, f"{n_classes} classes, but {inner} in the objective")
    for key in ("feature_names", "feature_types"):
        names = learner.get(key) or []
        _require(len(names) in (0, n_features), f"{len(names)} {key} for {n_features} features")
        _require(all(isinstance(name, str) for name in names), key)
    attributes = learner.get("attributes") or {}
    _require(all(isinstance(value, str) for value in attributes.values()), "attributes")
    int(attributes.get("best_iteration", 0))
    booster = learner["gradient_booster"]
    _require(booster["name"] in ("gbtree", "dart", "gblinear"), f"booster {booster['name']!r}")
    if booster["name"] == "gblinear":
        weights = _array(booster["model"]["weights"], "iuf", "weights")
        _require(len(weights) == (n_features + 1) * groups, f"{len(weights)} weights")
        return
    model = booster["gbtree" if booster["name"] == "dart" else "model"]
    model = model["model"] if booster["name"] == "dart" else model
    _check_trees(model, n_features, groups)
    if booster["name"] == "dart":
        dropped = _array(booster["weight_drop"], "iuf", "weight_drop")
        _require(len(dropped) == len(model["trees"]), f"{len(dropped)} dropped weights")


def base_scores(learner: dict[str, Any]) -> list[float]:
    """The intercepts: one number, or a list of them in brackets since XGBoost 3.1."""
    text = str(learner["learner_model_param"]["base_score"])
    return [float(part) for part in text.strip("[]").split(",")]


def _array(values: Any, kinds: str, what: str, length: int | None = None) -> Any:
    import numpy as np

    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(int if "i" in kinds else float)
    _require(array.ndim == 1 and array.dtype.kind in kinds, f"{what} of the wrong type")
    _require(length is None or len(array) == length, f"{len(array)} {what}, not {length}")
    return array


def _check_trees(model: dict[str, Any], n_features: int, groups: int) -> None:
    import numpy as np

    trees: Sequence[dict[str, Any]] = model["trees"]
    parameters = model["gbtree_model_param"]
    n = len(trees)
    _require(int(parameters["num_trees"]) == n, f"{n} trees of {parameters['num_trees']}")
    parallel = int(parameters.get("num_parallel_tree", 1))
    _require(0 <= parallel < 1 << 24, f"{parallel} parallel trees")
    _require([int(tree["id"]) for tree in trees] == list(range(n)), "trees without their numbers")
    info = _array(model["tree_info"], "iu", "tree_info", n)
    leaf_sizes = {int(tree["tree_param"]["size_leaf_vector"]) for tree in trees}
    # Files of XGBoost 1 say 0 where later ones say 1.
    vector = max(leaf_sizes, default=1) > 1
    _require(not vector or leaf_sizes == {groups}, "leaves of different sizes")
    _require(bool(((info >= 0) & (info < groups)).all()), "a tree for a class that is not there")
    _require(vector or n % groups == 0, f"{n} trees for {groups} classes")
    rounds = _array(model.get("iteration_indptr", [0, n]), "iu", "iteration_indptr")
    rounds = rounds.astype(np.int64)
    _require(len(rounds) and rounds[0] == 0 and rounds[-1] == n, "iteration_indptr")
    _require(bool((np.diff(rounds) >= 0).all()), "iteration_indptr")
    for tree in trees:
        _check_tree(tree, n_features, groups if vector else 1)
    if model.get("cats"):
        _check_categories(model["cats"], n_features)


def _check_tree(tree: dict[str, Any], n_features: int, width: int) -> None:
    import numpy as np

    parameters, where = tree["tree_param"], f"in tree {tree['id']}"
    n = int(parameters["num_nodes"])
    _require(n > 0 and 0 <= int(parameters.get("num_deleted", 0)) < n, f"{n} nodes {where}")
    _require(int(parameters["num_feature"]) == n_features, f"other features {where}")
    left, right, features, parents = (
        _array(tree[key], "iu", f"{key} {where}", n).astype(np.int64)
        for key in ("left_children", "right_children", "split_indices", "parents")
    )
    for key in ("split_conditions", "loss_changes", "sum_hessian"):
        _array(tree[key], "iuf", f"{key} {where}", n)
    _array(tree["base_weights"], "iuf", f"base_weights {where}", n * width)
    _array(tree["default_left"], "iub", f"default_left {where}", n)
    kinds = _array(tree.get("split_type", [0] * n), "iu", f"split_type {where}", n)
    inner = left != -1
    if width > 1:  # a leaf's right child is its number among the leaves
        leaves = int((~inner).sum())
        _array(tree["leaf_weights"], "iuf", f"leaf_weights {where}", leaves * width)
        numbered = (right[~inner] >= -1) & (right[~inner] < leaves)
        _require(bool(numbered.all()), f"a leaf that is not there {where}")
    else:
        _require(bool((right[~inner] == -1).all()), f"half a split {where}")
    # Every node but the root has one parent: what hangs below the root is a tree.
    children = np.concatenate([left[inner], right[inner]])
    _require(bool(((children > 0) & (children < n)).all()), f"a child out of range {where}")
    _require(len(np.unique(children)) == len(children), f"a node with two parents {where}")
    known = np.tile(np.flatnonzero(inner), 2)
    _require(np.array_equal(parents[children], known), f"a node with another parent {where}")
    _require(parents[0] in (-1, (1 << 31) - 1), f"a root with a parent {where}")
    _require(bool(((parents[1:] >= 0) & (parents[1:] < n)).all()), f"parents {where}")
    sound = (features[inner] >= 0) & (features[inner] < n_features)
    _require(bool(sound.all()), f"a split by a feature that is not there {where}")
    codes, nodes, starts, sizes = (
        _array(tree.get(key, []), "iu", f"{key} {where}").astype(np.int64)
        for key in ("categories", "categories_nodes", "categories_segments", "categories_sizes")
    )
    _require(len(nodes) == len(starts) == len(sizes), f"categories {where}")
    _require(bool(((codes >= 0) & (codes < 1 << 24)).all()), f"a category's code {where}")
    _require(np.array_equal(nodes, np.flatnonzero(kinds)), f"splits by category {where}")
    _require(bool((kinds <= 1).all()), f"split_type {where}")
    ends = starts + sizes
    _require(
        bool(((starts >= 0) & (sizes > 0) & (ends <= len(codes))).all()), f"categories {where}"
    )


def _check_categories(content: dict[str, Any], n_features: int) -> None:
    import numpy as np

    encoded = content["enc"]
    if len(encoded) == 0:
        return
    _require(len(encoded) == n_features, f"categories of {len(encoded)} features")
    starts = _array(content["feature_segments"], "iu", "feature_segments", n_features + 1)
    starts = starts.astype(np.int64)
    order = _array(content["sorted_idx"], "iu", "sorted_idx", int(starts[-1])).astype(np.int64)
    _require(starts[0] == 0, "feature_segments")
    for j, item in enumerate(encoded):
        size = len(_decoded(item))
        _require(int(starts[j + 1] - starts[j]) == size, f"categories of feature {j}")
        own = order[starts[j] : starts[j + 1]]
        _require(np.array_equal(np.sort(own), np.arange(size)), f"category order of feature {j}")


def _decoded(item: dict[str, Any]) -> list[Any]:
    """The categories of one feature: numbers, or UTF-8 text between offsets."""
    import numpy as np

    if "offsets" not in item:
        _require(isinstance(item["type"], int), "a type of categories")
        return _array(item["values"], "iuf", "categories").tolist()  # type: ignore[no-any-return]
    offsets = _array(item["offsets"], "iu", "offsets").astype(np.int64)
    values = _array(item["values"], "iu", "category names").astype(np.int64)
    if len(offsets) == 0:
        _require(len(values) == 0, "category names")
        return []
    _require(offsets[0] == 0 and offsets[-1] == len(values), "category names")
    _require(bool((np.diff(offsets) >= 0).all()), "category names")
    _require(bool(((values >= -128) & (values < 256)).all()), "category names")
    text = (values & 255).astype(np.uint8).tobytes()
    return [text[start:end].decode("utf-8", "replace") for start, end in pairwise(offsets)]


def category_values(document: dict[str, Any], path: str) -> dict[int, list[Any] | None]:
    """The categories of each categorical feature; None where the file keeps codes only.

    Raises ModelError for names that XGBoost itself has spoilt.
    """
    learner = document["learner"]
    booster = learner["gradient_booster"]
    model = booster.get("gbtree", booster).get("model", {})
    encoded = (model.get("cats") or {}).get("enc") or []
    types = learner.get("feature_types") or []
    found = {j: _decoded(encoded[j]) if encoded else [] for j, t in enumerate(types) if t == "c"}
    # Up to 3.2 names are cut by letters out of UTF-8's bytes (dmlc/xgboost#12371).
    spoilt = tuple(document.get("version") or ()) < (3, 3)
    for j, names in found.items():
        if spoilt and not all(str(name).isascii() for name in names):
            raise ModelError(
                f"{path}: XGBoost up to 3.2 cannot keep category names beyond ASCII; those of"
                f" {(learner.get('feature_names') or [f'feature {j}'] * (j + 1))[j]!r} are lost",
                "fit it with ASCII names, or with a later XGBoost",
            )
    return {j: names or None for j, names in found.items()}
