"""Permissions: which token may read and write which repository."""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from embedded_hub.app import ROUTE_MODULES
from embedded_hub.launch import Running
from tests.support.cases import cases
from tests.support.servers import accounts_of
from tests.support.wire import Wire

TokenOf = Callable[..., str]
CASES = cases(__file__)


def routes(repo: str) -> list[tuple[str, str, Any]]:
    """Return method, path and body of a request on each route of a repository; a text is sent as it is."""
    text = json.dumps(CASES["routes"]).replace("{api}", f"/api/models/{repo}").replace("{repo}", repo)
    return [(method, path, body.encode() if isinstance(body, str) else body) for method, path, body in json.loads(text)]


def test_members_see_it_and_readers_cannot_write(running: Running, api: HfApi, name: str, token_of: TokenOf) -> None:
    api.create_repo(name, private=True)
    reader = HfApi(endpoint=running.url, token=token_of("rita", "read", ("lab",)))
    writer = HfApi(endpoint=running.url, token=token_of("walt", "write", ("lab",)))
    assert reader.model_info(name).private is True
    assert reader.whoami()["orgs"][0]["name"] == "lab"
    for refused in (
        lambda: reader.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=name),
        lambda: reader.create_repo("rita/own"), lambda: reader.delete_repo(name),
        lambda: writer.create_repo("elsewhere/r"), lambda: writer.move_repo(name, "elsewhere/r"),
    ):  # fmt: skip
        with pytest.raises(HfHubHTTPError, match="may not") as error:
            refused()
        assert error.value.response.status_code == 403
    assert writer.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=name).oid
    assert writer.create_repo("walt/own").repo_id == "walt/own"
    assert writer.auth_check(name, write=True) is None
    with pytest.raises(HfHubHTTPError):
        reader.auth_check(name, write=True)


def test_public_is_readable_and_not_writable_without_a_token(anonymous: Wire, repo: str) -> None:
    for method, path, body in routes(repo):
        if "tree/main/folder" in path or "verify" in path:
            continue
        status = anonymous(method, path, body).status
        reads = method in ("GET", "HEAD") or path.endswith(("paths-info/main", "batch", "git-upload-pack"))
        assert (status in (200, 400)) if reads else (status == 401), (method, path, status)


def test_wrong_and_revoked_tokens_are_refused_with_a_reason(wire: Wire, running: Running, token_of: TokenOf) -> None:
    with accounts_of(running.root) as accounts:
        token = accounts.new_token("short-lived", "ann", "write")
        caller = Wire(wire.port, token)("GET", "/api/whoami-v2").json
        assert caller["auth"]["accessToken"]["displayName"] == "short-lived"
        assert accounts.revoke_token("short-lived")
    for bad in (token, "hf_wrong", "x y", "é"):
        header = {"Authorization": f"Bearer {bad}".encode().decode("latin-1")}
        answer = Wire(wire.port, None)("GET", "/api/whoami-v2", **header)
        assert answer.status == 401
        assert answer.headers["x-error-message"] == "Invalid credentials in Authorization header"
    assert Wire(wire.port, None)("GET", "/api/whoami-v2").status == 401


def test_tokens_are_nowhere_but_in_the_owners_file(running: Running, token_of: TokenOf) -> None:
    other = token_of("olga", "read")
    with closing(sqlite3.connect(running.root / "hub.db")) as database:
        dump = "\n".join(database.iterdump())
    texts = dump + (running.root / "server.log").read_text() + (running.root / "server.json").read_text()
    assert running.token not in texts
    assert other not in texts
    assert (running.root / "token").stat().st_mode & 0o777 == 0o600


def test_only_names_of_this_machine_are_answered(wire: Wire) -> None:
    for host in ("127.0.0.1", f"localhost:{wire.port}", "[::1]:80"):
        assert wire("GET", "/api/whoami-v2", Host=host).status == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:7862", "localhost.", ""):
        assert wire("GET", "/api/whoami-v2", Host=host).status == 421


@pytest.mark.parametrize("path", [*CASES["hostile paths"], "/" + "a/" * 3000])
def test_hostile_paths_are_refused_and_the_server_lives(wire: Wire, api: HfApi, path: str) -> None:
    api.create_repo("lab/r", exist_ok=True)
    answer = wire("GET", path)
    assert answer.status in (400, 404, 501)
    assert answer.json["error"]
    assert wire("GET", "/api/whoami-v2").status == 200


def test_bodies_longer_than_the_limit_are_refused_before_they_are_read(wire: Wire, repo: str) -> None:
    answer = wire("POST", f"/api/models/{repo}/preupload/main", b"x" * (9 << 20))
    assert (answer.status, "MiB" in answer.json["error"]) == (413, True)


def test_an_unknown_route_answers_501_with_its_path(wire: Wire, api: HfApi, repo: str) -> None:
    for path in ("/api/papers/x", "/api/endpoints", "/api/settings/mcp", f"/api/models/{repo}/lfs-files"):
        answer = wire("GET", path)
        assert (answer.status, path in answer.json["error"]) == (501, True)
    assert wire("PATCH", f"/api/models/{repo}").status == 405
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("gpt2")


def address(path: str, **known: str) -> str:
    """Return the path of a route with a value for every parameter."""
    usual = {"kind": "models", "prefix": "", "revision": "main", "path": "README.md"} | known
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: usual.get(match[1], "1"), path)


ALL = [(method, route.path) for page in ROUTE_MODULES for route in page.ROUTES for method in route.methods or ()]


def test_private_is_as_missing_on_every_route(
    wire: Wire, anonymous: Wire, api: HfApi, name: str, token_of: TokenOf
) -> None:
    api.create_repo(name, private=True)
    api.upload_file(path_or_fileobj=b"---\nlicense: mit\n---\n", path_in_repo="README.md", repo_id=name)
    stranger = Wire(wire.port, token_of("stranger", "write"))
    space, own = name.split("/")
    paths = [(method, path) for method, path in ALL if re.search(r"{namespace.*{name[:}]", path)]
    assert len(paths) > 40
    empty = [[(method, address(path, namespace=space, name=n), {}) for method, path in paths] for n in (own, f"{own}0")]
    for (method, path, body), (_, absent, absent_body) in (
        *zip(*empty, strict=True), *zip(routes(name), routes(f"{name}0"), strict=True),
    ):  # fmt: skip
        for caller in (stranger, anonymous):
            hidden, missing = caller(method, path, body), caller(method, absent, absent_body)
            assert hidden.status == missing.status >= 400, (method, path)
            assert body == {} or hidden.status == (404 if caller is stranger else 401), (method, path)
            assert hidden.headers.get("x-error-code") == missing.headers.get("x-error-code")
            assert hidden.body.replace(name.encode(), b"") == missing.body.replace(f"{name}0".encode(), b"")
            assert caller(method, path, body, Host="evil.example").status == 421
    assert api.list_repo_files(name) == [".gitattributes", "README.md"]
    assert name not in [row["id"] for row in stranger("GET", "/api/models").json]
    assert name in [row["id"] for row in wire("GET", "/api/models").json]


def test_a_revoked_token_opens_nothing_on_any_route(wire: Wire, running: Running, name: str) -> None:
    with accounts_of(running.root) as accounts:
        token = accounts.new_token(f"of {name}", "vera", "write")
        accounts.add_member("lab", "vera")
        assert accounts.revoke_token(f"of {name}")
    revoked = Wire(wire.port, token)
    for method, path in ALL:
        if not path.startswith(("/api/lfs/", "/_xet/", "/v1/", "/static/")):  # these have their own permission, or none
            assert revoked(method, address(path), {}).status == 401, (method, path)
