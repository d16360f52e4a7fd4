"""Pictures and texts to test accuracy on: real classifiers as functions of masks; see beds.py."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from beds import PARTS, Limit, limit_of

from limecli.neighborhood.kernel import binary_distances, kernel


@dataclass(eq=False)
class MaskBed:
    """A picture or a text: `outputs` takes masks, `bool[n, n_features]`, to `float[n]`."""

    name: str
    kind: str
    n_features: int
    outputs: Callable[[np.ndarray], np.ndarray]
    evaluations: int
    num_samples: int

    @cached_property
    def by_count(self) -> np.ndarray:
        """lime's kernel weight by how many are kept, `float[n_features + 1]`."""
        distances = binary_distances(self.n_features, "cosine")
        return kernel(distances, 0.25) if self.kind == "image" else kernel(100 * distances, 25.0)

    @cached_property
    def _shares(self) -> np.ndarray:
        """How likely lime keeps so many, `float[n_features + 1]`."""
        d = self.n_features
        if self.kind == "text":
            return np.append(np.full(d, 1 / d), 0.0)
        from scipy.stats import binom

        return np.asarray(binom.pmf(np.arange(d + 1), d, 0.5))

    @cached_property
    def limit(self) -> Limit:
        """From masks and their complements, weighted so that both count as lime draws them."""
        return limit_of(self._parts())

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        d, p = self.n_features, self._shares
        both = (p + p[::-1]) / 2
        factor = np.divide(p, both, out=np.zeros(d + 1), where=both > 0) * self.by_count
        for seed in range(PARTS):
            rng = np.random.default_rng([78, seed])
            kept = rng.choice(d + 1, self.evaluations // PARTS // 2, p=both)
            uniform = rng.random((len(kept), d))
            last = np.take_along_axis(np.sort(uniform), np.maximum(kept - 1, 0)[:, None], axis=1)
            masks = uniform <= np.where(kept[:, None] > 0, last, -1.0)
            masks = np.concatenate([masks, ~masks])
            y = [self.outputs(masks[i : i + 32768]) for i in range(0, len(masks), 32768)]
            yield masks.astype(float), factor[masks.sum(axis=1)], np.concatenate(y)


def picture(evaluations: int) -> MaskBed:
    """A cat in 68 superpixels or so, and a network that knows pictures by their pooled pixels."""
    from skimage import data, segmentation, transform
    from sklearn.neural_network import MLPClassifier

    shots = [transform.resize(getattr(data, name)()[..., :3], (128, 128), anti_aliasing=True)
             for name in ("chelsea", "astronaut", "coffee", "rocket")]  # fmt: skip
    rng = np.random.default_rng(0)
    seen, which = [], []
    for i in range(1200):
        side = int(rng.choice([64, 80, 96, 112]))
        top, left = rng.integers(0, 129 - side, 2)
        crop = shots[i % 4][top : top + side, left : left + side]
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        seen.append(_pooled(crop) * rng.uniform(0.7, 1.3) + rng.normal(0, 0.03, 768))
        which.append(i % 4)
    model = MLPClassifier((64, 32), alpha=0.01, max_iter=30, random_state=0)
    with _until_the_end():
        model.fit(np.array(seen), which)
    segments = segmentation.slic(shots[0], n_segments=70, compactness=10, start_label=0)
    ids = np.unique(segments)
    # Pooling is linear: a mask's pixels are the sum of what its superpixels give on black.
    given = np.array([_pooled(np.where((segments == i)[..., None], shots[0], 0.0)) for i in ids])
    inner = given @ model.coefs_[0]

    def outputs(masks: np.ndarray) -> np.ndarray:
        hidden = np.maximum(masks @ inner + model.intercepts_[0], 0)
        hidden = np.maximum(hidden @ model.coefs_[1] + model.intercepts_[1], 0)
        scores = hidden @ model.coefs_[2] + model.intercepts_[2]
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return e[:, 0] / e.sum(axis=1)

    return MaskBed(f"picture, {len(ids)} superpixels", "image", len(ids), outputs, evaluations,
                   1000)  # fmt: skip


def _pooled(pixels: np.ndarray) -> np.ndarray:
    """16 x 16 mean colours, `float[768]`."""
    side = len(pixels) // 16
    return pixels.reshape(16, side, 16, side, 3).mean(axis=(1, 3)).ravel()


def _until_the_end():
    """Networks here stop when told to, converged or not."""
    from sklearn.exceptions import ConvergenceWarning

    caught = warnings.catch_warnings()
    warnings.simplefilter("default")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    return caught


def _passages(*modules: object) -> list[str]:
    """Pieces of 200 words of the docstrings in modules or classes."""
    found = []
    for module in modules:
        for name in dir(module):
            written = getattr(getattr(module, name, None), "__doc__", None)
            if name.startswith("_") or not isinstance(written, str) or len(written) < 600:
                continue
            words = written.split()
            found += [" ".join(words[i : i + 200])
                      for i in range(0, min(len(words) - 120, 1200), 150)]  # fmt: skip
    return found


def _chosen(
    texts: list[str], shares: np.ndarray, words: tuple[int, int]
) -> tuple[list[str], list[str]]:
    """The words of a text that the model is fairly sure of, in order, and its distinct ones."""
    for text, share in zip(texts, shares, strict=True):
        every = re.findall(r"\w+", text)
        distinct = list(dict.fromkeys(every))
        if words[0] <= len(distinct) <= words[1] and 0.75 < share < 0.97:
            return every, distinct
    raise LookupError("no such text among the docstrings")


def _counts(every: list[str], distinct: list[str], vectorizer) -> tuple[np.ndarray, np.ndarray]:
    """What each distinct word adds to the counts, `float[n_words, n_terms]`, and the terms."""
    analyze, known = vectorizer.build_analyzer(), vectorizer.vocabulary_
    table = np.zeros((len(distinct), len(known)))
    for word in every:
        for term in analyze(word):
            if term in known:
                table[distinct.index(word), known[term]] += 1
    terms = np.flatnonzero(table.sum(axis=0))
    return table[:, terms], terms


def text(evaluations: int) -> MaskBed:
    """TF-IDF and a network that tells documentation of scikit-learn from that of scipy."""
    import scipy.linalg
    import scipy.ndimage
    import scipy.optimize
    import scipy.signal
    import scipy.stats
    import sklearn.cluster
    import sklearn.decomposition
    import sklearn.ensemble
    import sklearn.linear_model
    import sklearn.metrics
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neural_network import MLPClassifier

    ours = _passages(sklearn.cluster, sklearn.decomposition, sklearn.ensemble,
                     sklearn.linear_model, sklearn.metrics)  # fmt: skip
    theirs = _passages(scipy.linalg, scipy.ndimage, scipy.optimize, scipy.signal, scipy.stats)
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english",
                                 token_pattern=r"(?u)\b[a-zA-Z]{3,}\b")  # fmt: skip
    x = vectorizer.fit_transform(ours + theirs)
    model = MLPClassifier((64,), alpha=1e-3, max_iter=25, random_state=0)
    with _until_the_end():
        model.fit(x, np.repeat([1, 0], [len(ours), len(theirs)]))
    shares = model.predict_proba(x[: len(ours)])[:, 1]
    every, distinct = _chosen(ours, shares, (105, 130))
    table, terms = _counts(every, distinct, vectorizer)
    first = model.coefs_[0][terms] * vectorizer.idf_[terms][:, None]
    idf = vectorizer.idf_[terms]

    def outputs(masks: np.ndarray) -> np.ndarray:
        counts = masks @ table
        tf = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0.0)
        length = np.sqrt((tf**2) @ idf**2)
        hidden = (tf @ first) / np.maximum(length, 1e-12)[:, None] + model.intercepts_[0]
        scores = np.maximum(hidden, 0) @ model.coefs_[1] + model.intercepts_[1]
        return 1 / (1 + np.exp(-scores[:, 0]))

    return MaskBed(f"text, {len(distinct)} words, TF-IDF and a network", "text", len(distinct),
                   outputs, evaluations, 5000)  # fmt: skip


def forest_text(evaluations: int) -> MaskBed:
    """Word counts and a forest that tells documentation of pandas from that of numpy."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import CountVectorizer

    ours, theirs = _passages(pd, pd.DataFrame, pd.Series), _passages(np, np.linalg, np.random)
    vectorizer = CountVectorizer(max_features=300, stop_words="english")
    x = vectorizer.fit_transform(ours + theirs).toarray()
    model = RandomForestClassifier(50, min_samples_leaf=3, random_state=0)
    model.fit(x, np.repeat([1, 0], [len(ours), len(theirs)]))
    shares = model.predict_proba(x[: len(ours)])[:, 1]
    every, distinct = _chosen(ours, shares, (60, 90))
    table, terms = _counts(every, distinct, vectorizer)

    def outputs(masks: np.ndarray) -> np.ndarray:
        counts = np.zeros((len(masks), x.shape[1]), np.float32)
        counts[:, terms] = masks @ table
        return np.asarray(model.predict_proba(counts)[:, 1])

    return MaskBed(f"text, {len(distinct)} words, counts and a forest", "text", len(distinct),
                   outputs, evaluations, 5000)  # fmt: skip
