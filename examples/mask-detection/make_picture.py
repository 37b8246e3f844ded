#!/usr/bin/env python3
"""Draws a picture of people, some with a mask, to feed in: nobody's photograph needs to be shipped.

Usage: make_picture.py OUT.png [--people 4] [--masked 2] [--seed 1]
"""

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 640, 360
SKIN = [(224, 172, 138), (198, 134, 98), (241, 194, 160), (172, 112, 78)]
MASKS = [(150, 200, 230), (235, 240, 245), (70, 120, 160)]
HAIR = [(40, 32, 28), (84, 60, 20), (70, 70, 74)]
CLOTHES = [(40, 70, 120), (60, 110, 70), (90, 90, 100), (50, 50, 90)]


def draw_person(draw: ImageDraw.ImageDraw, chance: random.Random, centre: int, *, masked: bool) -> None:
    """Draw head and shoulders around the column ``centre``."""
    half_width = chance.randint(34, 42)
    half_height = round(half_width * 1.28)
    middle = HEIGHT // 2 - 10 + chance.randint(-20, 20)
    left, right = centre - half_width, centre + half_width
    top, bottom = middle - half_height, middle + half_height
    skin = chance.choice(SKIN)
    draw.ellipse((centre - 70, bottom - 4, centre + 70, bottom + 220), fill=chance.choice(CLOTHES))
    draw.ellipse((left - 6, top - 12, right + 6, middle + 10), fill=chance.choice(HAIR))
    draw.ellipse((left, top, right, bottom), fill=skin)
    for side in (-1, 1):
        eye = centre + side * half_width * 0.42
        draw.ellipse((eye - 5, middle - 12, eye + 5, middle - 5), fill=(250, 250, 250))
        draw.ellipse((eye - 2, middle - 11, eye + 2, middle - 6), fill=(30, 30, 40))
    if masked:
        draw.chord((left - 1, top, right + 1, bottom + 2), 3, 177, fill=chance.choice(MASKS))
    else:
        draw.line((centre, middle - 2, centre - 3, middle + 12, centre + 3, middle + 13), fill=(120, 70, 50), width=2)
        draw.arc((centre - 14, middle + 14, centre + 14, middle + 30), 10, 170, fill=(150, 50, 50), width=3)


def draw_picture(people: int, masked: int, seed: int) -> Image.Image:
    """A picture of ``people`` people, of whom ``masked`` wear a mask; the same seed gives the same picture."""
    chance = random.Random(seed)  # noqa: S311 - the same picture again is the point
    image = Image.new("RGB", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(image)
    for row in range(HEIGHT):
        share = row / HEIGHT
        draw.line(
            (0, row, WIDTH, row), fill=(round(120 - 40 * share), round(160 - 30 * share), round(185 - 60 * share))
        )
    wearing = [number < masked for number in range(people)]
    chance.shuffle(wearing)
    for number, wears in enumerate(wearing):
        draw_person(draw, chance, round(WIDTH * (number + 0.5) / people), masked=wears)
    return image


def main() -> None:
    """Draw and store the picture that the arguments ask for."""
    parser = argparse.ArgumentParser(description="Draw a picture of people, some with a mask.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--people", type=int, default=4, choices=range(7))
    parser.add_argument("--masked", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not 0 <= arguments.masked <= arguments.people:
        parser.error("there cannot be more masks than people")
    draw_picture(arguments.people, arguments.masked, arguments.seed).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
