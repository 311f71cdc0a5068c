"""permix export: an adapter as a model of its own, merged into its base or as a GGUF file."""

import json
import re
from typing import Annotated, cast, get_args

import typer

from permix import files
from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import plan, published, run
from permix.publishing import hub as hubs
from permix.stages import export as stage


def export(
    adapter: options.Artifact,
    merge: Annotated[
        bool, typer.Option("--merge", help="Export a transformers model: base and adapter in one.")
    ] = False,
    gguf: Annotated[
        str | None,
        typer.Option("--gguf", metavar="TYPE", help="Export a GGUF file: f32, f16, bf16 or q8_0 (llama.cpp)."),
    ] = None,
    org: Annotated[
        str | None, typer.Option("--org", help="Publish in this organisation, by default the adapter's.")
    ] = None,
    hub_url: options.HubUrl = None,
    work: options.Work = None,
) -> None:
    """Publish an adapter as a full model: merged into its base, or as a GGUF file, with its own card."""
    format_ = _format(merge, gguf)
    hub = hubs.connect(hub_url)
    config = _config(published.repository(adapter, hub), format_, org, hub)
    exported = run.run_step(stage.STAGE, config, hub, work)
    print(f"{exported.repo}@{exported.sha}")


def _format(merge: bool, gguf: str | None) -> stage.Format:
    """Return the format that the options name; BadInput for none, both, or one that cannot be made here."""
    if merge == (gguf is not None):
        raise BadInput("Say what to make of the adapter: --merge, or --gguf with a type such as q8_0.")
    if gguf is None:
        return "merged"
    kinds = [kind for kind in get_args(stage.Format) if kind != "merged"]
    if gguf not in kinds:
        raise BadInput(f"--gguf {gguf!r} should be one of {', '.join(kinds)} (others: llama.cpp's llama-quantize).")
    stage.converter()
    return cast(stage.Format, gguf)


def _config(adapter: hubs.RepositoryState, format_: stage.Format, org: str | None, hub: hubs.Hub) -> stage.Config:
    """Return the config of the export, over the base that the adapter's own configuration names.

    An adapter that permix did not train has no variant. Its base is the newest if it names no revision.
    """
    if "adapter_config.json" not in adapter.files:
        raise BadInput(f"{adapter.repo} holds no adapter_config.json: only adapters can be exported.")
    saved = json.loads(files.read_text(hub.download(f"{adapter.repo}@{adapter.sha}", "adapter_config.json")))
    base, revision = saved.get("base_model_name_or_path"), saved.get("revision")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(base)):
        raise BadInput(f"{adapter.repo} names the base {base!r}: set base_model_name_or_path to its Hub id, org/name.")
    head = hub.state(f"{base}@{revision}" if revision else base)
    if head is None:
        raise BadInput(f"The base {base} of {adapter.repo} is not on {hub.endpoint}: {plan.advice(base, hub)}")
    trained = adapter.record["config"] if adapter.record else {}
    return stage.Config(
        org=org or adapter.repo.split("/")[0],
        seed=trained.get("seed", 0),
        adapter=f"{adapter.repo}@{adapter.sha}",
        base=f"{base}@{head.sha}",
        variant=trained.get("variant", ""),
        format=format_,
        trained_in_4bit=trained.get("load_in_4bit", False),
    )
