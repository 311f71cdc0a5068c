"""What happened, as webhooks are told: the payload of https://huggingface.co/docs/hub/webhooks, version 3."""

from hashlib import sha256
from typing import Any

from dulwich.errors import NotGitRepository

from embedded_hub.context import Hub
from embedded_hub.database.accounts import KINDS, RepoRow
from embedded_hub.database.discussions import Discussion, Event
from embedded_hub.database.webhooks import Webhook
from embedded_hub.store.git_reader import HEADS

REFS = "refs/"


def repository(hub: Hub, row: RepoRow, action: str, scope: str = "repo", **more: Any) -> None:
    """Announce that a repository was made, moved, deleted, or (scope `repo.config`) set up otherwise."""
    _announce(hub, hub.webhooks.listening(row, "repo"), row, action, scope, more, _head(hub, row))


def moved(hub: Hub, old: RepoRow, new: RepoRow) -> None:
    """Announce a repository's other name to those who watch the old one or the new one."""
    listening = {one.id: one for row in (old, new) for one in hub.webhooks.listening(row, "repo")}
    to = {"movedTo": {"name": new.full_name, "owner": {"id": _id("user", new.namespace)}}}
    _announce(hub, list(listening.values()), old, "move", "repo", to, _head(hub, new))


def pushed(hub: Hub, row: RepoRow) -> None:
    """Announce every ref of a repository that is not where it was when it was last announced."""
    if not hub.webhooks.listening(row, "repo"):
        return
    with hub.webhooks.announcing, hub.accounts.transaction():
        there = _refs(hub, row)
        before = hub.webhooks.announced(row.id)
        changed = [ref for ref in sorted(before.keys() | there.keys()) if before.get(ref) != there.get(ref)]
        if not changed or not there:  # without any, it has just been deleted
            return
        hub.webhooks.set_announced(row.id, there)
        updated = [{"ref": ref, "oldSha": before.get(ref), "newSha": there.get(ref)} for ref in changed]
        if before:  # else it is watched only from now on
            repository(hub, row, "update", "repo.content", updatedRefs=updated)


def begin(hub: Hub, one: Webhook) -> None:
    """Note where everything is that a new webhook watches: what came before it is not its business."""
    for row in _watched(hub, one):
        pushed(hub, row)  # others may watch it too
        with hub.webhooks.announcing:
            hub.webhooks.set_announced(row.id, _refs(hub, row))


def catch_up(hub: Hub) -> None:
    """Announce the pushes that a kill came before."""
    for one in hub.webhooks.all():
        for row in _watched(hub, one):
            pushed(hub, row)


def discussed(hub: Hub, row: RepoRow, one: Discussion, action: str, comment: Event | None = None) -> None:
    """Announce a discussion or pull request that was opened, commented on, renamed, closed or merged."""
    listening = hub.webhooks.listening(row, "discussion")
    if not listening:
        return
    url = f"{row.address}/discussions/{one.num}"
    about: dict[str, Any] = {
        "id": _id("discussion", one.repo, one.num), "num": one.num, "title": one.title, "status": one.status,
        "isPullRequest": bool(one.base), "author": {"id": _id("user", one.author)},
        "url": {"web": f"{hub.url}/{url}", "api": f"{hub.url}/api/{row.kind}/{row.full_name}/discussions/{one.num}"},
    }  # fmt: skip
    if one.base:
        about["changes"] = {"base": f"refs/heads/{one.base}"} | ({"mergeCommitId": one.merged} if one.merged else {})
    more = {"discussion": about}
    if comment:
        more["comment"] = {
            "id": comment.id, "author": {"id": _id("user", comment.author)}, "hidden": False,
            "content": comment.data["latest"]["raw"], "url": {"web": f"{hub.url}/{url}#{comment.id}"},
        }  # fmt: skip
    only_comment = comment and action == "comment"
    scope = "discussion.comment" if only_comment else "discussion"
    _announce(hub, listening, row, "create" if only_comment else action, scope, more, _head(hub, row))


def _announce(
    hub: Hub, listening: list[Webhook], row: RepoRow, action: str, scope: str, more: dict[str, Any], head: str | None
) -> None:
    if not listening:
        return
    repo = {
        "id": f"{row.id:024x}", "name": row.full_name, "type": row.kind.removesuffix("s"), "private": row.private,
        "owner": {"id": _id("user", row.namespace)}, "headSha": head,
        "url": {"web": f"{hub.url}/{row.address}", "api": f"{hub.url}/api/{row.kind}/{row.full_name}"},
    }  # fmt: skip
    with hub.accounts.transaction():
        for one in listening:
            hub.webhooks.enqueue(one, {"event": {"action": action, "scope": scope}, "repo": repo, **more})
    hub.accounts.when_done(hub.webhooks.waiting.set)


def _watched(hub: Hub, one: Webhook) -> list[RepoRow]:
    return [row for kind in KINDS for row in hub.accounts.repos(kind) if one.watches(row)]


def _refs(hub: Hub, row: RepoRow) -> dict[str, str]:
    try:
        git = hub.store.repo(row.kind, row.full_name)
    except NotGitRepository:
        return {}
    return {REFS + name: oid for name, oid in git.refs(REFS).items()}


def _head(hub: Hub, row: RepoRow) -> str | None:
    return _refs(hub, row).get(f"{HEADS}main")


def _id(*what: object) -> str:
    """An id that stays the same for the same thing, as the Hub's objects have one."""
    return sha256("/".join(str(one).lower() for one in what).encode()).hexdigest()[:24]
