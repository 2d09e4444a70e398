"""Invitations: what a hospital accepts is the coordinator's study, and stays in its folder."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.certificates import make_authority
from ghanet_model.errors import SettingsError
from ghanet_model.invitation import (
    INVITATION_FILE,
    Invitation,
    accept_invitation,
    make_invitation,
    read_invitation,
    write_invitation,
)
from ghanet_model.keys import make_release_key
from ghanet_model.study import read_study

STUDY = """\
format: 1
name: demo  # a comment
encoder: enc-v1
feature_width: 8
time_bin_edges: [12, 36, 60]
gene_groups: Gene groups.csv
"""
GROUPS = "tumour suppressors,oncogènes\nTP53,KRAS\nRB1,\n"
BAD_NAMES = [
    *("../x.csv", "/etc/x.csv", "a/b.csv", "..", ".", "", ".csv", ".hidden.csv", "a\\b.csv"),
    *("site.yaml", "study.yaml", "keys", "x.csv\n", "x\0.csv", "x" * 300 + ".csv"),
]


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory):
    """A coordinator's folder with a study, an authority and a release key."""
    folder = tmp_path_factory.mktemp("coordinator")
    (folder / "study.yaml").write_text(STUDY)
    (folder / "Gene groups.csv").write_text(GROUPS)
    make_authority(folder / "keys", name="demo")
    make_release_key(folder / "keys" / "release.key")
    return folder


@pytest.fixture(scope="module")
def invitation(coordinator):
    """The invitation to that study."""
    study = read_study(coordinator)
    keys = coordinator / "keys"
    return make_invitation(coordinator, study, server="h.example:8000", keys=keys, bundle=b"bundle")


def test_an_invitation_reads_back(invitation, tmp_path):
    """What the coordinator wrote is what a hospital reads."""
    write_invitation(tmp_path / INVITATION_FILE, invitation)
    assert read_invitation(tmp_path / INVITATION_FILE) == invitation


def test_an_accepted_invitation_is_the_same_study(invitation, coordinator, tmp_path):
    """The hospital's study has the coordinator's digest, read from the hospital's own files."""
    study = accept_invitation(tmp_path / "home", invitation)
    assert study == read_study(tmp_path / "home")
    assert study.digest == read_study(coordinator).digest


def test_accepting_writes_these_files_and_no_other(invitation, coordinator, tmp_path):
    """Study, gene groups, app bundle, authority and release key, as the coordinator has them."""
    accept_invitation(tmp_path, invitation)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    named = {"study.yaml", "Gene groups.csv", "bundle.fab", "keys/ca.crt", "keys/release.pub"}
    assert files == named
    assert (tmp_path / "bundle.fab").read_bytes() == b"bundle"
    keys = coordinator / "keys"
    assert (tmp_path / "keys/ca.crt").read_bytes() == (keys / "ca.crt").read_bytes()
    assert (tmp_path / "keys/release.pub").read_bytes() == (keys / "release.key.pub").read_bytes()


def test_an_invitation_holds_nothing_private(invitation, tmp_path):
    """It may be sent by mail: no private key is in it."""
    write_invitation(tmp_path / "i", invitation)
    assert "PRIVATE" not in (tmp_path / "i").read_text()


def test_a_renewed_invitation_replaces_the_study(invitation, tmp_path):
    """After a change of the study the same folder takes the new one."""
    before = accept_invitation(tmp_path, invitation)
    groups = GROUPS.replace("RB1", "PTEN")
    after = accept_invitation(tmp_path, replace(invitation, gene_groups=groups))
    assert after.digest != before.digest
    assert ("PTEN", "TP53") in [symbols for _, symbols in after.groups]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_outside_the_folder_is_refused(invitation, tmp_path, name):
    """A tampered file name cannot leave the folder or hit another file; nothing is written."""
    write_invitation(tmp_path / "i", invitation)
    values = json.loads((tmp_path / "i").read_text())
    (tmp_path / "i").write_text(json.dumps({**values, "gene_groups_name": name}))
    with pytest.raises(SettingsError, match="gene groups cannot be in a file"):
        read_invitation(tmp_path / "i")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_cannot_be_sent_either(invitation, name):
    """The coordinator hears of it when it makes the invitation, with a hint."""
    with pytest.raises(SettingsError) as caught:
        replace(invitation, gene_groups_name=name)
    assert ".csv or .gmt" in caught.value.hint


