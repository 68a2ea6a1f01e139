"""The page in a real browser, by keyboard alone: a chat side by side, a blind vote, what goes wrong, how it looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.preference_record import read_preferences
from tests.serving.browser import Browser, find
from tests.serving.conftest import Running

pytestmark = pytest.mark.skipif(find() is None, reason="no Chromium here to try the page in")
STATUS = "document.getElementById('status').textContent"
CONTRAST = """
(() => {
  const share = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => share(Number(part) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!colour.endsWith(", 0)")) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("h1, h2, p, label, button, summary, select, textarea, legend, .said div")]
    .filter((one) => one.checkVisibility() && one.textContent.trim() && !one.disabled && one.className !== "unseen")
    .map((one) => {
      const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
      return [one.textContent.trim().slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    })
    .filter(([, ratio]) => ratio < 4.5);
})()
"""
"""What is written with less contrast than WCAG 2 asks for (success criterion 1.4.3)."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    one = Browser(str(find()), tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


@pytest.fixture
def page(browser: Browser, running: Running) -> Browser:
    browser.complaints.clear()
    browser.look(1200, 900, dark=False)
    browser.open(running.web.url)
    browser.until("document.getElementById('about').textContent !== ''")
    return browser


def said(page: Browser, side: str) -> str:
    return str(page.run(f"document.getElementById('said-{side}').innerText"))


def go_blind(page: Browser) -> None:
    page.run("document.querySelector('input[value=open]').focus()")
    page.press("ArrowRight", 39)
    page.until("!document.getElementById('votes').hidden")


def test_a_chat_side_by_side(page: Browser) -> None:
    page.run("document.getElementById('prompt').focus()")
    page.type("what is it")
    page.press("Enter", 13, control=True)
    page.until(f"{STATUS} === 'Both have answered.'")
    assert said(page, "a").strip() == "<b>lab</b> says what is it"  # text as it is, never markup
    assert said(page, "b").strip() == "<b>lora-es-1</b> says what is it"
    assert page.run("document.querySelectorAll('.said b').length") == 0
    assert page.run("document.getElementById('foot-a').textContent").endswith("cut off at the limit")
    assert page.complaints == []


def test_a_blind_vote_by_keyboard(page: Browser, running: Running) -> None:
    go_blind(page)
    page.run("document.getElementById('draw').focus()")
    page.press("Enter", 13, text="\r")
    page.until("document.getElementById('prompt').value !== ''")
    assert "validation split" in page.run("document.getElementById('prompt-note').textContent")
    page.press("Enter", 13, text="\r")  # the focus is on the button that asks
    page.until(f"{STATUS}.includes('Which answer is better?')")
    heads = "['a', 'b'].map((side) => document.getElementById(`head-${side}`).textContent)"
    assert page.run(heads) == ["A", "B"]
    assert page.run("['model-a', 'model-b'].some((id) => document.getElementById(id).checkVisibility())") is False
    assert not running.site.file.exists()
    page.press("b", 66, text="b")
    page.until(f"{STATUS}.startsWith('Your vote: ')")
    (vote,) = read_preferences(running.site.file)
    assert vote.choice == "b" and page.run(heads) == [f"A is {vote.a.name}", f"B is {vote.b.name}"]
    assert said(page, "b").strip() == vote.b.completion.strip()
    assert "grader: wrong" in page.run("document.getElementById('foot-b').textContent")
    page.press("a", 65, text="a")  # a second vote is none
    assert "1 vote " in page.run("document.getElementById('about').textContent")
    assert len(read_preferences(running.site.file)) == 1 and page.complaints == []


def test_what_goes_wrong_is_said(page: Browser) -> None:
    page.run("document.getElementById('prompt').focus()")
    page.type("cut")
    page.press("Enter", 13, control=True)
    page.until(f"{STATUS}.includes('broke off')")
    assert page.run("document.getElementById('status').classList.contains('wrong')")
    page.run("document.getElementById('top-p').value = '3'")
    page.press("Enter", 13, control=True)
    page.until(f"{STATUS}.startsWith('top-p: ')")
    page.run("document.getElementById('top-p').value = '1'")
    page.call("Network.enable")
    for offline in (True, False):
        rates = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        page.call("Network.emulateNetworkConditions", offline=offline, **rates)
        if offline:
            page.press("Enter", 13, control=True)
            page.until(f"{STATUS}.includes('may have been stopped')")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 400])
def test_it_can_be_read_wide_and_narrow_light_and_dark(page: Browser, width: int, dark: bool, tmp_path: Path) -> None:
    page.look(width, 900, dark)
    go_blind(page)
    page.run("document.getElementById('settings').open = true")
    page.run("document.getElementById('prompt').value = 'x'.repeat(300)")
    page.run("document.getElementById('ask').click()")
    page.until(f"{STATUS}.includes('Which answer is better?')")
    page.picture(tmp_path / "page.png")
    assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.run(CONTRAST) == []
    side = page.run("['a', 'b'].map((side) => document.getElementById(`side-${side}`).getBoundingClientRect().top)")
    assert (side[0] == side[1]) == (width == 1200)
    named = "(one) => one.labels?.length || one.getAttribute('aria-label') || one.textContent.trim()"
    assert page.run(f"[...document.querySelectorAll('button, input, select, textarea')].every({named})")
