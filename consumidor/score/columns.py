"""Base B's documents as typed Arrow columns: what PyMongoArrow reads, and what of it goes into Parquet.

Assets become a count and a sum of cents per kind. That is done here, in Arrow, and not by server-side dotted sums: the embedded server
answers those with 0.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pymongo.collection import Collection

from consumidor.errors import CommandError
from consumidor.score.records import ASSET_KINDS

with warnings.catch_warnings():
    # Its extension was compiled against an older pyarrow; the sizes that Cython compares are of classes it does not subclass.
    warnings.filterwarnings("ignore", message=r"pyarrow\.\S+ size changed", category=RuntimeWarning)
    from pymongoarrow.api import find_arrow_all
    from pymongoarrow.schema import Schema

_READ_AT_ONCE = 100_000  # documents in one answer of the server, which itself stops at 16 MB
_TIME = pa.timestamp("ms")  # a BSON date
_DAY = pa.date32()
_ASSET = pa.struct([("kind", pa.string()), ("value_cents", pa.int64())])
_ADDRESS = {"state": pa.string(), "city": pa.string(), "postal_code": pa.string(), "housing": pa.string(), "since": _TIME}
_INCOME = {"source": pa.string(), "since": _TIME, "monthly_cents": pa.int64()}
_STORED = {
    "_id": pa.string(), "birth_date": _TIME, "assets": pa.list_(_ASSET), "address": pa.struct(_ADDRESS), "income": pa.struct(_INCOME),
}  # fmt: skip


def _day(kind: pa.DataType) -> pa.DataType:
    return _DAY if kind == _TIME else kind


SCHEMA = pa.schema([
    pa.field("person", pa.string(), nullable=False),
    pa.field("birth_date", _DAY),
    *(pa.field(f"{kind}_{what}", pa.int64()) for kind in ASSET_KINDS for what in ("count", "cents")),
    *(pa.field(f"address_{name}", _day(kind)) for name, kind in _ADDRESS.items()),
    *(pa.field(f"income_{name}", _day(kind)) for name, kind in _INCOME.items()),
])  # fmt: skip


def chosen(columns: Sequence[str] | None) -> pa.Schema:
    """The schema of the columns asked for, in the schema's own order; of all where none are.

    Raises:
        CommandError: names the ones there are not; an empty list, which would be a table of nothing.
    """
    if columns is None:
        return SCHEMA
    if not columns:
        raise CommandError("an extraction needs a column at least; leave columns out for all of them")
    if unknown := sorted(set(columns) - set(SCHEMA.names)):
        raise CommandError(f"Base B has no column {', '.join(unknown)}; it has {', '.join(SCHEMA.names)}")
    return pa.schema([field for field in SCHEMA if field.name in columns])


def stored_fields(schema: pa.Schema) -> list[str]:
    """The document's own fields that these columns are made of."""
    return [field for field in _STORED if any(_source(name) == field for name in schema.names)]


def _source(column: str) -> str:
    if column in ("person", "birth_date"):
        return "_id" if column == "person" else column
    head = column.partition("_")[0]
    return head if head in ("address", "income") else "assets"


def read(collection: Collection[Any], queries: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """The documents that match any of the queries, no two of which match the same, in the columns of `schema`."""
    fields = stored_fields(schema)
    # A projection saves what is sent; where all of it is wanted, it would only cost the server.
    projection = None if schema is SCHEMA else {"_id": "_id" in fields} | dict.fromkeys(fields, True)
    reading = Schema({field: _STORED[field] for field in fields})
    found = [find_arrow_all(collection, query, schema=reading, projection=projection, batch_size=_READ_AT_ONCE) for query in queries]
    return flatten(pa.concat_tables(found), schema)


def flatten(documents: pa.Table, schema: pa.Schema) -> pa.Table:
    """Documents as read, in the columns of `schema`, sorted by person where that is one of them.

    What a document does not hold is null. Of someone with no assets the counts and sums are 0; of someone whose assets are not known,
    null.
    """
    columns: dict[str, pa.Array] = {}
    for field in documents.column_names:
        column = documents[field].combine_chunks()
        if field == "assets":
            columns |= _assets(column)
        elif pa.types.is_struct(column.type):
            columns |= {f"{field}_{inner.name}": pc.struct_field(column, inner.name) for inner in column.type}
        else:
            columns["person" if field == "_id" else field] = column
    table = pa.Table.from_arrays([columns[field.name].cast(field.type) for field in schema], schema=schema)
    return table.sort_by("person") if "person" in schema.names else table


def _assets(lists: pa.ListArray) -> dict[str, pa.Array]:
    """Two columns per kind; whole numbers all the way, so that no cent is lost to a float."""
    owners, assets = pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists)
    kinds, cents = assets.field("kind").to_numpy(zero_copy_only=False), assets.field("value_cents").to_numpy(zero_copy_only=False)
    unknown = lists.is_null().to_numpy(zero_copy_only=False)
    columns = {}
    for kind in ASSET_KINDS:
        hits = kinds == kind
        sums = np.zeros(len(lists), np.int64)
        np.add.at(sums, owners[hits], cents[hits].astype(np.int64))
        columns[f"{kind}_count"] = pa.array(np.bincount(owners[hits], minlength=len(lists)), pa.int64(), mask=unknown)
        columns[f"{kind}_cents"] = pa.array(sums, mask=unknown)
    return columns
