"""The page in a real browser: Debian's chromium, without a window, driven by Playwright."""

import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from syncabel.evaluate.judged import JudgedMention
from syncabel.report import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install 'syncabel[dev]'")
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # As root, as in a container, Chromium runs without its sandbox or not at all; the page is our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runs(make_run: Callable[..., Any]) -> tuple[Any, Any]:
    first = make_run("before")
    make_run("dictionary", skill=0.4, surely=False, into=first.folder / "baselines" / "dictionary")
    return first, make_run("after", skill=0.75)


@pytest.fixture(scope="module")
def two(runs: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([made.folder for made in runs], tmp_path_factory.mktemp("two") / "report.html").page


class Opened:
    """A page, and everything it should not do."""

    def __init__(self, page: Any) -> None:
        self.page, self.said, self.asked = page, [], []  # type: ignore[var-annotated]
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))
        page.on("request", lambda request: self.asked.append(request.url))

    def found(self, section: str = "errors") -> int:
        return int(self.page.inner_text(f"#{section} .found").split()[0].replace(",", ""))

    def choose(self, name: str, value: str, section: str = "errors") -> None:
        control = self.page.locator(f'#{section} [data-filter="{name}"]')
        if name.startswith("stratum-"):
            self.page.eval_on_selector_all(f"#{section} details", "all => all.forEach((one) => { one.open = true })")
        control.fill(value) if name == "q" else control.select_option(value)

    def clear(self, section: str = "errors") -> None:
        self.page.click(f"#{section} .status >> text=Clear filters")

    def listed(self, section: str = "errors") -> list[int]:
        """Numbers of all mentions found, page by page."""
        numbers: list[int] = []
        while True:
            numbers += self.page.eval_on_selector_all(f"#{section} .list > li", "all => all.map((one) => Number(one.dataset.mention))")
            following = self.page.locator(f"#{section} .status button", has_text="Next")
            if not following.is_visible() or following.is_disabled():
                return numbers
            following.click()


@pytest.fixture
def look(chromium: Any) -> Iterator[Callable[..., Opened]]:
    contexts = []

    def open_page(path: Path, viewport: Any = WIDE, scheme: str = "light") -> Opened:
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.goto(path.as_uri())
        opened.page.wait_for_selector("html[data-ready]", timeout=20_000)
        return opened

    yield open_page
    for context in contexts:
        context.close()


def plain(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.category(sign).startswith("M")).lower()


def wrong(item: JudgedMention) -> bool:
    return item.scores.get("set") == 0


def test_the_page_asks_nobody_and_complains_of_nothing(look: Callable[..., Opened], two: Path) -> None:
    opened = look(two)
    opened.page.select_option('nav [data-choose="run"]', "1")
    opened.page.select_option('#comparison [data-choose="from"]', "2")
    assert opened.said == []
    assert opened.asked == [two.as_uri()]


def test_filters_find_what_the_data_hold(look: Callable[..., Opened], two: Path, runs: tuple[Any, Any]) -> None:
    opened, items = look(two), runs[0].mentions
    assert opened.found() == sum(map(wrong, items))
    cases: list[tuple[dict[str, str], Callable[[JudgedMention], bool]]] = [
        ({"outcome": "right"}, lambda item: item.scores.get("set") == 1),
        ({"outcome": "NIL"}, lambda item: item.nil),
        ({"cause": "search"}, lambda item: item.cause == "search"),
        ({"relation": "ancestor:2"}, lambda item: item.hierarchy == "ancestor:2"),
        ({"type": "Finding"}, lambda item: item.type == "Finding"),
        ({"stratum-concept": "neither"}, lambda item: item.strata.get("concept") == "neither"),
        ({"goldGroup": "Disease", "saidGroup": "no answer"}, lambda item: item.type == "Disease" and not item.predicted),
        (
            {"outcome": "wrong", "cause": "ranking", "stratum-string": "seen"},
            lambda item: wrong(item) and item.cause == "ranking" and item.strata.get("string") == "seen",
        ),
    ]
    for chosen, fits in cases:
        opened.clear()
        for name, value in chosen.items():
            opened.choose(name, value)
        assert opened.found() == sum(map(fits, items)), chosen
        assert sorted(opened.listed()) == [i for i, item in enumerate(items) if fits(item)], chosen


