"""Pictures that are stored, and some that are not: ``make scenario-image-processing``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from examples.services.stage import Stage, stage

HERE = Path(__file__).resolve().parent
WORKFLOW = "image-processing.yaml"


def prepare(here: Stage) -> None:
    """The folders, the catalogue, and the pictures in the inbox."""
    samples = importlib.import_module("examples.image-processing.samples")
    for folder in ("inbox", "thumbs"):
        (here.folder / folder).mkdir()
    samples.make(here.folder / "inbox")
    here.database("catalogue.db", "catalogue.sql")


def main() -> None:
    with stage(HERE, *map(Path, sys.argv[1:])) as here:
        prepare(here)
        room = 2 * (here.folder / "inbox" / "dusk.jpg").stat().st_size + 9_000  # for a picture and a half
        store = here.serve("objects", "--quota", str(room))

        here.say("A picture is inspected, scanned, made small, stored and listed")
        here.run(WORKFLOW, {"file": "dusk.jpg", "store": store.url})
        for file, why in {
            "notes.jpg": "This is no picture, whatever its name says",
            "bomb.png": "This one is small, and would fill the memory",
            "infected.jpg": "The scanner finds something",
            "dusk.png": "The store has no room for another: upload and thumbnail are deleted",
        }.items():
            here.say(why)
            here.run(WORKFLOW, {"file": file, "store": store.url}, exits=1)

        here.say("What is left")
        here.tell("objects in the store", here.files(store.folder))
        here.tell("thumbnails", here.files(here.folder / "thumbs"))
        here.table("catalogue", "catalogue.db", "SELECT image, name, type, width, height, bytes FROM images")


if __name__ == "__main__":
    main()
