"""Writes limecli/models/trusted_names.txt from the libraries installed here.

Run it in environments with the lowest and the highest supported versions: names are added to those
that the table already has, so that one table serves every version.

    python tests/make_trusted_names.py

What goes in: estimators and the compiled or helper classes that fitted estimators hold, plain data
types, and pure functions that people pass to transformers. What stays out: anything that reads a
file, imports, evaluates, or calls what it is given (`getattr`, `functools.partial`, `operator`,
`joblib.load`, `numpy.load`, `pandas.read_*`, data-set fetchers, test helpers).
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

TABLE = Path(__file__).parent.parent / "limecli" / "models" / "trusted_names.txt"

SKIPPED_PARTS = {"tests", "datasets", "externals", "conftest", "_build_utils", "testing",
                 "experimental", "_testing", "setup", "_min_dependencies", "__main__",
                 "__check_build", "_mocking", "_plotting", "estimator_checks", "_test_common",
                 "keras", "tensorflow"}  # fmt: skip

# Plain values of the standard library and numpy's, pandas' and scipy's own ways to rebuild data.
FIXED = {
    "builtins": "object int float str bool bytes bytearray complex list tuple dict set frozenset"
    " slice range",
    "collections": "OrderedDict defaultdict Counter deque",
    "copyreg": "_reconstructor",
    "datetime": "datetime date timedelta timezone time",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID",
    "numpy": "dtype ndarray matrix mean median sum max min std var nanmean nanmedian asarray array"
    " ravel squeeze",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy._core.numeric": "_frombuffer",
    "numpy.ma": "MaskedArray",
    "numpy.ma.core": "MaskedArray _mareconstruct",
    "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "numpy.random.mtrand": "RandomState",
    "numpy.random._generator": "Generator",
    "pandas": "DataFrame Series Index RangeIndex MultiIndex DatetimeIndex TimedeltaIndex"
    " CategoricalIndex IntervalIndex PeriodIndex Categorical CategoricalDtype StringDtype Int8Dtype"
    " Int16Dtype Int32Dtype Int64Dtype UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype Float32Dtype"
    " Float64Dtype BooleanDtype DatetimeTZDtype IntervalDtype PeriodDtype SparseDtype Timestamp"
    " Timedelta Interval Period NA",
    "pandas.arrays": "DatetimeArray TimedeltaArray IntegerArray FloatingArray BooleanArray"
    " StringArray ArrowStringArray SparseArray IntervalArray PeriodArray NumpyExtensionArray",
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals": "_unpickle_block",
    "pandas._libs.interval": "Interval __pyx_unpickle_IntervalMixin",
    "pandas._libs.missing": "NA",
    "pandas._libs.sparse": "BlockIndex IntIndex",
    "pandas._libs.tslibs.nattype": "__nat_unpickle _nat_unpickle",
    "pandas._libs.tslibs.offsets": "Day Hour Minute Second Milli Micro Nano Week BusinessDay"
    " MonthBegin MonthEnd QuarterEnd YearBegin YearEnd",
    "pandas._libs.tslibs.period": "Period",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
    "pandas._libs.tslibs.timedeltas": "_timedelta_unpickle",
    "pandas.core.frame": "DataFrame",
    "pandas.core.series": "Series",
    "pandas.core.indexes.base": "_new_Index Index",
    "pandas.core.indexes.range": "RangeIndex",
    "pandas.core.indexes.datetimes": "_new_DatetimeIndex DatetimeIndex",
    "pandas.core.internals.managers": "BlockManager SingleBlockManager",
    "pandas.core.dtypes.dtypes": "CategoricalDtype DatetimeTZDtype NumpyEADtype PandasDtype",
    "pandas.core.indexes.interval": "_new_IntervalIndex IntervalIndex",
    "pandas.core.indexes.timedeltas": "_new_TimedeltaIndex TimedeltaIndex",
    "pandas.core.arrays.categorical": "Categorical",
    "pandas.core.arrays.string_": "StringDtype StringArray",
    "scipy._lib.array_api_compat.numpy._aliases": "asarray",
    "scipy.interpolate._bsplines": "BSpline",
    "scipy.interpolate._interpolate": "interp1d",
    "scipy.stats._distn_infrastructure": "rv_continuous_frozen rv_discrete_frozen",
    "sklearn.utils._bunch": "Bunch",
    "sklearn.impute._iterative": "_ImputerTriplet",
    "sklearn.model_selection._search_successive_halving": "_refit_callable",
    # What scikit-learn 0.24 to 1.4 had: known, so that the refusal is about the version.
    "sklearn.ensemble._gb_losses": "BinomialDeviance ExponentialLoss HuberLossFunction"
    " LeastAbsoluteError LeastSquaresError MultinomialDeviance QuantileLossFunction",
    "sklearn.ensemble._hist_gradient_boosting.loss": "BinaryCrossEntropy CategoricalCrossEntropy"
    " LeastAbsoluteDeviation LeastSquares Poisson",
    "sklearn._loss.glm_distribution": "DistributionBoundary GammaDistribution PoissonDistribution"
    " TweedieDistribution",
    "sklearn.linear_model._glm.link": "IdentityLink LogLink",
    "sklearn.utils.validation": "check_array",
    "joblib.numpy_pickle": "NumpyArrayWrapper",
}

# The few names that pickles of data and models really call; all others are only held as values.
CALLED = {
    "builtins": "bytearray bytes complex frozenset range set slice",
    "collections": "Counter OrderedDict defaultdict deque",
    "copyreg": "_reconstructor",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "numpy": "dtype",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy._core.numeric": "_frombuffer",
    "numpy.ma.core": "_mareconstruct",
    "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
    "numpy.random.bit_generator": "__pyx_unpickle_SeedSequence",
    "pandas": "Interval Period PeriodDtype StringDtype",
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals": "_unpickle_block",
    "pandas._libs.interval": "Interval __pyx_unpickle_IntervalMixin",
    "pandas._libs.sparse": "BlockIndex IntIndex",
    "pandas._libs.tslibs.nattype": "__nat_unpickle _nat_unpickle",
    "pandas._libs.tslibs.offsets": "Day Hour Minute Second Milli Micro Nano Week BusinessDay"
    " MonthBegin MonthEnd QuarterEnd YearBegin YearEnd",
    "pandas._libs.tslibs.period": "Period",
    "pandas._libs.tslibs.timedeltas": "_timedelta_unpickle",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
    "pandas.core.arrays.string_": "StringDtype",
    "pandas.core.dtypes.dtypes": "PeriodDtype",
    "pandas.core.indexes.base": "_new_Index",
    "pandas.core.indexes.datetimes": "_new_DatetimeIndex",
    "pandas.core.indexes.interval": "_new_IntervalIndex",
    "pandas.core.indexes.timedeltas": "_new_TimedeltaIndex",
    "pandas.core.internals.managers": "BlockManager SingleBlockManager",
    "sklearn.metrics._dist_metrics": "newObj",
    "sklearn.neighbors._ball_tree": "newObj",
    "sklearn.neighbors._kd_tree": "newObj",
    "sklearn.tree._tree": "Tree",
}
CALLED_MODULES = {
    "sklearn._loss._loss",  # compiled losses
    "sklearn.linear_model._sgd_fast",
}
ABSTRACT = ("LossFunction", "Classification", "Regression")  # bases in them that nobody makes

# The classes of libraries that keep their models in compiled code. Left out: whatever opens a file
# or keeps an address that it frees (DMatrix, Dataset, Pool, CVBooster, TrainingCheckPoint).
BOOSTERS = {
    "xgboost.sklearn": "XGBClassifier XGBRegressor XGBRanker XGBRFClassifier XGBRFRegressor"
    " XGBModel",
    "xgboost.core": "Booster",
    "xgboost.callback": "EarlyStopping EvaluationMonitor",
    "xgboost.collective": "communicator_print",
    "lightgbm.sklearn": "LGBMClassifier LGBMRegressor LGBMRanker LGBMModel",
    "lightgbm.basic": "Booster _InnerPredictor",
    "catboost.core": "CatBoost CatBoostClassifier CatBoostRegressor CatBoostRanker",
}


# Modules of scikit-learn whose classes fitted estimators hold without being estimators.
HELPERS = {
    "sklearn.tree._tree": {"Tree"},
    "sklearn._loss.loss": None,
    "sklearn._loss.link": None,
    "sklearn._loss._loss": None,
    "sklearn.gaussian_process.kernels": None,
    "sklearn.ensemble._hist_gradient_boosting.binning": {"_BinMapper"},
    "sklearn.ensemble._hist_gradient_boosting.predictor": {"TreePredictor"},
    "sklearn.ensemble._gb_losses": None,
    "sklearn.metrics._dist_metrics": None,
    "sklearn.metrics._scorer": None,
    "sklearn.neighbors._kd_tree": None,
    "sklearn.neighbors._ball_tree": None,
    "sklearn.model_selection._split": None,
    "sklearn.model_selection._classification_threshold": {"_CurveScorer"},
    "sklearn.calibration": None,
    "sklearn.linear_model._sgd_fast": None,
    "sklearn.cluster._birch": None,
    "sklearn.cluster._bisect_k_means": None,
    "sklearn.covariance._empirical_covariance": None,
    "sklearn.preprocessing._label": None,
    "sklearn.compose._column_transformer": None,
    "sklearn.neural_network._stochastic_optimizers": None,
    "sklearn.utils._tags": None,
    "sklearn.utils._metadata_requests": {
        "MetadataRequest", "MethodMetadataRequest", "MetadataRouter", "MethodMapping",
        "RouterMappingPair", "MethodPair",
    },
}  # fmt: skip

COMPILED_REBUILDERS = {
    "sklearn.metrics._dist_metrics": "newObj",
    "sklearn.neighbors._kd_tree": "newObj",
    "sklearn.neighbors._ball_tree": "newObj",
    "sklearn.cluster._kmeans": "_kmeans_single_lloyd _kmeans_single_elkan",
}


def modules(package: str) -> Iterator[types.ModuleType]:
    """Every importable module below a package, helpers for tests and data sets left out."""
    root = importlib.import_module(package)
    yield root
    for info in pkgutil.walk_packages(root.__path__, package + ".", onerror=lambda _: None):
        if not SKIPPED_PARTS & set(info.name.split(".")):
            try:
                yield importlib.import_module(info.name)
            except ImportError:
                continue


def own_classes(module: types.ModuleType) -> Iterator[type]:
    """Classes defined in the module itself."""
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield value


def scikit_learn() -> Iterator[tuple[str, str]]:
    """Estimators, the helpers inside them, and metric functions."""
    from sklearn.base import BaseEstimator

    for module in modules("sklearn"):
        helpers = HELPERS.get(module.__name__, set())
        for cls in own_classes(module):
            named = helpers is None or cls.__name__ in helpers
            if issubclass(cls, BaseEstimator) or named:
                yield cls.__module__, cls.__name__
    yield from metric_functions()
    for name, rebuilders in COMPILED_REBUILDERS.items():
        module = importlib.import_module(name)
        yield from ((name, item) for item in rebuilders.split() if hasattr(module, item))
    losses = importlib.import_module("sklearn._loss._loss")
    yield from ((losses.__name__, name) for name in dir(losses) if "__pyx_unpickle_Cy" in name)


def metric_functions() -> Iterator[tuple[str, str]]:
    """Pure functions that people hand to selectors, kernels and scorers."""
    import sklearn.feature_selection as selection
    from sklearn import metrics
    from sklearn.metrics import pairwise

    found = [getattr(metrics, name) for name in metrics.__all__]
    found += [getattr(selection, name) for name in selection.__all__ if name.islower()]
    found += [value for name, value in vars(pairwise).items()
              if name.endswith(("_kernel", "_distances"))]  # fmt: skip
    for value in found:
        own = isinstance(value, types.FunctionType) and value.__module__.startswith("sklearn.")
        if own and value.__name__ not in {"get_scorer", "make_scorer", "check_scoring"}:
            yield value.__module__, value.__name__


def arrays() -> Iterator[tuple[str, str]]:
    """numpy's scalar and dtype classes and ufuncs, scipy's sparse matrices and distributions."""
    import numpy as np
    import scipy.special
    import scipy.stats
    from scipy.stats._distn_infrastructure import rv_generic

    for name, value in vars(np).items():
        is_class = isinstance(value, type) and issubclass(value, np.generic | np.dtype)
        if is_class or (isinstance(value, np.ufunc) and name == value.__name__):
            yield "numpy", name
            if isinstance(value, np.ufunc):
                yield "numpy._core._multiarray_umath", name
    for name, value in vars(np.dtypes).items() if hasattr(np, "dtypes") else ():
        if isinstance(value, type) and issubclass(value, np.dtype):
            yield "numpy.dtypes", name
    for name, value in vars(scipy.special).items():
        if isinstance(value, np.ufunc):
            yield "scipy.special._ufuncs", name
            yield "scipy.special", name
    for layout in ("csr", "csc", "coo", "dok", "lil", "dia", "bsr"):
        for shape in ("matrix", "array"):
            yield f"scipy.sparse._{layout}", f"{layout}_{shape}"
    for family in ("_continuous_distns", "_discrete_distns"):
        module = importlib.import_module(f"scipy.stats.{family}")
        for cls in own_classes(module):
            if issubclass(cls, rv_generic) and cls.__name__.endswith("_gen"):
                yield cls.__module__, cls.__name__


def pandas_classes() -> Iterator[tuple[str, str]]:
    """The classes of pandas under the modules that define them."""
    for module in ("pandas", "pandas.arrays"):
        for name in FIXED[module].split():
            cls = getattr(importlib.import_module(module), name, None)
            if isinstance(cls, type):
                yield cls.__module__, cls.__name__


def boosters() -> Iterator[tuple[str, str]]:
    """XGBoost, LightGBM and CatBoost, those that are installed."""
    for module, names in BOOSTERS.items():
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        yield from ((module, name) for name in names.split() if hasattr(found, name))


def estimators(package: str) -> Iterator[tuple[str, str]]:
    """The estimators that a package defines; none where it is not installed."""
    from sklearn.base import BaseEstimator

    if importlib.util.find_spec(package) is None:
        return
    for module in modules(package):
        for cls in own_classes(module):
            if issubclass(cls, BaseEstimator):
                yield cls.__module__, cls.__name__


def main() -> None:
    """Add this environment's names to the table."""
    warnings.simplefilter("ignore")
    names = {(module, name) for module, text in FIXED.items() for name in text.split()}
    names.update(scikit_learn())
    names.update(arrays())
    names.update(pandas_classes())
    names.update(boosters())
    names.update(estimators("imblearn"))
    names.update(estimators("category_encoders"))
    if TABLE.exists():
        lines = TABLE.read_text("utf-8").splitlines()
        names.update(tuple(line.split()[:2]) for line in lines if line and line[0] != "#")
    names = {pair for pair in names if not SKIPPED_PARTS & set(pair[0].split("."))}
    head = (
        '# Exact (module, name) pairs that a pickle may name without asking; "call": may call.\n'
        "# Written by tests/make_trusted_names.py; add names there, not here.\n"
    )
    called = {(module, name) for module, text in CALLED.items() for name in text.split()}
    lines = []
    for module, name in sorted(names):
        loss = module in CALLED_MODULES and not name.endswith(ABSTRACT)
        call = loss or (module, name) in called
        lines.append(f"{module} {name}{' call' if call else ''}\n")
    TABLE.write_text(head + "".join(lines), "utf-8")
    print(f"{len(names)} names in {TABLE}")


if __name__ == "__main__":
    main()
