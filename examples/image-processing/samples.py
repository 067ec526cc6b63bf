"""Pictures to try: a landscape, painted on the spot, and some that are not what they seem."""

from __future__ import annotations

import io
import itertools
import math
import random
from pathlib import Path

from PIL import ExifTags, Image, ImageDraw, ImageFilter

SKY = [(0.0, (24, 31, 66)), (0.35, (121, 78, 122)), (0.6, (240, 142, 96)), (0.75, (253, 214, 150))]
HILLS = [
    ((98, 74, 112), 0.62, 0.05),
    ((66, 54, 92), 0.70, 0.07),
    ((38, 36, 66), 0.80, 0.08),
    ((17, 19, 38), 0.90, 0.06),
]
EICAR = r"X5O!P%@AP[4\PZX54(P^)7CC)7}" + "$EICAR-STANDARD-" + "ANTIVIRUS-TEST-FILE!$H+H*"


def landscape(width: int = 2400, height: int = 1600, seed: int = 7) -> Image.Image:
    """Hills at dusk."""
    chance = random.Random(seed)  # noqa: S311
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    for y in range(height):
        draw.line([(0, y), (width, y)], fill=_sky(y / height))
    for _ in range(180):
        x, y, bright = chance.randrange(width), chance.randrange(height // 3), chance.randrange(110, 256)
        draw.ellipse([x, y, x + 3, y + 3], fill=(bright, bright, min(255, bright + 20)))
    sun = (width * 0.68, height * 0.58, height * 0.075)
    glow = Image.new("L", picture.size)
    ImageDraw.Draw(glow).ellipse(_circle(sun[0], sun[1], sun[2] * 2.6), fill=150)
    picture.paste((255, 226, 170), mask=glow.filter(ImageFilter.GaussianBlur(sun[2])))
    draw.ellipse(_circle(*sun), fill=(255, 241, 207))
    for colour, level, swing in HILLS:
        phases = [(chance.uniform(0, math.tau), chance.uniform(0.6, 1.4) * each) for each in (2, 5, 11, 31)]
        ridge = [
            (
                x,
                height
                * (
                    level - swing * sum(math.sin(p + f * math.pi * x / width) / f**0.7 for p, f in phases) / 2
                ),
            )
            for x in range(0, width + 8, 8)
        ]
        draw.polygon([*ridge, (width, height), (0, height)], fill=colour)
    return picture


def _sky(at: float) -> tuple[int, int, int]:
    for (above, top), (below, bottom) in itertools.pairwise(SKY):
        if at <= below:
            share = (at - above) / (below - above)
            red, green, blue = (round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
            return red, green, blue
    return SKY[-1][1]


def _circle(x: float, y: float, radius: float) -> list[float]:
    return [x - radius, y - radius, x + radius, y + radius]


def photo() -> bytes:
    """As a camera held upright writes it: lying, with a note that it does, and with the place."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Examplecam"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    content = io.BytesIO()
    landscape().transpose(Image.Transpose.ROTATE_90).save(content, "JPEG", quality=88, exif=exif)
    return content.getvalue()


def bomb() -> bytes:
    """A few kilobytes that are 12,000 by 12,000 pixels."""
    content = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(content, "PNG", optimize=True)
    return content.getvalue()


def make(folder: Path) -> None:
    """Put them all into a folder."""
    taken = photo()
    for name, content in {
        "dusk.jpg": taken,
        "dusk.png": taken,  # the name lies, which does not matter
        "notes.jpg": b"Dear diary, this is no picture.\n",
        "bomb.png": bomb(),
        "infected.jpg": taken + EICAR.encode(),
        "huge.jpg": taken + bytes(5_000_000),
        "torn.jpg": taken[: len(taken) // 2],
    }.items():
        (folder / name).write_bytes(content)
