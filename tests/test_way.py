"""The way to the coordinator: a hospital's proxy, a proxy that opens TLS, words of the door."""

import threading
from pathlib import Path

import pytest
from connect_proxy import ConnectProxy
from door_site import Behind, listen_behind
from local import edit
from support import write_site

from client import connect
from client.config import SiteConfig, read_site
from client.door import Refusal, proxy_of, refusal_for, refusal_of, require_server
from ghanet_model.certificates import make_authority, make_server_certificate
from ghanet_model.door import make_request
from ghanet_model.errors import DeploymentError, KeysError
from ghanet_model.keys import make_site_key

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has, a test begins without a proxy."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital with keys and the consortium's authority."""
    found = write_site(tmp_path_factory.mktemp("way") / "hospital-a")
    make_authority(found / "keys", name="consortium")
    make_server_certificate(found / "keys", ["127.0.0.1"])
    make_site_key(found / "keys" / "site_key")
    return found


@pytest.fixture(scope="module")
def behind(home: Path) -> Behind:
    """The coordinator: a TLS server with the consortium's certificate."""
    return listen_behind(home / "keys")


@pytest.fixture(scope="module")
def opener(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Behind]:
    """What a proxy that opens TLS shows: a certificate for the right name, of its own authority."""
    keys = tmp_path_factory.mktemp("opener")
    make_authority(keys, name="Hospital IT inspection")
    make_server_certificate(keys, ["127.0.0.1"])
    return keys, listen_behind(keys)


def site(home: Path, port: int, **settings: object) -> SiteConfig:
    """The hospital, whose coordinator is at this port."""
    values = {"server": f"127.0.0.1:{port}", "extra_authority": None}
    edit(home / "site.yaml", values | settings)
    return read_site(home)


def test_a_proxy_is_used_where_the_environment_names_one(
    home: Path, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONNECT to the coordinator and nothing else; TLS is checked through it."""
    proxy, config = ConnectProxy().start(), site(home, behind.port)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert require_server(config) == ""
    assert refusal_of(config) is None
    assert set(proxy.asked) == {f"127.0.0.1:{behind.port}"}
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert proxy_of(config) == ""
    before = len(proxy.asked)
    assert require_server(config) == ""
    assert len(proxy.asked) == before


def test_a_proxy_that_asks_for_a_password(
    home: Path, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the variable; without it the proxy's own word is told."""
    proxy, config = ConnectProxy(password="Basic bWU6bXkgcHc=").start(), site(home, behind.port)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with pytest.raises(DeploymentError, match=r"cannot be reached through the proxy .*407"):
        require_server(config)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:my%20pw@"))
    assert require_server(config) == ""


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://127.0.0.1:9",
        "http://",
        "https://x:1",
        "http://x:y",
        "http://my proxy:1",
        "http://a..b:1",
    ],
)
def test_an_address_that_is_no_proxys_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """One line, before anything is sent."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(DeploymentError, match="HTTPS_PROXY is not the address of a proxy"):
        require_server(site(home, 1))


def test_a_proxy_that_opens_tls_is_refused_and_named(
    home: Path, opener: tuple[Path, Behind]
) -> None:
    """By default nobody between hospital and coordinator reads along; nothing was sent."""
    _, behind = opener
    with pytest.raises(DeploymentError, match="'CN=Hospital IT inspection authority' issued it"):
        require_server(site(home, behind.port))
    assert refusal_of(site(home, behind.port)) is None
    assert behind.seen == []


def test_a_proxy_that_may_open_tls_is_told_of(home: Path, opener: tuple[Path, Behind]) -> None:
    """With IT's authority in site.yaml, and only with that one."""
    keys, behind = opener
    config = site(home, behind.port, extra_authority=str(keys / "ca.crt"))
    assert require_server(config) == "CN=Hospital IT inspection authority"
    other = keys / "other"
    make_authority(other, name="somebody else")
    with pytest.raises(DeploymentError, match="is not this consortium's"):
        require_server(site(home, behind.port, extra_authority=str(other / "ca.crt")))


def test_an_extra_authority_that_is_none_is_named(home: Path) -> None:
    """Before anything is sent."""
    (home / "it.pem").write_text("hello")
    for name in ("it.pem", "absent.pem"):
        with pytest.raises(KeysError, match="'extra_authority' names no readable certificate"):
            require_server(site(home, 1, extra_authority=name))


def test_a_certificate_of_another_key_is_named(home: Path, tmp_path: Path) -> None:
    """What lies in keys/ does not belong together."""
    keys = home / "keys"
    make_request(keys, name="hospital-a")
    (keys / "door.crt").write_bytes((keys / "server.crt").read_bytes())
    try:
        with pytest.raises(KeysError, match=r"door\.crt and keys/door\.key do not belong together"):
            require_server(site(home, 1))
    finally:
        (keys / "door.crt").unlink()


@pytest.mark.parametrize(
    ("said", "what", "passes"),
    [
        ("NONE", "the coordinator asks for a certificate and was shown none", False),
        ("FAILED:certificate revoked", "this hospital's certificate was revoked", False),
        ("FAILED:certificate has expired", "this hospital's certificate has expired", False),
        ("FAILED:CRL has expired", "the coordinator's list of refused certificates", True),
        ("FAILED:unable to verify", "is not of this coordinator's authority", False),
        ("pair", "certificate and key do not belong together", False),
    ],
)
def test_every_word_of_the_door_is_explained(said: str, what: str, *, passes: bool) -> None:
    """What is wrong, and what to do."""
    found = refusal_for(said)
    assert found is not None
    assert what in found.what
    assert found.hint
    assert found.passes is passes


@pytest.mark.parametrize("said", ["", "path", "something new"])
def test_what_is_no_refusal_is_none(said: str) -> None:
    """A server without a door says nothing."""
    assert refusal_for(said) is None


def scripted(
    home: Path, monkeypatch: pytest.MonkeyPatch, refusals: list[Refusal | None]
) -> tuple[list[str], DeploymentError | None]:
    """What is said while connections end at once and the door says this after each."""
    stopping, said, left = threading.Event(), list[str](), list(refusals)

    def next_refusal(_: SiteConfig) -> Refusal | None:
        if len(left) == 1:
            stopping.set()
        return left.pop(0)

    monkeypatch.setattr(connect, "refusal_of", next_refusal)
    monkeypatch.setattr(connect, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(connect, "FIRST_DELAY", 0.01)
    ended = connect.Ended(connected=False, refused=False, why="SuperNode ended")
    monkeypatch.setattr(connect, "_one_connection", lambda *_: ended)
    try:
        connect._stay_connected(site(home, 1), said.append, stopping, None)
    except DeploymentError as error:
        return said, error
    return said, None


def test_a_revoked_certificate_ends_the_client_after_one_more_try(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been renewed meanwhile; then one clear line, for the service to start again."""
    revoked = refusal_for("FAILED:certificate revoked")
    said, error = scripted(home, monkeypatch, [revoked, revoked, None])
    assert str(error) == "this hospital's certificate was revoked"
    assert sum("refused at the door" in line for line in said) == 1
    assert scripted(home, monkeypatch, [revoked, None, revoked, None])[1] is None


def test_an_ended_list_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the coordinator's to mend: the client stays."""
    said, error = scripted(home, monkeypatch, [refusal_for("FAILED:CRL has expired")] * 5)
    assert error is None
    assert sum("refused at the door" in line for line in said) == 5
