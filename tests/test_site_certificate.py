"""A hospital's certificate: asked for, issued, put into place, renewed; and what is refused."""

import datetime as dt
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from door_site import join_with_certificate
from local import edit
from support import run, write_study

import client.cli
import server.cli
from client.app_user import secrets_of
from client.certificate import certificate_note
from client.config import read_site
from ghanet_model.certificates import common_name, make_authority
from ghanet_model.door import (
    AUTHORITY,
    issue,
    make_door_authority,
    make_request,
    read_request,
    read_site_certificate,
)
from ghanet_model.errors import KeysError
from server.config import read_server
from server.door_words import certificate_note as server_note
from server.roster import read_roster, write_roster

NAME = "hospital-a"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator with a hospital that has a certificate, and one that was not enrolled."""
    root = tmp_path_factory.mktemp("certificates")
    write_study(root / "coordinator")
    run(server.cli.main, "init", "--folder", root / "coordinator", "--host", "127.0.0.1")
    edit(root / "coordinator" / "server.yaml", {"door": "none", "port": 9})
    join_with_certificate(root, NAME)
    invitation = root / "coordinator" / "invitation.json"
    home = root / "hospital-n"
    run(client.cli.main, "init", "--folder", home, "--name", home.name, "--invitation", invitation)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def refused(capsys: pytest.CaptureFixture[str], main, *arguments: object) -> str:
    """A command that must fail with exit code 1; its first line."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 1
    return capsys.readouterr().err.splitlines()[0]


def member(root: Path):
    """The hospital as the roster has it."""
    return read_roster(root / "coordinator").named(NAME)


def renew(root: Path, *options: object) -> None:
    """The coordinator renews the hospital."""
    run(server.cli.main, "renew", NAME, *options, "--folder", root / "coordinator")


def take(root: Path) -> None:
    """The hospital puts what the coordinator issued last into place."""
    issued = root / "coordinator" / "certificates" / f"{NAME}.crt"
    run(client.cli.main, "certificate", issued, "--folder", root / NAME)


def test_a_certificate_says_no_more_than_it_must(made: Path) -> None:
    """Name, at most 397 days, for clients only; what a request asks beyond its key is not read."""
    pem = (made / NAME / "keys" / "door.crt").read_bytes()
    found = x509.load_pem_x509_certificate(pem)
    assert found.subject == common_name(NAME)
    assert (found.not_valid_after_utc - found.not_valid_before_utc).days <= 397
    uses = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert member(made).serial == read_site_certificate(pem, where="x").serial


def test_the_key_stays_and_is_its_owners_only(made: Path) -> None:
    """The coordinator's folder holds no part of it; the request can be read, the key cannot."""
    keys = made / NAME / "keys"
    modes = {name: (keys / name).stat().st_mode & 0o777 for name in ("door.key", "door.csr")}
    assert modes == {"door.key": 0o600, "door.csr": 0o644}
    secret = (keys / "door.key").read_text().splitlines()[1]
    for path in (made / "coordinator").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
    kept = {path.name for path in secrets_of(read_site(made / NAME))}
    assert "door.key" in kept
    assert "door.csr" not in kept


def test_two_authorities_never_vouch_for_each_other(made: Path) -> None:
    """Hospitals' certificates and the server's are of different authorities with different keys."""
    keys = made / "coordinator" / "keys"
    one, other = [
        x509.load_pem_x509_certificate((keys / f"{n}.crt").read_bytes()) for n in ("ca", AUTHORITY)
    ]
    assert one.subject != other.subject
    assert one.public_key() != other.public_key()
    assert (keys / f"{AUTHORITY}.key").stat().st_mode & 0o777 == 0o600


def changed_request(keys: Path) -> bytes:
    """A request whose name was changed after it was signed."""
    content = x509.load_pem_x509_csr((keys / "door.csr").read_bytes()).public_bytes(Encoding.DER)
    wrong = x509.load_der_x509_csr(content.replace(b"hospital-n", b"hospital-a"))
    return wrong.public_bytes(Encoding.PEM)


