"""A signature tells a forger, who edits the manifest and its hash, from whoever has the key."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command_line import IN_PROCESS
from shard_samples import write_output

from faceaug.errors import IntegrityError, UsageError
from faceaug.shards.description.signature import SIGNATURE_NAME
from faceaug.shards.manifest import hash_line, read_manifest
from faceaug.shards.verify import sign_output, verify

serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization", reason="the extra sign is missing")


def write_keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, pem = Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    private, public = folder / f"{name}.pem", folder / f"{name}.public.pem"
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path]:
    """An output folder that is signed, and the public key."""
    private, public = write_keys(tmp_path)
    out = write_output(tmp_path / "out")
    sign_output(out, private)
    return out, public


def test_a_signed_folder_is_verified_with_and_without_the_key(signed: tuple[Path, Path]) -> None:
    out, public = signed
    assert verify(out, public_key=public).notes == ()
    assert verify(out, public_key=public).ok
    report = verify(out)
    assert report.ok
    assert any("manifest.sig was not checked" in note for note in report.notes)


def test_a_manifest_that_was_edited_with_its_hash_is_found_by_the_signature_alone(signed: tuple[Path, Path]) -> None:
    out, public = signed
    data = (out / "manifest.json").read_bytes().replace(b"MIT", b"CC0")
    (out / "manifest.json").write_bytes(data)
    (out / "manifest.sha256").write_text(hash_line(data))
    assert verify(out).ok  # what a forger can do where nothing was signed
    problems = verify(out, public_key=public).problems
    assert [(problem.file, "manifest.json was changed" in problem.what) for problem in problems] == [
        (SIGNATURE_NAME, True)
    ]


def test_another_key_no_signature_and_a_cut_one_are_problems(signed: tuple[Path, Path], tmp_path: Path) -> None:
    out, public = signed
    _, other = write_keys(tmp_path, "other")
    assert "another key signed it" in verify(out, public_key=other).to_text()
    whole = (out / SIGNATURE_NAME).read_bytes()
    (out / SIGNATURE_NAME).write_bytes(whole[:-1])
    assert not verify(out, public_key=public).ok
    (out / SIGNATURE_NAME).unlink()
    assert "manifest.sig: is missing" in verify(out, public_key=public).to_text()


def test_damaged_and_unfinished_folders_are_not_signed(tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path)
    out = write_output(tmp_path / "out")
    shard = out / read_manifest(out).shards[0].name
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="is damaged and is not signed"):
        sign_output(out, private)
    assert not (out / SIGNATURE_NAME).exists()
    with pytest.raises(IntegrityError, match="is unfinished"):
        sign_output(write_output(tmp_path / "unfinished", finish=False), private)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    out = write_output(tmp_path / "out")
    (tmp_path / "key.pem").write_bytes(content)
    for use in (lambda key: sign_output(out, key), lambda key: verify(out, public_key=key)):
        with pytest.raises(UsageError, match="has no such key"):
            use(tmp_path / "key.pem")
        with pytest.raises(UsageError, match="cannot be read"):
            use(tmp_path / "nowhere.pem")


def test_the_command_line_signs_and_verifies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    space: dict[str, Any] = {}
    exec(IN_PROCESS, space)
    (private, public), (_, other) = write_keys(tmp_path), write_keys(tmp_path, "other")
    out = write_output(tmp_path / "out")
    assert space["run"](["sign", str(out), "--key", str(private)]) == 0
    assert f"signed: {out}/manifest.sig" in capfd.readouterr().out
    assert space["run"](["verify", str(out), "--key", str(public)]) == 0
    assert space["run"](["verify", str(out), "--key", str(other)]) == 1
    assert space["run"](["verify", str(out), "--key", str(private)]) == 2  # a private key checks nothing


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_writes_the_keys_and_checks_the_signature(tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    out = write_output(tmp_path / "out")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    sign_output(out, private)
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", out / "manifest.json"]
    subprocess.run([*words, "-sigfile", out / SIGNATURE_NAME], check=True)
