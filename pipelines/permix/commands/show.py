"""permix show: one artifact's run record, and how its training went."""

import json

from permix.commands import options


def show(artifact: options.Artifact, hub_url: options.HubUrl = None, as_json: options.Json = False) -> None:
    """Show how an artifact was made: config, inputs, code, packages, hardware, cost and facts."""
    from permix.pipeline import published
    from permix.publishing import hub as hubs
    from permix.results.reporting import curves

    connected = hubs.connect(hub_url)
    head = published.artifact(artifact, connected)
    record = head.record
    if as_json:
        print(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False))
        return
    made = f"made {record['created']} by stage {record['stage']} of permix {record['permix']}"
    print(f"{head.repo}@{head.sha}  {record['release']}, {made}")
    print(
        f"digest   {record['digest']}\ncontent  {record['content_digest']}"
        + ("" if head.intact else "  (the repository was changed since)")
    )
    for title in ("inputs", "config", "cost", "facts", "code", "packages", "hardware"):
        print(f"\n{title}")
        for name, value in record[title].items():
            print(f"  {name:28} {_one_line(value)}")
    if "log.jsonl" in record["files"]:
        log = connected.download(f"{head.repo}@{head.sha}", "log.jsonl").read_text(encoding="utf-8")
        print(f"\ntraining, first to last step\n{curves.as_text([json.loads(line) for line in log.splitlines()])}")
    print("\nfiles")
    for path, entry in record["files"].items():
        print(f"  {path:44} {entry['size']:>12,}  {entry['sha256'][:16]}")


def _one_line(value: object) -> str:
    if isinstance(value, dict) and set(value) == {"repo", "revision", "content_digest"}:
        return f"{value['repo']}@{value['revision']}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}... (--json shows all)"