def rsa_request(keys: Path) -> bytes:
    """A request of a kind of key that we do not use."""
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name("hospital-n"))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def request_of_two_names(keys: Path) -> bytes:
    """A request with a second part of the name."""
    subject = x509.Name([*common_name("hospital-n"), *common_name("hospital-a")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    key = ec.generate_private_key(ec.SECP256R1())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


REQUESTS = {
    "private key": (lambda keys: (keys / "door.key").read_bytes(), "this is a private key"),
    "no request": (lambda _: b"hello", "no readable request"),
    "too long": (lambda _: b"x" * 200_000, "no readable request"),
    "changed": (changed_request, "its signature is not its key's"),
    "another hospital's": (
        lambda keys: (keys.parents[1] / NAME / "keys" / "door.csr").read_bytes(),
        "asks for another name than 'hospital-n'",
    ),
    "RSA": (rsa_request, "not an EC P-256 or P-384 key"),
    "two names": (request_of_two_names, "asks for another name than 'hospital-n'"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_that_cannot_be_used_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    """One line; the hospital is not enrolled and no certificate is made."""
    make, why = REQUESTS[case]
    keys, folder = root / "hospital-n" / "keys", root / "coordinator"
    path = root / "request.csr"
    path.write_bytes(make(keys))
    options = ["--role", "infers", "--cases", 30, "--folder", folder, "--request", path]
    said = refused(capsys, server.cli.main, "enrol", "hospital-n", keys / "site_key.pub", *options)
    assert said == f"ghanet-server: error: request.csr: {why}"
    assert read_roster(folder).names() == (NAME,)
    assert [path.name for path in (folder / "certificates").iterdir()] == [f"{NAME}.crt"]


def test_another_hospitals_certificate_is_not_put_into_place(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Own key, own name, valid now; the one in place stays."""
    home, keys = root / NAME, root / "coordinator" / "keys"
    before = (home / "keys" / "door.crt").read_bytes()
    request = read_request(home / "keys" / "door.csr", name=NAME)
    other = make_request(root / "elsewhere", name=NAME)
    wrong = type(request)("hospital-q", request.public)
    ended = issue(keys, request, days=-1 / 86400)
    authority = (keys / "ca.crt").read_bytes()
    for pem, why in (
        (issue(keys, other), "not a certificate of this hospital's key"),
        (issue(keys, wrong), "a certificate of 'hospital-q', this is 'hospital-a'"),
        (ended, "ended on"),
        (authority, "no readable certificate of a hospital"),
        (b"hello", "no readable certificate of a hospital"),
    ):
        (root / "x.crt").write_bytes(pem)
        said = refused(capsys, client.cli.main, "certificate", root / "x.crt", "--folder", home)
        assert said.startswith(f"ghanet-client: error: x.crt: {why}")
    said = refused(capsys, client.cli.main, "certificate", root / "no.crt", "--folder", home)
    assert "no.crt: cannot be read" in said
    assert (home / "keys" / "door.crt").read_bytes() == before


def test_a_renewed_certificate_takes_the_place_of_the_old(root: Path) -> None:
    """From a new request, then from the same one again: each serial before is refused for ever."""
    first = member(root).serial
    run(client.cli.main, "renew-certificate", "--folder", root / NAME)
    request = root / NAME / "keys" / "door.csr"
    renew(root, "--request", request)
    take(root)
    assert not (root / NAME / "keys" / "door.next.key").exists()
    second = member(root).serial
    renew(root, "--request", request)
    take(root)
    assert [serial for serial, _ in member(root).former_serials] == [first, second]
    assert member(root).serial not in (first, second)
    listed = x509.load_pem_x509_crl((root / "coordinator" / "keys" / "door.crl").read_bytes())
    assert {entry.serial_number for entry in listed} == {int(first, 16), int(second, 16)}


def test_a_new_node_key_ends_the_certificate_too(root: Path) -> None:
    """Both keys lay in one folder; 'renew-key' makes both, and asks for a certificate."""
    old = (root / NAME / "keys" / "door.key").read_bytes()
    run(client.cli.main, "renew-key", "--folder", root / NAME)
    keys = root / NAME / "keys"
    assert (keys / "door.key").read_bytes() != old
    assert not (keys / "door.crt").exists()
    renew(root, keys / "site_key.pub")
    assert not member(root).serial
    renew(root, "--request", keys / "door.csr")
    take(root)
    assert member(root).serial


def test_a_revoked_hospital_needs_a_new_key_for_its_certificate(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one that its old certificate had may be in other hands, like its node key."""
    folder, keys = root / "coordinator", root / NAME / "keys"
    request = shutil.copy(keys / "door.csr", root / "old.csr")
    serial = member(root).serial
    run(server.cli.main, "revoke", NAME, "--folder", folder)
    assert member(root).former_serials[0][0] == serial
    run(client.cli.main, "renew-key", "--folder", root / NAME)
    options = ["renew", NAME, keys / "site_key.pub", "--folder", folder, "--request"]
    said = refused(capsys, server.cli.main, *options, request)
    assert "this request is of the key that its old certificate had" in said
    run(server.cli.main, *options, keys / "door.csr")
    take(root)
    assert member(root).is_active


@pytest.mark.parametrize(("days", "warned"), [(31.5, False), (29.5, True), (-0.1, True)])
def test_both_sides_warn_before_a_certificate_ends(root: Path, days: float, warned: bool) -> None:  # noqa: FBT001
    """From 30 days before, with what to do."""
    now = member_end(root) - dt.timedelta(days=days)
    lines = certificate_note(root / NAME, now), str(server_note(member(root), now))
    assert [line.startswith("warning: ") for line in lines] == [warned, warned]
    assert ("renew-certificate" in lines[0]) is warned
    assert ("ghanet-server renew hospital-a --request door.csr" in lines[1]) is warned


def member_end(root: Path) -> dt.datetime:
    """When the hospital's certificate ends."""
    return dt.datetime.fromisoformat(member(root).expires)


def test_an_old_folder_gets_its_door(root: Path) -> None:
    """A coordinator's folder of before gets an authority, a hospital's a key and a request."""
    folder, home = root / "coordinator", root / NAME
    for path in (*folder.glob("keys/door*"), *home.glob("keys/door*")):
        path.unlink()
    run(server.cli.main, "init", "--folder", folder)
    run(client.cli.main, "init", "--folder", home, "--invitation", folder / "invitation.json")
    renew(root, "--request", home / "keys" / "door.csr")
    take(root)
    assert "valid until" in certificate_note(home, dt.datetime.now(dt.UTC))


def test_the_authority_is_made_once(tmp_path: Path) -> None:
    """A second look changes neither its key nor its list."""
    make_door_authority(tmp_path, name="consortium")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    make_door_authority(tmp_path, name="consortium")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_roster_entry_is_refused(root: Path) -> None:
    """A serial that is none, or one without an end, is no roster."""
    folder = root / "coordinator"
    found = read_roster(folder)
    text = (folder / "roster.json").read_text()
    write_roster(folder, found)
    assert (folder / "roster.json").read_text() == text
    for wrong in ('"serial": "XYZ"', '"serial": ""'):
        serial = f'"serial": "{member(root).serial}"'
        (folder / "roster.json").write_text(text.replace(serial, wrong))
        with pytest.raises(Exception, match=r"roster\.json: not a roster"):
            read_roster(folder)
        (folder / "roster.json").write_text(text)


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    """Without it nothing is issued."""
    make_authority(tmp_path, name="consortium")
    request = make_request(tmp_path, name=NAME)
    with pytest.raises(KeysError, match=r"keys/door-ca\.key or keys/door-ca\.crt: missing"):
        issue(tmp_path, request)


def test_the_setting_door_is_checked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three words; anything else is named."""
    edit(root / "coordinator" / "server.yaml", {"door": "apache"})
    said = refused(capsys, server.cli.main, "roster", "--folder", root / "coordinator")
    assert said == "ghanet-server: error: server.yaml: 'door' is 'apache'"
    edit(root / "coordinator" / "server.yaml", {"door": "auto"})
    assert read_server(root / "coordinator").door == "auto"
