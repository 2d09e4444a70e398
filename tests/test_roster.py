"""The roster: every hospital once, with its own key, in a role that exists."""

import json
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import KeysError, SettingsError
from ghanet_model.keys import make_site_key
from server.roster import INFERS, ROSTER_FILE, TRAINS, Roster, new_member, read_roster, write_roster


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Key files of three hospitals, by name."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ana", "ben", "cat"):
        make_site_key(folder / name)
    return {name: folder / f"{name}.pub" for name in ("ana", "ben", "cat")}


@pytest.fixture
def enrol(keys):
    """Make a member; by default ana, who trains with genes."""

    def make(name="ana", *, role=TRAINS, has_genes=True, key="ana"):
        return new_member(name, role=role, has_genes=has_genes, cases=30, key=keys[key])

    return make


@pytest.fixture
def roster(enrol):
    """One hospital of each kind."""
    return (
        Roster()
        .adding(enrol("cat", role=INFERS, has_genes=False, key="cat"))
        .adding(enrol("ana", key="ana"))
        .adding(enrol("ben", has_genes=False, key="ben"))
    )


def test_hospitals_stand_in_the_order_of_their_names(roster):
    """Sums are taken in this order, whoever enrolled first."""
    assert roster.names() == ("ana", "ben", "cat")


def test_roles_say_who_does_what(roster):
    """Two train, one of them with genes; the third only infers."""
    assert [m.name for m in roster.training()] == ["ana", "ben"]
    assert [m.name for m in roster.with_genes()] == ["ana"]


def test_adding_makes_a_new_roster(roster, enrol):
    """A refused or later enrolment leaves the roster at hand as it was."""
    empty = Roster()
    assert empty.adding(enrol()).names() == ("ana",)
    assert empty.names() == ()


def test_a_name_is_enrolled_once(roster, enrol, tmp_path):
    """A second hospital of the same name is refused, also with a key of its own."""
    make_site_key(tmp_path / "new")
    other = new_member("ana", role=TRAINS, has_genes=False, cases=9, key=tmp_path / "new.pub")
    with pytest.raises(SettingsError, match="'ana' is enrolled already"):
        roster.adding(other)


def test_a_key_is_enrolled_once(roster, enrol):
    """One hospital cannot count twice under two names; the error says whose key it is."""
    with pytest.raises(SettingsError, match="this key is enrolled already, as 'ana'"):
        roster.adding(enrol("dan", key="ana"))


BAD_NAMES = ["", "../up", "a/b", ".", "a.b", "A", "-a", "a b", "a\n", "é", "a" * 64, "a\0"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_cannot_be_file_names_are_refused(enrol, name):
    """A name becomes a file name and a column; path characters and the like are refused."""
    with pytest.raises(SettingsError, match="hospital name"):
        Roster().adding(enrol(name))


@given(name=st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True))
@settings(max_examples=30, deadline=None)
def test_plain_names_are_taken(keys, name):
    """Small letters, digits and hyphens make a name."""
    member = new_member(name, role=TRAINS, has_genes=False, cases=30, key=keys["ana"])
    assert Roster().adding(member).names() == (name,)


def test_genes_need_training(enrol):
    """A hospital that only infers brings no genes; the hint says which option to change."""
    with pytest.raises(SettingsError, match="training only") as caught:
        Roster().adding(enrol(role=INFERS, has_genes=True))
    assert "--genes" in caught.value.hint


def test_another_role_is_refused(enrol):
    """There are two roles."""
    with pytest.raises(SettingsError, match="role 'observes' cannot be used"):
        Roster().adding(enrol(role="observes", has_genes=False))


def test_a_key_file_is_checked(tmp_path, keys):
    """A private key, a text and a missing file are refused when enrolling."""
    (tmp_path / "text.pub").write_text("ssh-rsa AAAA")
    (tmp_path / "bytes.pub").write_bytes(b"\xff")
    private = keys["ana"].with_suffix("")
    for path, error in [
        (private, KeysError),
        (tmp_path / "text.pub", KeysError),
        (tmp_path / "bytes.pub", SettingsError),
        (tmp_path / "absent.pub", SettingsError),
    ]:
        with pytest.raises(error, match=path.name):
            new_member("ana", role=TRAINS, has_genes=False, cases=30, key=path)


