"""The judges of one artifact: their settings in a recipe, their rows, and their cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from permix.errors import PermixError, counts
from permix.experiment.models import Model
from permix.judging import structured
from permix.judging.judge import Item, Judgement, ModelJudge
from permix.judging.structured import Client, Form, SharedBudget
from permix.sampling.sampler import Sampling
from permix.stage import StageConfig, StageContext, recipe_field, setting, unhashed

JUDGEMENT = {"judge": "string", "model": "string", "score": "float32", "status": "string"}
JUDGEMENT |= {"retries": "int32", "raw": "strings"}
"""The columns of a judgement."""
SCORING_TOKENS, JUDGEMENT_TOKENS = 1300, 400  # of a judge's prompt, and of its reply with some thinking
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class JudgedConfig(StageConfig):
    """Who judges and how."""

    judge_models: tuple[Model, ...] = recipe_field()
    judges: tuple[str, ...] = setting(("gpt-5-mini", "deepseek-v3.2"), help="names of the judges in [model.*]")
    judge_temperature: float = setting(0.0, help="sampling temperature of the judges (0: greedy)")
    judge_max_tokens: int = setting(4096, help="maximum tokens of a judge's reply, with a reasoning model's thoughts")
    retries: int = setting(2, help="retries for an unreadable reply")
    budget: float = unhashed(0.0, help="limit in USD for all judges together (0: no limit)")

    def __post_init__(self) -> None:
        self.refuse_below(1, "judge_max_tokens")
        self.refuse_below(0, "judge_temperature", "retries", "budget")
        if not self.judges or len(set(self.judges)) < len(self.judges):
            raise self.refused("judges", "at least one name, and none twice")


class Panel:
    """A client per judge, by its name in the recipe. The clients share one budget."""

    def __init__(self, names: Sequence[str], config: JudgedConfig, context: StageContext) -> None:
        """Open nothing yet; `names` are those of `config.judge_models`, in their order."""
        sampling = Sampling(temperature=config.judge_temperature, max_tokens=config.judge_max_tokens)
        budget = SharedBudget(config.budget)
        self._seed = config.seed
        self.clients = {
            name: Client(model, context, sampling, config.retries, budget)
            for name, model in zip(names, config.judge_models, strict=True)
        }

    def reach(self) -> None:
        """Open every judge; raise BadInput for the first that does not answer."""
        for client in self.clients.values():
            client.open()

    def journal(self, name: str, purpose: str) -> str:
        """Return the name of a judge's journals."""
        return f"{purpose}-{list(self.clients).index(name)}"

    def rows(self, name: str, purpose: str, form: Form, items: Sequence[Item], rows: Mapping[str, Row]) -> list[Row]:
        """Let judge `name` judge every item; return the `rows` of the items' ids with its judgements."""
        if not items:
            return []
        judge = ModelJudge(self.clients[name], form, self.journal(name, purpose), self._seed)
        return judged_rows(name, judge.judge(items), rows)

    def refuse_silence(self, judged: Sequence[Row]) -> None:
        """Raise PermixError if no judge gave a score, because there is nothing to publish."""
        if all(row["score"] is None for row in judged):
            statuses = counts(row["status"] for row in judged)
            reason = next(iter(self.trouble.values()), "run it again to ask for all of them again.")
            raise PermixError(f"No judge gave a score ({statuses}): {reason}")

    @property
    def trouble(self) -> dict[str, str]:
        """The reasons of the judges that ended early."""
        return {name: client.trouble for name, client in self.clients.items() if client.trouble}

    @property
    def spent(self) -> dict[str, float]:
        """The cost of the judges for the run record."""
        return structured.spent(self.clients.values())


def judged_rows(name: str, judged: Iterable[Judgement], rows: Mapping[str, Row]) -> list[Row]:
    """Return one row per judgement: the row in `rows` with the same id, plus the columns JUDGEMENT for judge `name`."""
    return [
        rows[j.id]
        | {"judge": name, "model": j.model, "score": j.score, "status": j.status}
        | {"retries": j.retries, "raw": list(j.raw)}
        for j in judged
    ]


def cost(judges: Sequence[Model], items: int, tokens: int) -> dict[str, float]:
    """Return the cost of `items` judged by all judges, with so many `tokens` per judgement."""
    usd = sum(model.price(items * SCORING_TOKENS, items * tokens) for model in judges)
    calls = items * len(judges)
    return {"calls": calls, "tokens": calls * tokens} | ({"USD": usd} if usd else {})
