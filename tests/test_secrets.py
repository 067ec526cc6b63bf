"""Who has a secret: providers in order, what they refuse, and what is said where nobody has it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from flowctl.activities.masking import Mask
from flowctl.secrets import LIMIT, PROVIDERS, Secrets, SecretSettings
from flowctl.settings import settle
from tests.cli_helpers import Flowctl, caller

ALL = SecretSettings(PROVIDERS)


class Ring(KeyringBackend):
    """A keyring of the real library, with one secret."""

    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        return "from the keyring" if (service, username) == ("shop", "TOKEN") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    delete_password = set_password  # type: ignore[assignment]


@pytest.fixture
def ring() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(Ring())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir()
    return made


def put(folder: Path, data: bytes | str = "from a file\n", mode: int = 0o600, name: str = "TOKEN") -> Path:
    file = folder / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    file.chmod(mode)
    return file


def test_providers_are_asked_in_the_order_of_the_settings(folder: Path, ring: None) -> None:
    put(folder)
    environment = {"FLOWCTL_SECRET_TOKEN": "from the environment"}
    resolvers = [("vault", lambda name: "from a plugin")]

    def first(*providers: str) -> str | None:
        return Secrets(SecretSettings(providers, str(folder), "shop"), environment, resolvers).resolve(
            "TOKEN"
        )

    assert first(*PROVIDERS) == "from a plugin"
    assert first("keyring", "plugins") == "from the keyring"
    assert first("files", "environment") == "from a file"
    assert first("environment") == "from the environment"
    assert first() is None


def test_the_keyring_is_not_asked_unless_it_is_named(ring: None) -> None:
    assert Secrets(SecretSettings(service="shop"), {}).resolve("TOKEN") is None


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: put(folder, mode=0o606), "mode 0606: every user may write it"),
        (lambda folder: put(folder, b"\xff"), "not UTF-8"),
        (lambda folder: put(folder, "x" * (LIMIT + 1)), "over 65,536 bytes"),
        (lambda folder: (folder / "TOKEN").mkdir(), "not a file"),
        (lambda folder: os.mkfifo(folder / "TOKEN"), "not a file"),
    ],
)
def test_a_file_that_is_not_to_be_taken_is_not_and_the_reason_is_given(
    folder: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(folder)
    secrets = Secrets(SecretSettings(("files",), str(folder)), {})
    assert secrets.resolve("TOKEN") is None
    assert reason in secrets.sought("TOKEN").replace("Is a directory", "not a file")


def test_a_file_may_be_a_link_as_kubernetes_mounts_them(folder: Path) -> None:
    (folder / "..data").mkdir()
    put(folder / "..data")
    (folder / "TOKEN").symlink_to("..data/TOKEN")
    assert Secrets(SecretSettings(("files",), str(folder)), {}).resolve("TOKEN") == "from a file"


def test_a_provider_that_fails_is_passed_over_and_its_words_are_not_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(name: str) -> str:
        raise SystemExit("s3cr3t")

    secrets = Secrets(ALL, {"FLOWCTL_SECRET_TOKEN": "found"}, [("vault", broken)])
    assert secrets.resolve("TOKEN") == "found"
    assert "vault" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_settings_name_the_providers_and_a_folder_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "flowctl.toml").write_text(
        '[secrets]\nproviders = ["files"]\nfolder = "here"\nservice = "s"\n'
    )
    assert settle(None, (), {}, str(tmp_path)).secrets == SecretSettings(
        ("files",), str(tmp_path / "here"), "s"
    )


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flowctl:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowctl.toml").write_text('[secrets]\nfolder = "secrets"\n')
    text = "dsl: 1\nname: w\nsecrets: [TOKEN]\nsteps:\n"
    text += "  - {id: a, activity: core.echo, with: {t: '${{ secrets.TOKEN }}'}}\n"
    (tmp_path / "w.yaml").write_text(text)
    return caller(capsys)


def test_a_run_that_lacks_a_secret_says_where_it_was_looked_for_and_goes_on_with_it(
    flowctl: Flowctl, folder: Path
) -> None:
    answer = flowctl("run", "w.yaml", "--id", "r", "--wait", "0s", "--json")
    reason = answer.json["blocked"]["reason"]
    for place in ("TOKEN", "plugins", "FLOWCTL_SECRET_TOKEN", str(folder / "TOKEN")):
        assert place in reason
    put(folder)
    answer = flowctl("resume", "r", "--json")
    assert (answer.code, answer.json["output"]) == (0, {"t": "***"})


def test_doctor_names_the_providers_and_files_that_others_may_read(flowctl: Flowctl, folder: Path) -> None:
    put(folder, mode=0o644)
    answer = flowctl("doctor", "--json")
    found = {check["name"]: check for check in answer.json if check["status"] == "warning"}
    names = [check["name"] for check in answer.json if check["name"].startswith("secrets: ")]
    assert names == ["secrets: plugins", "secrets: environment", "secrets: files", "secrets: files"]
    assert "every user may read it" in found["secrets: files"]["message"]
    assert "from a file" not in str(answer.json)


def test_a_mask_finds_what_overlaps_and_what_was_cut_off() -> None:
    mask = Mask(["abcdefgh-one", "one-ijklmnop"])
    assert mask.text("<abcdefgh-one-ijklmnop>") == "<***>"
    assert mask.text("it ends with abcdefgh-") == "it ends with ***"
    assert mask.text("efgh-one, and more") == "***, and more"
    assert mask.data({"n": [1, "x"]}) == {"n": [1, "x"]}
    assert Mask(["8305291746"]).data([8305291746, 83]) == ["***", 83]