def test_a_roster_reads_back(roster, tmp_path):
    """What was written is what is read, times and keys included."""
    write_roster(tmp_path, roster)
    assert read_roster(tmp_path) == roster


def test_no_file_is_an_empty_roster(tmp_path):
    """A new consortium has no hospitals."""
    assert read_roster(tmp_path) == Roster()


def test_another_format_is_refused_by_name(roster, tmp_path):
    """A roster of a later version is not guessed at."""
    (tmp_path / ROSTER_FILE).write_text(json.dumps({"format": 2, "members": []}))
    with pytest.raises(SettingsError, match=r"roster\.json: format is 2, expected 1"):
        read_roster(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", '{"format": 1}', '{"format": 1, "members": 3}'),
        '{"format": 1, "members": [{"name": "ana"}]}',
        '{"format": 1, "members": ["ana"]}',
        "[" * 9999,
    ],
)
def test_what_is_no_roster_is_refused(tmp_path, text):
    """A damaged roster is never taken for an empty one; the hint is to restore it."""
    (tmp_path / ROSTER_FILE).write_text(text)
    with pytest.raises(SettingsError, match=r"roster\.json: not a roster") as caught:
        read_roster(tmp_path)
    assert "backup" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../up"),
        ("name", 3),
        ("name", "ben"),
        ("role", "observes"),
        ("role", "infers"),
        ("has_genes", "no"),
        ("has_genes", None),
        ("public_key", "ecdsa-sha2-nistp384 AAAA"),
        ("public_key", ""),
        ("public_key", 3),
        ("enrolled", "yesterday"),
        ("cases", -1),
        ("cases", 30.5),
        ("cases", True),
        ("revoked", "yesterday"),
        ("revoked", 3),
        ("reason", None),
        ("left", "yesterday"),
        ("former_keys", ["ecdsa-sha2-nistp384 AAAA"]),
        ("former_keys", 3),
        ("extra", 1),
    ],
)
def test_a_roster_edited_by_hand_obeys_the_same_rules(roster, tmp_path, key, value):
    """No name, role, key or flag that enrolment refuses comes in through the file."""
    write_roster(tmp_path, roster)
    values = json.loads((tmp_path / ROSTER_FILE).read_text())
    values["members"][0][key] = value
    (tmp_path / ROSTER_FILE).write_text(json.dumps(values))
    with pytest.raises(SettingsError):
        read_roster(tmp_path)


def test_a_number_of_cases_is_needed(keys):
    """Without one nothing could be said of what a hospital claims; the hint names the option."""
    with pytest.raises(SettingsError, match="needs a number of cases") as caught:
        new_member("ana", role=TRAINS, has_genes=False, cases=None, key=keys["ana"])
    assert "--cases N" in caught.value.hint


def test_a_roster_of_the_version_before_is_read(roster, tmp_path):
    """Without the newer keys every hospital is in good standing, its number of cases unknown."""
    write_roster(tmp_path, roster)
    values = json.loads((tmp_path / ROSTER_FILE).read_text())
    for member in values["members"]:
        for key in ("cases", "revoked", "reason", "left", "former_keys"):
            del member[key]
    (tmp_path / ROSTER_FILE).write_text(json.dumps(values))
    found = read_roster(tmp_path)
    assert [(member.cases, member.is_active) for member in found.members] == [(0, True)] * 3


CHANGE = """
import sys
from dataclasses import replace
from pathlib import Path
from server.roster import change_roster
def more(roster):
    member = roster.named("ana")
    return roster.replacing(replace(member, cases=member.cases + 1))
for _ in range(20):
    change_roster(Path(sys.argv[1]), more)
"""


def test_a_command_and_a_run_change_the_roster_at_once(roster, tmp_path):
    """No change is lost."""
    write_roster(tmp_path, roster)
    command = [sys.executable, "-c", CHANGE, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert read_roster(tmp_path).named("ana").cases == 30 + 60


def test_random_damage_raises_only_our_errors(roster, tmp_path):
    """Whatever byte is changed, the roster is read or refused with our error."""
    write_roster(tmp_path, roster)
    content = (tmp_path / ROSTER_FILE).read_bytes()
    chance, refused = random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] = chance.randrange(256)
        (tmp_path / ROSTER_FILE).write_bytes(damaged)
        try:
            read_roster(tmp_path)
        except SettingsError:
            refused += 1
    assert refused > 200
