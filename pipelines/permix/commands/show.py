"""permix show: the run record of an artifact, and the course of its training."""

import json

from permix.commands import options
from permix.pipeline import published
from permix.publishing import hub as hubs
from permix.results.reporting import curves


def show(artifact: options.Artifact, hub_url: options.HubUrl = None, as_json: options.Json = False) -> None:
    """Show how an artifact was made: config, inputs, code, packages, hardware, cost and facts."""
    hub = hubs.connect(hub_url)
    stored = published.artifact(artifact, hub)
    record = stored.record
    if as_json:
        options.print_json(record)
        return
    origin = f"made {record['created']} by stage {record['stage']} of permix {record['permix']}"
    print(f"{stored.repo}@{stored.sha}  {record['release']}, {origin}")
    changed = "" if stored.intact else "  (the repository was changed since)"
    print(f"digest   {record['digest']}\ncontent  {record['content_digest']}{changed}")
    for title in ("inputs", "config", "cost", "facts", "code", "packages", "hardware"):
        print(f"\n{title}")
        for name, value in record[title].items():
            print(f"  {name:28} {_line(value)}")
    if "log.jsonl" in record["files"]:
        log = hub.download(f"{stored.repo}@{stored.sha}", "log.jsonl").read_text(encoding="utf-8")
        print(f"\ntraining, first to last step\n{curves.as_text([json.loads(line) for line in log.splitlines()])}")
    print("\nfiles")
    for path, entry in record["files"].items():
        print(f"  {path:44} {entry['size']:>12,}  {entry['sha256'][:16]}")


def _line(value: object) -> str:
    if isinstance(value, dict) and set(value) >= {"repo", "revision", "content_digest"}:
        return f"{value['repo']}@{value['revision']}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}... (--json shows all)"
