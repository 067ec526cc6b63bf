"""Pictures, by the command line and real servers: what is stored, and that a failure leaves nothing."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from examples.services.objects import Objects
from examples.services.stage import Stage, stage
from tests.scenario_helpers import Killer, deadly_http, dies_after, on_temporal_too, own_id, played

HERE = Path(__file__).resolve().parent
WORKFLOW = "image-processing.yaml"
LISTED = "SELECT name, type, width, height, bytes, sha256 FROM images"
prepare = importlib.import_module("examples.image-processing.play_images").prepare


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Stage]:
    with stage(HERE, tmp_path / "pictures", aloud=False) as played:
        prepare(played)
        yield played


def process(here: Stage, file: str, url: str, exits: int = 0) -> dict[str, Any]:
    ended: dict[str, Any] = json.loads(
        here.run(WORKFLOW, {"file": file, "store": url}, "--json", exits=exits)
    )
    return ended


def below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def check(here: Stage, file: str, objects: Path) -> None:
    """A picture is stored once, in both sizes, and listed once."""
    content = (here.folder / "inbox" / file).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert here.rows("catalogue.db", LISTED) == [(file, "image/jpeg", 1600, 2400, len(content), digest)]
    original, small = below(objects)
    assert (original.name, small.name) == ("original.jpg", "thumbnail.jpg")
    assert original.parent == small.parent
    assert original.read_bytes() == content
    [local] = below(here.folder / "thumbs")
    assert local.read_bytes() == small.read_bytes()


@on_temporal_too
def test_a_picture_is_stored_as_what_it_is_whatever_it_is_called(here: Stage) -> None:
    store = here.serve("objects")
    ended = process(here, "dusk.png", store.url)
    check(here, "dusk.png", store.folder)
    assert ended["output"]["type"] == "image/jpeg"
    assert (store.folder / ended["output"]["thumbnail"].removeprefix(store.url + "/")).is_file()


def test_a_thumbnail_is_the_picture_upright_and_small_and_says_nothing_of_the_place(here: Stage) -> None:
    store = here.serve("objects")
    process(here, "dusk.jpg", store.url)
    original, small = (Image.open(file) for file in below(store.folder))
    assert small.format == "JPEG"
    assert small.size == (320, 213)
    assert original.getexif() != {}
    assert dict(small.getexif()) == {}
    upright = ImageOps.exif_transpose(original).resize(small.size)
    for place in ((10, 10), (217, 124), (160, 205)):  # sky, sun, hills
        wanted, found = upright.getpixel(place), small.getpixel(place)
        assert isinstance(wanted, tuple)
        assert isinstance(found, tuple)
        assert max(abs(a - b) for a, b in zip(wanted, found, strict=True)) < 24, place


@pytest.mark.parametrize(
    ("file", "status", "error"),
    [
        ("gone.jpg", "failed", "Missing"),
        ("huge.jpg", "failed", "TooLarge"),
        ("notes.jpg", "failed", "NotAnImage"),
        ("bomb.png", "failed", "TooManyPixels"),
        ("infected.jpg", "failed", "Infected"),
        ("torn.jpg", "compensated", "NotAnImage"),
    ],
)
def test_what_is_refused_leaves_nothing(here: Stage, file: str, status: str, error: str) -> None:
    store = here.serve("objects")
    ended = process(here, file, store.url, exits=1)
    assert (ended["status"], ended["error"]["type"]) == (status, error)
    nothing_is_left(here, store.folder)


def nothing_is_left(here: Stage, objects: Path) -> None:
    assert below(objects) == []
    assert below(here.folder / "thumbs") == []
    assert here.rows("catalogue.db", LISTED) == []


@on_temporal_too
def test_a_store_that_has_no_room_for_both_keeps_neither(here: Stage) -> None:
    size = (here.folder / "inbox" / "dusk.jpg").stat().st_size
    store = here.serve("objects", "--quota", str(size + 1))
    ended = process(here, "dusk.jpg", store.url, exits=1)
    assert (ended["status"], ended["error"]["type"]) == ("compensated", "Http507")
    nothing_is_left(here, store.folder)


def test_a_catalogue_that_cannot_take_the_row_is_no_reason_to_keep_the_objects(here: Stage) -> None:
    store = here.serve("objects")
    (here.folder / "catalogue.sql").write_text("DROP TABLE images")
    here.database("catalogue.db", "catalogue.sql")
    ended = process(here, "dusk.jpg", store.url, exits=6)  # what deletes the row finds no table either
    assert ended["status"] == "compensation_failed"
    assert ended["saga"]["failed"] == ["catalogue"]
    assert below(store.folder) == below(here.folder / "thumbs") == []


# --- kill -9


def test_killed_when_an_object_was_stored_there_is_one_of_each(here: Stage) -> None:
    killer, objects = Killer(), here.folder / "objects"
    objects.mkdir()
    Objects.folder, Objects.quota = objects, 1 << 30
    with deadly_http(Objects, killer, "PUT /images") as url:
        data = json.dumps({"file": "dusk.jpg", "store": url})
        killer.kills(here, "run", WORKFLOW, "--input", data, "--id", own_id(here))
        assert here.rows("catalogue.db", LISTED) == []
        assert json.loads(here.flowctl("resume", own_id(here), "--json"))["status"] == "completed"
    check(here, "dusk.jpg", objects)


def test_killed_when_the_row_was_committed_there_is_one(here: Stage) -> None:
    store = here.serve("objects")
    data = json.dumps({"file": "dusk.jpg", "store": store.url})
    dies_after(here, "SELECT 1 FROM images", "run", WORKFLOW, "--input", data, "--id", own_id(here))
    assert json.loads(here.flowctl("resume", own_id(here), "--json"))["status"] == "completed"
    check(here, "dusk.jpg", store.folder)


def test_what_the_readme_says_to_run_tells_its_story_to_the_end(tmp_path: Path) -> None:
    said = played(HERE / "play_images.py", tmp_path / "play")
    for line in ["thumbnail.jpg", "dusk.jpg  image/jpeg  1600  2400"]:
        assert line in said
