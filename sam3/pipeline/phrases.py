"""Prompt text to phrases: split, clean, and cut what the text encoder could not read.

The text encoder reads 32 tokens, start and end token included. A longer phrase is cut here, between
words, with a warning that shows where; the encoder would otherwise drop the rest in silence.
"""

from __future__ import annotations

import logging
import re
from typing import Protocol

from ..errors import InputError

log = logging.getLogger(__name__)

DEFAULT_PHRASE = "object"
CONTEXT_LENGTH = 32
_SPECIAL_TOKENS = 2  # start and end

# The ASCII comma and its two East Asian forms, and every kind of line break.
_SEPARATORS = re.compile("[,\uff0c\u3001\n\r\v\f\x85\u2028\u2029]+")


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without start and end tokens."""
        ...


def split_phrases(text: str) -> list[str]:
    """Split a prompt at commas and line breaks.

    Args:
        text: the prompt, e.g. ``"red circle, a dog"``.

    Returns:
        At least one phrase, in order, white space collapsed, repeats dropped (letter case does not
        count, as the tokenizer lowers it). A prompt without any phrase gives ``["object"]``.

    Raises:
        InputError: the prompt is not text.
    """
    if not isinstance(text, str):
        raise InputError(
            f"The prompt must be text, got {type(text).__name__}. "
            'Give words such as "red circle", or several phrases separated by commas or lines.'
        )
    phrases: dict[str, str] = {}
    for part in _SEPARATORS.split(text):
        phrase = " ".join(part.split())
        if phrase:
            phrases.setdefault(phrase.casefold(), phrase)
    return list(phrases.values()) or [DEFAULT_PHRASE]


def cut_phrase(phrase: str, tokenizer: Tokenizer, context_length: int = CONTEXT_LENGTH) -> str:
    """Cut a phrase to what the text encoder reads, and warn when something was cut.

    Args:
        phrase: one phrase of any length.
        tokenizer: the model's tokenizer.
        context_length: tokens the encoder reads, start and end included.

    Returns:
        The phrase itself, or its longest beginning of whole words that fits. A first word that is
        too long on its own is cut inside.
    """
    room = context_length - _SPECIAL_TOKENS
    count = len(tokenizer.encode(phrase))
    if count <= room:
        return phrase
    kept = _longest_fitting_start(phrase, tokenizer, room)
    log.warning(
        'The phrase is too long: %d tokens, the model reads %d. It was cut after "%s"; "%s" is '
        "ignored. Use a shorter phrase, or separate phrases with commas.",
        count + _SPECIAL_TOKENS,
        context_length,
        kept,
        _shorten(phrase[len(kept) :].strip()),
    )
    return kept


def prepare_phrases(
    text: str, tokenizer: Tokenizer | None = None, context_length: int = CONTEXT_LENGTH
) -> list[str]:
    """Split a prompt and cut every phrase to the encoder's length.

    Args:
        text: the prompt.
        tokenizer: the model's tokenizer; without one nothing is cut.
        context_length: tokens the encoder reads, start and end included.

    Returns:
        At least one phrase. Phrases that became equal by cutting appear once.

    Raises:
        InputError: the prompt is not text.
    """
    phrases = split_phrases(text)
    if tokenizer is None:
        return phrases
    return list(dict.fromkeys(cut_phrase(p, tokenizer, context_length) for p in phrases))


def _longest_fitting_start(phrase: str, tokenizer: Tokenizer, room: int) -> str:
    """Longest start of whole words with at most ``room`` tokens, or of the first word's letters."""
    kept = ""
    for word in phrase.split(" "):
        longer = f"{kept} {word}" if kept else word
        if len(tokenizer.encode(longer)) > room:
            break
        kept = longer
    if kept:
        return kept
    # One endless word: halve the interval instead of trying every length.
    word = phrase.split(" ")[0]
    fits, too_long = 1, len(word)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if len(tokenizer.encode(word[:middle])) <= room:
            fits = middle
        else:
            too_long = middle
    return word[:fits]


def _shorten(text: str, limit: int = 80) -> str:
    """Text for a log line, at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
