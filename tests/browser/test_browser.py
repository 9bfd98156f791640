"""The pages in a real browser: what is pressed works, everything loads, nothing is fetched, all can be read."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))
from fake_runs import write_runs, write_varied
from fake_spikes import add_spikes

from robustsnn.records.exhibit import Cell, Chart, Exhibit, Line, Row, Table, Words
from robustsnn.reporting.exhibits import write_exhibits
from robustsnn.reporting.page import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install 'robustsnn[browser]'")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is on this machine")
PAGES = ("report", "varied", "single", "exhibits")
WORST = {"vanilla": 0.09, "SR": 1.0, "AT": 0.125, "SR*": 0.95}  # as text they would be in another order


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    runs = write_runs(root / "runs")
    for k, (run, worst) in enumerate(zip(runs, WORST.values(), strict=True)):
        add_spikes(run, seed=k)
        content = json.loads((run / "results.json").read_text())
        for entry in content["models"].values():
            entry["worst_case"] |= {"accuracy": worst, "interval": [worst, worst]}
        (run / "results.json").write_text(json.dumps(content))
    write_report(runs, root / "report.html")
    write_report(runs[:1], root / "single.html")
    write_report(write_varied(root / "varied"), root / "varied.html")
    table = Table("Accuracy", ("FGSM",), tuple(Row(f"model {k}", (Cell(k / 3, (0, k), 9, 5.0),)) for k in range(3)))
    chart = Chart("Curve", "eps", "share", (Line("a", (0.0, 0.1), (0.9, 0.2)), Line("b", (0.0, 0.1), (0.8, 0.4))))
    exhibit = Exhibit("p1-table1", "A table", "table 1", "digits", (table, chart, Words(("Words.",))))
    write_exhibits([exhibit], root / "exhibits.html")
    return root


@dataclass
class Visit:
    """An open page and what it complained about and asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Any, folder: Path) -> Iterator[Any]:
    contexts = []

    def open_page(name: str, *, width: int = 1200, script: bool = True, scheme: str = "light", html: str = "") -> Visit:
        size = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, java_script_enabled=script, color_scheme=scheme)
        contexts.append(context)
        found = Visit(context.new_page())
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        path = folder / f"{name}.html"
        if html:
            path.write_text(html)
        found.page.goto(path.as_uri())
        return found

    yield open_page
    for context in contexts:
        context.close()


def fetched(visit: Visit) -> list[str]:
    """Addresses other than the page itself and data: addresses."""
    return [url for url in visit.requests[1:] if not url.startswith("data:")]


def too_wide(page: Any) -> int:
    """How many pixels the page can be scrolled to the side."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


CONTRAST = """() => {
  const brush = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d",
    {willReadFrequently: true});
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) known.set(colour, painted(colour));
    return known.get(colour);
  };
  const painted = (colour) => {
    brush.clearRect(0, 0, 1, 1); brush.fillStyle = colour; brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 :
    ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      const stops = at instanceof SVGElement ? null : style.backgroundImage.match(/(rgba?|color)\\([^()]*\\)/g);
      if (stops) return stops.map(rgba);
      if (rgba(style.backgroundColor)[3] === 255) return [rgba(style.backgroundColor)];
    }
    return [[255, 255, 255, 255]];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || ["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const front = light(rgba(element instanceof SVGElement ? style.fill : style.color));
    for (const back of behind(element).map(light)) {
      const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
      found.push([contrast, walker.currentNode.data.trim().slice(0, 60)]);
    }
  }
  return found;
}"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_all_of_itself_and_nothing_else(visit: Any, name: str) -> None:
    seen = visit(name)
    images = seen.page.evaluate("[...document.images].map((i) => i.complete ? i.naturalWidth : 0)")
    assert len(images) >= {"report": 200, "varied": 60, "single": 40}.get(name, 0)
    assert all(width > 0 for width in images)
    assert seen.complaints == []
    assert fetched(seen) == []


@pytest.mark.parametrize("name", PAGES)
def test_text_can_be_read_in_light_and_dark(visit: Any, name: str) -> None:
    page = visit(name).page
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        levels = [int(level) for level in re.findall(r"\d+", ground)]
        assert min(levels) > 200 if scheme == "light" else max(levels) < 60
        found = page.evaluate(CONTRAST)
        assert len(found) > 20
        assert [pair for pair in found if pair[0] < 4.5] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_page_does_not_scroll_to_the_side(visit: Any, name: str) -> None:
    page = visit(name, width=400).page
    assert too_wide(page) == 0
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert too_wide(page) == 0


