"""Colour text to numbers: hex, ``rgb()``, ``rgba()`` and CSS names."""

from __future__ import annotations

import re

from ..errors import InputError

RGBA = tuple[float, float, float, float]

ALLOWED_FORMS = (
    "#rgb, #rgba, #rrggbb, #rrggbbaa (with or without #), rgb(255, 0, 0), rgb(100%, 0%, 0%), "
    "rgba(255, 0, 0, 0.5), or a CSS colour name such as red"
)

_HEX = re.compile(r"#?([0-9a-f]{3}|[0-9a-f]{4}|[0-9a-f]{6}|[0-9a-f]{8})")
_FUNCTION = re.compile(r"rgba?\(([^()]*)\)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)%?")


def parse_color(text: str) -> RGBA:
    """Read a colour.

    Args:
        text: one of ``ALLOWED_FORMS``; letter case and white space around it do not count. In
            ``rgba()`` the alpha is 0 to 1 or a percentage, as in CSS.

    Returns:
        Red, green, blue and alpha, each 0 to 1. Alpha is 1 where the text has none.

    Raises:
        InputError: any other text; the message lists what is allowed.
    """
    if not isinstance(text, str):
        raise _bad(text, "it is not text")
    clean = text.strip().lower()
    if match := _HEX.fullmatch(clean):
        return _from_hex(match.group(1))
    if match := _FUNCTION.fullmatch(clean):
        return _from_function(text, match.group(1))
    return _from_name(text, clean)


def _from_hex(digits: str) -> RGBA:
    """Three, four, six or eight hex digits."""
    if len(digits) <= 4:
        digits = "".join(d * 2 for d in digits)
    values = [int(digits[i : i + 2], 16) / 255.0 for i in range(0, len(digits), 2)]
    alpha = values[3] if len(values) == 4 else 1.0
    return values[0], values[1], values[2], alpha


def _from_function(text: str, inner: str) -> RGBA:
    """What stands between the brackets of ``rgb()`` or ``rgba()``: commas, blanks or a slash."""
    parts = [p for p in re.split(r"\s*[,/]\s*|\s+", inner.strip()) if p]
    if len(parts) not in (3, 4):
        raise _bad(text, f"rgb()/rgba() needs 3 or 4 numbers, found {len(parts)}")
    red, green, blue = (_number(text, p, 255.0) for p in parts[:3])
    alpha = _number(text, parts[3], 1.0) if len(parts) == 4 else 1.0
    return red, green, blue, alpha


def _number(text: str, part: str, full: float) -> float:
    """One number or percentage as a share of ``full``."""
    if not _NUMBER.fullmatch(part):
        raise _bad(text, f"{part!r} is not a number")
    limit = 100.0 if part.endswith("%") else full
    value = float(part.rstrip("%"))
    if not 0.0 <= value <= limit:
        raise _bad(text, f"{part} is outside 0 to {limit:g}")
    return value / limit


def _from_name(text: str, clean: str) -> RGBA:
    """A CSS colour name, or ``transparent``."""
    from PIL import ImageColor

    if clean == "transparent":
        return 0.0, 0.0, 0.0, 0.0
    if clean not in ImageColor.colormap:
        raise _bad(text, "it is neither a colour name nor a known form")
    red, green, blue = ImageColor.getrgb(clean)[:3]
    return red / 255.0, green / 255.0, blue / 255.0, 1.0


def _bad(text: object, why: str) -> InputError:
    return InputError(f"Cannot read the colour {text!r}: {why}. Allowed: {ALLOWED_FORMS}.")
