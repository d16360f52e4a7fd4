"""Columns that tell what nobody should have to change, recognised by their names.

Those that laws against discrimination name, in English. A name is no proof: other columns can stand
in for these, and a vehicle's age is protected here as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LETTERS = re.compile(r"[^\W\d_]+")
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONGEST = 3
_PROTECTED = frozenset(
    phrase.replace(" ", "")
    for phrase in (
        "sex", "sexes", "gender", "male", "female", "transgender", "sexual orientation",
        "sexuality", "race", "races", "racial", "ethnicity", "ethnicities", "ethnic",
        "ethnic group", "ethnic origin", "caste", "skin color", "skin colour", "skin tone",
        "religion", "religions", "religious", "faith", "belief", "nationality", "nationalities",
        "national origin", "native country", "native language", "mother tongue",
        "country of birth", "country of origin", "birth country", "place of birth", "birth place",
        "citizenship", "citizen", "immigrant", "immigration status", "foreign worker",
        "disability", "disabilities", "disabled", "handicap", "age", "ages", "age group",
        "age range", "age band", "age years", "date of birth", "birth date", "birthday",
        "year of birth", "birth year", "dob", "marital", "marital status", "civil status",
        "married", "pregnancy", "pregnancies", "pregnant", "maternity",
    )
)  # fmt: skip


def protected_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that hold such a word or phrase, in their order."""
    return tuple(name for name in names if _protected(name))


def _protected(name: str) -> bool:
    """Whole words only, however they are joined: age is not in page, but in personAge and AGE_1."""
    words = [word.lower() for letters in _LETTERS.findall(name) for word in _HUMPS.split(letters)]
    return any(
        "".join(words[start:stop]) in _PROTECTED
        for start in range(len(words))
        for stop in range(start + 1, min(start + _LONGEST, len(words)) + 1)
    )
