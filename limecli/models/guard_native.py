"""After all is loaded: what compiled code would follow out of its bounds.

Trees, sparse matrices and neighbour trees hold indices that native code uses unchecked; a pickle
may hold any. Looked at last, since a pickle can change an array after it has given it away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from limecli.models.guard_calls import UnknownUse
from limecli.models.guard_states import check_attributes


def check_native(target: Any) -> None:
    """Raise UnknownUse for an object whose numbers would lead native code astray."""
    import numpy as np

    home, name = type(target).__module__, type(target).__name__
    sound = True
    if isinstance(target, np.dtype):
        sound = _is_honest(target)
    elif home.startswith("scipy.sparse"):
        sound = _is_sound_matrix(target)
    elif home == "sklearn.tree._tree":
        sound = _is_sound_tree(target)
    elif name == "TreePredictor":
        sound = _is_sound_predictor(target)
    elif name in ("KDTree", "KDTree32", "KDTree64", "BallTree", "BallTree32", "BallTree64"):
        sound = _is_sound_index(target)
    elif home.startswith("sklearn."):
        state = vars(target) if hasattr(target, "__dict__") else {}
        sound = _fits_its_parts(target, state)
        if home == "sklearn.ensemble._gb":
            sound = sound and _has_room_for_its_trees(name, state)
    if not sound:
        raise UnknownUse(f"a {name} that points outside itself")


def check_all(root: Any) -> None:
    """`check_native` and `check_attributes` for an object and everything inside it."""
    import numpy as np

    waiting, seen = [root], set[int]()
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type | str | bytes | int | float | None):
            continue
        seen.add(id(item))
        if isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, np.ndarray):
            waiting.extend(item.ravel().tolist() if item.dtype.hasobject else ())
        elif not (callable(item) and hasattr(item, "__name__")):  # a function is the library's own
            check_native(item)
            check_attributes(item, vars(item) if hasattr(item, "__dict__") else {})
            waiting.extend(vars(item).values() if hasattr(item, "__dict__") else ())


def _is_honest(dtype: Any) -> bool:
    """Whether a dtype with objects in it says so: else numpy takes bytes of the file for them."""
    import numpy as np

    inner = [field[0] for field in (dtype.fields or {}).values()]
    if dtype.subdtype is not None:
        inner.append(dtype.subdtype[0])
    holds = dtype.type is np.object_ or any(item.hasobject for item in inner)
    return (dtype.hasobject or not holds) and all(_is_honest(item) for item in inner)


def _is_sound_matrix(matrix: Any) -> bool:
    try:
        if matrix.format in ("csr", "csc", "bsr"):
            matrix.check_format(full_check=True)
        elif matrix.format == "coo":
            matrix._check()
        return True
    except (ValueError, AttributeError, TypeError, IndexError):
        return False


def _are_sound_links(left: Any, right: Any, leaf: Any) -> bool:
    """Children come after their parents, and are there: so no walk ends in a circle."""
    import numpy as np

    inner = np.flatnonzero(~leaf)
    ends = np.concatenate([left[inner], right[inner]])
    parents = np.concatenate([inner, inner])
    return bool((ends > parents).all() and (ends < len(leaf)).all())


def _is_sound_tree(tree: Any) -> bool:
    import numpy as np

    if type(tree).__name__ != "Tree":
        return True
    left, right = tree.children_left, tree.children_right
    leaf = left == -1
    feature = tree.feature[~leaf]
    sound = len(left) > 0 and np.array_equal(leaf, right == -1)
    sound = sound and bool(((feature >= 0) & (feature < tree.n_features)).all())
    return sound and _are_sound_links(left, right, leaf)


def _is_sound_predictor(predictor: Any) -> bool:
    import numpy as np

    nodes = getattr(predictor, "nodes", None)
    if not isinstance(nodes, np.ndarray) or not len(nodes) or nodes.dtype.names is None:
        return False
    leaf = nodes["is_leaf"].astype(bool)
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    by_category = nodes["is_categorical"].astype(bool) & ~leaf
    bits = len(getattr(predictor, "raw_left_cat_bitsets", ()))
    bits = min(bits, len(getattr(predictor, "binned_left_cat_bitsets", ())))
    sound = bool((nodes["bitset_idx"][by_category] < bits).all())
    return sound and _are_sound_links(left, right, leaf)


def _is_sound_index(index: Any) -> bool:
    import numpy as np

    try:
        data, order, nodes, bounds = (np.asarray(array) for array in index.get_arrays())
    except Exception:  # one that was never filled
        return False
    n = len(data)
    starts, ends = nodes["idx_start"], nodes["idx_end"]
    sound = n > 0 and np.array_equal(np.sort(order), np.arange(n))
    sound = sound and bounds.shape[1] == len(nodes)
    # A node of level k has its children at 2k + 1 and 2k + 2, unless it is a leaf.
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    sound = sound and bool((2 * inner + 2 < len(nodes)).all())
    return sound and bool(((starts >= 0) & (starts <= ends) & (ends <= n)).all())


def _fits_its_parts(model: Any, state: dict[str, Any]) -> bool:
    """Whether a model asks its trees and support vectors for what they have."""
    import numpy as np

    width = state.get("n_features_in_")
    trees: list[Any] = [state.get("tree_")]
    if type(model).__module__ not in _ASKING:
        trees += [getattr(part, "tree_", None) for part in _parts(state)]
    if any(type(tree).__name__ == "Tree" and tree.n_features != width for tree in trees):
        return False
    for stage in _as_list(state.get("_predictors")):
        for predictor in _as_list(stage):
            nodes = getattr(predictor, "nodes", None)
            if isinstance(nodes, np.ndarray) and (nodes["feature_idx"] >= (width or 0)).any():
                return False
    vectors, counts = state.get("support_vectors_"), state.get("_n_support")
    weights = state.get("_dual_coef_")
    if vectors is not None and counts is not None and weights is not None:
        rows, total = vectors.shape[0], int(np.sum(counts))
        by_class = total == rows and weights.shape[0] == len(counts) - 1
        regression = total == 2 * rows and weights.shape[0] == 1  # libsvm counts them twice
        return bool(weights.shape[1] == rows and (by_class or regression))
    return True


def _has_room_for_its_trees(name: str, state: dict[str, Any]) -> bool:
    """Whether gradient boosting starts from as many scores a row as each of its stages adds to.

    `estimators_` is (stages, K), and compiled code adds column k to score k without a look: K is
    the number of classes where there are three or more, otherwise 1.
    """
    import numpy as np

    trees, loss = state.get("estimators_"), state.get("_loss")
    if trees is None:  # not fitted: it refuses to predict
        return True
    if type(trees) is not np.ndarray or trees.ndim != 2 or "_estimator_type" in state:
        return False
    width = trees.shape[1]
    multiclass = type(loss).__name__.startswith("HalfMultinomialLoss")
    counts = [state.get("n_trees_per_iteration_")]
    if name == "GradientBoostingClassifier":
        counts += [state.get("n_classes_"), getattr(loss, "n_classes", None)] if multiclass else []
    elif multiclass:
        return False
    sound = width > 2 if multiclass else width == 1
    sound = sound and all(_is_count(count, width) for count in counts)
    return sound and _keeps_its_shape(loss) and _is_sound_start(name, state.get("init_"), width)


def _keeps_its_shape(loss: Any) -> bool:
    """Whether a loss and its link are scikit-learn's, with no attribute in a method's place."""
    link = getattr(loss, "link", None)
    homes = (type(loss).__module__, type(link).__module__)
    own = hasattr(link, "__dict__") and not {"link", "inverse"} & vars(link).keys()
    return (
        homes == ("sklearn._loss.loss", "sklearn._loss.link")
        and own
        and "is_multiclass" not in vars(loss)
    )


def _is_sound_start(name: str, init: Any, width: int) -> bool:
    """Whether boosting's `init_` gives `width` scores a row, as far as it can be told unrun."""
    import numpy as np

    kind = f"{type(init).__module__}.{type(init).__name__}"
    if isinstance(init, str):
        return init == "zero"
    if kind not in ("sklearn.dummy.DummyClassifier", "sklearn.dummy.DummyRegressor"):
        return width == 1  # an estimator of the user's own
    state = vars(init)
    if {"predict", "predict_proba"} & state.keys() or not _is_count(state.get("n_outputs_"), 1):
        return False
    if name == "GradientBoostingRegressor":
        return kind.endswith("Regressor")
    classes, prior = max(width, 2), state.get("class_prior_")
    sound = type(prior) is np.ndarray and prior.shape == (classes,)
    return sound and _is_count(state.get("n_classes_"), classes)


def _is_count(value: Any, wanted: int) -> bool:
    import numpy as np

    return isinstance(value, int | np.integer) and int(value) == wanted


_ASKING = {"sklearn.ensemble._voting", "sklearn.ensemble._stacking", "sklearn.ensemble._bagging",
           "sklearn.ensemble._iforest", "sklearn.multiclass", "sklearn.multioutput"}  # fmt: skip
"""Where models ask models inside, each of which looks at its rows itself: chains and ensembles on
some of the columns hold trees of other widths. Forests and boosters hand rows to bare trees."""


def _parts(state: dict[str, Any]) -> Iterator[Any]:
    # Not as one array: numpy takes a forest inside for the sequence of its trees.
    for part in _as_list(state.get("estimators_")):
        yield from _as_list(part) or [part]


def _as_list(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    return value if isinstance(value, list | tuple) else []
