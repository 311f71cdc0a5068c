"""Rewrite every gold rationale in the style of a persona, with the same reasoning and answer: PerMix-SFT (4.2.1, B.2).

In:  personas (pool train); the task's dataset, if it has one; the rewriting model, if it runs on this machine
Out: data/train-00000-of-00001.parquet: one row per problem (written_targets.COLUMNS); `messages` is the student's
     prompt, persona and problem, and `completion` the rewrite

A rewrite must keep the answer and differ from the gold. Another rewrite is requested with the reason for the rejection;
after `retries` the problem is omitted. This is an assumption: the paper does not mention a filter, and
`verify = false` keeps every rewrite.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from permix import benchmarks, parquet
from permix.benchmarks import sizes
from permix.errors import BadInput, PermixError, counts
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.prompting import persona, prompts
from permix.prompting.prompts import Messages
from permix.sampling.sampler import Completion, Request, Sampler, Sampling, seed_of
from permix.stage import Facts, Stage, StageContext, setting
from permix.stages.shared import models, written_targets
from permix.verifier import Problem, Verdict

PROMPT_TOKENS = 400  # of a GSM8K problem, its rationale, a persona and our rules, for the estimate
FAULTS = {
    "cut": "Your text was cut off because it is too long.",
    "unchanged": "Your text is the solution as it was, not rewritten.",
    "no_answer": "Your text does not end in the final answer inside \\boxed{}.",
    "wrong": "Your text ends in another final answer than the solution.",
    "too_costly": "Your text ends in an answer that cannot be compared with the solution's.",
}
"""The reasons for rejecting a rewrite, as the writer reads them; other statuses of the verifier count as "wrong"."""


@dataclass(frozen=True, kw_only=True)
class Config(written_targets.WriterConfig):
    """The rewriting model and its retries."""

    TABLE: ClassVar[str] = "rewrites"

    model: str = setting("gpt-5-mini", help="rewriting model: a name of [model.*], or toy for the toy generator")
    temperature: float = 1.0
    max_tokens: int = 4096  # a reasoning model's thoughts count too
    verify: bool = setting(True, help="ask again for a rewrite that lost the answer. Otherwise every rewrite is kept")
    retries: int = setting(2, help="retries for each rewrite")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_below(0, "retries")


def configs(recipe: Recipe) -> list[Config]:
    """Return one Config, with the recipe's first seed, if a variant learns from styled targets."""
    name = recipe.settings("rewrites").get("model", Config.model)
    if not any(variants.get(v).target == "styled" for v in recipe.variants):
        return []
    writer = None if name == "toy" else recipe.model(name)
    return [Config.of(recipe, writer=writer, task=recipe.task, personas=recipe.personas_repo)]


def target(config: Config) -> str:
    """Return `datasets/org/permix-<task>-styled`."""
    return f"datasets/{config.name(f'permix-{config.task.name}-styled')}"


inputs = written_targets.inputs


def estimate(config: Config) -> dict[str, float]:
    """Return the completions without retries, the maximum of tokens, and their USD if the recipe states prices."""
    if config.writer is None:
        return {}
    return written_targets.cost(config, sizes.problems(config.task), PROMPT_TOKENS, config.max_tokens)


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read the rationales from the Hub; BadInput for a missing one, before anything is paid for."""
    if "task" in inputs:
        _problems(config, inputs)


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Rewrite in rounds, each for the rejected rewrites of the previous one and with its own journal."""
    pool = persona.load(inputs["personas"], "train")
    problems = {p.id: p for p in _problems(config, inputs)}
    drawn = {name: persona.draw(pool, config.seed, name) for name in problems}
    sampler: Sampler | _Toy = _Toy(problems, drawn)
    if config.writer:
        sampler = models.open_sampler(config.writer, inputs.get("model"), config, context, config.budget)
    chats = {name: _prompt(config, problem, drawn[name]) for name, problem in problems.items()}
    accepted: dict[str, parquet.Row] = {}
    rejected, completions = list[str](), list[Completion]()
    for attempt in range(1 + config.retries * config.verify):
        written = _sample(config, sampler, chats, attempt, context)
        completions += written.values()
        faults = {}
        for name, verdict in _grade(written, problems).items():
            fault = _fault(written[name], verdict, problems[name], config.verify)
            if fault:
                faults[name] = fault
            else:
                chat = prompts.messages(problems[name].question, drawn[name], config.task.instruction)
                accepted[name] = written_targets.row(config, problems[name], drawn[name], chat, written[name], verdict)
        rejected += faults.values()
        chats = {n: _prompt_again(config, chats[n], written[n], f, problems[n].gold) for n, f in faults.items()}
        if not chats:
            break
    if not accepted:
        last = (completions[-1].text.strip() or completions[-1].reason)[-200:] or "(nothing)"
        raise PermixError(f"No rewrite of {config.model} was kept ({counts(rejected)}). The last ended: {last}")
    rows = [accepted[name] for name in problems if name in accepted]
    parquet.write(rows, written_targets.COLUMNS, parquet.data_file(out, split="train"))
    return {
        "rows": len(rows),
        "problems": len(problems),
        "prompts": prompts.templates("rewrite", "rewrite_again") if config.writer else {},
        "rejected": dict(sorted(Counter(rejected).items())),
        "left_out": dict(sorted(Counter(faults.values()).items())),
        "statuses": dict(sorted(Counter(row["status"] for row in rows).items())),
        "personas": dict(sorted(Counter(row["persona"] for row in rows).items())),
        "cost": models.spent(config.writer, completions),
    }


