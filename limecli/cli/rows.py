"""From a table and a model to instances and a background: who needs which column, and what fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limecli.errors import InputError, PredictError, UsageError
from limecli.inputs.background import (
    MIN_ROWS,
    background_from_table,
    is_background_json,
    read_background,
)
from limecli.inputs.files import read_input
from limecli.inputs.real_rows import real_rows
from limecli.inputs.recovery import recover_background
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.table import Table, check_features, read_table, require_column, select_rows
from limecli.models.column_names import called_as_in
from limecli.models.frames import bind_columns, decode
from limecli.types import Background, Column, Instance, Predictor, Skipped

if TYPE_CHECKING:
    from limecli.types import FloatArray


class NoGoodRowError(InputError):
    """Not one of the rows can be encoded; others, which come later, may."""


@dataclass(frozen=True)
class Rows:
    """The rows asked for, encoded by a background.

    `known` is it as it was found, without the categories that only these rows have.
    """

    table: Table
    known: Background
    background: Background
    instances: tuple[Instance, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    real: FloatArray | None

    @classmethod
    def read(
        cls,
        path: str,
        choice: str | None,
        predictor: Predictor,
        background_path: str | None,
        id_column: str | None,
        target: str | None,
        categorical: tuple[str, ...],
        discretizer: str | None,
        from_model: bool = False,
    ) -> Rows:
        """Read ROWS and find the background: file, sidecar, the model, or the rows themselves.

        Raises InputError for what does not fit the model, UsageError for options that do not fit
        the table.
        """
        return cls.of(
            read_table(path), choice, predictor, background_path, id_column, target, categorical,
            discretizer, from_model,
        )  # fmt: skip

    @classmethod
    def of(
        cls,
        table: Table,
        choice: str | None,
        predictor: Predictor,
        background_path: str | None,
        id_column: str | None,
        target: str | None,
        categorical: tuple[str, ...],
        discretizer: str | None,
        from_model: bool = False,
        head: bool = False,
    ) -> Rows:
        """As `read`. The `head` of a stream is never its own background, and what is odd in its
        rows is told by who reads them.
        """
        predictor = _called_as_in(predictor, table)
        if id_column is not None:
            require_column(table, id_column, "--id-column")
        chosen = select_rows(table, choice, id_column)
        if choice is not None and choice.startswith("id=") and id_column is None:
            id_column = "id"
        left_out = {name for name in (id_column, target) if name is not None}
        source = _BackgroundSource(
            predictor, left_out, categorical, discretizer or "quartile", target, not head
        )
        background, notes, data = (
            source.inside(table) if from_model else source.find(background_path, table)
        )
        if discretizer not in (None, "none", background.discretizer):
            raise InputError(
                f"{background.path} holds {background.discretizer} bins, not {discretizer}",
                f"make another: limecli background TRAIN --discretizer {discretizer} -o stats.json",
            )
        if target in background.feature_names:
            raise UsageError(f"--target {target}: the model uses this column as a feature")
        check_features(table, background.feature_names)
        spare = [
            name for name in table.columns
            if name not in background.feature_names and name not in left_out
        ]  # fmt: skip
        if spare:
            names = ", ".join(spare[:8]) + (", ..." if len(spare) > 8 else "")
            notes.append(f"ignored columns that the model does not use: {names}")
        encoder = RowEncoder(background)
        instances: list[Instance] = []
        skipped: list[Skipped] = []
        for i in chosen:
            row_id = str(i) if id_column is None else str(table.cells[id_column][i])
            item = encoder.encode(table, i, row_id)
            if isinstance(item, Skipped):
                skipped.append(item)
            else:
                instances.append(item)
        if not instances:
            raise NoGoodRowError(skipped[0].reason)
        if not head:
            notes.extend(encoder.notes.values())
        known = background
        # With the categories that only these rows have: their codes must have a name.
        background = replace(background, columns=encoder.columns)
        real = None if data is None else real_rows(data, background.columns)
        return cls(table, known, background, tuple(instances), tuple(skipped), tuple(notes), real)

    def bound(self, predictor: Predictor) -> Predictor:
        """The predictor over matrices of codes."""
        return bind_columns(predictor, self.background.columns)


def _called_as_in(predictor: Predictor, table: Table) -> Predictor:
    """The predictor under the table's own names, its categories too."""
    found = called_as_in(predictor, table.columns)
    own = dict(zip(predictor.feature_names or (), found.feature_names or (), strict=True))
    return replace(found, categories={own[name]: k for name, k in predictor.categories.items()})


