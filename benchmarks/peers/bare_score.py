"""The floor of the score path: one read of Base B in a bare Starlette route. No token, no check, no score, nothing observed.

The read is `find_one`, as one writes it; `build_alike` reads as the service does (`consumidor.score.store`: the bare command, the questions
of one turn together) and spares the garbage collector as it does, so that the difference is all that stands around the read.
"""

import os
from typing import Any

import msgspec
from pymongo import AsyncMongoClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from consumidor import web
from consumidor.score.store import MongoStore


def build() -> Starlette:
    """The path takes a person's pseudonym, so that not even that is computed."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(os.environ["BASE_B_URI"], maxPoolSize=64)
    collection = client.get_default_database()["scoredata"]

    async def read(request: Request) -> Response:
        document = await collection.find_one({"_id": request.path_params["person"]})
        return Response(msgspec.json.encode({"found": document is not None}), media_type="application/json")

    return Starlette(routes=[Route("/v1/score/{person}", read)])


def build_alike() -> Starlette:
    """The same with the service's own read."""
    store = MongoStore(os.environ["BASE_B_URI"])

    async def read(request: Request) -> Response:
        document = await store.find(request.path_params["person"])
        return Response(msgspec.json.encode({"found": document is not None}), media_type="application/json")

    app = Starlette(routes=[Route("/v1/score/{person}", read)])
    web.settle()
    return app
