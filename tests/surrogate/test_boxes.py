"""What a sum over boxes says of rows, against the sum written out."""

from __future__ import annotations

import numpy as np
import pytest

from limecli.leaf_boxes import LeafBoxes
from limecli.surrogate import boxes as module
from limecli.surrogate.boxes import evaluate, probes

INF = np.inf
BOXES = LeafBoxes(
    leaf=np.array([0, 1, 1, 2, 2]),
    factor=np.array([0, 1, 3, 2, 3]),
    feature=np.array([0, 0, 2, 1]),
    low=np.array([-INF, 1.5, -INF, -INF]),
    high=np.array([1.5, INF, 7.0, INF]),
    missing=np.array([False, True, False, False]),
    codes=np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 1]], dtype=bool),
    values=np.array([[1.0, -1.0], [10.0, 20.0], [100.0, 0.5]]),
    offset=np.array([0.25, 0.0]),
    curves={2: lambda x: np.column_stack([x, np.zeros_like(x)])},
)


def written_out(x):
    number, code, third = x
    total = BOXES.offset + np.array([third, 0.0])
    if number <= 1.5:
        total = total + BOXES.values[0]
    elif code in (0, 2):
        total = total + BOXES.values[1]
    if third <= 7 and code in (0, 2):
        total = total + BOXES.values[2]
    return total


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    found = np.column_stack(
        [rng.normal(1.5, 1, 5000), rng.integers(0, 3, 5000), rng.normal(7, 3, 5000)]
    )
    found[::9, 0] = np.nan
    found[::13, 0] = 1.5
    found[1::13, 0] = np.nextafter(1.5, 2)
    return found


def test_every_row_gets_the_leaves_that_it_lies_in(rows):
    expected = np.array([written_out(row) for row in rows])
    assert np.allclose(evaluate(BOXES, rows), expected, rtol=0, atol=1e-12)


def test_small_blocks_give_the_same_sums(rows, monkeypatch):
    whole = evaluate(BOXES, rows)
    monkeypatch.setattr(module, "_CELLS", 1)
    assert np.array_equal(evaluate(BOXES, rows[:100]), whole[:100])


def test_no_row_and_no_leaf():
    assert evaluate(BOXES, np.zeros((0, 3))).shape == (0, 2)
    none = LeafBoxes(
        *(np.zeros(0, int),) * 3, np.zeros(0), np.zeros(0), np.zeros(0, bool),
        np.zeros((0, 0), bool), np.zeros((0, 1)), np.array([4.0]),
    )  # fmt: skip
    assert evaluate(none, np.zeros((3, 2))).tolist() == [[4.0]] * 3
    assert probes(none, 2) == {}


def test_probes_are_the_bounds_their_upper_neighbors_and_what_is_missing():
    found = probes(BOXES, 3)
    assert sorted(found) == [0, 2]
    assert found[0].tolist()[:2] == [1.5, np.nextafter(1.5, INF)]
    assert np.isnan(found[0][2])


def test_of_many_bounds_some_are_taken_from_end_to_end():
    n = 1000
    many = LeafBoxes(
        np.arange(n), np.arange(n), np.zeros(n, int), np.full(n, -INF), np.arange(n) * 1.0,
        np.zeros(n, bool), np.zeros((n, 0), bool), np.ones((n, 1)), np.zeros(1),
    )  # fmt: skip
    found = probes(many, 1)[0]
    assert len(found) <= 200
    assert found[0] == 0.0
    assert n - 1.0 in found