@dataclass(frozen=True)
class _BackgroundSource:
    predictor: Predictor
    left_out: set[str]
    categorical: tuple[str, ...]
    discretizer: str
    target: str | None
    own_rows: bool

    def find(self, path: str | None, rows: Table) -> tuple[Background, list[str], Table | None]:
        """The first background that exists, what to say about it, and real rows to judge by.

        These are the background's own where it is a table, else those of ROWS if they are many.
        """
        many = rows if len(rows) >= MIN_ROWS else None
        if path is not None:
            if path != "-" and Path(path).is_file() and is_background_json(read_input(path).data):
                return self._for_model(read_background(path, "file")), [], many
            data = read_table(path)
            return self._from_data(data), [], data
        sidecar = f"{self.predictor.path}.background.json"
        if Path(sidecar).is_file():
            found = self._for_model(read_background(sidecar, "sidecar"))
            return found, [f"background: {sidecar} ({found.rows} rows)"], many
        inside, notes, reason = self._recovered(rows)
        if inside is not None:
            return inside, notes, many
        if self.own_rows and len(rows) >= MIN_ROWS:
            background = replace(self._from_data(rows), source="rows")
            return background, [f"background: the {len(rows)} rows of {rows.name}"], rows
        few = f", and {rows.name} has fewer than {MIN_ROWS} rows" if self.own_rows else ""
        raise InputError(
            f"no background: LIME needs to know how the features are spread, but {reason}{few}",
            "give --background TRAIN.csv, or put statistics beside the model: limecli background"
            f" TRAIN.csv -o {sidecar}",
        )

    def inside(self, rows: Table) -> tuple[Background, list[str], Table | None]:
        """As `find`, but only what the model itself tells."""
        found, notes, reason = self._recovered(rows)
        if found is None:
            raise InputError(f"no background: {reason}")
        return found, notes, None

    def _recovered(self, rows: Table) -> tuple[Background | None, list[str], str]:
        """The background inside the model, or the reason why there is none."""
        if self.categorical:
            return None, [], "--categorical names columns that no model knows of"
        if self.predictor.fitted is None:
            return None, [], f"a model of the format {self.predictor.format} tells nothing of it"
        if self.discretizer == "entropy":
            return None, [], "no model remembers the labels that --discretizer entropy needs"
        names = self._names(rows)
        values = {name: list(rows.raw[name]) for name in names}
        try:
            background, notes = recover_background(
                self.predictor.fitted, names, self.discretizer, values, self.predictor.categories
            )
        except InputError as error:
            return None, [], error.message
        parts = ", ".join(background.recovered_from)
        return background, [f"background: recovered from the model ({parts})", *notes], ""

    def _names(self, table: Table) -> tuple[str, ...]:
        """The model's features, by its own names or else by the table's."""
        names = self.predictor.feature_names
        if names is None:
            names = tuple(name for name in table.columns if name not in self.left_out)
            self._check_count(names, table.name)
        check_features(table, names)
        return names

    def _from_data(self, table: Table) -> Background:
        names = self._names(table)
        spelled = tuple(name for name in self.predictor.text_features if name in names)
        return background_from_table(
            table, names, self.discretizer, self.categorical, target=self.target, spelled=spelled
        )

    def _for_model(self, background: Background) -> Background:
        """Statistics cut down to the model's features, in its order."""
        if self.categorical:
            raise UsageError(
                f"--categorical: {background.path} has its columns settled",
                "say it when you make the statistics: limecli background --categorical",
            )
        names = self.predictor.feature_names
        if names is None:
            self._check_count(background.feature_names, str(background.path))
            return background
        known = {column.name: column for column in background.columns}
        missing = [name for name in names if name not in known]
        if missing:
            raise InputError(
                f"{background.path} lacks the feature {missing[0]!r} that the model needs",
                "make it from the training data: limecli background TRAIN -o stats.json",
            )
        return replace(background, columns=tuple(known[name] for name in names))

    def _check_count(self, names: Sequence[str], where: str) -> None:
        n = self.predictor.n_features
        if n is not None and n != len(names):
            raise InputError(
                f"the model takes {n} features, but {where} has {len(names)} columns:"
                f" {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}",
                "name the columns that are no features with --target and --id-column",
            )


