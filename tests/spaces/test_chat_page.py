"""spaces/permix-chat in headless Chromium: every control, bad requests, two visitors, a phone."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from embedded_hub import launch
from tests.support.spaces import barriers, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

pytestmark = pytest.mark.real
ORG = "permix-smoke"
FIRST, OTHER = f"{ORG}/permix-toy-permix-rlvr", f"{ORG}/permix-toy-rlvr"
MARKUP = (
    '<img src="/stolen" onerror="window.owned=1"> ${window.owned=2} {{owned}} ![i](/stolen) [x](javascript:owned=3)'
)


@pytest.fixture(scope="module")
def address(browser: "Browser", running: launch.Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("chat")
    with serve("permix-chat", folder, **launch.client_environment(running, folder), PERMIX_ORG=ORG) as url:
        yield url


@pytest.fixture
def context(browser: "Browser", address: str) -> Iterator["BrowserContext"]:
    context = browser.new_context(viewport={"width": 1200, "height": 1000}, base_url=address)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture
def page(context: "BrowserContext") -> "Page":
    return opened(context)


def opened(context: "BrowserContext", **query: str) -> "Page":
    """Open a visitor's page and wait until it shows the data of the Hub."""
    page = context.new_page()
    page.goto(f"/?{urlencode(query)}")
    page.get_by_text("Adapters of").wait_for()
    return page


def box(page: "Page", name: str) -> "Locator":
    """The text box or list of one control."""
    return page.locator(f"#{name} :is(textarea, input)").first


def click(page: "Page", button: str) -> None:
    """Clear the state line and press a button, so that `ended` waits for the new answer."""
    page.evaluate("document.querySelector('#state p').textContent = ''")
    page.get_by_role("button", name=button, exact=True).click()


def ended(page: "Page") -> None:
    page.locator("#state", has_text="Answered.").wait_for()


def send(page: "Page", question: str) -> None:
    box(page, "question").fill(question)
    click(page, "Send")
    ended(page)


def choose(page: "Page", name: str, option: str) -> None:
    box(page, name).fill(option)
    page.get_by_role("option", name=option).first.click()


def test_a_question_is_answered_again_stopped_copied_and_cleared(page: "Page") -> None:
    page.get_by_role("button", name="Example: Apples").click()
    page.wait_for_function("document.querySelector('#gold :is(input, textarea)').value === '19'")
    page.evaluate("document.querySelector('#state p').textContent = ''")
    box(page, "question").press("Enter")
    ended(page)
    assert page.locator("#verdict1").inner_text()[0] in "✓✗"
    assert box(page, "question").input_value() == ""
    send(page, "And how many has Tom?")
    assert page.locator("#chat1 .user").count() >= 2
    click(page, "Retry")
    ended(page)
    assert box(page, "seed").input_value() == "1"
    page.locator("#chat1").get_by_role("button", name=re.compile("copy", re.I)).last.click()
    assert page.evaluate("navigator.clipboard.readText()")
    page.locator("#actions").get_by_role("button", name="Clear").click()
    page.locator("#chat1 .user").first.wait_for(state="detached")
    page.get_by_role("button", name="Retry").click()
    page.get_by_text("The chat is empty: ask a question first").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped.").wait_for()


def test_examples_settings_results_and_stop(page: "Page") -> None:
    for name, known in (("Books", "39"), ("Who are you?", "")):
        page.get_by_role("button", name=f"Example: {name}").click()
        page.wait_for_function(f"document.querySelector('#gold :is(input, textarea)').value === '{known}'")
    page.get_by_role("button", name="Settings").first.click()
    page.get_by_role("spinbutton", name="Temperature").fill("0")
    page.get_by_role("spinbutton", name="Longest answer").fill("16")
    send(page, "What is 2 + 2?")
    page.get_by_role("spinbutton", name="Longest answer").fill("1024")
    box(page, "question").fill("What is 3 + 3?")
    click(page, "Send")
    click(page, "Stop")
    page.locator("#state", has_text=re.compile("Stopped|Answered")).wait_for()  # a short answer can be faster
    page.get_by_role("spinbutton", name="Longest answer").fill("16")
    send(page, "What is 4 + 4?")
    page.get_by_role("button", name="Results of the adapters").click()
    page.locator("#results").get_by_text(OTHER).first.wait_for()


