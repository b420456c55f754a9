"""Byte-level BPE tokenizer of the text encoder (the published CLIP vocabulary).

Vocabulary ids, in order: 256 byte symbols, the same 256 with ``</w>`` (end of word), one id per
merge, then ``<start_of_text>``, ``<end_of_text>`` and any additional special tokens.
``num_merges`` cuts the merge list, which gives small models a small embedding table.
"""

from __future__ import annotations

import gzip
import html
import re
import string
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointFormatError, InputError, MissingDependencyError

DEFAULT_BPE_PATH = Path(__file__).resolve().parents[1] / "assets" / "bpe_simple_vocab_16e6.txt.gz"
DEFAULT_CONTEXT_LENGTH = 77
MAX_MERGES = 49152 - 256 - 2
START_OF_TEXT = "<start_of_text>"
END_OF_TEXT = "<end_of_text>"
PAD_ID = 0
_END_OF_WORD = "</w>"
_BPE_CACHE_LIMIT = 1 << 16
_BLANKS = re.compile(r"\s+")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Order matters: contractions win over the plain runs, wherever they occur.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def _optional(name: str) -> Any:
    """Import a text package at first use, or name the command that installs it."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"the tokenizer needs the package {name!r}: install it with `pip install {name}`"
        ) from error


@cache
def bytes_to_unicode() -> dict[int, str]:
    """Map every byte to one printable character, in vocabulary order.

    Printable bytes stand for themselves and come first; the others follow in ascending order
    as code points 256, 257, … The result is shared: do not change it.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return table


def get_pairs(word: Sequence[str]) -> set[tuple[str, str]]:
    """Return the set of neighbouring symbol pairs of ``word``."""
    return set(zip(word, word[1:], strict=False))


def basic_clean(text: str) -> str:
    """Repair mojibake and odd characters with ftfy, unescape HTML twice, strip."""
    text = _optional("ftfy").fix_text(text)
    return html.unescape(html.unescape(text)).strip()


def whitespace_clean(text: str) -> str:
    """Squeeze every run of white space to one space and strip."""
    return _BLANKS.sub(" ", text).strip()


def canonicalize_text(text: str) -> str:
    """``_`` becomes a space, ASCII punctuation goes, lower case, blanks squeezed."""
    return whitespace_clean(text.replace("_", " ").translate(_PUNCTUATION).lower())


def _clean_lower(text: str) -> str:
    return whitespace_clean(basic_clean(text)).lower()


def _clean_whitespace(text: str) -> str:
    return whitespace_clean(basic_clean(text))


def _clean_canonicalize(text: str) -> str:
    return canonicalize_text(basic_clean(text))


_CLEANERS: dict[str, Callable[[str], str]] = {
    "lower": _clean_lower,
    "whitespace": _clean_whitespace,
    "canonicalize": _clean_canonicalize,
}


def _read_bytes(path: str | Path) -> bytes:
    try:
        if isinstance(path, str) and "://" in path:
            with _optional("iopath.common.file_io").g_pathmgr.open(path, "rb") as file:
                return bytes(file.read())
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the BPE vocabulary {str(path)!r}: {error}. Give the path of "
            f"{DEFAULT_BPE_PATH.name}, or None for the one that comes with the package."
        ) from error


def load_merges(
    path: str | Path | None = None, num_merges: int | None = None
) -> list[tuple[str, str]]:
    """Read the first ``num_merges`` BPE merges (None = all that the model uses) of a vocabulary.

    ``path``: a gzip file of UTF-8 lines, a header and then one ``"a b"`` per line; None is the
    bundled file; strings with ``://`` are opened through iopath.

    Raises InputError (file not readable, ``num_merges`` out of range) and CheckpointFormatError
    (not such a file, truncated or damaged).
    """
    count = MAX_MERGES if num_merges is None else num_merges
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_MERGES:
        raise InputError(f"num_merges must be None or 0..{MAX_MERGES}, got {num_merges!r}")
    path = DEFAULT_BPE_PATH if path is None else path
    try:
        lines = gzip.decompress(_read_bytes(path)).decode("utf-8").split("\n")
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise CheckpointFormatError(
            f"{str(path)!r} is not a complete gzip file of UTF-8 text ({error}); "
            "restore the file or reinstall the package"
        ) from error
    merges = [tuple(line.split()) for line in lines[1 : count + 1]]
    bad = next((i for i, merge in enumerate(merges) if len(merge) != 2), None)
    if bad is not None or len(merges) < count:
        where = f"line {bad + 2} is not a pair" if bad is not None else f"only {len(merges)} merges"
        raise CheckpointFormatError(
            f"{str(path)!r} is not a BPE merge list with {count} merges: {where}; "
            "restore the file or reinstall the package"
        )
    return merges  # type: ignore[return-value]  # every tuple has two entries, checked above