def probe(rows: Rows, predictor: Predictor) -> tuple[list[Instance], list[Skipped]]:
    """Try the model on the rows, and on missing values where the background has them.

    A row that the model refuses for a missing or unseen value is skipped with a reason; when none
    is left, or the background's own missing values are refused, InputError. Whatever else the model
    raises is a PredictError.
    """
    bound = rows.bound(predictor)
    good, skipped = list(rows.instances), list(rows.skipped)
    try:
        answers = bound.predict_fn(np.stack([instance.payload for instance in good]))
        if len(good) == 1:  # asked alone, as an engine would ask again
            good = [replace(good[0], outputs=answers[0])]
    except PredictError:
        odd = [instance for instance in good if _unusual(instance, rows.background.columns)]
        if not odd:
            raise
        good = [instance for instance in good if not _unusual(instance, rows.background.columns)]
        for instance in odd:
            try:
                bound.predict_fn(instance.payload[None])
                good.append(instance)
            except PredictError as error:
                skipped.append(_refused(instance, rows, error))
        good.sort(key=lambda instance: instance.index)
    if not good:
        raise InputError(
            skipped[0].reason,
            "fill it in, put an imputer into the model, or give a category that the model knows",
        ) from None
    probe_missing(rows, bound, good[0])
    return good, skipped


def probe_integers(rows: Rows, predictor: Predictor, instance: Instance) -> list[str]:
    """Say so when the model answers differently for whole numbers as integers than as floats.

    LIME draws floats; a model that compares or spells integers treats them as categories.
    """
    columns = rows.background.columns
    frame = decode(instance.payload[None], columns)
    whole = [
        column.name for column, value in zip(columns, instance.values, strict=True)
        if column.continuous and isinstance(value, int)
    ]  # fmt: skip
    if not whole:
        return []
    try:
        as_integers = predictor.predict_fn(frame.astype(dict.fromkeys(whole, "int64")))
    except PredictError:
        return []
    if np.allclose(as_integers, predictor.predict_fn(frame), rtol=1e-6, atol=1e-9):
        return []
    names = ", ".join(whole[:8])
    return [
        f"the model answers differently for integers and floats in {names}: name the columns that"
        " are categories with --categorical"
    ]


def _unusual(instance: Instance, columns: tuple[Column, ...]) -> list[str]:
    """Columns in which the row is missing, or holds a category that the background never had."""
    return [
        column.name
        for column, code, value in zip(columns, instance.payload, instance.values, strict=True)
        if value is None or (not column.continuous and code not in column.feature_values)
    ]


def _refused(instance: Instance, rows: Rows, error: PredictError) -> Skipped:
    names = _unusual(instance, rows.background.columns)
    values = dict(zip(rows.background.feature_names, instance.values, strict=True))
    cells = ", ".join(
        f"{name!r} is " + ("missing" if values[name] is None else f"{values[name]!r}")
        for name in names
    )
    reason = f"{rows.table.name}, row {instance.index}: {cells}, which the model refuses"
    return Skipped(instance.id, instance.index, f"{reason} ({error.message[:120]})", "input")


def probe_missing(rows: Rows, bound: Predictor, instance: Instance) -> None:
    """Raise InputError when the background has missing values that the model does not take."""
    gaps = [j for j, column in enumerate(rows.background.columns) if column.has_missing]
    for j in gaps:
        sample = instance.payload.copy()
        column = rows.background.columns[j]
        sample[j] = np.nan if column.continuous else column.missing_code
        try:
            bound.predict_fn(sample[None])
        except PredictError as error:
            raise InputError(
                f"{rows.background.path or 'the background'} has missing values in"
                f" {column.name!r}, but the model takes none ({error.message[:120]})",
                "fill or drop them in the background, or put an imputer into the model",
            ) from None