@pytest.mark.parametrize("words", ["oedeme", "œdème", "gout", "disorder number 7", "C11", "doc3", "  GOUT   since ", "</script>", "מחלת", "nowhere at all"])
def test_search_finds_every_word_in_what_is_shown(
    look: Callable[..., Opened], two: Path, runs: tuple[Any, Any], concepts: dict[str, dict[str, Any]], words: str
) -> None:
    def shown(i: int) -> str:
        item = runs[0].mentions[i]
        codes = [*(code for answer in item.gold for code in answer), *item.predicted]
        names = [part for code in codes for part in (code, concepts[code]["name"])]
        return plain("\n".join([item.document_id, item.mention_id, item.text, runs[0].sentences[i]["text"], *names]))

    opened = look(two)
    opened.clear()
    opened.choose("q", words)
    texts = [shown(i) for i in range(len(runs[0].mentions))]
    assert opened.found() == sum(all(word in text for word in plain(words).split()) for text in texts)


def test_a_figure_leads_to_its_mentions(look: Callable[..., Opened], two: Path, runs: tuple[Any, Any]) -> None:
    opened, items = look(two), runs[0].mentions
    line = opened.page.locator("#ledger tr", has_text="ranking").first
    expected = sum(item.cause == "ranking" for item in items)
    assert line.locator(".link").inner_text() == str(expected)
    line.locator(".link").click()
    assert opened.found() == expected
    opened.page.locator("#strata tr", has_text="synthetic only").locator(".link").click()
    assert opened.found() == sum(item.strata.get("concept") == "synthetic_only" for item in items)
    row = opened.page.locator("#groups tbody tr").first
    row.locator(".link").nth(1).click()
    assert opened.found() == int(row.locator(".link").nth(1).inner_text())


def test_the_comparison_lists_what_was_fixed_and_broken(look: Callable[..., Opened], two: Path, runs: tuple[Any, Any]) -> None:
    opened = look(two)
    before, after = ([item.scores.get("set") for item in made.mentions] for made in runs)
    states = {"fixed": (0, 1), "broken": (1, 0), "both wrong": (0, 0), "both right": (1, 1)}
    for change, state in states.items():
        expected = [i for i, pair in enumerate(zip(before, after, strict=True)) if pair == state]
        assert opened.page.inner_text(f'#comparison table.change [data-change="{change}"]') == str(len(expected))
        opened.clear("comparison")
        opened.choose("change", change, "comparison")
        assert opened.listed("comparison") == expected, change
    opened.page.select_option('#comparison [data-choose="from"]', "1")
    opened.page.select_option('#comparison [data-choose="to"]', "0")
    assert opened.page.inner_text('#comparison table.change [data-change="fixed"]') == str(sum(pair == (1, 0) for pair in zip(before, after, strict=True)))


def test_a_mention_is_shown_with_its_sentence_concepts_and_candidates(look: Callable[..., Opened], two: Path, runs: tuple[Any, Any]) -> None:
    opened = look(two)
    i = next(i for i, item in enumerate(runs[0].mentions) if i > 20 and item.cause == "ranking")
    item = runs[0].mentions[i]
    opened.clear()
    opened.choose("q", f"{item.mention_id} {item.document_id}")
    opened.page.locator(f'#errors li[data-mention="{i}"] .item').click()
    detail = opened.page.locator("#errors-detail")
    assert detail.locator("mark").inner_text() == item.text
    assert item.gold[0][0] in detail.locator(".concept.gold").first.inner_text()
    assert "›" in detail.locator(".concept.wrong .path").inner_text()
    assert detail.locator("table.answers tbody tr").count() == len(item.candidates)
    assert f"{item.candidates[1].mass:.3f}" in detail.locator("table.answers").inner_text()


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["1400", "400"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_and_all_text_can_be_read(look: Callable[..., Opened], two: Path, viewport: Any, scheme: str, tmp_path: Path) -> None:
    page = look(two, viewport, scheme).page
    page.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true })")
    page.locator("#errors .item").nth(2).click()
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == {"light": "rgb(255, 255, 255)", "dark": "rgb(19, 22, 25)"}[scheme]
    assert page.evaluate(FAINT) == []
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 50_000


# Text whose contrast with what lies behind it is under 4.5, as WCAG 2.2 counts it; layers that are not opaque are mixed.
FAINT = """() => {
  const parse = (colour) => { const parts = colour.match(/[\\d.]+/g).map(Number); return parts.length < 4 ? [...parts, 1] : parts; };
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3]));
  const behind = (node) => {
    const layers = [];
    for (; node; node = node.parentElement) layers.push(parse(getComputedStyle(node).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const found = new Set();
  const walker = document.createTreeWalker(document.getElementById("page"), NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    const style = getComputedStyle(node);
    if (!text.data.trim() || !node.getClientRects().length || node.closest(":disabled")) continue;
    const back = behind(node);
    const paint = node instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(over(parse(paint), back)), light(back)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.add(`${node.tagName}.${node.getAttribute("class")} ${paint} on ${back}: ${text.data.slice(0, 20)}`);
  }
  return [...found];
}"""


