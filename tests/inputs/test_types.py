"""What a table's cells mean: as `pandas.read_csv` has it, and as lime sums it up."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lime.discretize import DecileDiscretizer, QuartileDiscretizer
from sklearn.preprocessing import StandardScaler

from limecli.inputs.background import background_from_table, continuous_column
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.table import Table, read_table
from limecli.types import Skipped

CELLS = ["1", "2.5", "-3e4", "", "NA", "nan", "True", "False", "true", "x", "two words", ' "',
         "a,b", "9" * 25, "007", " 5", "inf", "1_000", "é", "None"]  # fmt: skip


def one_column_at_a_time(table):
    """How limecli typed a table at first: each column written and read again."""
    typed = {}
    for name in table.columns:
        text = io.StringIO()
        table.raw[name].to_csv(text, index=False, header=["x"], na_rep="")
        text.seek(0)
        column = pd.read_csv(text, skip_blank_lines=False, low_memory=False)["x"]
        words = table.raw[name].isna() & column.notna()  # beside whole numbers over 64 bits
        typed[name] = column.mask(words) if words.any() else column
    return pd.DataFrame(typed)


@given(st.lists(st.tuples(*[st.sampled_from(CELLS)] * 3), min_size=1, max_size=12))
def test_columns_have_the_types_that_each_has_alone(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    frame = pd.DataFrame([("key", *row) for row in rows], columns=[" key ", "a", "b", "c"])
    frame.to_csv(path, index=False)
    table = read_table(str(path))
    pd.testing.assert_frame_equal(table.typed, one_column_at_a_time(table))


@pytest.mark.parametrize("text", [
    "a,b\n1,True\n,False\n3,\n", "a;b\n1;x\n2;\n", "a\n1\n\n2\n", "a,b\n1,\n2,\n", "a,b\n1,2\n3\n",
    '\n \na,b\n"1","x\ny"\n2," z "\n',
])  # fmt: skip
def test_odd_tables_have_the_types_that_each_column_has_alone(tmp_path, text):
    (tmp_path / "rows.csv").write_text(text)
    table = read_table(str(tmp_path / "rows.csv"))
    pd.testing.assert_frame_equal(table.typed, one_column_at_a_time(table))


NUMBERS = st.floats(-1e12, 1e12) | st.sampled_from([0.0, 1.0, -1.0, 1e-300])


@pytest.mark.parametrize(
    ("name", "discretizer"), [("quartile", QuartileDiscretizer), ("decile", DecileDiscretizer)]
)
@given(values=st.lists(NUMBERS, min_size=1, max_size=60))
def test_bins_are_limes_to_the_last_bit(name, discretizer, values):
    data = np.array(values)[:, None]
    column = continuous_column("x", data[:, 0], name, 0.0, 1.0, None)
    lime = discretizer(data, [], ["x"], random_state=0)
    assert column.bins == tuple(np.unique(lime.bins(data, None)[0]).tolist())
    for key in ("means", "stds", "mins", "maxs"):
        assert getattr(column, key) == tuple(float(x) for x in getattr(lime, key)[0])
    codes, counts = np.unique(lime.discretize(data)[:, 0], return_counts=True)
    assert column.feature_values == tuple(codes.tolist())
    assert column.feature_frequencies == tuple((counts / float(len(data))).tolist())


def test_the_scaler_is_limes(tmp_path):
    data = np.random.default_rng(0).normal(3, 5, (200, 3))
    pd.DataFrame(data, columns=list("abc")).to_csv(tmp_path / "train.csv", index=False)
    table = read_table(str(tmp_path / "train.csv"))
    background = background_from_table(table, ["a", "b", "c"], "none")
    scaler = StandardScaler(with_mean=False).fit(np.ascontiguousarray(table.typed))
    assert [column.mean for column in background.columns] == scaler.mean_.tolist()
    assert [column.scale for column in background.columns] == scaler.scale_.tolist()


def test_a_row_is_encoded_without_a_look_at_the_others(tmp_path):
    (tmp_path / "rows.csv").write_text("x,c\n" + "".join(f"{i},v{i % 3}\n" for i in range(60)))
    table = read_table(str(tmp_path / "rows.csv"))
    encoder = RowEncoder(background_from_table(table, ["x", "c"], "quartile"))
    assert encoder.encode(table, 7, "7").values == (7, "v1")
    for name in table.columns:
        assert np.shares_memory(table.cells[name], table.raw[name].to_numpy())


def test_the_same_faulty_category_is_refused_in_every_row(tmp_path):
    (tmp_path / "train.csv").write_text("c,x\n" + "".join(f"{i % 3},{i}\n" for i in range(40)))
    train = read_table(str(tmp_path / "train.csv"))
    encoder = RowEncoder(background_from_table(train, ["c", "x"], "quartile", ["c"]))
    rows = Table("rows", "", pd.DataFrame({"c": ["b", "b"], "x": ["1", "2"]}, dtype=object))
    assert all(isinstance(encoder.encode(rows, i, str(i)), Skipped) for i in range(2))
