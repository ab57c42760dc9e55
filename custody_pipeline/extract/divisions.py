"""The divisions that the client's roles do not cover: the vendor leaves their calls out of every list, without a word.

Belongs here: comparing the organisation's divisions with those of the client. Does not: landing the list (catalog.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from custody_pipeline.extract.documents import id_of, readable_value_of
from custody_pipeline.extract.genesys import GenesysClient, entities_of

# Every division of the organisation, whoever asks; and those in which the client has a permission.
DIVISIONS = "/api/v2/authorization/divisions"
_PERMITTED = "/api/v2/authorization/divisionspermitted/paged/me"
_BY_DIVISION = ("analytics:conversationDetail:view", "recording:recording:view")


def not_covered(
    client: GenesysClient, names: Mapping[str, str | None], left_out: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Names of the divisions that the client's roles do not cover: those that count, and those left out on purpose.

    Args:
        names: every division's id → its name.
        left_out: names or ids of divisions.

    Raises:
        GenesysError: what the roles cover is not known.
    """
    covered = set(names)
    for permission in _BY_DIVISION:
        covered &= _permitted(client, permission, names.keys())
    on_purpose = {one.lower() for one in left_out}
    missing: tuple[list[str], list[str]] = ([], [])
    for one, name in names.items():
        if one not in covered:
            missing[not on_purpose.isdisjoint({one.lower(), (name or one).lower()})].append(name or one)
    return missing


def _permitted(client: GenesysClient, permission: str, every: Set[str]) -> Set[str]:
    found = set()
    for page in client.pages(_PERMITTED, permission=permission, pageSize=100):
        if readable_value_of(page.body, "allDivsPermitted") is True:
            return every
        found |= {name for one in entities_of(page) if (name := id_of(one, "id")) is not None}
    return found