def test_the_checks_find_planted_defects(visit: Any) -> None:
    policy = "default-src 'none'; img-src data: http://localhost:1; style-src 'unsafe-inline'"
    seen = visit(
        "planted",
        width=400,
        html=f"""<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
        <body style="background: white"><p style="color: #999">faint</p><p style="color: #555">clear</p>
        <div style="width: 900px">wide</div><img src="http://localhost:1/x.png"><script>0</script>""",
    )
    assert any("Content Security Policy" in text for text in seen.complaints)
    assert fetched(seen) == ["http://localhost:1/x.png"]
    assert too_wide(seen.page) > 400
    assert [text for contrast, text in seen.page.evaluate(CONTRAST) if contrast < 4.5] == ["faint"]
    assert seen.page.evaluate("document.images[0].naturalWidth") == 0


def test_a_table_is_sorted_by_pressing_its_headers(visit: Any) -> None:
    page = visit("report").page
    table = page.locator("section[aria-labelledby=table] table.sortable")
    heads = [text.strip() for text in table.locator("thead th").all_inner_texts()]
    where = next(k for k, head in enumerate(heads) if "worst" in head.lower())

    def shown() -> list[str]:
        return [text.split("\n")[0].strip() for text in table.locator("tbody th").all_inner_texts()]

    head = table.locator("thead th").nth(where)
    order = sorted(WORST, key=lambda name: -WORST[name])
    assert shown() == list(WORST)
    head.locator("button").click()
    assert (shown(), head.get_attribute("aria-sort")) == (order, "descending")
    head.locator("button").click()
    assert (shown(), head.get_attribute("aria-sort")) == (order[::-1], "ascending")
    head.locator("button").press("Enter")
    assert shown() == order
    table.locator("thead th button").first.click()
    assert shown() == sorted(WORST, key=str.lower)
    assert head.get_attribute("aria-sort") == "none"


def test_one_sample_at_a_time_chosen_by_mouse_or_keyboard(visit: Any) -> None:
    page = visit("report").page
    samples, choices = page.locator(".gallery .image"), page.get_by_role("radio")
    count = samples.count()
    assert choices.count() == count == 5

    def visible() -> list[int]:
        return [k for k in range(count) if samples.nth(k).is_visible()]

    assert visible() == [0]
    page.locator(".strip label").nth(2).click()
    assert visible() == [2]
    page.keyboard.press("ArrowRight")
    assert visible() == [3]
    assert choices.nth(3).is_checked()
    page.keyboard.press("ArrowLeft")
    assert visible() == [2]
    outline = page.locator(".strip label").nth(2).evaluate("(label) => getComputedStyle(label).outlineStyle")
    assert outline == "solid"
    assert choices.nth(2).evaluate("(radio) => radio.labels[0].innerText").startswith("3")  # the class of this image


def test_without_scripts_everything_is_shown(visit: Any) -> None:
    page = visit("report", script=False).page
    assert page.locator(".gallery .image:visible").count() == 5
    assert page.locator(".strip").count() == 0
    assert page.locator("svg .at title").count() > 0  # the browser's own tooltips


def test_values_of_a_figure_appear_under_the_mouse(visit: Any) -> None:
    page = visit("report").page
    page.locator("svg .at:visible").first.hover()
    assert page.locator("#tip").is_visible()
    assert re.search(r"\d", page.locator("#tip").inner_text())
    page.mouse.move(0, 0)
    assert page.locator("#tip").is_hidden()


@pytest.mark.parametrize("name", ["report", "exhibits"])
def test_print_shows_all_of_it_on_white(visit: Any, name: str) -> None:
    page = visit(name, scheme="dark").page
    printed = page.pdf()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 10_000
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav:visible, .strip:visible").count() == 0
    assert page.locator(".gallery .image:visible").count() == (5 if name == "report" else 0)
    assert page.locator("main").inner_text().strip()


def test_downloads_hold_the_files(visit: Any) -> None:
    page = visit("report").page
    links = page.locator("a[download]")
    found = links.evaluate_all("(links) => links.map((link) => [link.download, link.href])")
    assert {"report.csv", "report.md", "report.tex"} <= {name for name, _ in found}
    for name, address in found:
        head, content = address.split(",", 1)
        assert head.startswith("data:")
        assert head.endswith(";base64")
        content = base64.b64decode(content, validate=True)
        assert content.startswith(b"%PDF") if name.endswith(".pdf") else content.decode().strip()
    with page.expect_download() as saved:
        page.locator('a[download="report.csv"]').click()
    assert saved.value.path().read_text().startswith('"model"')
