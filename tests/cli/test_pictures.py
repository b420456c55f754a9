"""Every kind of picture is read upright and as RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam3.cli.pictures import load_picture
from sam3.errors import InputError

RAMP = np.linspace(0, 255, 16).round().astype(np.uint8).reshape(2, 8)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def grey_of(path: Path) -> np.ndarray:
    picture = load_picture(path)
    assert picture.rgb.mode == "RGB"
    rgb = np.asarray(picture.rgb)
    assert (rgb[..., 0] == rgb[..., 1]).all()
    return rgb[..., 0]


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "1"])
def test_plain_modes(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(RAMP).convert(mode)
    path = save(image, tmp_path / "a.png")
    np.testing.assert_array_equal(grey_of(path), np.asarray(image.convert("L")))
    assert load_picture(path).alpha is None


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    np.testing.assert_array_equal(grey_of(save(deep, tmp_path / f"a{suffix}")), RAMP)


def test_dark_16_bit_grey_stays_dark(tmp_path: Path) -> None:
    dark = Image.fromarray((RAMP.astype(np.uint16) * 257 // 4).astype(np.uint16))
    assert grey_of(save(dark, tmp_path / "a.png")).max() == 64


@pytest.mark.parametrize("factor", [1 / 255, 1.0, 40.0])
def test_float_tiff(tmp_path: Path, factor: float) -> None:
    image = Image.fromarray(RAMP.astype(np.float32) * np.float32(factor))
    assert image.mode == "F"
    np.testing.assert_allclose(grey_of(save(image, tmp_path / "a.tif")), RAMP, atol=1)


def test_float_tiff_with_nan(tmp_path: Path) -> None:
    values = RAMP.astype(np.float32) / 255
    values[0, 0], values[0, 1] = np.nan, np.inf
    grey = grey_of(save(Image.fromarray(values), tmp_path / "a.tif"))
    assert grey[0, 0] == grey[0, 1] == 0
    np.testing.assert_allclose(grey[1], RAMP[1], atol=1)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = save(Image.new("CMYK", (4, 3), (0, 255, 255, 0)), tmp_path / "a.tif")
    red, green, blue = load_picture(path).rgb.getpixel((0, 0))
    assert red > 200
    assert green < 60
    assert blue < 60


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_kept_and_lies_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    picture = load_picture(save(image.convert(mode), tmp_path / "a.png"))
    assert picture.rgb.getpixel((0, 0)) == (255, 255, 255)
    assert picture.rgb.getpixel((1, 0)) == (0, 0, 0)
    assert picture.alpha is not None
    assert picture.alpha.shape == (2, 4)
    assert picture.alpha[0, 1] == 1.0
    assert picture.alpha[0, 0] == 0.0


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    picture = load_picture(save(image, tmp_path / "a.png", transparency=0))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[0.0, 1.0, 0.0]]
    assert picture.rgb.getpixel((1, 0)) == (0, 0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (16, 8), (0, 0, 0))
    upright.paste((255, 255, 255), (0, 0, 8, 4))  # the top left quarter is white
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in undo.get(orientation, []):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(stored, tmp_path / "a.png", exif=exif)
    picture = load_picture(path)
    assert picture.rgb.size == (16, 8)
    np.testing.assert_array_equal(np.asarray(picture.rgb), np.asarray(upright))


def test_an_animation_gives_its_first_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.new("RGB", (4, 4), c) for c in ((255, 0, 0), (0, 0, 255))]
    path = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with caplog.at_level("WARNING", logger="sam3"):
        picture = load_picture(path)
    assert picture.rgb.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture"),
        (b"<html></html>", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "not a picture|cannot be read"),
    ],
)
def test_no_picture_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_picture(path)


def test_a_truncated_picture_is_said(tmp_path: Path) -> None:
    whole = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(whole)
    whole.write_bytes(whole.read_bytes()[:4000])
    with pytest.raises(InputError, match="cannot be read"):
        load_picture(whole)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(Image.new("L", (300, 300)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="too large"):
        load_picture(path)
