"""Keys: private halves stay private, other kinds are refused, a flipped bit breaks a signature."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
    load_ssh_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import KeysError
from ghanet_model.files import write_atomic
from ghanet_model.keys import (
    SIGNATURE_SIZE,
    fingerprint,
    is_signed,
    make_release_key,
    make_site_key,
    read_site_public_key,
    release_fingerprint,
    sign,
    site_fingerprint,
    site_key_pem,
)

OTHER_KEYS = {
    "RSA": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
}


@pytest.fixture
def site(tmp_path):
    """A hospital's key file and its public line."""
    path = tmp_path / "keys" / "site_key"
    return path, make_site_key(path)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release key file and its public half."""
    path = tmp_path_factory.mktemp("keys") / "release.key"
    make_release_key(path)
    return path, path.with_name("release.key.pub").read_bytes()


def public_line(key) -> str:
    """A key's public half as OpenSSH writes it."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def mode(path: Path) -> int:
    """Permission bits."""
    return path.stat().st_mode & 0o777


def test_private_keys_are_for_their_owner_only(site, release):
    """Both private keys have mode 0600, their public halves 0644."""
    for path in (site[0], release[0]):
        assert mode(path) == 0o600
        assert mode(path.with_name(path.name + ".pub")) == 0o644


def test_public_files_hold_no_private_key(site, release):
    """What may travel holds the public half only."""
    for path in (site[0], release[0]):
        assert b"PRIVATE" in path.read_bytes()
        assert b"PRIVATE" not in path.with_name(path.name + ".pub").read_bytes()


def test_the_public_line_belongs_to_the_private_key(site):
    """The line that is returned, the .pub file and the private key are one pair."""
    path, line = site
    private = load_ssh_private_key(path.read_bytes(), password=None)
    assert public_line(private) == line == path.with_suffix(".pub").read_text().strip()


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
def test_the_fingerprint_is_what_ssh_keygen_prints(site):
    """People can compare a key by telephone with a program that they have."""
    path, line = site
    command = ["ssh-keygen", "-l", "-f", str(path.with_suffix(".pub"))]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split()[:2] == ["384", site_fingerprint(line)]


def test_every_key_is_another(tmp_path):
    """Two hospitals never share a key."""
    lines = {make_site_key(tmp_path / str(i)) for i in range(3)}
    assert len(lines) == 3
    assert len({site_fingerprint(line) for line in lines}) == 3


@pytest.mark.parametrize("comment", ["", " ana@hospital", " two words\n", "\r\n"])
def test_a_public_key_is_read_without_its_comment(site, comment):
    """A comment or line end, as mail programs add, changes nothing."""
    assert read_site_public_key(site[1] + comment, where="a.pub") == site[1]


def test_a_public_key_has_the_form_that_flower_knows(site):
    """The PEM form is the same point on the same curve."""
    assert public_line_of(site_key_pem(site[1])) == site[1]


def public_line_of(pem: bytes) -> str:
    """A public PEM key as OpenSSH writes it."""
    return load_pem_public_key(pem).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def test_a_private_key_is_refused_and_to_be_deleted(site):
    """A hospital that sends the wrong file is told so, and what to do about it."""
    with pytest.raises(KeysError, match=r"ana\.pub: this is a private key") as caught:
        read_site_public_key(site[0].read_text(), where="ana.pub")
    assert caught.value.hint.startswith("delete it")


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_other_kinds_of_key_are_refused(kind):
    """Flower takes P-384 only; everything else is refused here, with a hint."""
    with pytest.raises(KeysError, match=r"a\.pub: not an EC P-384 key") as caught:
        read_site_public_key(public_line(OTHER_KEYS[kind]()), where="a.pub")
    assert "site_key.pub" in caught.value.hint


@given(text=st.text() | st.binary().map(lambda b: b.decode("latin-1")), data=st.data())
@settings(max_examples=80, deadline=None)
def test_what_is_no_key_is_refused(text, data):
    """Any text, also behind a key's first words, raises our error and no other."""
    start = data.draw(st.sampled_from(["", "ecdsa-sha2-nistp384 ", "ssh-dss AAAA", "ssh-rsa "]))
    with pytest.raises(KeysError, match=r"a\.pub: "):
        read_site_public_key(start + text, where="a.pub")


