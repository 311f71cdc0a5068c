"""spaces/permix-leaderboard on the embedded Hub: the sweeps of recipe smoke, and some broken ones."""

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from gradio_client import Client
from huggingface_hub import CommitOperationAdd, HfApi

from embedded_hub import launch
from tests.support.spaces import barriers, serve

MARKUP = '<img src=x onerror="window.owned=1">${window.owned=1}[c](javascript:owned=1)'
COPIED = ("sweep-permix-toy-base", "sweep-permix-toy-rlvr", "sweep-permix-toy-permix-rlvr", "tables", "cases")


@pytest.fixture(scope="module")
def api(running: launch.Running, tmp_path_factory: pytest.TempPathFactory) -> HfApi:
    """An organisation `board` with the artifacts of recipe smoke, three broken sweeps and one full of markup."""
    api = HfApi(endpoint=running.url, token=running.token)
    for name in COPIED:
        folder = tmp_path_factory.mktemp(name)
        api.snapshot_download(f"permix-smoke/permix-{name}", repo_type="dataset", local_dir=folder)
        api.create_repo(f"board/permix-{name}", repo_type="dataset")
        api.upload_folder(repo_id=f"board/permix-{name}", repo_type="dataset", folder_path=folder)
    publish(api, "permix-sweep-broken", {"summary.json": b"{"})
    publish(api, "permix-sweep-other", {"data.csv": b"1"})
    text = {"title": "t", "base": "b", "seed": 0, "benchmarks": {"a": {"accuracy": {"p": "<b>high"}, "pss": {}}}}
    publish(api, "permix-sweep-text", {"summary.json": json.dumps(text).encode()})
    publish(api, "permix-sweep-markup", marked())
    return api


def publish(api: HfApi, name: str, contents: dict[str, bytes]) -> str:
    api.create_repo(f"board/{name}", repo_type="dataset", exist_ok=True)
    operations = [CommitOperationAdd(path, data) for path, data in contents.items()]
    return api.create_commit(f"board/{name}", operations, repo_type="dataset", commit_message="Add").oid


def marked() -> dict[str, bytes]:
    """Return the files of a sweep whose texts are all markup."""
    names = ("status", "extracted", "finish", "completion", "problem_id", "persona")
    row = {"run": 0, "score": 1.0} | dict.fromkeys(names, MARKUP)
    out = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist([row]), out)
    numbers = {"accuracy": {MARKUP: 0.5, "none": 1}, "pss": {"worst": 0.5}, "voice_by_persona": {MARKUP: 1}}
    summary = {"title": MARKUP, "base": MARKUP, "seed": 0, "benchmarks": {"<b>bench": numbers}}
    return {"summary.json": json.dumps(summary).encode(), "data/<b>bench/test-00000-of-00001.parquet": out.getvalue()}


