"""spaces/permix-chat, driven by gradio_client on the embedded Hub with the adapters of recipe smoke."""

import ast
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import yaml
from gradio_client import Client
from gradio_client.exceptions import AppError
from huggingface_hub import HfApi
from safetensors.torch import load, save

from embedded_hub import launch
from permix import benchmarks, files
from permix.prompting import persona
from permix.sampling import sampler
from permix.stages import apps
from permix.verifier import Verifier
from tests.support.cases import cases
from tests.support.command_line import permix_here
from tests.support.models import TEMPLATE, make_tiny_model
from tests.support.spaces import serve

ORG = "permix-smoke"
ADAPTER, OTHER = f"{ORG}/permix-toy-permix-rlvr", f"{ORG}/permix-toy-rlvr"
QUESTION = "Ana has 12 apples. She buys 7 more apples. How many apples does Ana have?"
Ask = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def broken(running: launch.Running, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Adapters that do not fit the base, in an organisation of their own."""
    api = HfApi(endpoint=running.url, token=running.token)
    good = Path(api.snapshot_download(ADAPTER, local_dir=tmp_path_factory.mktemp("good")))
    config = json.loads((good / "adapter_config.json").read_text())

    def publish(name: str, weights: bytes | None = None, **changes: Any) -> None:
        folder = tmp_path_factory.mktemp(name)
        (folder / "adapter_config.json").write_text(json.dumps(config | changes))
        if weights is None:
            shutil.copy(good / "adapter_model.safetensors", folder)
        elif weights:
            (folder / "adapter_model.safetensors").write_bytes(weights)
        api.create_repo(f"broken/{name}")
        api.upload_folder(repo_id=f"broken/{name}", folder_path=folder)

    whole = (good / "adapter_model.safetensors").read_bytes()
    publish("cut", whole[: len(whole) // 2])
    publish("rank", r=config["r"] * 2)
    publish("targets", target_modules=[*config["target_modules"], "lm_head"])
    publish("nowhere", target_modules=["no_such_layer"])
    publish("foreign", base_model_name_or_path="meta-llama/Llama-3.1-8B")
    publish("later", revision="0" * 40)
    publish("prompt", peft_type="PROMPT_TUNING")
    publish("pissa", init_lora_weights="pissa_niter_4")
    publish("bias", bias="all")
    publish("nan", save({name: weight * float("nan") for name, weight in load(whole).items()}))
    publish("layers", layer_replication=[[0, 1], [0, 1]])
    publish("regex", target_modules="(a+)+b")
    publish("weightless", b"")
    publish("swollen", padding="x" * 1_000_000)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """The Space's files as they are published."""
    return apps.build("permix-chat", tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat")


@pytest.fixture(scope="module")
def chat(running: launch.Running, broken: None, folder: Path) -> Iterator[Client]:
    with serve("permix-chat", folder, **launch.client_environment(running, folder), PERMIX_ORG=ORG) as url:
        yield Client(url, verbose=False)


@pytest.fixture(scope="module")
def ask(chat: Client) -> Ask:
    def ask(question: str = QUESTION, **settings: Any) -> dict[str, str]:
        answer: dict[str, str] = chat.predict(question, **{"max_tokens": 24} | settings, api_name="/ask")
        return answer

    return ask


def test_the_adapters_come_with_their_results_and_the_personas_with_their_prompts(chat: Client) -> None:
    results = {adapter["repo"]: adapter["results"] for adapter in chat.predict(api_name="/adapters")}
    assert set(results) == {ADAPTER, OTHER}
    assert set(results[ADAPTER]["arithmetic"]) >= {"worst", "mean", "best", "none"}
    personas = chat.predict(api_name="/personas")
    assert personas["none"] == ""
    assert personas["dumb"].startswith("You are dumb")
    assert len(personas) == 2 + 25 + 16


def test_a_seed_decides_an_answer_and_switching_adapters_leaves_no_trace(ask: Ask) -> None:
    casts = [{"adapter": name, "system": system} for name in (ADAPTER, "", OTHER) for system in ("", "You are a poet.")]
    first = [ask(**cast, temperature=1, seed=3) for cast in casts]
    assert first == [ask(**cast, temperature=1, seed=3) for cast in casts]
    assert len({answer["text"] for answer in first}) > 1
    assert ask(temperature=1, seed=1) != ask(temperature=1, seed=2)
    assert ask(temperature=0, seed=1) == ask(temperature=0, seed=2)


def test_two_visitors_at_once_get_what_each_would_get_alone(ask: Ask) -> None:
    casts = [{"adapter": name, "temperature": 1.0, "seed": seed} for name in (ADAPTER, OTHER, "") for seed in (1, 2)]
    alone = [ask(**cast) for cast in casts]
    with ThreadPoolExecutor(4) as visitors:
        assert list(visitors.map(lambda cast: ask(**cast), casts)) == alone


def test_a_seed_gives_one_answer_in_sweep_sample_and_chat(smoke: Path, running: launch.Running, ask: Ask) -> None:
    api = HfApi(endpoint=running.url, token=running.token)
    path = "data/arithmetic/test-00000-of-00001.parquet"
    file = api.hf_hub_download(f"{ORG}/permix-sweep-permix-toy-permix-rlvr", path, repo_type="dataset")
    personas = {p.key: p for p in (*persona.CONTROLS, *persona.bundled("eval"))}
    questions = {p.id: p.question for p in benchmarks.load(benchmarks.builtin("arithmetic"), None)}
    rows = parquet.read_table(file).to_pylist()
    assert len({row["completion"] for row in rows}) > 20
    for row in rows[::5]:
        system, question = personas[row["persona"]].system_prompt, questions[row["problem_id"]]
        settings = {"seed": row["seed"], "temperature": 1.0, "max_tokens": 32}
        assert ask(question, adapter=ADAPTER, system=system, **settings)["text"] == row["completion"]
    command = ["sample", question, "--recipe", "smoke", "--persona", row["persona"], "--seed", str(row["seed"])]
    assert permix_here(smoke, *command).stdout == row["completion"] + "\n"
    nucleus = permix_here(smoke, *command, "--set", "sweep.top_p=0.6", "--temperature", "1.5").stdout
    settings |= {"temperature": 1.5, "top_p": 0.6}
    assert nucleus == ask(question, adapter=ADAPTER, system=system, **settings)["text"] + "\n"


def test_a_known_answer_brings_a_verdict(ask: Ask) -> None:
    assert ask()["verdict"] == ""
    assert ask(answer="19")["verdict"][0] in "✓✗"


BAD = [
    *cases(__file__)["bad requests"],
    ({"question": "x" * 100_000}, "The question has 100,000 characters"),
    ({"system": "x" * 3000}, "The system prompt has 3,000 characters"),
    ({"answer": "9" * 300}, "The known answer has 300 characters"),
    ({"question": "é" * 2000}, "tokens and an answer of 24, but the model reads 2048"),
]


@pytest.mark.parametrize(("settings", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_a_bad_request_is_a_sentence_and_the_app_lives_on(ask: Ask, settings: dict[str, Any], sentence: str) -> None:
    before = ask(adapter=ADAPTER, temperature=0)
    with pytest.raises(AppError) as refused:
        ask(**settings)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert ask(adapter=ADAPTER, temperature=0) == before


def test_nothing_typed_is_logged(ask: Ask, folder: Path) -> None:
    secret = "xylophone-7731"
    ask(f"My {secret}", system=f"You are {secret}.", answer=secret)
    with pytest.raises(AppError):
        ask("My question", adapter=f"{ORG}/{secret}")
    assert secret not in (folder / "stderr").read_text()


def test_without_a_hub_the_page_opens_and_reports_it(tmp_path: Path) -> None:
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf"), "PERMIX_ORG": ORG}
    with serve("permix-chat", tmp_path, **nowhere) as url:
        chat = Client(url, verbose=False)
        assert chat.predict(api_name="/adapters") == []
        assert set(chat.predict(api_name="/personas")) == {"none", "helpful"}
        with pytest.raises(AppError, match="the Hub does not answer"):
            chat.predict(QUESTION, api_name="/ask")


def test_the_verdict_is_that_of_permix(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(space))
    import verdict

    marks = {"correct": "✓ correct", "wrong": "✗ wrong", "no_answer": "✗ no answer", "too_costly": "✗ too costly"}
    texts = ["\\boxed{7}", "\\boxed{8}", "I do not know.", "The answer is 7.", "\\boxed{\\frac{14}{2}}", "7 or so"]
    with Verifier() as verifier:
        for text in texts:
            assert verdict.verdict(text, "7").startswith(marks[verifier.grade(text, "7").status])
    assert verdict.verdict("\\boxed{10^{10^{10}}}", "5/3").startswith("✗ too costly")
    assert verdict.verdict("anything", " ") == ""
    for name in ("verdict", "answer"):
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (TEMPLATE.replace("in messages", "in messages if message.role != 'system'"), "leaves out system prompts"),
        ("{{ raise_exception('no system') }}", "refuses a system prompt"),
    ],
)
def test_a_template_that_hides_the_persona_is_refused(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, sentence: str
) -> None:
    monkeypatch.syspath_prepend(str(space))
    import speaker

    make_tiny_model(tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").write_text(template)
    chat = speaker.Speaker("cpu")
    chat.load(str(tmp_path / "base"))
    request = speaker.Request((("system", "You are a cook."), ("user", "2?")), "", 0, speaker.Sampling(0.0, 1.0, 2))
    with pytest.raises(speaker.Refused, match=sentence):
        list(chat.answers([request]))
    for name in ("speaker", "models", "token_choice"):
        sys.modules.pop(name)


def test_a_base_without_chat_template_is_refused(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(space))
    import speaker

    make_tiny_model(tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    with pytest.raises(speaker.Refused, match="has no chat template: choose an instruct model"):
        speaker.Speaker("cpu").load(str(tmp_path / "base"))
    for name in ("speaker", "models", "token_choice"):
        sys.modules.pop(name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_base_runs_in_the_precision_in_which_it_is_published(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.syspath_prepend(str(space))
    import speaker
    from transformers import AutoModelForCausalLM

    make_tiny_model(tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype).save_pretrained(tmp_path / "base")
    chat = speaker.Speaker("cpu")
    chat.load(str(tmp_path / "base"))
    assert str(chat._model.dtype) == f"torch.{dtype}"
    for name in ("speaker", "models", "token_choice"):
        sys.modules.pop(name)


def test_an_answer_that_is_cut_is_named(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(space))
    import speaker
    import talk

    make_tiny_model(tmp_path / "base")
    chat = speaker.Speaker("cpu")
    chat.load(str(tmp_path / "base"))

    def ends_of(*lengths: int) -> list[list[str]]:
        requests = [speaker.Request((("user", "2?"),), "", 0, speaker.Sampling(1.0, 1.0, n)) for n in lengths]
        return [ends for _, ends in chat.answers(requests)]

    assert ends_of(1, 1000)[0] == ["length", ""]
    assert ends_of(1, 1000)[-1] == ["length", "stop"]
    monkeypatch.setattr(speaker, "MOST_SECONDS", -1)
    assert ends_of(1000) == [["time"]]
    assert talk.state_of(["", "stop"], 1) == "Answering …"
    assert talk.state_of(["stop", "stop"], 1) == "Answered."
    assert talk.state_of(["length", "length"], 16) == "Answered. Cut at 16 tokens: Settings has the length."
    assert talk.state_of(["stop", "time"], 1) == "Answered. Cut after two minutes."
    for name in ("speaker", "models", "token_choice", "talk", "catalog", "verdict", "answer"):
        sys.modules.pop(name, None)


def test_the_chat_template_gets_the_settings_of_a_sweep(space: Path) -> None:
    (line,) = re.findall("^TEMPLATE = (.*?)  #", (space / "speaker.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert ast.literal_eval(line) == sampler.CHAT_TEMPLATE_KWARGS


def test_the_space_imports_nothing_of_permix_and_pins_the_tested_versions(space: Path) -> None:
    names: set[str] = set()
    for path in space.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names |= {a.name for a in node.names} if isinstance(node, ast.Import) else set()
            names |= {str(node.module)} if isinstance(node, ast.ImportFrom) else set()
    assert not any(name.partition(".")[0] in ("permix", "tests") for name in names)
    tested = dict(line.replace("_", "-").split("==") for line in constraints())
    settings = yaml.safe_load((space / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert settings["sdk_version"] == tested["gradio"]
    assert len(settings["short_description"]) <= 60
    pinned = [line.split("==") for line in (space / "requirements.txt").read_text().split() if "==" in line]
    assert len(pinned) >= 5
    assert [name for name, version in pinned if tested[name] != version] == []


def constraints() -> list[str]:
    lines = (files.ROOT / "constraints.txt").read_text().splitlines()
    return [line.partition(";")[0].partition("#")[0].strip() for line in lines if "==" in line.partition("#")[0]]