@given(cut=st.integers(1, 150))
@settings(max_examples=30, deadline=None)
def test_a_cut_key_is_refused(tmp_path_factory, cut):
    """A line that lost its end on the way is not a key."""
    line = make_site_key(tmp_path_factory.mktemp("cut") / "site_key")
    with pytest.raises(KeysError):
        read_site_public_key(line[:-cut], where="a.pub")


@given(content=st.binary(max_size=200))
@settings(max_examples=20, deadline=None)
def test_a_signature_is_of_its_key_and_content(release, content):
    """What the private half signs the public half confirms, and nothing else."""
    path, public = release
    signature = sign(path, content)
    assert len(signature) == SIGNATURE_SIZE
    assert is_signed(public, signature, content, where="k")
    assert not is_signed(public, signature, content + b"x", where="k")


@pytest.mark.parametrize("place", range(0, 8 * SIGNATURE_SIZE, 7))
def test_a_flipped_signature_is_none(release, place):
    """One bit of a signature is enough to refuse it."""
    signature = bytearray(sign(release[0], b"content"))
    signature[place // 8] ^= 1 << place % 8
    assert not is_signed(release[1], bytes(signature), b"content", where="k")


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_another_size_is_none(release, size):
    """Short and long signatures are refused like wrong ones."""
    assert not is_signed(release[1], bytes(size), b"content", where="k")


def test_another_key_does_not_confirm(release, tmp_path):
    """A signature belongs to one key."""
    make_release_key(tmp_path / "other.key")
    signature = sign(tmp_path / "other.key", b"content")
    assert not is_signed(release[1], signature, b"content", where="k")


def test_a_release_fingerprint_is_of_the_raw_key(release):
    """The fingerprint is SHA-256 of the 32 bytes, in OpenSSH's spelling."""
    raw = load_pem_public_key(release[1]).public_bytes_raw()
    assert release_fingerprint(release[1], where="k") == fingerprint(raw)


@pytest.mark.parametrize("kind", ["RSA", "P-256"])
def test_other_kinds_do_not_sign_or_confirm(tmp_path, kind):
    """A release is signed and confirmed by Ed25519 only."""
    key, path = OTHER_KEYS[kind](), tmp_path / "k"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeysError, match="not an Ed25519 key"):
        sign(path, b"x")
    with pytest.raises(KeysError, match="not an Ed25519 key"):
        is_signed(public, bytes(64), b"x", where="k")


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PRIVATE KEY-----\nAA\n", b"\xff"])
def test_an_unreadable_release_key_is_named(tmp_path, content):
    """A missing or damaged key file is our error with the file's name."""
    if content is not None:
        (tmp_path / "release.key").write_bytes(content)
    with pytest.raises(KeysError, match=r"release\.key: no readable release key"):
        sign(tmp_path / "release.key", b"x")


def test_a_locked_release_key_is_refused(tmp_path):
    """A key with a password is not guessed at."""
    key, lock = ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"x")
    path = tmp_path / "release.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    with pytest.raises(KeysError, match="no readable release key"):
        sign(path, b"x")


@pytest.mark.parametrize("pem", [b"", b"\xff", b"-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_an_unreadable_public_key_is_named(pem):
    """What is no public key is our error with its place."""
    with pytest.raises(KeysError, match=r"keys/release\.pub: not a public key"):
        release_fingerprint(pem, where="keys/release.pub")


def test_a_kill_between_the_two_files_leaves_no_private_key(tmp_path, monkeypatch):
    """The private half is written last, so that a second try makes a whole pair."""

    def killed(path, content, **options):
        if options.get("private"):
            raise KeyboardInterrupt
        write_atomic(path, content, **options)

    monkeypatch.setattr("ghanet_model.keys.write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        make_site_key(tmp_path / "site_key")
    assert [path.name for path in tmp_path.iterdir()] == ["site_key.pub"]
