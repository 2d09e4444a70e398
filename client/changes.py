"""What an approval would approve, in words, and what changed since the last one."""

import difflib
from collections.abc import Mapping
from typing import Any

from .approval import BUNDLE, SOFTWARE, STUDY, Approval, Subject

GROUPS = "groups"  # the study's gene groups, shown by number
SCALING = "scaling"  # the same
SHOWN = 12  # files named one by one


def describe(subject: Subject, before: Approval | None) -> list[str]:
    """Lines for people; what came from outside is in them as printable characters only."""
    old = before.subject if before else None
    lines = [_since(before)]
    for what, words in (
        (STUDY, study_words(subject.study, old.study if old else None)),
        (BUNDLE, bundle_words(subject, old)),
        (SOFTWARE, software_words(subject, old)),
    ):
        same = old is not None and old.digests[what] == subject.digests[what]
        state = "as approved before" if same else "changed" if old else "new"
        lines += ["", f"{what}: {state}, digest {subject.digests[what]}"]
        lines += [f"  {plain(word)}" for word in words]
    return lines


def _since(before: Approval | None) -> str:
    if before is None:
        return "nothing was approved in this folder before"
    state = "" if before.stands else ", since taken back"
    return f"last approval: {before.time}{state}"


def plain(text: str) -> str:
    """Without characters that could change what a terminal shows."""
    return "".join(character if character.isprintable() else "?" for character in text)


def study_words(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[str]:
    """Every setting at first, later those that changed: old -> new."""
    keys = [key for key in new if key not in (GROUPS, SCALING)]
    if old is None:
        words = [f"{key}: {_said(new[key])}" for key in keys]
        return words + _scaling({}, new) + _groups({}, _by_name(new))
    gone = [key for key in old if key not in new]
    words = [
        f"{key}: {_said(old.get(key))} -> {_said(new.get(key))}"
        for key in (*keys, *gone)
        if new.get(key) != old.get(key) or (key in new) != (key in old)
    ]
    return words + _scaling(old, new) + _groups(_by_name(old), _by_name(new))


def _scaling(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Public constants of genes, by number: they are as many as genes."""
    before, after = list(old.get(SCALING, ())), list(new.get(SCALING, ()))
    if before == after:
        return []
    changed = len([row for row in after if row not in before])
    return [f"gene scaling: {len(after)} columns, {changed} of them new or changed"]


def _said(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {_said(one) or 'not set'}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "not set" if value is None else str(value)


def _by_name(study: Mapping[str, Any]) -> dict[str, list[str]]:
    return {str(name): list(genes) for name, genes in study[GROUPS]}


def _groups(old: dict[str, list[str]], new: dict[str, list[str]]) -> list[str]:
    words = [
        f"gene group '{name}': {'added, ' if old else ''}{len(genes)} genes"
        for name, genes in new.items()
        if name not in old
    ]
    words += [f"gene group '{name}': removed" for name in old if name not in new]
    words += [
        f"gene group '{name}': {_difference(old[name], genes)}"
        for name, genes in new.items()
        if name in old and old[name] != genes
    ]
    both = [name for name in new if name in old]
    if both != [name for name in old if name in new]:
        words.append("gene groups: in another order")
    return words


def _difference(old: list[str], new: list[str]) -> str:
    added, removed = len(set(new) - set(old)), len(set(old) - set(new))
    return f"{added} genes added, {removed} removed" if added or removed else "in another order"


def bundle_words(subject: Subject, old: Subject | None) -> list[str]:
    """Its files and entry points, and the lines that differ."""
    bundle = subject.opened
    words = [
        f"files: {', '.join(bundle.files)}; no code",
        *(f"{key}: {value}" for key, value in sorted(bundle.entries.items())),
    ]
    before = old.opened.files if old else {}
    for name, text in bundle.files.items() if old else ():
        lines = difflib.ndiff(before.get(name, "").splitlines(), text.splitlines())
        kinds = {"+": "added", "-": "removed"}
        words += [f"{name}: {kinds[line[0]]}: {line[2:]}" for line in lines if line[0] in kinds]
    return words


def software_words(subject: Subject, old: Subject | None) -> list[str]:
    """Versions and our files: all at first, later what differs."""
    new, versions = subject.software, subject.software.versions
    if old is None:
        listed = ", ".join(f"{name} {number}" for name, number in versions.items())
        return [f"{len(new.files)} files of ours", listed]
    words = [
        f"{name}: {old.software.versions.get(name, 'absent')} -> {versions.get(name, 'absent')}"
        for name in sorted({*versions, *old.software.versions})
        if versions.get(name) != old.software.versions.get(name)
    ]
    return words + _file_words(new.files, old.software.files)


def _file_words(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    kinds = {
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
    }
    return [
        f"{len(names)} of our files {kind}: {', '.join(names[:SHOWN])}"
        + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        for kind, names in kinds.items()
        if names
    ]
