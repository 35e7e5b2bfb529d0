"""The OpenAPI document: the table of routes as operations, and what makes the whole of it."""

from collections.abc import Mapping
from functools import lru_cache

from drf_spectacular.drainage import warn
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer

from trading.ports import Json
from trading.problems import CONTENT_TYPE as PROBLEM_JSON
from trading.problems import STATUSES, TITLES
from trading.schema_components import Node, components, ref_to
from trading.schema_routes import JSON, ROUTES, Answer, Route, codes_of

CONTENT_TYPES: Mapping[str, str] = {"yaml": "application/yaml", "json": JSON}

BODIES_REQUIRED = ("ExecuteRequest", "ExitChange", "LogInRequest", "ScenarioRequest")

PAGES = ("", "/login")


# The generator's hooks ------------------------------------------------------------------------------------------------


class RouteSchema(AutoSchema):
    """Gives each view the operation that the table has for it."""

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: ComponentRegistry
    ) -> Node | None:
        """None, with a warning that fails the check, for a route that the table does not have."""
        name = f"{method.upper()} {path}"
        if name not in ROUTES:
            warn(f"{name} is not in trading.schema_routes.ROUTES")
            return None
        return operation_of(name, ROUTES[name])


def named_as_in_the_contract(endpoints: list[tuple[str, str, str, object]]) -> list[tuple[str, str, str, object]]:
    """Paths without a final slash, and every id called id; the pages for browsers are no part of the API."""
    named = [(path.rstrip("/"), regex, method, view) for path, regex, method, view in endpoints]
    return [
        (path.replace("{trade_id}", "{id}").replace("{position_id}", "{id}"), regex, method, view)
        for path, regex, method, view in named
        if path not in PAGES
    ]


def with_components(result: Node, **_: object) -> Node:
    """The document with everything that its operations refer to."""
    return {**result, "components": components()}


@lru_cache(maxsize=len(CONTENT_TYPES))
def document(kind: str) -> bytes:
    """The document as yaml or json; the same for as long as the process lives."""
    renderer = OpenApiJsonRenderer() if kind == "json" else OpenApiYamlRenderer()
    content = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # comes untyped
    rendered: bytes = renderer.render(content, renderer_context={})
    return rendered


# Operations -----------------------------------------------------------------------------------------------------------


def operation_of(name: str, route: Route) -> Node:
    """One OpenAPI operation."""
    codes = codes_of(name, route)
    responses: dict[str, Json] = {str(status): _answer_node(one) for status, one in route.answers.items()}
    for status in dict.fromkeys(STATUSES[code] for code in codes):
        responses[str(status)] = _problem_node(status, [code for code in codes if STATUSES[code] == status])
    parameters: list[Json] = [ref_to("parameters", one) for one in (*route.query, *route.headers)]
    if "{id}" in name:
        parameters.insert(0, ref_to("parameters", "id"))
    node: Node = {
        "operationId": _operation_id(name),
        "summary": route.says,
        "description": " ".join(one for one in (_access(route), route.more) if one),
        "tags": [route.group],
        "parameters": parameters,
        "security": [{}] if route.scope is None else [{"token": []}, {}],
        "responses": dict(sorted(responses.items())),
    }
    if route.body:
        media: Node = {"schema": ref_to("schemas", route.body)}
        if route.body_examples:
            media["examples"] = {one: ref_to("examples", one) for one in route.body_examples}
        node["requestBody"] = {"required": route.body in BODIES_REQUIRED, "content": {JSON: media}}
    return node


def _access(route: Route) -> str:
    if route.scope is None:
        return "Needs no token."
    if route.open_in_demo:
        return "Needs no token in demo mode, else the scope `read`."
    return f"Takes the scope `{route.scope}`."


def _operation_id(name: str) -> str:
    method, _, path = name.partition(" ")
    words = [word.strip("{}") for word in path.removeprefix("/api").strip("/").split("/")]
    return "_".join([method.lower(), *words])


def _answer_node(answer: Answer) -> Node:
    if not answer.of:
        return {"description": answer.says}
    name = answer.of if isinstance(answer.of, str) else answer.of.__name__
    schema: Node = ref_to("schemas", name)
    if answer.many:
        schema = {"type": "array", "items": schema}
    media: Node = {"schema": schema}
    if answer.example:
        media["examples"] = {
            answer.example: ref_to("examples", f"{answer.example}_list" if answer.many else answer.example)
        }
    content: Node = {answer.media: media}
    if answer.table:
        content["text/csv"] = {"schema": {"type": "string", "description": "RFC 4180, the names of the columns first"}}
    if answer.of == "Document":
        content[JSON] = {"schema": {"type": "object"}}
    node: Node = {"description": answer.says, "content": content}
    if answer.headers:
        node["headers"] = {one: ref_to("headers", one) for one in answer.headers}
    return node


def _problem_node(status: int, codes: list[str]) -> Node:
    examples: Node = {code: ref_to("examples", code) for code in codes}
    media: Node = {"schema": ref_to("schemas", "Problem"), "examples": examples}
    node: Node = {"description": TITLES[status], "content": {PROBLEM_JSON: media}}
    if status in (429, 503):
        node["headers"] = {"Retry-After": ref_to("headers", "Retry-After")}
    if status == 401:
        node["headers"] = {"WWW-Authenticate": ref_to("headers", "WWW-Authenticate")}
    return node
