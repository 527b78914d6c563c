"""What 02_storage_choices does with the engines, and what it tries on the real bases."""

import secrets
from collections.abc import Callable, Sequence
from functools import partial

import elasticsearch
import psycopg
from bureau import seconds_in_turns, stack
from engines import Engine
from pymongo import MongoClient
from pymongo.errors import WriteError


def ask(engines: Sequence[Engine], question: str, persons: Sequence[str], **others: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each call of a question, about anybody, on each engine and beside `others`, in turns."""
    asked = {engine.name: partial(_ask_about_anybody, getattr(engine, question), persons) for engine in engines}
    works = asked | others
    seconds_in_turns(works, times=40)  # caches and just-in-time compilers warm
    return seconds_in_turns(works, times=150)


def _ask_about_anybody(question: Callable[[str], object], persons: Sequence[str]) -> None:
    question(secrets.choice(persons))


def refusal(dsn: str, statement: str, *values: object) -> str:
    """The class of error by which PostgreSQL refuses a statement to whom a DSN is for; "" where it does not."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement, values)
        except psycopg.Error as error:
            return type(error).__name__
    return ""


def malformed_refused() -> dict[str, str]:
    """How each real base refuses a record that is not of its shape; nothing is written."""
    row = "insert into person (person, key_id, sealed) select 'not a pseudonym', key_id, '' from data_key limit 1"
    refused = {"Base A": refusal(stack["base_a_dsn"], row)}
    try:
        MongoClient(stack["base_b_uri"]).get_default_database()["scoredata"].insert_one({"_id": "not a pseudonym"})
    except WriteError as error:
        refused["Base B"] = f"WriteError {error.code}, document failed validation"
    answer = elasticsearch.Elasticsearch(stack["base_c_url"]).options(ignore_status=400)
    document = answer.create(index="events", id="x", routing="x", document={"surprise": 1})
    return refused | {"Base C": document["error"]["type"]}
