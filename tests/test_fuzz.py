"""Hostile settings, keys and certificates: read, or refused by an error of ours, soon."""

import base64
import os
from pathlib import Path

import pytest
import yaml
from hostile import ANY, FUZZ, damaged, is_read
from hypothesis import given
from hypothesis import strategies as st
from support import STUDY

from client.config import SiteConfig, read_site
from ghanet_model.certificates import (
    certificate_fingerprint,
    make_authority,
    make_server_certificate,
    server_certificate_serves,
)
from ghanet_model.door import (
    door_key_fingerprint,
    issue,
    list_times,
    make_door_authority,
    make_request,
    read_request,
    read_site_certificate,
)
from ghanet_model.errors import KeysError, SettingsError
from ghanet_model.files import read_file
from ghanet_model.keys import (
    MOST_BYTES as MOST_KEY_BYTES,
)
from ghanet_model.keys import (
    is_signed,
    make_release_key,
    make_site_key,
    release_fingerprint,
    sign,
    site_fingerprint,
)
from ghanet_model.settings import MOST_BYTES, read_settings, read_yaml
from ghanet_model.study import StudyConfig
from server.config import ServerConfig

SITE = """\
format: 1
name: hospital-a
server: localhost:1
slides: slides.csv
features: features
encoder: enc-v1
columns: {case_id: patient}
threads: 2
"""
SERVER = "format: 1\nhost: localhost\nport: 8000\n"
PLAIN = ("a", "name", "format", "1", ": ", "\n", "\n  ", "- ", "[", "]", "{", "}", ",", "'", "# ")
ODD = ("&a ", "*a", "!!bool ", "!!float ''", "!!timestamp x", "<<", "? ", "| ", "> ", "%", "\t")
ODDER = ("1e999", ".inf", ".nan", "1:2:3", "2024-13-45", '"\\ud800"', '"\\0"', "0x" + "f" * 5000)
WORDS = st.sampled_from((*PLAIN, *ODD, *ODDER))
KINDS = [
    (SiteConfig, {"folder": Path()}),
    (StudyConfig, {"groups": ()}),
    (ServerConfig, {"folder": Path()}),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for all examples."""
    return tmp_path_factory.mktemp("fuzz")


def settings_of(path: Path, content: bytes) -> bool:
    """Whether the bytes are settings of any kind."""
    path.write_bytes(content)
    found = [is_read(read_settings, path, kind, **made) for kind, made in KINDS]
    return any(found)


def refusal(path: Path, text: str) -> str:
    """What is said of a YAML file of this text."""
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_yaml(path)
    return str(caught.value)


@FUZZ
@given(damaged(SITE.encode(), STUDY.encode(), SERVER.encode()))
def test_damaged_settings(place, content):
    """Whatever a settings file holds, it is read or refused."""
    settings_of(place / "a.yaml", content)


@FUZZ
@given(st.lists(WORDS, max_size=30).map("".join))
def test_strange_yaml(place, text):
    """Whatever YAML can say, it is read or refused."""
    settings_of(place / "a.yaml", f"format: 1\n{text}".encode())


@FUZZ
@given(st.sampled_from([SITE, STUDY, SERVER]), st.data())
def test_settings_of_other_types(place, text, data):
    """Any value in the place of any other is read or refused."""
    values = yaml.safe_load(text)
    values[data.draw(st.sampled_from(sorted(values)))] = data.draw(ANY)
    settings_of(place / "a.yaml", yaml.safe_dump(values).encode())


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    """The last of two does not win in silence: key and line are named, at any depth."""
    said = refusal(tmp_path / "a.yaml", "a: 1\nb: 2\na: 3\n")
    assert said == "a.yaml: 'a' is there twice, again at line 3"
    assert "'c' is there twice" in refusal(tmp_path / "a.yaml", "b:\n  c: 1\n  c: 2\n")


def test_aliases_tags_and_depth_are_refused(tmp_path):
    """A billion laughs need an alias; a tag makes other objects; depth fills the stack."""
    laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    assert "anchor, alias or tag at line 1" in refusal(tmp_path / "a.yaml", laughs)
    assert "tag at line 1" in refusal(tmp_path / "a.yaml", "a: !!python/name:os.system x\n")
    assert "in each other" in refusal(tmp_path / "a.yaml", "a: " + "[" * 50_000)


def test_a_long_settings_file_is_not_parsed(tmp_path):
    """A file over the bound is refused before it is read."""
    assert "larger than" in refusal(tmp_path / "a.yaml", "#" * (MOST_BYTES + 1))


def test_numbers_that_are_not_finite_or_too_long_are_refused(tmp_path):
    """No setting is infinite, and no number is longer than a machine's."""
    for line in ("threads: 0x" + "f" * 5000, "cache_megabytes: 9" + "0" * 30, "name: [.nan]"):
        text = "\n".join(each for each in SITE.splitlines() if each[:4] != line[:4])
        (tmp_path / "site.yaml").write_text(f"{text}\n{line}\n")
        assert not is_read(read_site, tmp_path)


def test_a_pipe_or_folder_is_no_file(tmp_path):
    """What would never end is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(OSError, match=r"regular|directory"):
            read_file(tmp_path / name, most=10)
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_file(Path("/proc/self/maps"), most=10)  # says that it has no bytes


def inside(pem: bytes) -> bytes:
    """What a PEM or OpenSSH file says in base64."""
    lines = pem.splitlines()
    return base64.b64decode(pem.split()[1] if len(lines) == 1 else b"".join(lines[1:-1]))


def dressed(content: bytes, kind: str) -> bytes:
    """Bytes as a key file of this kind."""
    text = base64.encodebytes(content)
    if kind == "ssh":
        return b"ecdsa-sha2-nistp384 " + text.replace(b"\n", b"")
    return f"-----BEGIN {kind}-----\n".encode() + text + f"-----END {kind}-----\n".encode()


@pytest.fixture(scope="module")
def keys(place) -> dict[str, bytes]:
    """A key or certificate of each kind that comes from outside."""
    make_release_key(place / "release.key")
    make_site_key(place / "site_key")
    make_authority(place, name="demo")
    make_server_certificate(place, ["localhost"])
    names = {"ssh": "site_key.pub", "PUBLIC KEY": "release.key.pub", "CERTIFICATE": "server.crt"}
    names |= {"PRIVATE KEY": "release.key", "EC": "ca.key", "CA": "ca.crt"}
    return {kind: (place / name).read_bytes() for kind, name in names.items()}


@FUZZ
@given(st.data(), st.sampled_from(["ssh", "PUBLIC KEY", "CERTIFICATE", "PRIVATE KEY", "CA"]))
def test_damaged_keys(place, keys, data, kind):
    """A key or certificate is read or refused, whether its text or what is inside is damaged."""
    content = data.draw(damaged(keys[kind]))
    if data.draw(st.booleans()):
        content = dressed(data.draw(damaged(inside(keys[kind]))), kind.replace("CA", "CERTIFICATE"))
    is_read(site_fingerprint, content.decode(errors="surrogateescape"))
    is_read(certificate_fingerprint, content)
    is_read(release_fingerprint, content, where="x")
    is_read(is_signed, content, bytes(64), b"", where="x")
    (place / "server.crt").write_bytes(content)
    assert server_certificate_serves(place, ["localhost"], days=0) in (True, False)
    (place / "release.key").write_bytes(content)
    is_read(sign, place / "release.key", b"")


@FUZZ
@given(st.data(), st.sampled_from(["ca.key", "ca.crt"]))
def test_a_damaged_authority(tmp_path_factory, keys, data, name):
    """An authority whose key or certificate is damaged signs, or is refused."""
    folder = tmp_path_factory.mktemp("authority")
    for file, kind in (("ca.key", "EC"), ("ca.crt", "CA")):
        (folder / file).write_bytes(keys[kind])
    (folder / name).write_bytes(data.draw(damaged((folder / name).read_bytes())))
    is_read(make_server_certificate, folder, ["localhost"])


@FUZZ
@given(st.data(), st.sampled_from(["door.csr", "door.crt", "door.key", "door.crl"]))
def test_damaged_files_of_the_door(place, data, name):
    """Request, certificate, key and list are read or refused, each reader given each of them."""
    kinds = {"csr": "CERTIFICATE REQUEST", "crt": "CERTIFICATE", "key": "PRIVATE KEY"}
    if not (place / "door-ca.key").exists():
        make_door_authority(place, name="demo")
        make_request(place, name="hospital-a")
        request = read_request(place / "door.csr", name="hospital-a")
        (place / "door.crt").write_bytes(issue(place, request))
    whole = (place / name).read_bytes()
    content = data.draw(damaged(whole))
    if data.draw(st.booleans()):
        content = dressed(data.draw(damaged(inside(whole))), kinds.get(name[-3:], "X509 CRL"))
    folder = place / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "door.crl").write_bytes(content)
    is_read(read_request, folder / "door.crl", name="hospital-a")
    is_read(read_site_certificate, content, where="x")
    is_read(door_key_fingerprint, folder / "door.crl")
    is_read(list_times, folder)


def test_a_compressed_point_is_no_site_key(keys):
    """A key in a form that the library does not read is refused like any other."""
    content = bytearray(inside(keys["ssh"]))
    content[content.index(b"\x04", 30)] = 2  # of the point: not compressed
    with pytest.raises(KeysError, match="not an OpenSSH public key"):
        site_fingerprint(dressed(bytes(content), "ssh").decode())


def test_a_long_key_file_is_not_read(tmp_path):
    """A key file over the bound is refused."""
    (tmp_path / "release.key").write_bytes(b"-" * (MOST_KEY_BYTES + 1))
    with pytest.raises(KeysError, match="no readable release key"):
        sign(tmp_path / "release.key", b"")
