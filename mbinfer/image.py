"""Pictures from files: whatever Pillow reads becomes the uint8 array that a model's recipe asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import Error

if TYPE_CHECKING:
    from PIL import Image

    from .graph import Recipe

SHARPNESS = 2  # a JPEG is decoded at a reduced scale only while it stays this many times larger than the result


def load(
    path: str | os.PathLike[str], recipe: Recipe | None, height: int, width: int, whole: bool = False
) -> np.ndarray:
    """Reads a picture as a uint8 array of shape ``(height, width, channels)``, for `Session.run`.

    The orientation in the EXIF data is applied; of an animation the first frame is taken; transparency is laid over
    white; of 16 bits a channel the upper 8 are kept. The central part of the picture with the aspect of the result
    (for a square input: a square) and `recipe.crop` of the largest such size is resized with the bilinear filter, and
    the channels come in `recipe.color`'s order (three, or one for ``grey``). With `whole` all of the picture is
    resized, whatever its aspect, so that places in the result are places in the picture.

    Raises `Error` naming the file where it cannot be read as a picture, where Pillow is missing, or where the model
    has no recipe.
    """
    if recipe is None:
        raise Error(
            f"{path}: the model has no input recipe, so it does not say how to normalise a picture; "
            "give one when converting it (--mean and --scale), or pass Session.run a float32 array"
        )
    pillow = _pillow()
    try:
        with pillow.open(path) as image:
            # A large photograph should not cost its full size in RAM: let the JPEG decoder drop detail nobody will see.
            needed = round(SHARPNESS * max(height, width) / recipe.crop)
            image.draft(None, (needed, needed))
            image = _upright(image)
            image = _eight_bit(image, "L" if recipe.color == "grey" else "RGB")
            box = (0, 0, *image.size) if whole else _box(image.size, recipe, height, width)
            image = image.resize((width, height), pillow.Resampling.BILINEAR, box)
    except Error as error:
        raise Error(f"{path}: {error}") from None
    except FileNotFoundError:
        raise Error(f"{path}: no such file") from None
    except pillow.UnidentifiedImageError:
        raise Error(f"{path}: not a picture in a format that Pillow reads") from None
    except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise Error(f"{path}: cannot read this picture: {reason}") from error
    pixels = np.asarray(image).reshape(height, width, -1)
    return np.ascontiguousarray(pixels[:, :, ::-1] if recipe.color == "BGR" else pixels)


def size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of a picture that `load` reads, as it stands upright."""
    with _pillow().open(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5  # orientations that swap the sides
        return (image.width, image.height) if turned else (image.height, image.width)


def save_classes(path: str | os.PathLike[str], classes: np.ndarray, colors: np.ndarray, size: tuple[int, int]) -> None:
    """Writes the class of each pixel as a picture of `size` (height, width), whose pixels are class numbers.

    `colors` are what viewers show for them. Error for more classes than a byte tells apart, or another file than PNG.
    """
    if classes.max() > 255 or not os.fspath(path).lower().endswith(".png"):
        raise Error(f"{path}: classes are drawn in a .png file, which holds up to 256 of them")
    pillow = _pillow()
    picture = pillow.fromarray(classes.astype(np.uint8))
    picture = picture.resize((size[1], size[0]), pillow.Resampling.NEAREST)
    picture.putpalette(colors.astype(np.uint8).tobytes())
    picture.save(path)


def save_boxes(
    path: str | os.PathLike[str],
    picture: str | os.PathLike[str],
    boxes: Sequence[Mapping[str, Any]],
    colors: np.ndarray,
) -> None:
    """Writes `picture` with `boxes`, of pixels from y0, x0 to y1, x1, in their class's colour, and with labels."""
    from PIL import ImageDraw

    with _pillow().open(picture) as image:
        drawn = _eight_bit(_upright(image), "RGB")
    canvas = ImageDraw.Draw(drawn)
    line = max(1, round(min(drawn.size) / 150))
    for box in reversed(boxes):  # the best ones on top
        color = tuple(int(level) for level in colors[box["class"] % len(colors)])
        (left, right), (upper, lower) = (  # raw numbers may be the wrong way round
            sorted(max(0, min(round(box[f"{axis}{end}"]), side - 1)) for end in "01")
            for axis, side in zip("xy", drawn.size)
        )
        canvas.rectangle((left, upper, right, lower), outline=color, width=line)
        text = canvas.textbbox((0, 0), box["label"])
        width, height = text[2] + 4, text[3] + 4
        upper = upper - height if upper >= height else upper
        canvas.rectangle((left, upper, left + width, upper + height), fill=color)
        canvas.text((left + 2, upper + 2), box["label"], fill="black" if sum(color) > 1.5 * 255 else "white")
    try:
        drawn.save(path)
    except ValueError as error:
        raise Error(f"{path}: cannot draw there: {error}") from error


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise Error("reading pictures needs Pillow: pip install 'mbinfer[image]'") from None
    return Image


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _eight_bit(image: Image.Image, mode: str) -> Image.Image:
    """The picture with 8 bits a channel in `mode` (``L`` or ``RGB``), without transparency."""
    if image.mode.startswith("I"):  # 16 bits of grey, also where Pillow holds them in 32
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise Error("32-bit levels without a known range; save it with 8 or 16 bits a channel")
        image = _pillow().fromarray((levels >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise Error("floating-point levels without a known range; save it with 8 or 16 bits a channel")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = _pillow().new("RGBA", image.size, "white")
        image = _pillow().alpha_composite(paper, image)
    return image.convert(mode)


def _box(size: tuple[int, int], recipe: Recipe, height: int, width: int) -> tuple[float, float, float, float]:
    """Left, upper, right, lower of the central part to take of a picture of `size` (width, height)."""
    scale = recipe.crop * min(size[0] / width, size[1] / height)
    left, upper = (size[0] - width * scale) / 2, (size[1] - height * scale) / 2
    return max(left, 0), max(upper, 0), min(left + width * scale, size[0]), min(upper + height * scale, size[1])
