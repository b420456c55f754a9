"""Prompt splitting and cutting to the encoder's length."""

from __future__ import annotations

import logging

import pytest

from sam3.errors import InputError
from sam3.model.tokenizer_ve import SimpleTokenizer
from sam3.pipeline.phrases import cut_phrase, prepare_phrases, split_phrases


@pytest.fixture(scope="module")
def tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red circle", ["red circle"]),
        ("cat, dog", ["cat", "dog"]),
        ("cat\ndog\r\nbird\rfish", ["cat", "dog", "bird", "fish"]),
        (" cat ,, ,\n dog ,", ["cat", "dog"]),
        ("cat, Cat,  cat , dog", ["cat", "dog"]),
        ("a  red\tcircle", ["a red circle"]),
        ("猫，狗、鸟", ["猫", "狗", "鸟"]),
        ("", ["object"]),
        ("   \n\t ", ["object"]),
        (",\n,", ["object"]),
        ("it's; a:b", ["it's; a:b"]),
    ],
)
def test_split(text: str, expected: list[str]) -> None:
    assert split_phrases(text) == expected


@pytest.mark.parametrize("bad", [None, 3, ["cat"], b"cat"])
def test_split_refuses_what_is_not_text(bad: object) -> None:
    with pytest.raises(InputError, match="must be text"):
        split_phrases(bad)  # type: ignore[arg-type]


def test_a_phrase_of_exactly_32_tokens_is_kept(
    tokenizer: SimpleTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    phrase = " ".join(["dog"] * 30)
    assert len(tokenizer.encode(phrase)) == 30
    assert cut_phrase(phrase, tokenizer) == phrase
    assert not caplog.records


def test_a_longer_phrase_is_cut_between_words_and_the_log_says_where(
    tokenizer: SimpleTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["dog"] * 29 + ["cat", "zebra", "giraffe"]
    with caplog.at_level(logging.WARNING):
        kept = cut_phrase(" ".join(words), tokenizer)
    assert kept == " ".join(words[:30])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "34 tokens" in record.message and "reads 32" in record.message
    assert 'cat"; "zebra giraffe" is ignored' in record.message


@pytest.mark.parametrize("word", ["supercalifragilistic" * 30, "é" * 200, "字" * 200, "1" * 100])
def test_one_endless_word_is_cut_inside(tokenizer: SimpleTokenizer, word: str) -> None:
    kept = cut_phrase(word, tokenizer)
    assert word.startswith(kept)
    assert 20 <= len(tokenizer.encode(kept)) <= 30


def test_only_the_long_phrase_of_several_is_cut(tokenizer: SimpleTokenizer) -> None:
    long = "a " * 40
    phrases = prepare_phrases(f"cat, {long}, dog", tokenizer)
    assert phrases == ["cat", " ".join(["a"] * 30), "dog"]


def test_phrases_equal_after_the_cut_appear_once(tokenizer: SimpleTokenizer) -> None:
    start = " ".join(["a"] * 30)
    assert prepare_phrases(f"{start} b, {start} c", tokenizer) == [start]


def test_without_a_tokenizer_nothing_is_cut() -> None:
    assert prepare_phrases("a " * 60) == [" ".join(["a"] * 60)]
