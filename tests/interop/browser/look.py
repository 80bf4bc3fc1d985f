"""Opens a page in Chromium, as a person with mouse, keyboard or printer would; says as JSON what happened.

Run by the tests in an environment of its own: look.py PAGE DIRECTORY. Screenshots and the printed PDF are left in the
directory.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfReader

CHROMIUM = "/usr/bin/chromium"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""What axe has to find nothing against."""

_FOCUSED = """() => {
  const it = document.activeElement, box = it.getBoundingClientRect(), style = getComputedStyle(it);
  return {tag: it.tagName, text: (it.textContent || '').trim().slice(0, 60), href: it.getAttribute('href') || '',
    outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0,
    seen: box.width > 0 && box.height > 0 && box.top < innerHeight && box.bottom > 0};
}"""
_WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
_REACHABLE = "() => document.querySelectorAll('a[href], summary, button, input, [tabindex=\"0\"]').length"


def look(browser: Browser, page_file: Path, directory: Path) -> dict[str, Any]:
    """Return what a browser says of a page."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    found: dict[str, Any] = {"title": page.title(), "language": page.locator("html").get_attribute("lang")}
    page.screenshot(path=directory / "wide.png")
    page.screenshot(path=directory / "whole.png", full_page=True, clip={"x": 0, "y": 0, "width": 1280, "height": 6000})
    found["keyboard"] = walk(page)
    found["violations"] = {scheme: violations(page, scheme) for scheme in ("light", "dark")}
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 360, "height": 800})
    page.screenshot(path=directory / "narrow.png")
    found["wider_by"] = page.evaluate(_WIDER)
    page.pdf(path=directory / "printed.pdf", format="A4", print_background=True)
    printed = [each.extract_text() for each in PdfReader(directory / "printed.pdf").pages]
    found |= {"console": said, "requests": asked, "pages": printed}
    context.close()
    return found


def walk(page: Page) -> dict[str, Any]:
    """Press Tab until it begins anew; return what had the focus, and how many things could have it."""
    stops = []
    count = int(page.evaluate(_REACHABLE))
    for _ in range(count):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(_FOCUSED))
    return {"reachable": count, "stops": stops}


def violations(page: Page, scheme: str) -> list[dict[str, Any]]:
    """Return what axe finds wrong in a colour scheme."""
    page.emulate_media(color_scheme=scheme)
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    result = page.evaluate("rules => axe.run({runOnly: {type: 'tag', values: rules}})", RULES)
    return [
        {"rule": each["id"], "help": each["help"], "where": [node["html"][:160] for node in each["nodes"][:3]]}
        for each in result["violations"]
    ]


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        sys.stdout.write(json.dumps(look(chromium, Path(sys.argv[1]), Path(sys.argv[2]))))
        chromium.close()
