"""A text as words or characters, and texts with some of them gone: what lime perturbs.

lime's IndexedString and IndexedCharacters, with all their habits: what lies between words stays
where it is, and a bag of words loses every place of a word at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.errors import InputError, UsageError
from limecli.explainers.assemble import Describe
from limecli.types import Instance, LimeSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_SPLIT = r"\W+"
_SHOWN = 40
_TOGETHER = 64  # texts whose characters are looked up at a time


class Tokens:
    """The words of a text, numbered by first occurrence (by place, without a bag of words).

    `words[i]` is word i, `starts[i]` are the characters where it begins. Raises UsageError for a
    split expression that is none, InputError for a text without words.
    """

    def __init__(self, instance: Instance, settings: LimeSettings) -> None:
        text: str = instance.payload
        self.text = text
        self._mask = settings.mask_string if settings.bow is False else None
        self._tokens, is_word = _cut(text, settings)
        self.words: list[str] = []
        self.starts: list[list[int]] = []
        self._word_of = np.full(len(self._tokens), -1)
        known: dict[str, int] = {}
        start = 0
        for place, token in enumerate(self._tokens):
            if is_word(token):
                word = known.get(token) if self._mask is None else None
                if word is None:
                    word = known[token] = len(self.words)
                    self.words.append(token)
                    self.starts.append([])
                self.starts[word].append(start)
                self._word_of[place] = word
            start += len(token)
        if not self.words:
            shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
            raise InputError(
                f"the text {shown!r} has no words to explain",
                "--char-level explains characters, --split-expression says where words end",
            )
        self._set_up_characters()

    def _set_up_characters(self) -> None:
        """Every character with its word, so that removing words is one look-up and one mask."""
        joined = "".join(self._tokens)
        self._coding, width = ("ascii", np.uint8) if joined.isascii() else ("utf-32-le", np.uint32)
        # Lone surrogates come from arguments that are not UTF-8; models see them as they are.
        data = joined.encode(self._coding, "surrogatepass")
        self._characters = np.frombuffer(data, width)
        self._word_of_character = np.repeat(self._word_of, [len(token) for token in self._tokens])

    @cached_property
    def may_coincide(self) -> bool:
        """Whether texts may be equal though other words are gone: words that touch, say."""
        words = self._word_of >= 0
        touching = bool((words[1:] & words[:-1]).any())
        mask = self._mask
        alike = all(len(word) == 1 for word in self.words) and (mask is None or len(mask) == 1)
        return (touching and not alike) or mask == "" or mask in self.words

    def without(self, kept: NDArray[np.bool_]) -> list[str]:
        """A text for each row of `bool[n, n_words]`, in which the words that it drops are gone."""
        # The last entry, which is that of number -1, stands for what lies between words.
        padded = np.append(kept, np.ones((len(kept), 1), np.bool_), axis=1)
        texts = []
        for start in range(0, len(padded), _TOGETHER):
            rows = padded[start : start + _TOGETHER]
            texts += self._masked(rows) if self._mask is not None else self._removed(rows)
        if len(texts) and kept[0].all():
            texts[0] = self.text  # which a split expression with groups does not keep
        return texts

    def _masked(self, padded: NDArray[np.bool_]) -> list[str]:
        # As objects: numpy's own strings lose a NUL at their end.
        tokens, mask = (np.array(x, dtype=object) for x in (self._tokens, self._mask))
        return ["".join(np.where(row, tokens, mask)) for row in padded.take(self._word_of, axis=1)]

    def _removed(self, padded: NDArray[np.bool_]) -> list[str]:
        characters, coding = self._characters, self._coding
        return [
            characters.compress(row).tobytes().decode(coding, "surrogatepass")
            for row in padded.take(self._word_of_character, axis=1)
        ]

    def notes(self) -> tuple[str, ...]:
        """What to say of a text that was not cut up."""
        unspaced = any("\u3040" <= char <= "\u9fff" for char in self.text)
        if len(self.words) == 1 and (unspaced or len(self.text.strip()) > 20):
            return ("the whole text is one token: --char-level or --split-expression cut it up",)
        return ()


def describe_tokens(tokens: Tokens) -> Describe:
    """Name a text's features by the word and the characters where it stands."""

    def describe(j: int) -> dict[str, Any]:
        word = tokens.words[j]
        positions = tuple((start, start + len(word)) for start in tokens.starts[j])
        return {"feature": word, "condition": None, "value": None, "positions": positions}

    return describe


def _cut(text: str, settings: LimeSettings) -> tuple[list[str], Callable[[str], bool]]:
    if settings.char_level:
        return list(text), bool
    expression = settings.split_expression or DEFAULT_SPLIT
    try:
        splitter = re.compile(rf"({expression})|$")
    except re.error as error:
        raise UsageError(
            f"--split-expression {expression} is no regular expression: {error}"
        ) from None
    tokens = [token for token in splitter.split(text) if token]
    return tokens, lambda token: splitter.match(token) is None