def preview(config: Config, problems: int = 8) -> Config:
    """Return the Config of the first few problems, to inspect before the whole set is paid for."""
    return replace(config, task=replace(config.task, limit=min(problems, config.task.limit or problems)))


def _problems(config: Config, inputs: Mapping[str, Path]) -> list[Problem]:
    problems = benchmarks.load(config.task, inputs.get("task"))
    if missing := next((problem.id for problem in problems if not problem.rationale.strip()), None):
        raise BadInput(f"{missing} has no gold rationale to rewrite: set rationale= of [task] to the column with them.")
    return problems


def _prompt(config: Config, problem: Problem, drawn: persona.Persona) -> Messages:
    """Return the prompt of the rewriting model; [] for the toy world's generator."""
    return prompts.rewriting(problem.question, problem.rationale, drawn) if config.writer else []


def _prompt_again(config: Config, chat: Messages, rewrite: Completion, fault: str, gold: str) -> Messages:
    if fault == "refused":
        return chat
    reason = FAULTS.get(fault, FAULTS["wrong"])
    return prompts.rewriting_again(chat, rewrite.text, reason, gold) if config.writer else []


def _sample(
    config: Config, sampler: "Sampler | _Toy", chats: Mapping[str, Messages], attempt: int, context: StageContext
) -> dict[str, Completion]:
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    requests = [
        Request(name, chat, sampling, seed_of("rewrites", config.seed, name, attempt)) for name, chat in chats.items()
    ]
    journal = context.work / f"round-{attempt}.jsonl"
    return {c.id: c for c in sampler.sample(requests, journal=journal, progress=context.progress)}


def _grade(written: Mapping[str, Completion], problems: Mapping[str, Problem]) -> dict[str, Verdict]:
    from permix.verifier import Verifier

    with Verifier() as verifier:
        verdicts = verifier.grade_many((rewrite.text, problems[name]) for name, rewrite in written.items())
    return dict(zip(written, written_targets.checked(list(written.values()), verdicts), strict=True))


def _fault(rewrite: Completion, verdict: Verdict, problem: Problem, verify: bool) -> str:
    """Return the reason for rejecting the rewrite, a key of FAULTS or a status; "" for a good rewrite."""
    if verdict.status == "refused":
        return "refused"
    if not verify:
        return ""
    if rewrite.finish == "length":
        return "cut"
    if verdict.status != "correct":
        return verdict.status
    return "unchanged" if rewrite.text.split() == problem.rationale.split() else ""


class _Toy:
    """The toy world's style generator as a sampler; it uses problem and persona instead of the prompt."""

    def __init__(self, problems: Mapping[str, Problem], drawn: Mapping[str, persona.Persona]) -> None:
        self._problems, self._drawn = problems, drawn

    def sample(self, requests: Sequence[Request], journal: Path, progress: object) -> Iterator[Completion]:
        """Yield every rewrite, without a journal."""
        from permix.toy import style

        for r in requests:
            text = style.styled(self._problems[r.id], self._drawn[r.id], r.seed)
            yield Completion(r.id, text, 0, 0, "stop", "permix.toy.style", "")


STAGE = Stage(
    name="rewrites",
    card="rewrites",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    check=check,
    estimate=estimate,
    needs=written_targets.packages,
    preview=preview,
)
