"""A flip holds, needs each of its changes, goes no further than it must, and obeys the rules."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limecli.surrogate.flips import Crossing, Decision, Problem, Space, search

REACH = Decision(1, leave=False)


class Model:
    """Two labels by a score that is above 0 or not; counts what it is asked."""

    def __init__(self, score):
        self.score, self.evaluations, self.calls = score, 0, 0

    def __call__(self, rows):
        self.evaluations += len(rows)
        self.calls += 1
        chance = 1 / (1 + np.exp(-np.asarray(self.score(rows), float)))
        return np.column_stack([1 - chance, chance])


def numbers(d, *, low=-10.0, high=10.0, whole=False):
    """A space of d numbers that may all change."""
    no = np.zeros(d, np.bool_)
    ends = np.full(d, low), np.full(d, high)
    return Space(no, ~no, np.full(d, whole), *ends, np.full(d, -1))


def problem(model, origin, samples, space=None, *, goal=REACH, clear=0.0, strength=None):
    origin, samples = np.asarray(origin), np.asarray(samples)
    d = len(origin)
    strength = np.zeros(d) if strength is None else np.asarray(strength, float)
    space = space or numbers(d)
    pools = (lambda kept: space.within(samples, origin),)
    return Problem(goal, clear, origin, space, strength, pools)


def run(asked, model, count=1):
    """The rows of the flips found, in their order."""
    asking = search(asked, count)
    try:
        rows = next(asking)
        while True:
            rows = asking.send(model(rows))
    except StopIteration as ended:
        for flip in ended.value:
            assert model(flip.row[None])[0] == pytest.approx(flip.answer, rel=1e-9)
        return [flip.row for flip in ended.value]


def test_a_threshold_of_one_feature_is_found_to_two_digits():
    model = Model(lambda rows: rows[:, 2] - 3.14159)
    sample = np.full((1, 5), 9.0)
    (row,) = run(problem(model, np.zeros(5), sample), model)
    assert row.tolist() == [0, 0, pytest.approx(3.2), 0, 0]


def test_and_keeps_both_features_each_at_its_own_threshold():
    model = Model(lambda rows: np.where((rows[:, 0] > 2) & (rows[:, 3] < -5), 1, -1))
    (row,) = run(problem(model, np.zeros(4), [[9.0, 9, 9, -9]]), model)
    assert row[[1, 2]].tolist() == [0, 0]
    assert 2 < row[0] <= 2.1
    assert -5.1 <= row[3] < -5


def test_or_keeps_one_feature():
    model = Model(lambda rows: np.where((rows[:, 0] > 2) | (rows[:, 3] < -5), 1, -1))
    (row,) = run(problem(model, np.zeros(4), [[9.0, 9, 9, -9]]), model)
    assert np.count_nonzero(row) == 1


def test_a_sum_keeps_no_more_features_than_it_takes():
    weights = np.array([5.0, 1, 1, 1, 4, 1])
    model = Model(lambda rows: rows @ weights - 7.5)
    (row,) = run(problem(model, np.zeros(6), np.ones((1, 6))), model)
    assert np.flatnonzero(row).tolist() == [0, 4]
    assert 7.5 < row @ weights <= 7.9  # both moved back, and rounded


def test_exclusive_or():
    model = Model(lambda rows: np.where((rows[:, 0] > 0.5) ^ (rows[:, 1] > 0.5), 1, -1))
    samples = [[0.9, 0.4, 1], [0.9, 0.9, 1], [0, 0, 1.0]]
    back = Decision(0, leave=False)
    (row,) = run(problem(model, [0.0, 1, 0], samples, goal=back), model)
    assert np.count_nonzero(row != [0, 1, 0]) == 1


def test_hard_labels_are_enough_and_the_surrogate_says_where_to_look():
    """Without probabilities nothing but the surrogate tells one feature from another."""
    model = Model(lambda rows: np.where(rows[:, [7, 8, 9]].sum(axis=1) >= 3, 50, -50))
    strength = np.arange(20) == 8
    asked = problem(model, np.zeros(20), np.ones((1, 20)), strength=strength)
    (row,) = run(asked, model)
    assert np.flatnonzero(row).tolist() == [7, 8, 9]


def test_the_candidate_with_the_fewest_changes_is_taken_and_those_that_do_not_hold_are_not():
    model = Model(lambda rows: np.where(rows[:, 0] > 0, rows[:, 1], rows[:, 2]) - 0.5)
    samples = [[0.0, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]
    (row,) = run(problem(model, np.zeros(4), samples), model)
    assert row[0] > 0
    assert 0.5 < row[1] <= 0.6
    assert row[2:].tolist() == [0, 0]


def test_whole_numbers_stay_whole():
    model = Model(lambda rows: rows[:, 0] - 3.5)
    (row,) = run(problem(model, [0.0], [[9.0]], numbers(1, whole=True)), model)
    assert row.tolist() == [4.0]


def test_values_stay_within_the_range():
    model = Model(lambda rows: rows[:, 0] - 3.5)
    (row,) = run(problem(model, [-5.0], [[90.0]], numbers(1, low=0.0, high=3.52)), model)
    assert 3.5 < row[0] <= 3.52
    assert run(problem(model, [-5.0], [[90.0]], numbers(1, low=0.0, high=3.4)), model) == []


def test_a_missing_value_is_put_back_where_the_flip_holds_without_it():
    model = Model(lambda rows: np.where(np.isnan(rows[:, 0]) | (rows[:, 1] > 2), 1, -1))
    origin = [0.0, 0.0]
    (row,) = run(problem(model, origin, [[np.nan, 9.0]]), model)
    assert row[0] == 0
    assert 2 < row[1] <= 2.1
    (row,) = run(problem(model, origin, [[np.nan, 1.0]]), model)
    assert np.isnan(row[0])
    assert row[1] == 0


def test_a_missing_value_may_become_a_number():
    model = Model(lambda rows: np.where(np.isnan(rows[:, 0]), -1, rows[:, 0] - 2))
    (row,) = run(problem(model, [np.nan, np.nan], [[7.123456, np.nan]]), model)
    assert row[0] == 7.1
    assert np.isnan(row[1])


def test_several_flips_have_different_features():
    model = Model(lambda rows: np.where((rows > [2, 3, 4, 99]).any(axis=1), 1, -1))
    rows = run(problem(model, np.zeros(4), np.full((1, 4), 9.0)), model, count=5)
    assert sorted(np.flatnonzero(row).tolist() for row in rows) == [[0], [1], [2]]


@pytest.mark.parametrize("goal", [Decision(0, leave=True), Decision(2, leave=False)])
def test_of_equal_outputs_the_first_is_decided_for(goal):
    outputs = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.4, 0.2, 0.4], [0.1, 0.1, 0.8]])
    assert goal.holds(outputs).tolist() == (
        [False, True, False, True] if goal.leave else [False, False, False, True]
    )


def test_a_threshold_itself_counts_as_reached():
    outputs = np.array([[4.9], [5.0], [5.1]])
    assert Crossing(5.0, upward=True).holds(outputs).tolist() == [False, True, True]
    assert Crossing(5.0, upward=False).holds(outputs).tolist() == [True, False, False]
    assert Crossing(5.0, upward=False).margin(outputs) == pytest.approx([0.1, 0, -0.1])


def test_a_flip_is_past_the_border_by_more_than_rounding_or_on_it():
    model = Model(lambda rows: rows[:, 0] - 1e-9)
    asked = problem(model, [-1.0], [[2e-9]], clear=1e-4)
    assert run(asked, model) == []
    half = Model(lambda rows: rows[:, 0] * 0.0)
    back = problem(half, [1.0], [[0.0]], clear=1e-4, goal=Decision(0, leave=False))
    assert len(run(back, half)) == 1


def test_a_thousand_features_cost_few_evaluations():
    rng = np.random.default_rng(0)
    weights = np.zeros(1000)
    weights[[17, 400, 871]] = 1.0
    model = Model(lambda rows: rows @ weights - 2.5)
    (row,) = run(problem(model, np.zeros(1000), rng.uniform(0.9, 1.0, (40, 1000))), model)
    assert np.flatnonzero(row).tolist() == [17, 400, 871]
    assert model.evaluations < 700
    assert model.calls < 40


def test_a_model_that_never_says_the_same_twice_ends_the_search():
    rng = np.random.default_rng(0)
    asked = problem(None, np.zeros(6), rng.normal(size=(20, 6)))
    asking = search(asked, 2)
    rows = next(asking)
    asked_for = 0
    with suppress(StopIteration):
        while asked_for < 5000:
            asked_for += len(rows)
            rows = asking.send(rng.random((len(rows), 2)))
    assert asked_for < 500


def random_model(rng, d):
    """Sums of boxes and a linear part, some of them steps: nothing that a search could assume."""
    weights = rng.normal(size=d) * (rng.random(d) < 0.6) * rng.choice([0.0, 1.0])
    boxes = [(rng.integers(0, d, 2), rng.uniform(-2, 2, 2), rng.normal() * 2) for _ in range(4)]

    def score(rows):
        total = rows @ weights - 0.5
        for features, edges, height in boxes:
            total = total + height * (rows[:, features] > edges).all(axis=1)
        return total

    return Model(score)


@settings(deadline=None, max_examples=150, derandomize=True, database=None)
@given(seed=st.integers(0, 10**9), d=st.integers(1, 8), count=st.integers(1, 3))
def test_every_flip_holds_needs_each_change_and_obeys_the_rules(seed, d, count):
    rng = np.random.default_rng(seed)
    model = random_model(rng, d)
    whole, fixed = rng.random(d) < 0.3, rng.random(d) < 0.2
    space = Space(
        fixed, rng.random(d) < 0.8, whole, np.full(d, -2.0), np.full(d, 2.0), np.full(d, -1)
    )
    origin = np.where(whole, rng.integers(-3, 4, d), rng.uniform(-3, 3, d))
    samples = np.where(space.numbers, rng.normal(size=(60, d)) * 2, rng.integers(0, 3, (60, d)))
    decided = int(model(origin[None])[0].argmax())
    goal = Decision(1 - decided, leave=False)
    asked = problem(model, origin, samples, space, goal=goal)
    rows = run(asked, model, count)
    sets = []
    for row in rows:
        changed = np.flatnonzero(row != origin)
        sets.append(set(changed.tolist()))
        assert goal.holds(model(row[None]))[0]
        for j in changed:
            without = np.where(np.arange(d) == j, origin, row)
            assert not asked.flipped(model(without[None]))[0]
        assert not fixed[changed].any()
        moved = row[changed][space.numbers[changed]]
        assert (np.abs(moved) <= 2).all()
        assert (row[whole & space.numbers] % 1 == 0).all()
    assert not any(a <= b for i, a in enumerate(sets) for k, b in enumerate(sets) if i != k)
    again = run(asked, model, count)
    assert [row.tolist() for row in again] == [row.tolist() for row in rows]
    if asked.flipped(model(space.within(samples, origin))).any():
        assert rows