class SimpleTokenizer:
    """Text to ids and back.

    Args:
        bpe_path: vocabulary file, see :func:`load_merges`.
        additional_special_tokens: strings that get one id each, after the two built-in ones.
        context_length: length of the rows that :meth:`__call__` makes by default.
        clean: ``"lower"``, ``"whitespace"`` (keeps the case) or ``"canonicalize"``.
        num_merges: use only the first merges; ``vocab_size`` = 512 + merges + special tokens.

    Attributes: ``encoder`` (symbol to id), ``decoder``, ``bpe_ranks``, ``byte_encoder``,
    ``byte_decoder``, ``vocab_size``, ``all_special_ids``, ``sot_token_id``, ``eot_token_id``,
    ``context_length``.
    """

    def __init__(
        self,
        bpe_path: str | Path | None = None,
        additional_special_tokens: Sequence[str] | None = None,
        context_length: int | None = DEFAULT_CONTEXT_LENGTH,
        clean: str = "lower",
        num_merges: int | None = None,
    ) -> None:
        if clean not in _CLEANERS:
            raise InputError(f"clean must be one of {sorted(_CLEANERS)}, got {clean!r}")
        merges = load_merges(bpe_path, num_merges)
        self.byte_encoder = bytes_to_unicode()
        self.byte_decoder = {symbol: byte for byte, symbol in self.byte_encoder.items()}
        symbols = list(self.byte_encoder.values())
        special = [START_OF_TEXT, END_OF_TEXT, *(additional_special_tokens or ())]
        vocab = [*symbols, *(s + _END_OF_WORD for s in symbols)]
        vocab += ["".join(merge) for merge in merges] + special
        self.encoder = {symbol: i for i, symbol in enumerate(vocab)}
        self.decoder = {i: symbol for symbol, i in self.encoder.items()}
        self.bpe_ranks = {merge: rank for rank, merge in enumerate(merges)}
        self.cache: dict[str, str] = {token: token for token in special}
        self.clean_fn = _CLEANERS[clean]
        self.vocab_size = len(self.encoder)
        self.all_special_ids = [self.encoder[token] for token in special]
        self.sot_token_id, self.eot_token_id = self.all_special_ids[:2]
        self.context_length = self._check_context(context_length or DEFAULT_CONTEXT_LENGTH)
        regex = _optional("regex")
        self.pat = regex.compile("|".join([*map(regex.escape, special), _PIECES]), regex.IGNORECASE)

    @staticmethod
    def _check_context(length: int) -> int:
        if isinstance(length, bool) or not isinstance(length, int) or length < 2:
            raise InputError(f"context_length must be a whole number of at least 2, got {length!r}")
        return length

    def bpe(self, token: str) -> str:
        """Merge the byte symbols of one word; the parts of the result are parted by spaces."""
        if token in self.cache:
            return self.cache[token]
        word = [*token[:-1], token[-1] + _END_OF_WORD]
        while len(word) > 1:
            ranked = [(self.bpe_ranks[p], p) for p in get_pairs(word) if p in self.bpe_ranks]
            if not ranked:
                break
            word = _merge_pair(word, min(ranked)[1])
        result = " ".join(word)
        if len(self.cache) < _BPE_CACHE_LIMIT:
            self.cache[token] = result
        return result

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``, without start, end or padding."""
        if not isinstance(text, str):
            raise InputError(f"a text must be a str, got {type(text).__name__}")
        ids: list[int] = []
        for piece in self.pat.findall(self.clean_fn(text)):
            # A lone surrogate cannot be UTF-8; "?" keeps the rest of the phrase usable.
            token = "".join(self.byte_encoder[b] for b in piece.encode("utf-8", errors="replace"))
            ids.extend(self.encoder[symbol] for symbol in self.bpe(token).split(" "))
        return ids

    def decode(self, tokens: Iterable[int] | torch.Tensor) -> str:
        """Return the text of ``tokens``; every end of word is a space, also the last one.

        Raises InputError for an id outside the vocabulary.
        """
        ids = tokens.tolist() if isinstance(tokens, torch.Tensor) else list(tokens)
        unknown = [i for i in ids if i not in self.decoder]
        if unknown:
            raise InputError(f"token ids {unknown[:5]} are outside 0..{self.vocab_size - 1}")
        data = bytearray()
        for char in "".join(self.decoder[i] for i in ids):
            byte = self.byte_decoder.get(char)
            data += char.encode("utf-8") if byte is None else bytes((byte,))
        return data.decode("utf-8", errors="replace").replace(_END_OF_WORD, " ")

    def __call__(
        self, texts: str | Sequence[str], context_length: int | None = None
    ) -> torch.LongTensor:
        """Tokenize to a LongTensor [n, context_length] on the CPU.

        A row is start + ids + end, right-padded with 0; a longer text is cut, its last id is
        the end token. Raises InputError for anything but strings or an impossible length.
        """
        if isinstance(texts, str):
            texts = [texts]
        length = self.context_length if context_length is None else context_length
        length = self._check_context(length)
        result = torch.full((len(texts), length), PAD_ID, dtype=torch.long, device="cpu")
        for row, text in enumerate(texts):
            ids = [self.sot_token_id, *self.encode(text)[: length - 2], self.eot_token_id]
            result[row, : len(ids)] = torch.tensor(ids, dtype=torch.long, device="cpu")
        return result  # type: ignore[return-value]  # mypy knows no LongTensor factory


def _merge_pair(word: list[str], pair: tuple[str, str]) -> list[str]:
    """Join every occurrence of ``pair`` in ``word``, left to right."""
    merged: list[str] = []
    i = 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            merged.append(word[i] + word[i + 1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged
