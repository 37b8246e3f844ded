"""Finds faces in a picture by the colour of skin and blurs them, so that nobody is recognised further on.

The places of the faces travel inside the PNG that comes out, as the text field ``faces`` (JSON: left, top, right,
bottom in pixels). Colours survive the blur, so that the next component can tell a mask from a face.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, PngImagePlugin

GRID = 160
"""Faces are looked for in a copy of this width, in pixels; finer detail does not matter for finding them."""

FACE_HEIGHT = 1.25
"""A face is so many times as high as wide: a mask hides the lower half, which then has to be added."""


def find_skin(picture: Image.Image) -> np.ndarray:
    """Boolean array, true where a pixel has the colour of skin (of any shade): rows, columns."""
    channels = np.asarray(picture.convert("YCbCr"), dtype=np.int16)
    light, blue, red = channels[..., 0], channels[..., 1], channels[..., 2]
    return (light > 60) & (blue >= 77) & (blue <= 127) & (red >= 136) & (red <= 178)


def find_regions(mask: np.ndarray) -> list[tuple[int, int, int, int, int]]:
    """Connected regions of a boolean array, each as left, top, right, bottom (exclusive) and number of cells."""
    free = mask.copy()
    regions = []
    for start in zip(*np.nonzero(mask), strict=True):
        if not free[start]:
            continue
        free[start] = False
        waiting, cells = [start], []
        while waiting:
            row, column = waiting.pop()
            cells.append((row, column))
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= near[0] < mask.shape[0] and 0 <= near[1] < mask.shape[1]
                if inside and free[near]:
                    free[near] = False
                    waiting.append(near)
        rows, columns = zip(*cells, strict=True)
        regions.append((min(columns), min(rows), max(columns) + 1, max(rows) + 1, len(cells)))
    return regions


def find_faces(picture: Image.Image) -> list[list[int]]:
    """Boxes of what looks like a face, from left to right, in pixels of the picture."""
    scale = max(1.0, picture.width / GRID)
    size = max(1, round(picture.width / scale)), max(1, round(picture.height / scale))
    small = picture.resize(size, Image.Resampling.BOX)
    faces = []
    for left, top, right, bottom, cells in find_regions(find_skin(small)):
        width, height = right - left, bottom - top
        large_enough = width >= 6 and cells >= 0.002 * size[0] * size[1]
        if large_enough and 0.45 * width <= height <= 2 * width and cells >= 0.45 * width * height:
            low = min(size[1], max(bottom, round(top + FACE_HEIGHT * width)))
            box = (left, top, right, low)
            faces.append([round(edge * scale) for edge in box])
    return sorted(faces)


def blur_faces(picture: Image.Image, faces: list[list[int]]) -> Image.Image:
    """A copy of the picture in which the faces cannot be recognised."""
    result = picture.copy()
    for left, top, right, bottom in faces:
        box = (left, top, min(right, picture.width), min(bottom, picture.height))
        radius = max(4, (right - left) // 8)
        result.paste(picture.crop(box).filter(ImageFilter.GaussianBlur(radius)), box)
    return result


def main() -> None:
    """Blur the faces of one picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-i", "--input", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the result")
    arguments = parser.parse_args()
    try:
        with Image.open(arguments.input) as opened:
            picture = opened.convert("RGB")
    except OSError as error:
        sys.exit(f"{arguments.input.name} is no picture: {error}")
    faces = find_faces(picture)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("faces", json.dumps(faces))
    target = arguments.output / f"{arguments.input.stem}-blurred.png"
    blur_faces(picture, faces).save(target, pnginfo=notes)
    print(f"{len(faces)} faces blurred: {target.name}")


if __name__ == "__main__":
    main()