def test_adapters_personas_and_base_side_by_side(page: "Page") -> None:
    choose(page, "persona1", "dumb")
    page.wait_for_function("document.querySelector('#system1 textarea').value.startsWith('You are dumb')")
    choose(page, "adapter1", FIRST)
    first, other = (name.removeprefix(f"{ORG}/") for name in (FIRST, OTHER))
    ways = {
        "two adapters": (f"{first}, dumb", f"{other}, dumb"),
        "two personas": (f"{first}, dumb", f"{first}, math expert"),
        "base and adapter": ("the base alone, dumb", f"{first}, dumb"),
    }
    for way, titles in ways.items():
        page.get_by_label(way).check()
        page.locator("#chat2").wait_for()
        page.locator("#adapter2").wait_for(state="visible" if way == "two adapters" else "hidden")
        page.locator("#persona2").wait_for(state="visible" if way == "two personas" else "hidden")
        if way == "two adapters":
            choose(page, "adapter2", OTHER)
        send(page, "Ana has 2 apples and buys 3. How many has she?")
        assert page.locator("#chat2 .bot").first.is_visible()
        for number, title in enumerate(titles, 1):
            assert page.locator(f"#chat{number}").get_by_text(title, exact=True).is_visible()
    page.get_by_label("one answer").check()
    page.locator("#chat2").wait_for(state="hidden")


def test_a_link_restores_adapter_persona_question_and_seed(context: "BrowserContext") -> None:
    first = opened(context)
    choose(first, "adapter1", OTHER)
    box(first, "system1").fill("You are a <poet> & {more}.")
    first.wait_for_function("document.querySelector('#persona1 input').value === 'your own'")
    box(first, "seed").fill("7")
    box(first, "question").fill("What is 2 + 2?")
    first.get_by_role("button", name="Link to this question").click()
    first.wait_for_function("location.search.includes('seed=7')")
    second = context.new_page()
    second.goto(first.url)
    second.wait_for_function("document.querySelector('#seed input')?.value === '7'")
    adapter, *rest = [box(second, name).input_value() for name in ("adapter1", "persona1", "system1", "question")]
    assert OTHER in adapter
    assert rest == ["your own", "You are a <poet> & {more}.", "What is 2 + 2?"]


def test_a_link_with_nonsense_opens_the_page(context: "BrowserContext") -> None:
    page = opened(
        context, compare=MARKUP, adapter=MARKUP, persona=MARKUP, seed="x", temperature="1e9", top_p="-1", persona2="?"
    )
    assert box(page, "seed").input_value() == "0"
    assert page.get_by_label("one answer").is_checked()
    assert page.evaluate("window.owned") is None


def test_bad_requests_are_sentences_and_the_page_keeps_working(page: "Page") -> None:
    for adapter, question, sentence in (
        ("", " ", "is empty"),
        ("", "x" * 100_000, "100,000 characters"),
        (f"{ORG}/nothing", "Hi", "The model permix-smoke/nothing is not on the Hub"),
        (f"{ORG}/permix-toy-base", "Hi", "is not an adapter"),
        (MARKUP, "Hi", "is not a repository name"),
    ):
        if adapter:
            box(page, "adapter1").fill(adapter)
            box(page, "adapter1").press("Tab")
        box(page, "question").fill(question)
        page.get_by_role("button", name="Send").click()
        page.locator("#state", has_text=sentence).wait_for()
        assert (box(page, "question").input_value(), page.locator("#chat1 .user").count()) == (question, 0), sentence
        assert page.evaluate("window.owned") is None, sentence
    choose(page, "adapter1", OTHER)
    send(page, "Hi")


def test_markup_stays_text(page: "Page") -> None:
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    box(page, "system1").fill(MARKUP)
    box(page, "gold").fill(MARKUP)
    send(page, MARKUP)
    assert MARKUP in page.locator("#chat1").inner_text().replace("\u2060", "")
    assert page.evaluate("window.owned") is None
    assert not any("stolen" in url for url in addresses)


def test_two_visitors_at_once_keep_their_own_chats(context: "BrowserContext") -> None:
    pages = [opened(context), opened(context)]
    for number, page in enumerate(pages):
        box(page, "question").fill(f"I am visitor {number}.")
        page.get_by_role("button", name="Send").click()
    for number, page in enumerate(pages):
        page.locator("#chat1 .bot").first.wait_for()
        assert f"visitor {number}" in page.locator("#chat1").inner_text()
        assert f"visitor {1 - number}" not in page.locator("#chat1").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(browser: "Browser", address: str, scheme: Any) -> None:
    phone = browser.new_context(
        viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True, color_scheme=scheme, base_url=address
    )
    page = opened(phone, compare="two personas", question="Hi")
    page.get_by_role("button", name="Send").tap()
    ended(page)
    assert (page.evaluate("document.documentElement.scrollWidth"), barriers(page)) == (360, [])
    assert ("dark" in page.evaluate("document.body.className")) == (scheme == "dark")
    phone.close()


def test_controls_have_names_and_the_keyboard_reaches_them_in_order(page: "Page") -> None:
    names = ["Adapter", "Persona", "System prompt", "Question", "Known answer", "Seed"]
    for name in names:
        assert page.get_by_label(name).last.is_visible()
    box(page, "question").focus()
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText"))
    assert reached == ["Send", "Stop", "Retry", "Clear"]
    assert page.locator("#state [role=status]").count() == 1
