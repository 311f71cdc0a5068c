"""Announce events to webhooks: the payload of https://huggingface.co/docs/hub/webhooks, version 3."""

from hashlib import sha256
from typing import Any

from dulwich.errors import NotGitRepository

from embedded_hub.context import ServerContext
from embedded_hub.database.accounts import KINDS, RepoRow
from embedded_hub.database.discussions import Discussion, Event
from embedded_hub.database.webhooks import Webhook
from embedded_hub.store.git_reader import HEADS

REFS = "refs/"


def repository(context: ServerContext, row: RepoRow, action: str, scope: str = "repo", **fields: Any) -> None:
    """Announce that a repository was created, moved, deleted or (scope `repo.config`) reconfigured."""
    _announce(context, context.webhooks.listening(row, "repo"), row, action, scope, fields)


def moved(context: ServerContext, old: RepoRow, new: RepoRow) -> None:
    """Announce a repository's new name to the webhooks that watch the old or the new one."""
    webhooks = {webhook.id: webhook for row in (old, new) for webhook in context.webhooks.listening(row, "repo")}
    target = {"movedTo": {"name": new.full_name, "owner": {"id": _id("user", new.namespace)}}}
    _announce(context, list(webhooks.values()), old, "move", "repo", target, _head(context, new))


def pushed(context: ServerContext, row: RepoRow) -> None:
    """Announce every ref of a repository that has changed since the last announcement."""
    if not context.webhooks.listening(row, "repo"):
        return
    with context.webhooks.announcing, context.database.transaction():
        refs = _refs(context, row)
        before = context.webhooks.announced(row.id)
        changed = [ref for ref in sorted(before.keys() | refs.keys()) if before.get(ref) != refs.get(ref)]
        if not changed or not refs:  # without refs, it has just been deleted
            return
        context.webhooks.set_announced(row.id, refs)
        updated = [{"ref": ref, "oldSha": before.get(ref), "newSha": refs.get(ref)} for ref in changed]
        if before:  # else this is the first look at it
            repository(context, row, "update", "repo.content", updatedRefs=updated)


def begin(context: ServerContext, webhook: Webhook) -> None:
    """Record the refs of all repositories that a new webhook watches: earlier pushes are not announced to it."""
    for row in _watched(context, webhook):
        pushed(context, row)  # others may watch it too
        with context.webhooks.announcing:
            context.webhooks.set_announced(row.id, _refs(context, row))


def catch_up(context: ServerContext) -> None:
    """Announce the pushes whose announcement a kill prevented."""
    for webhook in context.webhooks.all():
        for row in _watched(context, webhook):
            pushed(context, row)


def discussed(
    context: ServerContext, row: RepoRow, discussion: Discussion, action: str, comment: Event | None = None
) -> None:
    """Announce a discussion or pull request that was opened, commented on, renamed, closed or merged."""
    webhooks = context.webhooks.listening(row, "discussion")
    if not webhooks:
        return
    path = f"{row.full_name}/discussions/{discussion.num}"
    web, api = f"{context.url}/{row.address}/discussions/{discussion.num}", f"{context.url}/api/{row.kind}/{path}"
    description: dict[str, Any] = {
        "id": _id("discussion", discussion.repo, discussion.num), "num": discussion.num, "title": discussion.title,
        "status": discussion.status, "isPullRequest": bool(discussion.base),
        "author": {"id": _id("user", discussion.author)}, "url": {"web": web, "api": api},
    }  # fmt: skip
    if discussion.base:
        merged = {"mergeCommitId": discussion.merged} if discussion.merged else {}
        description["changes"] = {"base": f"refs/heads/{discussion.base}"} | merged
    fields = {"discussion": description}
    if comment:
        fields["comment"] = {
            "id": comment.id, "author": {"id": _id("user", comment.author)}, "hidden": False,
            "content": comment.data["latest"]["raw"], "url": {"web": f"{web}#{comment.id}"},
        }  # fmt: skip
    if comment and action == "comment":
        _announce(context, webhooks, row, "create", "discussion.comment", fields)
    else:
        _announce(context, webhooks, row, action, "discussion", fields)


def _announce(
    context: ServerContext, webhooks: list[Webhook], row: RepoRow, action: str, scope: str, fields: dict[str, Any],
    head: str | None = None,
) -> None:  # fmt: skip
    if not webhooks:
        return
    repo = {
        "id": f"{row.id:024x}", "name": row.full_name, "type": row.kind.removesuffix("s"), "private": row.private,
        "owner": {"id": _id("user", row.namespace)}, "headSha": head or _head(context, row),
        "url": {"web": f"{context.url}/{row.address}", "api": f"{context.url}/api/{row.kind}/{row.full_name}"},
    }  # fmt: skip
    with context.database.transaction():
        for webhook in webhooks:
            context.webhooks.enqueue(webhook, {"event": {"action": action, "scope": scope}, "repo": repo, **fields})
    context.database.after_commit(context.webhooks.waiting.set)


def _watched(context: ServerContext, webhook: Webhook) -> list[RepoRow]:
    return [row for kind in KINDS for row in context.accounts.repos(kind) if webhook.watches(row)]


def _refs(context: ServerContext, row: RepoRow) -> dict[str, str]:
    try:
        git = context.repositories.open(row.kind, row.full_name)
    except NotGitRepository:
        return {}
    return {REFS + name: oid for name, oid in git.refs(REFS).items()}


def _head(context: ServerContext, row: RepoRow) -> str | None:
    return _refs(context, row).get(f"{HEADS}main")


def _id(*parts: object) -> str:
    """Return an id of 24 hex digits that is stable for the same parts, as the Hub's objects have."""
    return sha256("/".join(str(part).lower() for part in parts).encode()).hexdigest()[:24]