@pytest.fixture(scope="module")
def address(
    smoke: Path, running: launch.Running, api: HfApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    with serve("permix-leaderboard", folder, PERMIX_ORG="board", **launch.client_environment(running, smoke)) as url:
        yield url
    assert "Traceback" not in (folder / "stderr").read_text()


@pytest.fixture(scope="module")
def page(address: str) -> Client:
    return Client(address, verbose=False)


def summary_of(api: HfApi, name: str) -> dict[str, Any]:
    return dict(json.loads(Path(api.hf_hub_download(f"board/{name}", "summary.json", repo_type="dataset")).read_text()))


def test_the_table_has_the_numbers_of_every_summary_at_its_revision(page: Client, api: HfApi) -> None:
    rows = page.predict(benchmark="arithmetic", api_name="/table")
    assert {row["title"] for row in rows} == {"Base", "RLVR", "PerMix-RLVR"}
    for row in rows:
        numbers = summary_of(api, row["repo"].partition("/")[2])["benchmarks"]["arithmetic"]
        assert (row["accuracy"], row["voice"]) == (numbers["accuracy"], numbers["voice"])
        for name in ("pss", "pss_null", "worst_low"):
            assert row[name] == numbers["pss"][name]
        assert row["revision"] == api.dataset_info(row["repo"]).sha


def test_every_row_has_its_number_of_problems_runs_and_personas(page: Client, api: HfApi) -> None:
    numbers = summary_of(api, "permix-sweep-permix-toy-base")["benchmarks"]["arithmetic"]
    size = f"{numbers['problems']} x {numbers['runs']} x {numbers['personas']}"
    page.predict(api_name="/look")
    _, _, _, _, board, *_ = page.predict("arithmetic", "", "", api_name="/filter")
    assert board["value"]["headers"][1] == "n"
    assert [row[1] for row in board["value"]["data"]] == [size] * 3
    assert page.predict("arithmetic", "", "", "accuracy", api_name="/heat").count(f"<small>{size}</small>") == 3
    assert "<small></small>" in page.predict("<b>bench", "", "", "accuracy", api_name="/heat"), "its size is unknown"


def test_the_optional_tabs_are_absent_by_default(page: Client) -> None:
    names = set(page.view_api(return_format="dict")["named_endpoints"])
    assert "/table" in names
    assert not names & {"/measure", "/offer", "/pair"}


def test_filters_narrow_the_table(page: Client) -> None:
    assert len(page.predict(api_name="/table")) == 7
    assert len(page.predict(base="permix-smoke/permix-toy-base", api_name="/table")) == 6
    assert page.predict(seed="9", api_name="/table") == []


def test_a_broken_summary_is_a_sentence_and_the_rest_is_shown(page: Client) -> None:
    status, *_ = page.predict(api_name="/look")
    assert "4 sweeps of board" in status
    assert "UTC" in status
    for name in ("broken", "other", "text"):
        assert f"board/permix-sweep-{name}@" in status
    assert "<b>" not in status
    assert "&lt;b&gt;high" in status


def test_the_table_can_be_downloaded_with_all_digits(page: Client, api: HfApi) -> None:
    parts = page.predict("arithmetic-long", "", "", api_name="/filter")
    link = next(part for part in parts if isinstance(part, str) and "Download" in part)
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(link.split("base64,")[1].split('"')[0]).decode())))
    assert len(rows) == 3
    (base,) = (row for row in rows if row["title"] == "Base")
    numbers = summary_of(api, "permix-sweep-permix-toy-base")["benchmarks"]["arithmetic-long"]
    assert float(base["mean"]) == numbers["pss"]["mean"]
    assert float(base["accuracy/none"]) == numbers["accuracy"]["none"]
    assert base["revision"] == api.dataset_info("board/permix-sweep-permix-toy-base").sha


def test_the_heat_map_has_a_row_for_every_persona_and_the_controls_last(page: Client, api: HfApi) -> None:
    heat = page.predict("arithmetic", "", "", "accuracy", api_name="/heat")
    personas = summary_of(api, "permix-sweep-permix-toy-base")["benchmarks"]["arithmetic"]["accuracy"]
    heads = re.findall('<th scope="row">(.*?)</th>', heat)
    assert (set(heads), heads[-2:]) == (set(personas), ["none", "helpful"])


def test_answers_of_two_variants_stand_side_by_side(page: Client, api: HfApi) -> None:
    sweep = "board/permix-sweep-permix-toy-rlvr"
    path = api.hf_hub_download(sweep, "data/arithmetic/test-00000-of-00001.parquet", repo_type="dataset")
    rows = [row for row in parquet.read_table(path).to_pylist() if row["persona"] == "lawyer"]
    problem = rows[0]["problem_id"]
    texts = [row["completion"] for row in rows if row["problem_id"] == problem]
    completions = page.predict(sweep, "arithmetic", "lawyer", problem, api_name="/completions")
    assert [row["completion"] for row in completions] == texts
    assert len(texts) == 2


def test_no_text_of_an_artifact_becomes_markup(page: Client) -> None:
    rows = page.predict("<b>bench", api_name="/table")
    assert [row["title"] for row in rows] == [MARKUP]
    heat = page.predict("<b>bench", "", "", "accuracy", api_name="/heat")
    assert "<img" not in heat
    assert "&lt;img" in heat


