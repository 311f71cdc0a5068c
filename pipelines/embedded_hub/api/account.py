"""Account: the caller, the validation of cards, and the first questions of a fresh client."""

from starlette.responses import JSONResponse, Response

from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest
from embedded_hub.routing import route
from embedded_hub.store import card_metadata


def whoami(request: HubRequest) -> Response:
    """Return the user, the organisations and the role of the token."""
    if request.account is None:
        raise HubError(401, "Invalid username or password.")
    account = request.account
    role = "read" if account.role == "read" else "write"
    token = {"displayName": account.token_name, "role": role, "createdAt": account.created}
    orgs = [{"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": role} for name in account.orgs]
    return JSONResponse({
        "type": "user", "id": account.user, "name": account.user, "fullname": account.user, "isPro": False,
        "canPay": False, "email": f"{account.user}@hub.invalid", "emailVerified": False, "orgs": orgs,
        "auth": {"type": "access_token", "accessToken": token},
    })  # fmt: skip


def validate_yaml(request: HubRequest) -> Response:
    """Check the metadata of a README; also without a token."""
    content = request.json.get("content")
    if not isinstance(content, str):
        raise HubError(400, "The body should hold the README under content.", errors=[], warnings=[])
    try:
        metadata = card_metadata.metadata(content)
    except card_metadata.BadCard as error:
        raise HubError(400, str(error), errors=[{"message": str(error)}], warnings=[]) from None
    warnings = [] if metadata else [{"message": "empty or missing yaml metadata in repo card"}]
    return JSONResponse({"errors": [], "warnings": warnings})


def agent_harnesses(request: HubRequest) -> Response:
    """Return the coding agents that a fresh client should recognise: none."""
    return JSONResponse({"standardEnvVars": [], "harnesses": {}})


def telemetry(request: HubRequest) -> Response:
    """Discard the client's usage data."""
    return Response(status_code=204)


def instance(request: HubRequest) -> Response:
    """Return the id of this server process; `launch` compares it with server.json."""
    return JSONResponse({"instance": request.context.instance})


ROUTES = [
    route("GET", "/api/whoami-v2", whoami),
    route("POST", "/api/validate-yaml", validate_yaml),
    route("GET", "/api/agent-harnesses", agent_harnesses),
    route("GET", "/api/telemetry/{name:rest}", telemetry),
    route("POST", "/v1/telemetry", telemetry),
    route("GET", "/api/permix-instance", instance),
]