def test_faint_text_would_be_noticed(look: Callable[..., Opened], two: Path) -> None:
    page = look(two).page
    page.evaluate("document.documentElement.style.setProperty('--soft', '#8a8f96')")
    assert any("on 255,255,255" in found for found in page.evaluate(FAINT))


def test_the_keyboard_is_enough(look: Callable[..., Opened], two: Path) -> None:
    opened = look(two, NARROW)
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus('#errors [data-filter="q"]')
    page.keyboard.type("gout")
    found = opened.found()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.filter") == "outcome"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert opened.found() != found
    page.focus("#errors .item")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    second = page.locator("#errors .item").nth(1)
    assert second.get_attribute("aria-expanded") == "true"
    assert second.locator("xpath=..").locator(".detail mark").count() == 1
    page.keyboard.press("Escape")
    assert second.get_attribute("aria-expanded") == "false"


def test_controls_and_pictures_have_names(look: Callable[..., Opened], two: Path) -> None:
    page = look(two).page
    nameless = """all => all.filter((one) => !(one.labels?.length || one.getAttribute("aria-label") || one.textContent.trim())).map((one) => one.outerHTML)"""
    assert page.eval_on_selector_all('input, select, button, svg, [role="img"], [role="region"]', nameless) == []
    ids = page.eval_on_selector_all("[id]", "all => all.map((one) => one.id)")
    assert len(ids) == len(set(ids))


def test_hostile_text_is_text(look: Callable[..., Opened], two: Path, runs: tuple[Any, Any]) -> None:
    opened = look(two)
    opened.clear()
    for i, item in enumerate(runs[0].mentions[:9]):
        opened.page.locator(f'#errors li[data-mention="{i}"] .item').click()
        assert opened.page.eval_on_selector("#errors-detail h3", "node => node.textContent") == item.text
        assert opened.page.eval_on_selector("#errors-detail mark", "node => node.textContent") == item.text
        assert opened.page.eval_on_selector("#errors-detail .sentence", "node => node.textContent") == runs[0].sentences[i]["text"]
    assert opened.page.locator("img, iframe").count() == 0
    assert opened.page.locator("script").count() == 2
    assert opened.said == []


def test_a_script_that_slips_in_does_not_run(look: Callable[..., Opened], two: Path) -> None:
    opened = look(two)
    opened.page.evaluate("() => { const node = document.createElement('script'); node.textContent = 'window.slipped = 1'; document.body.append(node); }")
    assert opened.page.evaluate("window.slipped") is None
    assert any("Content Security Policy" in said for said in opened.said)


@pytest.mark.slow
def test_ten_thousand_mentions_are_filtered_and_few_are_in_the_page(look: Callable[..., Opened], make_run: Callable[..., Any], tmp_path: Path) -> None:
    made = make_run("large", mentions=10_000, documents=500, surely=False)
    written = write_report([made.folder], tmp_path / "report.html")
    assert written.mentions == 10_000
    opened = look(written.page)
    assert opened.found() == sum(map(wrong, made.mentions))
    assert f"{written.bytes / 1e6:.1f} MB" in opened.page.inner_text("footer")
    for name, value, fits in (("outcome", "right", lambda item: item.scores.get("set") == 1), ("q", "anaemia", lambda item: "anaemia" in item.text)):
        opened.clear()
        opened.choose(name, value)
        assert opened.found() == sum(map(fits, made.mentions))
        assert opened.page.locator("#errors .list > li").count() == 50
    opened.clear()
    opened.page.locator("#errors .status button", has_text="Next").click()
    assert opened.page.locator("#errors .list > li").count() == 50
    assert opened.page.locator("*").count() < 5_000
    assert opened.said == []


def test_what_was_not_measured_is_said_in_a_line(look: Callable[..., Opened], make_run: Callable[..., Any], tmp_path: Path) -> None:
    made = make_run("bare", surely=False, sentences=False, mentions=60)
    opened = look(write_report([made.folder], tmp_path / "report.html").page)
    assert "No prediction carries a confidence" in opened.page.inner_text("#confidence")
    assert opened.page.locator("#confidence svg").count() == 0
    assert "The sentence is not in this run" in opened.page.inner_text("#errors-detail")
    assert "One system alone" in opened.page.inner_text("#comparison")
    assert "No baselines lie in this folder" in opened.page.inner_text("#headline")
    assert opened.said == []


def test_without_text_the_page_says_so(look: Callable[..., Opened], runs: tuple[Any, Any], tmp_path: Path) -> None:
    written = write_report([runs[0].folder], tmp_path / "report.html", text=False)
    opened = look(written.page)
    assert "--no-text" in opened.page.inner_text("header.top")
    assert "left out of this page" in opened.page.inner_text("#errors-detail")
    assert opened.page.locator("mark").count() == 0
    assert opened.said == []