def test_a_missing_sweep_is_refused_with_a_sentence(page: Client) -> None:
    with pytest.raises(Exception, match="cannot be read"):
        page.predict("board/nothing", "arithmetic", "lawyer", "1", api_name="/completions")
    assert page.predict(api_name="/table")


def test_a_new_commit_is_shown_when_the_page_looks_again(page: Client, api: HfApi) -> None:
    scores = json.dumps({"score": {"mean": 4.25}}).encode()
    publish(api, "permix-personagym-permix-toy-rlvr", {"summary.json": scores})
    page.predict("arithmetic", "", "", api_name="/again")
    personagym = {row["title"]: row["personagym"] for row in page.predict(benchmark="arithmetic", api_name="/table")}
    assert personagym == {"Base": None, "RLVR": 4.25, "PerMix-RLVR": None}


def test_a_hub_that_does_not_answer_is_a_sentence(tmp_path: Path) -> None:
    settings = {"PERMIX_ORG": "board", "PERMIX_ARENA": "5", "HF_ENDPOINT": "http://127.0.0.1:9"}
    with serve("permix-leaderboard", tmp_path, **settings) as address:
        page = Client(address, verbose=False)
        status, *_ = page.predict(api_name="/look")
        assert "No pairwise judgements are published" in page.predict(api_name="/pair")
    assert "The Hub at http://127.0.0.1:9 does not answer" in status
    assert "Traceback" not in (tmp_path / "stderr").read_text()


