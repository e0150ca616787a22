"""Keys: made whole or not at all, kept to their owner, and believed only where somebody said so."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from driftline.cli.main import cli
from driftline.errors import ArtifactError, ArtifactFault, DeploymentError
from driftline.platform import keys as module
from driftline.platform.keys import Keyring

DATA = b'{"model":"m"}'


@pytest.fixture
def keyring(tmp_path):
    return Keyring(tmp_path / "state" / "keys")


def refused(keyring: Keyring, data: bytes, signature: str) -> ArtifactFault | None:
    with pytest.raises(ArtifactError) as caught:
        keyring.verify(data, signature)
    return caught.value.fault


def secret(keyring: Keyring) -> str:
    """What must be seen nowhere."""
    return (keyring.directory / "signing.pem").read_text().splitlines()[1]


def test_a_machine_without_a_key_makes_one_with_its_first_signature_and_trusts_it(keyring):
    assert (keyring.signer(), keyring.trusted()) == (None, [])
    signature = keyring.sign(DATA)
    (key,) = keyring.trusted()
    assert keyring.signer() == key.id == signature.split(":")[0]
    keyring.verify(DATA, signature)
    assert keyring.sign(DATA) == signature  # and goes on with it
    assert refused(keyring, DATA + b" ", signature) == ArtifactFault.BAD_SIGNATURE


def test_the_private_key_is_readable_by_its_owner_alone_from_the_first_moment(keyring, monkeypatch):
    seen = []

    def placed(place):
        def look(aside, path):
            seen.append((Path(path).name, Path(aside).stat().st_mode & 0o777))
            return place(aside, path)

        return look

    monkeypatch.setattr(os, "replace", placed(os.replace))
    before = os.umask(0)
    try:
        keyring.sign(DATA)
        keyring.make("second")
    finally:
        os.umask(before)
    assert [mode for name, mode in seen if name == "signing.pem"] == [0o600, 0o600]
    assert (keyring.directory / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert all(key.file.stat().st_mode & 0o777 == 0o644 for key in keyring.trusted())
    assert not list(keyring.directory.rglob(".writing-*"))


def test_a_new_key_signs_from_then_on_and_what_the_old_one_has_signed_stays_good(keyring):
    old = keyring.make("first")
    signature = keyring.sign(DATA)
    new = keyring.make("second")
    assert keyring.signer() == new.id == keyring.sign(DATA).split(":")[0]
    assert [key.name for key in keyring.trusted()] == ["first", "second"]
    keyring.verify(DATA, signature)
    keyring.distrust(old.id[:6])
    assert refused(keyring, DATA, signature) == ArtifactFault.UNKNOWN_SIGNER
    keyring.verify(DATA, keyring.sign(DATA))


def test_many_who_sign_first_at_once_sign_with_one_key(keyring):
    with ThreadPoolExecutor(8) as pool:
        signatures = set(pool.map(lambda _: keyring.sign(DATA), range(16)))
    assert len(signatures) == len(keyring.trusted()) == 1
    keyring.verify(DATA, signatures.pop())


@pytest.mark.parametrize("last", ["first-", "signing"])
def test_killed_while_a_key_is_made_there_is_none_that_signs_and_the_next_goes_on(keyring, monkeypatch, last):
    class Killed(BaseException):
        pass

    def dies(aside, path, replace=os.replace):
        if Path(path).name.startswith(last):
            raise Killed
        replace(aside, path)

    monkeypatch.setattr(module.socket, "gethostname", lambda: "first")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        with pytest.raises(Killed):
            keyring.sign(DATA)
    assert keyring.signer() is None
    keyring.verify(DATA, keyring.sign(DATA))


def test_what_another_machine_signs_is_believed_once_its_public_key_is_trusted_here(keyring, tmp_path):
    there = Keyring(tmp_path / "there")
    key = there.make("trainer")
    signature = there.sign(DATA)
    assert refused(keyring, DATA, signature) == ArtifactFault.UNKNOWN_SIGNER
    assert keyring.trust(key.file).name == "trainer"
    keyring.verify(DATA, signature)
    assert keyring.trust(key.file, "again").name == "trainer"
    assert len(keyring.trusted()) == 1
    assert keyring.signer() is None  # to believe is not to sign
    shutil.copy(key.file, tmp_path / "copy.pem")
    other = Keyring(tmp_path / "third")
    assert (other.trust(tmp_path / "copy.pem").name, other.trusted()[0].id) == ("copy", key.id)


def test_two_machines_whose_keys_have_one_name_are_told_apart(keyring, tmp_path):
    for n in range(2):
        keyring.trust(Keyring(tmp_path / str(n)).make("same").file)
    assert [key.name for key in keyring.trusted()] == ["same", "same"]
    with pytest.raises(DeploymentError, match="more than one key"):
        keyring.distrust("")
    with pytest.raises(DeploymentError, match="no trusted key"):
        keyring.distrust("nothing")


def test_a_key_that_is_not_trusted_where_it_is_does_not_sign(keyring):
    keyring.distrust(keyring.make("first").id)
    with pytest.raises(DeploymentError, match="keys make NAME"):
        keyring.sign(DATA)
    keyring.make("second")
    keyring.sign(DATA)


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "a" * 65, "-x", "tab\t"])
def test_a_name_that_is_no_name_of_a_file_is_refused_before_anything_is_made(keyring, name):
    with pytest.raises(DeploymentError, match="cannot be a key's name"):
        keyring.make(name)
    assert (keyring.signer(), keyring.trusted()) == (None, [])


@pytest.mark.parametrize("host", ["node-1.example", "", "a.b c/d", "-", "ü" * 100])
def test_a_machine_of_any_name_makes_its_key(keyring, monkeypatch, host):
    monkeypatch.setattr(module.socket, "gethostname", lambda: host)
    keyring.verify(DATA, keyring.sign(DATA))


def test_a_private_key_is_never_trusted_by_mistake_nor_shown(keyring, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    keyring.make("first")
    signing = keyring.directory / "signing.pem"
    with pytest.raises(DeploymentError, match="holds no public Ed25519 key") as caught:
        keyring.trust(signing)
    keyring.sign(DATA)
    shown = "".join([str(caught.value), repr(keyring), repr(keyring.trusted()), caplog.text])
    for arguments in (["make", "second"], ["list"], ["list", "--json"]):
        shown += CliRunner(env=environment(keyring)).invoke(cli, ["keys", *arguments]).output
    assert "second" in shown
    assert secret(keyring) not in shown


@pytest.mark.parametrize(
    "found", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_an_error_that_says_what_to_do_and_never_a_new_key_in_silence(keyring, found):
    key = keyring.make("first")
    (keyring.directory / "signing.pem").write_bytes(found)
    with pytest.raises(DeploymentError, match=r"signing\.pem is no Ed25519 key; `driftline keys make"):
        keyring.sign(DATA)
    key.file.write_bytes(found)
    with pytest.raises(DeploymentError, match="holds no public Ed25519 key"):
        keyring.trusted()
    assert refused(keyring, DATA, f"{key.id}:00") == ArtifactFault.UNKNOWN_SIGNER


def test_keys_that_cannot_be_written_are_an_error_that_names_the_setting(tmp_path):
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DeploymentError, match="DRIFTLINE_KEY_DIR"):
            Keyring(directory).sign(DATA)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_verifies_what_was_signed(keyring, tmp_path):
    signature = keyring.sign(DATA).split(":")[1]
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature))
    (key,) = keyring.trusted()
    what = ["-verify", "-pubin", "-inkey", str(key.file), "-rawin", "-in", "data", "-sigfile", "signature"]
    told = subprocess.run(["openssl", "pkeyutl", *what], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Signature Verified Successfully" in told.stdout


def environment(keyring: Keyring) -> dict[str, str]:
    """No servers are needed for keys."""
    return {"DRIFTLINE_KEY_DIR": str(keyring.directory), "DRIFTLINE_BOOTSTRAP": "", "DRIFTLINE_REDIS_URL": ""}


def run(keyring: Keyring, *arguments: str) -> str:
    told = CliRunner(env=environment(keyring)).invoke(cli, ["keys", *arguments], catch_exceptions=False)
    assert told.exit_code == 0
    return told.output


def test_the_command_makes_lists_trusts_and_distrusts_keys_without_any_server(keyring, tmp_path):
    assert "no key is trusted in" in run(keyring, "list")
    assert json.loads(run(keyring, "list", "--json")) == []
    assert "(first) signs here from now on" in run(keyring, "make", "first")
    other = Keyring(tmp_path / "other").make("other")
    assert f"key {other.id} (far-away) is trusted" in run(keyring, "trust", str(other.file), "--name", "far-away")
    own = keyring.signer()
    found = json.loads(run(keyring, "list", "--json"))
    assert [(each["id"], each["name"], each["signs"]) for each in found] == [
        (other.id, "far-away", False),
        (own, "first", True),
    ]
    assert all(Path(each["file"]).is_file() for each in found)
    lines = run(keyring, "list").splitlines()
    assert [line.split() for line in lines[1:]] == [[other.id, "far-away"], [own, "first", "yes"]]
    assert "nothing can be stored" not in run(keyring, "distrust", other.id)
    assert "nothing can be stored until `driftline keys make NAME`" in run(keyring, "distrust", own[:8])


def test_keys_are_under_the_state_directory_unless_a_setting_names_another(keyring, tmp_path):
    told = subprocess.run(
        [sys.executable, "-m", "driftline.cli.main", "keys", "make", "x"],
        env={**os.environ, "DRIFTLINE_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stderr == ""
    assert [key.name for key in keyring.trusted()] == ["x"]


def test_a_mistake_is_one_sentence_and_exit_code_1(keyring):
    told = subprocess.run(
        [sys.executable, "-m", "driftline.cli.main", "keys", "distrust", "5f1c"],
        env={**os.environ, **environment(keyring)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert told.stderr == (
        "driftline: no trusted key has an id that begins with '5f1c'; `driftline keys list` shows them\n"
    )
