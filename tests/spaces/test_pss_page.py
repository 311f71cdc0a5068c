"""The page of spaces/pss: the metric's numbers from a CSV table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file

from permix.results.measures import pss
from tests.support.cases import cases
from tests.support.spaces import barriers, serve

ITEMS = [(persona, problem, run) for persona in ("poet", "expert", "child") for problem in range(8) for run in range(2)]
SCORES = [float((problem * 5 + run + len(name)) % 8 > (2 if name == "poet" else 4)) for name, problem, run in ITEMS]
TABLE = "Persona,problems,run,Score\n" + "".join(
    f"{persona},{problem},{run},{score}\n" for (persona, problem, run), score in zip(ITEMS, SCORES, strict=True)
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pss")
    with serve("pss", folder) as url:
        yield url
    assert "Traceback" not in (folder / "stderr").read_text()


@pytest.fixture(scope="module")
def page(address: str) -> Client:
    return Client(address, verbose=False)


def test_the_page_gives_the_metrics_numbers_with_their_intervals(page: Client) -> None:
    words, numbers, _, people = page.predict(TABLE, None, 3, api_name="/pss")
    result = pss.compute(SCORES, *zip(*ITEMS, strict=True), seed=3)
    rows = {row[0]: row[1:] for row in numbers["data"]}
    interval = f"{result['pss_low']:.4f} to {result['pss_high']:.4f}"
    assert (rows["PSS = worst / best"], rows["problems"][0]) == ([f"{result['pss']:.4f}", interval], "8")
    assert (rows["runs"][0], len(rows)) == ("2", 14)
    assert [row[0] for row in people["data"]] == sorted(result["accuracy"], key=result["accuracy"].__getitem__)
    assert f"PSS {result['pss']:.3f}" in words or result["floor"]


def test_accuracies_alone_give_pss_and_a_hint_to_add_problems(page: Client, tmp_path: Path) -> None:
    file = tmp_path / "accuracies.csv"
    file.write_text("persona,score\nchild,0.33\nprofessor,0.353\n")
    words, numbers, picture, people = page.predict("", handle_file(file), 0, api_name="/pss")
    assert "0.935" in words
    assert "problem" in words
    assert numbers["data"][0][1] == "0.9348"
    assert picture["data"] == [["child", 0.33], ["professor", 0.353]]
    assert people["data"][0][:2] == ["child", 0.33]


@pytest.mark.parametrize(("table", "sentence"), cases(__file__)["bad tables"])
def test_a_bad_table_is_a_sentence(page: Client, table: str, sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        page.predict(table, None, 0, api_name="/pss")


def test_every_label_is_a_text(page: Client) -> None:
    table = "persona,problem,score\nNone,01,0.5\n007,01,1\nNA,01,0.75\n"
    _, _, picture, _ = page.predict(table, None, 0, api_name="/pss")
    assert picture["data"] == [["None", 0.5], ["NA", 0.75], ["007", 1.0]]


def test_a_persona_is_not_markup(page: Client) -> None:
    words, *_ = page.predict("persona,score\n<img src=x>,0.5\nb,1\n", None, 0, api_name="/pss")
    assert "<img" not in words
    assert "&lt;img" in words


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser_as_small_as_a_phone(address: str, browser: Any, scheme: Any, tmp_path: Path) -> None:
    screen = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    addresses: list[str] = []
    screen.on("request", lambda request: addresses.append(request.url))
    screen.goto(address)
    screen.get_by_text("Personas without any effect").wait_for()  # of the example
    screen.locator(".vega-embed").wait_for()
    assert barriers(screen) == []
    screen.get_by_role("textbox", name="CSV").fill("persona,score\na,70\nb,60\n")
    screen.get_by_role("button", name="Compute").click()
    screen.get_by_text("give shares, not percent").wait_for()
    file = tmp_path / "scores.csv"
    file.write_text("persona,score\n<b>child,0.33\nprofessor,0.353\n")
    with screen.expect_file_chooser() as chooser:  # by its button: tables have file inputs too
        screen.get_by_role("button", name="Click to upload").click()
    chooser.value.set_files(file)
    screen.locator(".file-preview").get_by_text("scores").wait_for()  # its name is whole only during the upload
    screen.get_by_role("button", name="Compute").click()
    screen.get_by_text("PSS 0.935").wait_for()
    screen.get_by_role("button", name="Cite").click()
    screen.get_by_text("oh2026permixrlvr").wait_for()
    assert screen.evaluate("document.documentElement.scrollWidth") <= 390
    assert [url for url in addresses if not url.startswith((address, "data:", "blob:"))] == []
    screen.close()
