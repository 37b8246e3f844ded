"""Says of every face in a picture whether it wears a mask, by how much skin the lower half of the face shows.

Takes the pictures that blurry-faces makes, with the places of the faces in the text field ``faces``. Gives the counts
as JSON, and the picture with a frame around every face: green with a mask, red without.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SKIN_SHARE = 0.45
"""A lower half with less skin than this share of it is covered."""


def skin_share(picture: Image.Image) -> float:
    """How much of a picture has the colour of skin, from 0 to 1."""
    channels = np.asarray(picture.convert("YCbCr"), dtype=np.int16)
    light, blue, red = channels[..., 0], channels[..., 1], channels[..., 2]
    skin = (light > 60) & (blue >= 77) & (blue <= 127) & (red >= 136) & (red <= 178)
    return float(skin.mean()) if skin.size else 0.0


def classify(picture: Image.Image, face: list[int]) -> dict[str, object]:
    """What is known of one face: its box, the share of skin in its lower half, and whether a mask covers it."""
    left, top, right, bottom = face
    # The middle of the lower half: the corners of the box show what is behind the head, and under the chin is cloth.
    inset = (right - left) // 6
    middle = top + round((bottom - top) * 0.6)
    share = skin_share(picture.crop((left + inset, middle, right - inset, top + round((bottom - top) * 0.9))))
    return {"box": list(face), "skin": round(share, 3), "masked": share < SKIN_SHARE}


def annotate(picture: Image.Image, faces: list[dict[str, object]]) -> Image.Image:
    """A copy of the picture with a frame around every face."""
    result = picture.copy()
    draw = ImageDraw.Draw(result)
    for face in faces:
        draw.rectangle(face["box"], outline=(20, 160, 60) if face["masked"] else (210, 30, 30), width=3)
    return result


def main() -> None:
    """Classify the faces of one picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-i", "--input", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    arguments = parser.parse_args()
    try:
        with Image.open(arguments.input) as opened:
            opened.load()
            places = json.loads(opened.info["faces"])
            picture = opened.convert("RGB")
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"{arguments.input.name} is no picture from blurry-faces: {error!r}")
    faces = [classify(picture, place) for place in places]
    masked = sum(face["masked"] for face in faces)
    result = {"faces": len(faces), "masked": masked, "unmasked": len(faces) - masked, "regions": faces}
    stem = arguments.input.stem.removesuffix("-blurred")
    (arguments.output / f"{stem}-masks.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    annotate(picture, faces).save(arguments.output / f"{stem}-masks.png")
    print(f"{len(faces)} faces, {masked} with a mask")


if __name__ == "__main__":
    main()
