"""site.yaml: one hospital's settings, refused early when they cannot work."""

from pathlib import Path

import pytest

from client.config import Columns, EventWords, read_site, site_template
from ghanet_model.errors import SettingsError

SITE = """\
format: 1
name: north
server: ghanet.example.org:443
slides: slides.csv
features: data/features
encoder: enc-v1
"""


def read(folder: Path, text: str):
    """The settings of a site.yaml of this text."""
    (folder / "site.yaml").write_text(text)
    return read_site(folder)


def test_paths_start_at_the_file(tmp_path):
    """Relative paths are relative to the folder of site.yaml."""
    site = read(tmp_path, SITE + "clinical: tables/clinical.csv\n")
    assert site.slides == tmp_path / "slides.csv"
    assert site.features == tmp_path / "data" / "features"
    assert site.clinical == tmp_path / "tables" / "clinical.csv"
    assert (site.genes, site.folder) == (None, tmp_path)


def test_absolute_and_home_paths_stay(tmp_path, monkeypatch):
    """An absolute path, or one from the home folder, is used as it is."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    site = read(tmp_path, SITE + "clinical: /data/clinical.csv\ngenes: ~/genes.csv\n")
    assert site.clinical == Path("/data/clinical.csv")
    assert site.genes == tmp_path / "home" / "genes.csv"


def test_columns_can_be_mapped(tmp_path):
    """A site names only the columns that differ."""
    site = read(tmp_path, SITE + "columns: {time: survival_months, censorship: censored}\n")
    assert site.columns == Columns(time="survival_months", censorship="censored")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: north", "name: North Hospital"),
        ("name: north", "name: a/b"),
        ("ghanet.example.org:443", "ghanet.example.org"),
        ("ghanet.example.org:443", "https://ghanet.example.org:443"),
        ("ghanet.example.org:443", "host:0"),
        ("ghanet.example.org:443", "host:65536"),
        ("ghanet.example.org:443", "-host:443"),
        ("ghanet.example.org:443", "host name:443"),
        ("encoder: enc-v1", "encoder: ' '"),
        ("format: 1", "format: 1\ndevice: gpu"),
        ("format: 1", "format: 1\nthreads: 0"),
        ("format: 1", "format: 1\ncache_megabytes: -1"),
        ("format: 1", "format: 1\ncolumns: {tmie: months}"),
        ("format: 1", "format: 1\ncolumns: {start: diagnosed}"),
        ("format: 1", "format: 1\ncolumns: {start: a, end: b, time: c}"),
        ("format: 1", "format: 1\ntime_unit: weeks"),
        ("format: 1", "format: 1\ncolumns: {start: a, end: b}\ntime_unit: days"),
        ("format: 1", "format: 1\ndate_order: year first"),
        ("format: 1", "format: 1\nevent_words: {died: [x], alive: [X]}"),
        ("format: 1", "format: 1\ncbioportal: study\ngenes: genes.csv"),
        ("format: 1", "format: 1\ncbioportal_expression: data_mrna.txt"),
    ],
)
def test_impossible_site_is_refused(tmp_path, old, new):
    """What cannot work is refused with a hint."""
    with pytest.raises(SettingsError, match=r"site\.yaml") as caught:
        read(tmp_path, SITE.replace(old, new))
    assert caught.value.hint


@pytest.mark.parametrize("server", ["localhost:9092", "10.0.0.1:443", "[::1]:9092"])
def test_servers_of_all_kinds(tmp_path, server):
    """Names and addresses of both families are servers."""
    assert read(tmp_path, SITE.replace("ghanet.example.org:443", f"'{server}'")).server == server


@pytest.mark.parametrize("device", ["cpu", "mps", "cuda", "cuda:1"])
def test_devices(tmp_path, device):
    """The devices that torch has are devices."""
    assert read(tmp_path, SITE + f"device: {device}\n").device == device


def test_cache_is_a_number_of_megabytes(tmp_path):
    """There is a cache unless the site says 0."""
    assert read(tmp_path, SITE).cache_megabytes > 0
    assert read(tmp_path, SITE + "cache_megabytes: 0\n").cache_megabytes == 0


def test_home_that_does_not_exist_is_refused(tmp_path):
    """A path in the home of nobody is an error, not a folder named ~nobody."""
    with pytest.raises(SettingsError, match="home folder"):
        read(tmp_path, SITE + "genes: ~no-such-user-here/genes.csv\n")


def test_template_can_be_read(tmp_path):
    """The text that 'init' writes is a site.yaml, commented settings included."""
    text = site_template(name="north", server="host:443")
    site = read(tmp_path, text)
    assert (site.name, site.server, site.clinical) == (
        "north",
        "host:443",
        tmp_path / "clinical.csv",
    )
    text = text.replace("# genes", "genes").replace("# columns:", "columns:")
    for key in ("case_id", "slide_id", "time", "event", "censorship", "split"):
        text = text.replace(f"#   {key}:", f"  {key}:")
    for key in ("time_unit", "date_order", "event_words"):
        text = text.replace(f"# {key}:", f"{key}:")
    site = read(tmp_path, text)
    assert site.columns == Columns(
        "patient", "slide", "survival_months", "died", "censored", "split"
    )
    assert (site.time_unit, site.date_order) == ("months", "day first")
    assert site.event_words == EventWords(died=("verst.",), alive=("nachbeobachtet",))


@pytest.mark.parametrize("bad", [{"name": "A B"}, {"server": "host"}])
def test_template_refuses_what_it_could_not_read(bad):
    """A bad name or server never becomes a file."""
    with pytest.raises(SettingsError):
        site_template(**({"name": "north", "server": "host:443"} | bad))
