"""Base C's two indices: `events-v1` behind the alias `events` (history), `latest-v1` behind `latest` (one document a person and kind)."""

from typing import Any, NamedTuple

import msgspec

from consumidor.errors import CommandError
from consumidor.events.base_c import HISTORY, LATEST, BaseC

VERSION = 1  # of the mappings; a change that needs a rebuild makes it 2
REFRESH_INTERVAL = "1s"  # said explicitly, or an index left idle for 30 s makes its next search wait for a refresh
COPIES = "0-1"  # one where there is a second node for it; a single node is green without
_DEADLINE = 60.0
_UNREAD: dict[str, Any] = {"index": False, "doc_values": False}  # kept in the document, checked for its type, and no more


class Index(NamedTuple):
    """One index: its alias and its mapping."""

    alias: str
    mapping: dict[str, Any]

    @property
    def name(self) -> str:
        """The index behind the alias."""
        return f"{self.alias}-v{VERSION}"


def _mapping(searched: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Strict: a field nobody declared is refused. Routing by person is required, so that a person's events share a shard."""
    types = {"event_id": "keyword", "person": "keyword", "kind": "keyword", "occurred_at": "date", "institution": "keyword"}
    types |= {"amount": "long", "currency": "keyword"}
    properties: dict[str, Any] = {name: {"type": kind, **searched.get(name, _UNREAD)} for name, kind in types.items()}
    properties["occurred_at"]["format"] = "strict_date_time"
    properties["details"] = {"type": "object", "enabled": False}
    return {"dynamic": "strict", "_routing": {"required": True}, "properties": properties}


INDICES = (
    Index(HISTORY, _mapping({
        "person": {"doc_values": False},
        "kind": {},
        "occurred_at": {},
        "event_id": {"index": False},  # doc values alone: the tie-break of the sort
        "institution": {"index": False},  # these three for aggregations
        "amount": {"index": False},
        "currency": {"index": False},
    })),
    Index(LATEST, _mapping({"person": {"doc_values": False}, "kind": {}})),
)  # fmt: skip


def migrate_base_c(url: str, shards: int = 2) -> list[str]:
    """Create or upgrade templates, indices and aliases; returns what was done, in words. Changes nothing where all is as it should be.

    Copies of shards are as many as `COPIES` says, unless an operator has set them otherwise on the index.

    Raises:
        CommandError: what is there cannot be upgraded in place, and what to do.
        DependencyDown: Base C does not answer.
    """
    base_c = BaseC(url, _DEADLINE)
    try:
        return [_migrate(base_c, index, shards) for index in INDICES]
    finally:
        base_c.close()


def _migrate(base_c: BaseC, index: Index, shards: int) -> str:
    changing = {"refresh_interval": REFRESH_INTERVAL, "auto_expand_replicas": COPIES}
    template = {"settings": {"number_of_shards": shards, **changing}, "mappings": index.mapping}
    _put(base_c, f"/_index_template/{index.alias}", {"index_patterns": [f"{index.alias}-v*"], "template": template}, index)
    status, answer = base_c.request("GET", f"/{index.name}?flat_settings=true")
    if status == 404:
        _put(base_c, f"/{index.name}", {}, index)
        return f"{index.name}: created, {_claim_alias(base_c, index)}"
    settings = msgspec.json.decode(answer)[index.name]["settings"]
    if settings["index.number_of_shards"] != str(shards):
        raise _rebuild(index, f"it has {settings['index.number_of_shards']} shards and not {shards}")
    _put(base_c, f"/{index.name}/_mapping", index.mapping, index)
    if _copies_are_set(settings):
        del changing["auto_expand_replicas"]
    _put(base_c, f"/{index.name}/_settings", {"index": changing}, index)
    return f"{index.name}: up to date, {_claim_alias(base_c, index)}"


def _copies_are_set(settings: dict[str, str]) -> bool:
    """Whether somebody has said how many copies an index has; no copies and no word of them is how it was made before `COPIES`."""
    return "index.auto_expand_replicas" in settings or settings["index.number_of_replicas"] != "0"


def _claim_alias(base_c: BaseC, index: Index) -> str:
    """Put the alias on the index, unless an older one holds it: moving it is the last step of a rebuild."""
    status, answer = base_c.request("GET", f"/_alias/{index.alias}")
    if status == 200 and (others := set(msgspec.json.decode(answer)) - {index.name}):
        return f"not in use: the alias {index.alias} is still on {', '.join(sorted(others))}"
    _put(base_c, f"/{index.name}/_alias/{index.alias}", {"is_write_index": True}, index)
    return f"in use as {index.alias}"


def _put(base_c: BaseC, target: str, body: dict[str, Any], index: Index) -> None:
    status, answer = base_c.request("PUT", target, msgspec.json.encode(body))
    if status != 200:
        raise _rebuild(index, msgspec.json.decode(answer)["error"]["reason"])


def _rebuild(index: Index, reason: str) -> CommandError:
    return CommandError(
        f"{index.name} cannot be upgraded in place: {reason}. Raise VERSION in events/index.py, migrate, copy {index.name} into the new "
        f"index (its _reindex, keeping routing and external versions) and move the alias {index.alias} to it"
    )
