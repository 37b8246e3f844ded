#!/usr/bin/env python3
"""Draws a picture of people, some with a mask, to feed in: nobody's photograph needs to be shipped.

Usage: make_picture.py OUT.png [--people 4] [--masked 2] [--seed 1]

Needs nothing but Python, so that a demo needs no more than the program does.
"""

import argparse
import random
import struct
import zlib
from pathlib import Path

WIDTH, HEIGHT = 640, 360
SKIN = [(224, 172, 138), (198, 134, 98), (241, 194, 160), (172, 112, 78)]
MASKS = [(150, 200, 230), (235, 240, 245), (70, 120, 160)]
HAIR = [(40, 32, 28), (84, 60, 20), (70, 70, 74)]
CLOTHES = [(40, 70, 120), (60, 110, 70), (90, 90, 100), (50, 50, 90)]

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]


class Canvas:
    """A picture of ``WIDTH`` by ``HEIGHT`` pixels, red, green and blue, that begins as a sky."""

    def __init__(self) -> None:
        self.rows = []
        for row in range(HEIGHT):
            share = row / HEIGHT
            sky = bytes((round(120 - 40 * share), round(160 - 30 * share), round(185 - 60 * share)))
            self.rows.append(bytearray(sky * WIDTH))

    def ellipse(self, box: Box, fill: Colour, *, lower_half: bool = False) -> None:
        """Fill the ellipse inside ``box`` (left, top, right, bottom), or what is below its middle."""
        left, top, right, bottom = box
        across, middle = (left + right) / 2, (top + bottom) / 2
        wide, high = (right - left) / 2, (bottom - top) / 2
        first = middle if lower_half else top
        for row in range(max(0, round(first)), min(HEIGHT, round(bottom) + 1)):
            inside = 1 - ((row - middle) / high) ** 2
            if inside < 0:
                continue
            half = wide * inside**0.5
            begin, end = max(0, round(across - half)), min(WIDTH, round(across + half) + 1)
            if begin < end:
                self.rows[row][begin * 3 : end * 3] = bytes(fill) * (end - begin)

    def png(self) -> bytes:
        """The picture as a PNG file, as the standard (ISO/IEC 15948) lays it out: header, pixels, end."""
        header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in self.rows), 9)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def draw_person(canvas: Canvas, chance: random.Random, centre: int, *, masked: bool) -> None:
    """Draw head and shoulders around the column ``centre``."""
    half_width = chance.randint(34, 42)
    half_height = round(half_width * 1.28)
    middle = HEIGHT // 2 - 10 + chance.randint(-20, 20)
    left, right = centre - half_width, centre + half_width
    top, bottom = middle - half_height, middle + half_height
    skin = chance.choice(SKIN)
    canvas.ellipse((centre - 70, bottom - 4, centre + 70, bottom + 220), chance.choice(CLOTHES))
    canvas.ellipse((left - 6, top - 12, right + 6, middle + 10), chance.choice(HAIR))
    canvas.ellipse((left, top, right, bottom), skin)
    for side in (-1, 1):
        eye = centre + side * half_width * 0.42
        canvas.ellipse((eye - 5, middle - 12, eye + 5, middle - 5), (250, 250, 250))
        canvas.ellipse((eye - 2, middle - 11, eye + 2, middle - 6), (30, 30, 40))
    if masked:
        canvas.ellipse((left - 1, top, right + 1, bottom + 2), chance.choice(MASKS), lower_half=True)
    else:
        canvas.ellipse((centre - 3, middle, centre + 3, middle + 12), (120, 70, 50))
        canvas.ellipse((centre - 14, middle + 20, centre + 14, middle + 27), (150, 50, 50))


def draw_picture(people: int, masked: int, seed: int) -> bytes:
    """A PNG of ``people`` people, of whom ``masked`` wear a mask; the same seed gives the same picture."""
    chance = random.Random(seed)  # noqa: S311 - the same picture again is the point
    canvas = Canvas()
    wearing = [number < masked for number in range(people)]
    chance.shuffle(wearing)
    for number, wears in enumerate(wearing):
        draw_person(canvas, chance, round(WIDTH * (number + 0.5) / people), masked=wears)
    return canvas.png()


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
    arguments.output.write_bytes(draw_picture(arguments.people, arguments.masked, arguments.seed))


if __name__ == "__main__":
    main()
