"""Publish an artifact: record, card, one commit, tag, results onto cards; the only publisher of artifacts."""

import re
import time
from pathlib import Path
from typing import Any

from permix import files, run_record, stages
from permix.pipeline.plan import Step
from permix.publishing import cards, eval_results, licence
from permix.publishing.hub import Artifact, Hub
from permix.stage import Facts


def write(step: Step, out: Path, facts: Facts, seconds: float, release: str, hub: Hub | None = None) -> dict[str, Any]:
    """Write record and card into `out`; return the record. Inputs without a record have the licence of their card."""
    described = run_record.describe_files(out)
    record = run_record.record(
        stage=step.stage.name,
        version=step.stage.version,
        target=step.target,
        config=step.config,
        digest=step.digest,
        inputs={
            name: {"repo": source.repo, "revision": source.sha, "content_digest": source.content_digest}
            | (licence.stated(source.repo, hub.card(source)) if hub and source.record is None else {})
            for name, source in step.sources.items()
        },
        facts={name: fact for name, fact in facts.items() if name != "cost"},
        cost={"seconds": round(seconds, 1), **facts.get("cost", {})},
        described=described,
        content=run_record.content_digest(out, described),
    )
    record |= {"release": release, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    if not cards.is_english(record) or any(s.record and not cards.is_english(s.record) for s in step.sources.values()):
        record |= {"language": ""}  # of one's own personas, and of all that is made from them
    if step.stage.card:
        files.write_bytes(out / "README.md", cards.render(step.stage.card, record).encode())
    files.write_json(out / run_record.RECORD, record)
    return record


def publish(step: Step, out: Path, facts: Facts, seconds: float, hub: Hub) -> None:
    """Publish `out` as the step's artifact in one commit, so that the Hub shows all of it or nothing."""
    write(step, out, facts, seconds, _release(step, hub), hub)
    sha = hub.publish(step.target, out, f"{step.stage.name}: {step.digest[:12]}", step.published)
    step.fresh = False
    step.published = hub.state(f"{step.target}@{sha}")
    finish(step, hub)


def finish(step: Step, hub: Hub) -> None:
    """Do what a kill may have cut off after the commit: the tag, and results onto the cards of other artifacts."""
    release = str(step.artifact.record["release"])
    if release not in hub.tags(step.target):
        hub.tag(step.target, release, step.artifact.sha)
    for target, results in step.artifact.record["facts"].get("annotations", {}).items():
        annotate(hub, target, results)


def annotate(hub: Hub, target: str, results: Any) -> None:
    """Put results onto an artifact's card: the only function that commits a card alone."""
    state = hub.state(target)
    if isinstance(state, Artifact):
        template = stages.get(state.record["stage"]).card
        card = cards.render(template, dict(state.record), results=results)
        hub.write_card(state, card, eval_results.files(hub, results["rows"]))


def _release(step: Step, hub: Hub) -> str:
    """Return the next semver tag: the stage's version is the major number, every publication a minor one."""
    major = step.stage.version
    tags = hub.tags(step.target) if step.published else {}
    minors = [int(tag.split(".")[1]) for tag in tags if re.fullmatch(rf"v{major}\.\d+\.\d+", tag)]
    return f"v{major}.{max(minors, default=-1) + 1}.0"
