"""Account: who am I, is this card valid, and what clients ask a Hub before anything else."""

from starlette.responses import JSONResponse, Response

from embedded_hub.errors import HubError
from embedded_hub.request import Call
from embedded_hub.routing import route
from embedded_hub.store import card_metadata


def whoami(call: Call) -> Response:
    """The user, the organisations and the role behind the token."""
    if call.account is None:
        raise HubError(401, "Invalid username or password.")
    me = call.account
    role = "read" if me.role == "read" else "write"
    token = {"displayName": me.token_name, "role": role, "createdAt": me.created}
    orgs = [{"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": role} for name in me.orgs]
    email = {"email": f"{me.user}@hub.invalid", "emailVerified": False}
    user = {"type": "user", "id": me.user, "name": me.user, "fullname": me.user, "isPro": False, "canPay": False}
    return JSONResponse({**user, **email, "orgs": orgs, "auth": {"type": "access_token", "accessToken": token}})


def validate_yaml(call: Call) -> Response:
    """Check the metadata of a README; also without a token."""
    content = call.json.get("content")
    if not isinstance(content, str):
        raise HubError(400, "The body should hold the README under content.", errors=[], warnings=[])
    try:
        found = card_metadata.metadata(content)
    except card_metadata.BadCard as error:
        raise HubError(400, str(error), errors=[{"message": str(error)}], warnings=[]) from None
    warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
    return JSONResponse({"errors": [], "warnings": warnings})


def agent_harnesses(call: Call) -> Response:
    """What a fresh client asks first: which coding agents it should recognise. None."""
    return JSONResponse({"standardEnvVars": [], "harnesses": {}})


def telemetry(call: Call) -> Response:
    """Nothing is counted here."""
    return Response(status_code=204)


def instance(call: Call) -> Response:
    """Which start of which data directory this is; `launch` compares it with server.json."""
    return JSONResponse({"instance": call.hub.instance})


ROUTES = [
    route("GET", "/api/whoami-v2", whoami),
    route("POST", "/api/validate-yaml", validate_yaml),
    route("GET", "/api/agent-harnesses", agent_harnesses),
    route("GET", "/api/telemetry/{name:rest}", telemetry),
    route("GET", "/api/permix-instance", instance),
]
