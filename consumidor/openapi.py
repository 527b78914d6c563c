"""The OpenAPI 3.1 document, made from the operations' own types, and the page that shows it."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from consumidor.web import Operation

_REF = "#/components/schemas/{name}"


class Problem(msgspec.Struct):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []


def document(title: str, operations: Sequence["Operation"]) -> dict[str, Any]:
    """The whole API as an OpenAPI document."""
    types = [Problem, *(kind for operation in operations for kind in _types(operation))]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    named = {repr(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, named, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1"},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}},
    }


def _types(operation: "Operation") -> list[Any]:
    used = [operation.body, operation.query, *operation.responses.values()]
    return [kind for alternatives in used for kind in _alternatives(alternatives)]


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """A tuple of types stands for any one of them."""
    if kind is None:
        return ()
    return kind if isinstance(kind, tuple) else (kind,)


def _schema(kind: Any, named: dict[str, Any]) -> dict[str, Any]:
    schemas = [named[repr(each)] for each in _alternatives(kind)]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _describe(operation: "Operation", named: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    path = re.sub(r"\W+", "_", operation.path).strip("_")
    described: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}_{path}",
        "summary": operation.summary,
        "security": [{"token": [operation.scope]}],
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation, components), *_headers(operation)],
        "responses": {str(status): _answer(status, _schema(kind, named)) for status, kind in operation.responses.items()},
    }
    described["responses"] |= {str(status): _refusal(status) for status in operation.refusals}
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(operation.body, named)}}}
    return described


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in re.findall(r"\{(\w+)\}", path)]


def _query_parameters(operation: "Operation", components: dict[str, Any]) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = components[operation.query.__name__]
    required = schema.get("required", [])
    return [{"name": name, "in": "query", "required": name in required, "schema": kind} for name, kind in schema["properties"].items()]


def _headers(operation: "Operation") -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": about, "schema": {"type": "string"}}
        for name, about in operation.headers.items()
    ]


def _answer(status: int, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": {"application/json": {"schema": schema}}}


def _refusal(status: int) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}}
    return {"description": HTTPStatus(status).phrase, "content": problem}


# One static page that reads /openapi.json: nothing is fetched from elsewhere, so it works offline and leaks no visit.
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>consumidor API</title>
<style>body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}code,pre{background:#f4f4f4;border-radius:4px;
padding:.1rem .3rem}
summary{cursor:pointer;padding:.4rem 0}b{display:inline-block;width:4rem}pre{overflow:auto;padding:.6rem}</style>
<h1 id="title"></h1><p>Every call needs a token (<code>Authorization: Bearer ...</code>) with the scope shown. Errors are problem+json.</p>
<div id="calls"></div><h2>Types</h2><div id="types"></div>
<script>
const put=(into,head,value)=>{const d=document.createElement("details"),s=document.createElement("summary"),p=document.createElement("pre");
 const [b,...rest]=head;const strong=document.createElement("b");strong.textContent=b;s.append(strong,rest.join(" "));
 p.textContent=JSON.stringify(value,null,2);d.append(s,p);document.getElementById(into).append(d)};
fetch("openapi.json").then(r=>r.json()).then(api=>{document.getElementById("title").textContent=api.info.title;
 for(const [path,calls] of Object.entries(api.paths))for(const [method,call] of Object.entries(calls))
  put("calls",[method.toUpperCase(),path,"\u00b7",call.summary,"\u00b7",call.security[0].token[0]],call);
 for(const [name,type] of Object.entries(api.components.schemas))put("types",[name],type)});
</script></html>
"""
