"""SimpleTokenizer against the golden strings, with cut merge lists, and with damaged files."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.errors import CheckpointFormatError, InputError, MissingDependencyError
from sam3.model import tokenizer_ve
from sam3.model.tokenizer_ve import DEFAULT_BPE_PATH, SimpleTokenizer, bytes_to_unicode

GOLDEN_DIR = Path(__file__).parents[2] / "golden" / "image"
GOLDEN = json.loads((GOLDEN_DIR / "tokenizer.json").read_text(encoding="utf-8"))
STRINGS = GOLDEN["strings"]


@pytest.fixture(scope="module")
def tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


@pytest.fixture(scope="module")
def cut() -> SimpleTokenizer:
    return SimpleTokenizer(num_merges=1534)


def test_vocabulary_file_is_the_published_one():
    digest = hashlib.sha256(DEFAULT_BPE_PATH.read_bytes()).hexdigest()
    assert digest == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"


@pytest.mark.parametrize("case", STRINGS, ids=range(len(STRINGS)))
def test_golden_string(tokenizer, case):
    assert tokenizer.clean_fn(case["text"]) == case["clean"]
    assert tokenizer.encode(case["text"]) == case["encode"]
    assert tokenizer(case["text"], 32).tolist() == [case["ids32"]]
    assert tokenizer.decode(case["encode"]) == case["decode"]


def test_golden_default_context(tokenizer):
    ids = tokenizer([case["text"] for case in STRINGS[:3]])
    assert ids.dtype == torch.long and ids.tolist() == GOLDEN["ids77_first3"]
    assert tokenizer.context_length == GOLDEN["context_default"]


def test_golden_attributes(tokenizer):
    assert tokenizer.vocab_size == GOLDEN["vocab_size"] == len(tokenizer.decoder)
    assert (tokenizer.sot_token_id, tokenizer.eot_token_id) == (GOLDEN["sot"], GOLDEN["eot"])
    assert tokenizer.all_special_ids == [GOLDEN["sot"], GOLDEN["eot"]]


def test_golden_text_encoder_tokens(tokenizer):
    golden = np.load(GOLDEN_DIR / "texts.npz")
    ids = tokenizer(json.loads(str(golden["strings"])), 32)
    assert ids.tolist() == golden["tokens"].tolist()
    # The third string holds a real id 0, which the mask takes for padding.
    assert (ids == 0).tolist() == golden["language_mask"].tolist()
    assert bool((ids[2] == 0)[1]) and not bool((ids[2] == 0)[2])


def test_bytes_map_to_distinct_visible_characters():
    table = bytes_to_unicode()
    assert sorted(table) == list(range(256)) and len(set(table.values())) == 256
    assert list(table)[:3] == [33, 34, 35] and table[ord("a")] == "a"
    assert [table[b] for b in (0, 32, 173)] == [chr(256), chr(256 + 32), chr(256 + 67)]


@pytest.mark.parametrize("count", [0, 1, 1534, 48894])
def test_cut_merge_list_sets_the_vocabulary(count, tokenizer):
    small = SimpleTokenizer(num_merges=count)
    assert small.vocab_size == 512 + count + 2
    assert small.all_special_ids == [512 + count, 513 + count]
    ids = small.encode("a red circle, größer than 3 cats")
    assert max(ids) < 512 + count and small.decode(ids) == "a red circle , größer than 3 cats "
    shared = [i for i in range(512 + count)]
    assert [small.decoder[i] for i in shared] == [tokenizer.decoder[i] for i in shared]


def test_without_merges_every_byte_is_a_token():
    ids = SimpleTokenizer(num_merges=0).encode("red")
    assert [SimpleTokenizer(num_merges=0).decoder[i] for i in ids] == ["r", "e", "d</w>"]


def test_full_context_ends_with_the_end_token(tokenizer):
    ids = tokenizer(["cat " * n for n in (5, 6, 7, 500)], 8)
    end = tokenizer.eot_token_id
    assert (ids[:, 0] == tokenizer.sot_token_id).all()
    assert (ids == end).int().argmax(dim=1).tolist() == [6, 7, 7, 7]
    assert ids[0, 7] == 0


def test_random_unicode_round_trips(tokenizer, cut):
    generator = np.random.default_rng(0)
    for _ in range(200):
        codes = generator.integers(1, 0x2FFF, size=generator.integers(1, 30))
        text = "".join(map(chr, codes))
        wanted = "".join(tokenizer.clean_fn(text).split())
        for some in (tokenizer, cut):
            ids = some.encode(text)
            assert all(0 <= i < some.vocab_size - 2 for i in ids)
            assert "".join(some.decode(ids).split()) == wanted


@pytest.mark.parametrize(
    ("clean", "text", "wanted"),
    [
        ("lower", "  Two\tWORDS &amp; more ", "two words & more"),
        # With a "<" in the text ftfy leaves entities alone.
        ("lower", "<i> &amp;lt; &amp;amp;gt;", "<i> < &gt;"),
        ("whitespace", "  Two\tWORDS &amp; more ", "Two WORDS & more"),
        ("canonicalize", " Under_score,  and (DOTS)... ", "under score and dots"),
    ],
)
def test_cleaners(clean, text, wanted):
    assert SimpleTokenizer(clean=clean, num_merges=10).clean_fn(text) == wanted


def test_additional_special_tokens_come_last():
    tokenizer = SimpleTokenizer(additional_special_tokens=["<box>", "<b c>"], num_merges=5)
    assert tokenizer.vocab_size == 512 + 5 + 4
    assert tokenizer.all_special_ids == [517, 518, 519, 520]
    assert tokenizer.encode("<box>")[0] == 519
    assert tokenizer.decode([520]) == "<b c>"


def test_is_picklable_and_copyable(cut):
    for twin in (pickle.loads(pickle.dumps(cut)), copy.deepcopy(cut)):
        assert twin("a red star").tolist() == cut("a red star").tolist()


def test_lone_surrogate_does_not_fail(tokenizer):
    assert tokenizer.decode(tokenizer.encode("red \ud800 cat")).startswith("red ")


def test_cache_is_bounded(monkeypatch, cut):
    monkeypatch.setattr(tokenizer_ve, "_BPE_CACHE_LIMIT", len(cut.cache))
    before = len(cut.cache)
    assert cut.encode("neverseenwordalpha") == cut.encode("neverseenwordalpha")
    assert len(cut.cache) == before


@pytest.mark.parametrize("count", [-1, 48895, 2.0, True, "10"])
def test_bad_num_merges(count):
    with pytest.raises(InputError, match="48894"):
        SimpleTokenizer(num_merges=count)


@pytest.mark.parametrize("length", [1, -3, 2.5])
def test_bad_context_length(length, cut):
    with pytest.raises(InputError, match="at least 2"):
        cut("cat", length)
    with pytest.raises(InputError, match="at least 2"):
        SimpleTokenizer(context_length=length, num_merges=0)


@pytest.mark.parametrize("texts", [[None], [b"red"], [["red"]]])
def test_bad_text(texts, cut):
    with pytest.raises(InputError, match="must be a str"):
        cut(texts)


def test_bad_cleaner():
    with pytest.raises(InputError, match="canonicalize"):
        SimpleTokenizer(clean="upper")


@pytest.mark.parametrize("ids", [[-1], [2048], torch.tensor([3, 99999])])
def test_bad_ids(ids, cut):
    with pytest.raises(InputError, match="outside 0..2047"):
        cut.decode(ids)


def _damaged(kind: str) -> bytes:
    good = DEFAULT_BPE_PATH.read_bytes()
    return {
        "truncated": good[: len(good) // 2],
        "flipped": good[:70000] + bytes([good[70000] ^ 0xFF]) + good[70001:],
        "html": b"<html>not found</html>",
        "empty": b"",
        "binary": gzip.compress(b"\xff\xfe\xfa"),
        "short": gzip.compress(b"#version\ni n\nt h\n"),
        "no_pairs": gzip.compress(b"#version\n" + b"one two three\n" * 50000),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["truncated", "flipped", "html", "empty", "binary", "short", "no_pairs"]
)
def test_damaged_vocabulary(kind, tmp_path):
    path = tmp_path / "vocab.txt.gz"
    path.write_bytes(_damaged(kind))
    with pytest.raises(CheckpointFormatError, match="vocab.txt.gz"):
        SimpleTokenizer(path)


@pytest.mark.parametrize("name", ["missing.gz", ""])
def test_missing_vocabulary(name, tmp_path):
    with pytest.raises(InputError, match="cannot read the BPE vocabulary"):
        SimpleTokenizer(tmp_path / name)


def test_missing_text_package_names_the_command(monkeypatch, cut):
    monkeypatch.setitem(__import__("sys").modules, "ftfy", None)
    with pytest.raises(MissingDependencyError, match="pip install ftfy"):
        cut.encode("a cat")
