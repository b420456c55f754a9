"""Colour text in every allowed form, and what is refused."""

from __future__ import annotations

import pytest

from sam3.errors import InputError
from sam3.pipeline.colors import parse_color

RED = (1.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#f00", RED),
        ("f00", RED),
        ("#F00F", RED),
        ("#ff0000", RED),
        ("FF0000", RED),
        ("#ff0000ff", RED),
        (" #FF0000 ", RED),
        ("#fff", (1.0, 1.0, 1.0, 1.0)),
        ("#f008", (1.0, 0.0, 0.0, 136 / 255)),
        ("#ff000080", (1.0, 0.0, 0.0, 128 / 255)),
        ("#222222", (34 / 255, 34 / 255, 34 / 255, 1.0)),
        ("#12345678", (0x12 / 255, 0x34 / 255, 0x56 / 255, 0x78 / 255)),
        ("rgb(255,0,0)", RED),
        ("RGB( 255 , 0 , 0 )", RED),
        ("rgb(100%, 0%, 0%)", RED),
        ("rgb(255 0 0)", RED),
        ("rgb(255 0 0 / 50%)", (1.0, 0.0, 0.0, 0.5)),
        ("rgba(255, 0, 0, 0.25)", (1.0, 0.0, 0.0, 0.25)),
        ("rgba(255, 0, 0, 25%)", (1.0, 0.0, 0.0, 0.25)),
        ("rgba(0, 128, 255, .5)", (0.0, 128 / 255, 1.0, 0.5)),
        ("rgb(12.5%, 50%, 100%)", (0.125, 0.5, 1.0, 1.0)),
        ("red", RED),
        ("Red", RED),
        ("rebeccapurple", (0x66 / 255, 0x33 / 255, 0x99 / 255, 1.0)),
        ("transparent", (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_allowed_forms(text: str, expected: tuple[float, ...]) -> None:
    assert parse_color(text) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "#", "#f", "#ff", "#fffff", "#fffffff", "#ggg", "##fff", "#ff00zz",
        "notacolour", "rgb()", "rgb(1,2)", "rgb(1,2,3,4,5)", "rgb(256,0,0)", "rgb(-1,0,0)",
        "rgb(101%,0,0)", "rgba(0,0,0,2)", "rgba(0,0,0,-0.1)", "rgb(a,b,c)", "rgb(nan,0,0)",
        "rgb(1e9,0,0)", "rgb(255,0,0", "hsl(0,100%,50%)", "0x222222", "34, 34, 34", "red; blue",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_allowed_forms(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_color(text)
    message = str(caught.value)
    assert repr(text) in message
    for form in ("#rgb", "#rrggbbaa", "rgb(", "rgba(", "CSS colour name"):
        assert form in message


@pytest.mark.parametrize("bad", [None, 0x222222, (1, 2, 3), b"#fff"])
def test_not_text(bad: object) -> None:
    with pytest.raises(InputError, match="not text"):
        parse_color(bad)  # type: ignore[arg-type]
