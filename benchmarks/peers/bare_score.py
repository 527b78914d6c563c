"""The floor of the score path: one read of Base B in a bare Starlette route. No token, no check, no score, nothing observed."""

import os
from typing import Any

import msgspec
from pymongo import AsyncMongoClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def build() -> Starlette:
    """The path takes a person's pseudonym, so that not even that is computed."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(os.environ["BASE_B_URI"], maxPoolSize=64)
    collection = client.get_default_database()["scoredata"]

    async def read(request: Request) -> Response:
        document = await collection.find_one({"_id": request.path_params["person"]})
        return Response(msgspec.json.encode({"found": document is not None}), media_type="application/json")

    return Starlette(routes=[Route("/v1/score/{person}", read)])