def test_gene_groups_travel_in_any_format_and_encoding(coordinator, tmp_path):
    """A GMT in Latin-1 is the same study at the hospital, by its digest."""
    gmt = "tumour suppressors\t\tTP53\tRB1\r\noncogènes\tä\tKRAS\r\n"
    folder = Path(shutil.copytree(coordinator, tmp_path / "coordinator"))
    (folder / "Sets.v1.gmt").write_bytes(gmt.encode("latin-1"))
    (folder / "study.yaml").write_text(STUDY.replace("Gene groups.csv", "Sets.v1.gmt"))
    study = read_study(folder)
    invitation = make_invitation(
        folder, study, server="h.example:8000", keys=folder / "keys", bundle=b"bundle"
    )
    assert accept_invitation(tmp_path / "home", invitation).digest == study.digest
    assert study.digest == read_study(coordinator).digest


def test_a_hospitals_own_table_is_not_replaced(invitation, tmp_path):
    """An invitation whose gene groups are named like the hospital's table is refused."""
    (tmp_path / "clinical.csv").write_text("mine")
    bad = replace(
        invitation,
        gene_groups_name="clinical.csv",
        study=STUDY.replace("Gene groups.csv", "clinical.csv"),
    )
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"clinical\.csv: exists"):
            accept_invitation(tmp_path, bad)
    assert (tmp_path / "clinical.csv").read_text() == "mine"
    assert not (tmp_path / "study.yaml").exists()


def test_a_study_that_names_another_file_is_refused(invitation, tmp_path):
    """The gene groups that were sent must be those that the study names."""
    study = STUDY.replace("Gene groups.csv", "other.csv")
    with pytest.raises(SettingsError, match=r"other\.csv: not found"):
        accept_invitation(tmp_path, replace(invitation, study=study))


@pytest.mark.parametrize("name", [field.name for field in fields(Invitation)])
@pytest.mark.parametrize("value", [None, 3, ["x"], "missing"])
def test_every_part_is_needed_and_text(invitation, tmp_path, name, value):
    """Without any one part, or with something else in its place, it is refused."""
    write_invitation(tmp_path / "i", invitation)
    values = json.loads((tmp_path / "i").read_text()) | {name: value}
    if value == "missing":
        del values[name]
    (tmp_path / "i").write_text(json.dumps(values))
    with pytest.raises(SettingsError, match="not a whole invitation"):
        read_invitation(tmp_path / "i")


@pytest.mark.parametrize("bundle", ["", "no base64!", "é", "QUJD" * 30_000])
def test_an_app_bundle_is_base64_and_small(invitation, bundle):
    """Anything else in its place, or one too large, is refused before it is written."""
    with pytest.raises(SettingsError, match="no app bundle of at most"):
        replace(invitation, bundle=bundle)


def test_an_unknown_part_is_refused(invitation, tmp_path):
    """What this version does not know is not ignored."""
    write_invitation(tmp_path / "i", invitation)
    values = json.loads((tmp_path / "i").read_text())
    (tmp_path / "i").write_text(json.dumps({**values, "more": "x"}))
    with pytest.raises(SettingsError, match="not a whole invitation"):
        read_invitation(tmp_path / "i")


@pytest.mark.parametrize("found", [0, 2, "1", None])
def test_another_format_is_refused(invitation, tmp_path, found):
    """An invitation of another version is refused by its format."""
    write_invitation(tmp_path / "i", invitation)
    values = json.loads((tmp_path / "i").read_text())
    (tmp_path / "i").write_text(json.dumps({**values, "format": found}))
    with pytest.raises(SettingsError, match="not an invitation of format 1"):
        read_invitation(tmp_path / "i")


@given(content=st.binary() | st.text().map(lambda t: json.dumps([t]).encode()))
@settings(max_examples=50, deadline=None)
def test_random_files_raise_only_our_errors(tmp_path_factory, content):
    """Any file in an invitation's place is our error with a hint."""
    path = tmp_path_factory.mktemp("random") / "i"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_invitation(path)
    assert INVITATION_FILE in caught.value.hint


@pytest.mark.parametrize("content", [None, b"[" * 99_999])
def test_a_missing_or_hostile_file_is_refused(tmp_path, content):
    """No file, and a file made to exhaust the reader, are our error."""
    if content:
        (tmp_path / "i").write_bytes(content)
    with pytest.raises(SettingsError, match="i: no readable invitation"):
        read_invitation(tmp_path / "i")
