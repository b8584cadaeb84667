"""Pictures as files have them: orientation, depth, palette, transparency, crop, and files that are none."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from mbinfer import image
from mbinfer.errors import Error
from mbinfer.graph import Recipe

RGB = Recipe((0.0,) * 3, (1.0,) * 3)
BGR = Recipe((0.0,) * 3, (1.0,) * 3, color="BGR")
GREY = Recipe((0.0,), (1.0,), color="grey")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


@pytest.fixture
def save(tmp_path):
    def write(picture, name="picture.png", **options):
        path = tmp_path / name
        (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
        return path

    return write


def test_a_picture_of_the_right_size_is_left_alone(save, pixels):
    path = save(pixels)
    loaded = image.load(path, RGB, 40, 40)
    assert loaded.dtype == np.uint8 and loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, pixels)
    np.testing.assert_array_equal(image.load(str(path), BGR, 40, 40), pixels[:, :, ::-1])
    grey = image.load(path, GREY, 40, 40)
    np.testing.assert_array_equal(grey[:, :, 0], np.asarray(Image.fromarray(pixels).convert("L")))


def test_central_crop_without_resizing(save, pixels):
    half = Recipe((0.0,) * 3, (1.0,) * 3, crop=0.5)
    np.testing.assert_array_equal(image.load(save(pixels), half, 20, 20), pixels[10:30, 10:30])
    wide = np.concatenate([np.zeros((40, 7, 3), np.uint8), pixels, np.zeros((40, 7, 3), np.uint8)], 1)
    np.testing.assert_array_equal(image.load(save(wide), RGB, 40, 40), pixels)


def test_a_model_that_is_not_square_takes_its_own_aspect(save, pixels):
    np.testing.assert_array_equal(image.load(save(pixels), RGB, 20, 40), pixels[10:30])
    assert image.load(save(pixels[:7]), RGB, 40, 20).shape == (40, 20, 3)


def test_exif_orientation_is_applied(save, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    np.testing.assert_array_equal(image.load(save(pixels, exif=exif), RGB, 40, 40), np.rot90(pixels, -1))


def test_large_jpeg_is_close_to_the_same_picture_without_loss(save):
    y, x = np.mgrid[:900, :1200]
    smooth = np.stack([x / 5, y / 4, (x + y) / 9], 2).astype(np.uint8)
    jpeg, png = (image.load(save(smooth, name), RGB, 32, 32).astype(int) for name in ("large.jpg", "large.png"))
    assert abs(jpeg - png).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("recipe", [RGB, GREY], ids=["RGB", "grey"])
def test_every_mode_becomes_what_the_recipe_asks_for(save, pixels, mode, recipe):
    picture = Image.fromarray(pixels).convert(mode)
    path = save(picture, "picture.tif" if mode in ("CMYK", "YCbCr") else "picture.png")
    assert image.load(path, recipe, 16, 16).shape == (16, 16, len(recipe.mean))


def test_16_bits_keep_their_upper_8(save):
    levels = np.linspace(0, 65535, 1600).astype(np.uint16).reshape(40, 40)
    loaded = image.load(save(levels), GREY, 40, 40)
    np.testing.assert_array_equal(loaded[:, :, 0], levels >> 8)
    assert image.load(save(levels), RGB, 40, 40).shape == (40, 40, 3)


def test_transparency_lies_over_white(save, pixels):
    clear = np.dstack([pixels, np.zeros((40, 40), np.uint8)])
    assert (image.load(save(clear), RGB, 40, 40) == 255).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert (image.load(save(palette, transparency=1), RGB, 8, 8) == 255).all()
    assert (image.load(save(palette, "plain.png"), RGB, 8, 8) == (10, 20, 30)).all()


def test_first_frame_of_an_animation(save):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime")]
    path = save(frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    assert (image.load(path, RGB, 8, 8) == (255, 0, 0)).all()


def test_floating_point_levels_are_refused(save):
    path = save(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), "levels.tif")
    with pytest.raises(Error, match=r"levels\.tif: floating-point levels.*8 or 16 bits"):
        image.load(path, RGB, 8, 8)


def test_what_is_no_picture_is_an_error_naming_the_file(tmp_path):
    with pytest.raises(Error, match=r"none\.png: no such file"):
        image.load(tmp_path / "none.png", RGB, 8, 8)
    with pytest.raises(Error, match="cannot read this picture: Is a directory"):
        image.load(tmp_path, RGB, 8, 8)
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    with pytest.raises(Error, match=r"text\.png: not a picture"):
        image.load(text, RGB, 8, 8)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, on the way to its error
@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.gif", "cut.tif", "cut.bmp"])
def test_a_picture_cut_at_any_length_is_an_error_or_a_picture(save, pixels, name):
    path = save(pixels[:12, :12], name)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            assert image.load(path, RGB, 8, 8).shape == (8, 8, 3)
        except Error as error:
            assert name in str(error)


def test_no_recipe_and_no_pillow(save, pixels, monkeypatch):
    path = save(pixels)
    with pytest.raises(Error, match="no input recipe.*--mean"):
        image.load(path, None, 8, 8)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(Error, match=r"pip install 'mbinfer\[image\]'"):
        image.load(path, RGB, 8, 8)