@pytest.fixture
def screen(browser: Any, address: str) -> Iterator[Any]:
    """The page of one benchmark; at the end it has sent no request to another server and run no markup."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(address)
    page.get_by_role("link", name="1 rows").wait_for()  # the first benchmark by name is that of markup
    choose(page, "benchmark", "arithmetic")
    page.get_by_role("link", name="3 rows").wait_for()
    yield page
    assert page.evaluate("window.owned") is None
    assert [url for url in addresses if not url.startswith((address, "data:", "blob:"))] == []
    page.close()


def choose(screen: Any, label: str, option: str) -> None:
    opened(screen, label).get_by_role("option", name=option, exact=True).click()


def opened(screen: Any, label: str) -> Any:
    """Open the list below a box and return it; the list of another box may still be closing."""
    box = screen.get_by_role("combobox", name=label)
    box.click()
    return screen.locator(f"#{box.get_attribute('aria-controls')}")


@pytest.mark.real
def test_table_sorting_and_filters_in_a_browser(screen: Any, page: Client, api: HfApi) -> None:
    screen.get_by_text("PerMix-RLVR", exact=True).locator("visible=true").first.wait_for()
    sha = api.dataset_info("board/permix-sweep-permix-toy-rlvr").sha
    link = screen.get_by_role("link", name=str(sha)[:7]).first
    assert str(link.get_attribute("href")).endswith(f"/datasets/board/permix-sweep-permix-toy-rlvr/tree/{sha}")
    means = [round(row["mean"], 3) for row in page.predict(benchmark="arithmetic", api_name="/table")]
    for order in ("ascending", "descending"):
        screen.get_by_role("columnheader", name="mean").hover()
        screen.get_by_role("columnheader", name="mean").get_by_role("button", name="Open cell menu").click()
        screen.get_by_role("menuitem", name=f"Sort {order}").click()
        screen.get_by_label(f"Sorted {order}").wait_for()
        cells = screen.locator("#sweeps").get_by_test_id(re.compile("^cell-.*-4$")).all_inner_texts()
        assert [float(cell) for cell in cells] == sorted(means, reverse=order == "descending")
    choose(screen, "benchmark", "all")
    screen.get_by_role("link", name="7 rows").wait_for()
    choose(screen, "base model", "permix-smoke/permix-toy-base")
    screen.get_by_role("link", name="6 rows").wait_for()
    choose(screen, "seed", "0")
    with screen.expect_download() as download:
        screen.get_by_role("link", name="Download these").click()
    assert download.value.suggested_filename == "board-leaderboard.csv"
    screen.get_by_role("button", name="Look again").click()
    screen.get_by_role("link", name="6 rows").wait_for()


@pytest.mark.real
def test_the_page_stays_while_the_hub_is_down(browser: Any, smoke: Path, api: HfApi, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("*.lock", "server.json", "leases", "hf", "work")
    shutil.copytree(smoke / "hub", tmp_path / "hub", ignore=ignored)
    running = launch.attach(tmp_path / "hub", port=0)
    server = launch._started[-1]
    settings = {"PERMIX_ORG": "board"} | launch.client_environment(running, tmp_path)
    with serve("permix-leaderboard", tmp_path, **settings) as address:
        page = browser.new_page()
        page.goto(address)
        page.get_by_role("link", name="1 rows").wait_for()
        server.kill()
        server.wait()
        page.get_by_role("button", name="Look again").click()
        page.get_by_text("does not answer").wait_for()
        choose(page, "benchmark", "all")
        page.get_by_role("link", name="7 rows").wait_for()
        launch.attach(tmp_path / "hub", port=int(running.url.rpartition(":")[2]))
        page.get_by_role("button", name="Look again").click()
        page.get_by_text("does not answer").wait_for(state="detached")
        page.close()
    assert "Traceback" not in (tmp_path / "stderr").read_text()


@pytest.mark.real
def test_personas_and_scatter_in_a_browser(screen: Any) -> None:
    screen.get_by_role("tab", name="Personas").click()
    screen.get_by_role("row", name="lawyer").wait_for()
    screen.get_by_role("radio", name="voice").check()
    screen.get_by_text("voice, from").wait_for()
    screen.get_by_role("tab", name="Robustness and fidelity").click()
    screen.locator(".vega-embed").wait_for()
    choose(screen, "robustness", "worst accuracy")
    screen.get_by_text("worst accuracy").last.wait_for()
    choose(screen, "fidelity", "recovery")
    screen.get_by_text("recovery", exact=True).last.wait_for()
    assert barriers(screen) == []


@pytest.mark.real
def test_answers_cases_and_report_in_a_browser(screen: Any) -> None:
    screen.get_by_role("tab", name="Answers").click()
    screen.get_by_role("heading", name="run 2").first.wait_for()
    choose(screen, "persona", "lawyer")
    choose(screen, "second sweep", "Base")
    screen.get_by_role("heading", name="permix-sweep-permix-toy-base").wait_for()
    choose(screen, "first sweep", "PerMix-RLVR")
    screen.get_by_role("heading", name="permix-sweep-permix-toy-permix-rlvr").wait_for()
    opened(screen, "problem").get_by_role("option").nth(1).click()
    screen.get_by_role("heading", name="run 2").first.wait_for()
    assert barriers(screen) == []
    screen.get_by_role("tab", name="Cases").click()
    screen.get_by_text("Reference answer").locator("visible=true").first.wait_for()
    screen.get_by_role("tab", name="Claims and report").click()
    screen.get_by_text("enhancing persona fidelity").wait_for()
    screen.get_by_role("button", name="Show the report").click()
    screen.frame_locator("iframe.report").get_by_role("heading", level=1).wait_for()


@pytest.mark.real
def test_two_visitors_filter_each_for_himself(screen: Any, browser: Any, address: str) -> None:
    other = browser.new_page()
    other.goto(address)
    choose(other, "benchmark", "all")
    other.get_by_role("link", name="7 rows").wait_for()
    choose(screen, "benchmark", "arithmetic-long")
    screen.get_by_role("link", name="3 rows").wait_for()
    assert other.get_by_role("link", name="7 rows").is_visible()
    other.close()


@pytest.mark.real
def test_markup_stays_text_in_a_browser_as_small_as_a_phone(screen: Any) -> None:
    screen.set_viewport_size({"width": 390, "height": 844})
    choose(screen, "benchmark", "<b>bench")
    screen.get_by_role("link", name="1 rows").wait_for()
    screen.locator(".overflow-menu > button").first.click()
    screen.locator(".overflow-dropdown button", has_text="Answers").click()
    screen.get_by_role("heading", name="permix-sweep-markup").first.wait_for()
    assert screen.evaluate("document.documentElement.scrollWidth") <= 390
