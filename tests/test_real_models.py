"""Every job of a user on small real models, in its shortest form: `PERMIX_MODELS=FOLDER make real`."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from permix.stages import apps
from tests.support import real
from tests.support.command_line import permix, refused
from tests.support.models import make_adapter
from tests.support.transformers_serve import transformers_serve

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

SMALL, CODER, BARE = "SmolLM2-135M-Instruct", "Qwen2.5-Coder-0.5B-Instruct", "gemma-3-270m"
PIRATE = "You are a rough pirate captain who talks of the sea."
PEOPLE = [
    {"key": "pirate", "category": "Own", "system_prompt": PIRATE},
    {"key": "teacher", "category": "Own", "system_prompt": "You are a patient teacher who explains every step."},
]
SWEEP = ["--benchmark", "arithmetic", "--set", "sweep.runs=1", "--set", "sweep.draws=20"]
GENERATE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = (c.from_pretrained(sys.argv[1]) for c in (AutoModelForCausalLM, AutoTokenizer))
chat = [{"role": "user", "content": "Who are you?"}]
prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(model.dtype, tokenizer.decode(model.generate(**prompt, max_new_tokens=4)[0]))
"""
GYM = """
org = "gym"
base = "real/SmolLM2-135M-Instruct"
variants = ["base"]
benchmarks = ["arithmetic"]
[model.judge]
model = "{model}"
url = "{url}"
concurrency = 1
[questions]
dataset = "real/questions"
examples = false
[personagym]
judges = ["judge"]
calibrate = false
judge_max_tokens = 96
max_tokens = 16
"""
Publish = Callable[[str], str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real") / "home"


@pytest.fixture(scope="module")
def published(home: Path) -> Publish:
    """Puts a real model onto the embedded Hub, once; returns its repository."""
    repositories: dict[str, str] = {}

    def publish(name: str) -> str:
        if name not in repositories:
            permix(home, "hub", "import", str(real.model(name)), f"real/{name}")
            repositories[name] = f"real/{name}"
        return repositories[name]

    return publish


def record_of(home: Path, command_output: str) -> dict[str, Any]:
    """Return the run record of the artifact that a command printed first."""
    record: dict[str, Any] = json.loads(permix(home, "show", command_output.split()[0], "--json").stdout)
    return record


def test_a_sweep_has_the_personas_and_the_controls_and_verifies(home: Path, published: Publish, tmp_path: Path) -> None:
    (tmp_path / "people.json").write_text(json.dumps(PEOPLE))
    own = ["--personas", str(tmp_path / "people.json"), "--limit", "2", "--set", "sweep.max_tokens=48"]
    output = permix(home, "sweep", "--base", published(CODER), *SWEEP, *own).stdout
    accuracy = record_of(home, output)["facts"]["summary"]["benchmarks"]["arithmetic"]["accuracy"]
    assert set(accuracy) == {"none", "helpful", "pirate", "teacher"}
    permix(home, "verify", output.split()[0])


def test_a_sweep_runs_on_a_4_bit_base(home: Path, published: Publish) -> None:
    real.need("bitsandbytes", "pip install 'permix[train]'")
    settings = ["--limit", "1", "--set", "sweep.max_tokens=4", "--set", "sweep.dtype=nf4"]
    output = permix(home, "sweep", "--base", published(SMALL), *SWEEP, *settings).stdout
    assert record_of(home, output)["facts"]["engines"][0].endswith("nf4")


def test_a_persona_answers_and_a_cut_is_named(home: Path, published: Publish) -> None:
    question = ["sample", "Who are you?", "--persona", PIRATE, "--base", published(CODER)]
    done = permix(home, *question, "--max-tokens", "8")
    assert done.stdout.strip()
    assert done.stderr.splitlines()[-1] == "cut at 8 tokens: --max-tokens N"


def test_the_chat_begins_to_answer_within_two_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = real.model(CODER)
    monkeypatch.syspath_prepend(str(apps.build("permix-chat", tmp_path)))
    import speaker

    chat = speaker.Speaker("cpu")
    chat.load(str(folder))
    request = speaker.Request((("system", PIRATE), ("user", "Who are you?")), "", 0, speaker.Sampling(0.7, 1.0, 4))
    list(chat.answers([request]))
    started = time.perf_counter()
    next(chat.answers([request]))
    assert time.perf_counter() - started < 2
    for name in ("speaker", "models", "token_choice"):
        sys.modules.pop(name)


def test_a_merged_adapter_runs_in_plain_transformers(home: Path, published: Publish, tmp_path: Path) -> None:
    base = published(SMALL)
    make_adapter(real.model(SMALL), tmp_path / "lora", seed=0, std=0.01)
    path = tmp_path / "lora" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": base}))
    permix(home, "hub", "import", str(tmp_path / "lora"), "real/lora")
    output = permix(home, "export", "real/lora", "--merge").stdout
    facts = record_of(home, output)["facts"]
    assert facts["largest_logit_error_by_merging"] < facts["largest_logit_change_by_adapter"]
    merged = output.partition("@")[0]
    generated = permix(home, "hub", "exec", "--", sys.executable, "-c", GENERATE, merged).stdout
    assert generated.startswith("torch.bfloat16")
    assert "Who are you?" in generated


def test_a_base_without_chat_template_is_refused_by_its_name(home: Path, published: Publish) -> None:
    error = refused(home, "sample", "Who are you?", "--base", published(BARE))
    assert f"real/{BARE} has no chat template" in error
    assert "use the instruct version of the model" in error


def test_a_judge_behind_a_real_server_scores_answers(home: Path, published: Publish, tmp_path: Path) -> None:
    question = {"persona": PIRATE, "task": "linguistic_habits", "question": "How do you greet your crew?"}
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "test.jsonl").write_text(json.dumps(question))
    permix(home, "hub", "import", str(tmp_path / "questions"), "datasets/real/questions")
    published(SMALL)
    with transformers_serve(real.model(CODER), tmp_path / "serve") as url:
        (tmp_path / "gym.toml").write_text(GYM.format(model=real.model(CODER), url=url))
        output = permix(home, "personagym", "--recipe", str(tmp_path / "gym.toml")).stdout
    assert record_of(home, output)["facts"]["rows"] == 1
    permix(home, "verify", output.split()[0])
