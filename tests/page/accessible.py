"""Looks with axe-core for what keeps people from using the page: each state of it, light and dark, on a desktop and a phone.

    accessible.py WRITABLE_URL READ_ONLY_URL INBOX_URL DIRECTORY OTHER AXE SHOTS

The first two serve DIRECTORY, which is empty at the start; the third is `drop/` in OTHER, where anybody may store and do
nothing else. AXE is the script of axe-core. The forms of the page are sent here as well, by a browser without a script.
"""

import contextlib
import os
import pathlib
import sys
import threading
import time

from browser import ESCAPE, PATIENCE_MS, ROW, Browser, end_with

SCREENS = [("desktop", 1280, 900), ("phone", 390, 844)]
LOOK = """
    const done = arguments[arguments.length - 1], brief = node => node.html.slice(0, 300) + ' ' + node.failureSummary;
    axe.run(document).then(
        ({ violations }) => done(violations.map(({ id, help, nodes }) => [id, help, nodes.map(brief)])),
        error => done([[String(error)]]));
"""
DROP = """
    const dropped = new DataTransfer();
    dropped.items.add(new File(['content'], arguments[0]));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true }));
"""


class Looking:
    def __init__(self, browser, axe, shots):
        self.browser, self.axe, self.shots, self.count = browser, axe, shots, 0

    def look(self, state):
        # What comes in slowly has its final colours.
        self.browser.until("document.getAnimations().every(animation => animation.playState === 'finished')")
        self.browser.run(self.axe)
        found = self.browser.ask("POST", "/execute/async", {"script": LOOK, "args": []})
        assert found == [], (state, found)
        self.count += 1

    def open(self, url, condition, *words):
        self.browser.open(url)
        self.browser.until(condition, *words)

    @contextlib.contextmanager
    def without_script(self):
        self.browser.cdp("Emulation.setScriptExecutionDisabled", value=True)
        yield
        self.browser.cdp("Emulation.setScriptExecutionDisabled", value=False)

    def states(self, writable, read_only, inbox, state):
        browser = self.browser
        self.open(writable + "empty/", "document.querySelector('#empty').checkVisibility()")
        self.look(f"an empty folder, {state}")
        self.open(writable, ROW, "folder")
        self.look(f"the list, {state}")
        for button, dialog in [("#new", "#naming"), (".del", "#removal"), ("#move", "#moving")]:
            if dialog == "#moving":
                browser.run("document.querySelector('tbody .pick input').click()")
                self.look(f"a selection, {state}")
            browser.run("document.querySelector(arguments[0]).click()", button)
            browser.until(f"document.querySelector('{dialog}').open")
            self.look(f"the dialog {dialog}, {state}")
            browser.keys(ESCAPE)
            browser.until(f"!document.querySelector('{dialog}').open")
        browser.run("document.querySelector('#none-chosen').click()")
        browser.run("const a = arguments; %s.querySelector('th a').click()" % ROW, "a.txt")
        browser.until("document.querySelector('.stage pre')?.textContent")
        self.look(f"a preview, {state}")
        browser.keys(ESCAPE)
        browser.run(DROP, f"{state}.txt")
        browser.until("document.querySelector('#items .stored')")
        browser.run(DROP, f"{state}.txt")
        browser.until("document.querySelector('#question').open")
        self.look(f"a question, {state}")
        browser.click("#question [value=skip]")
        browser.until("!document.querySelector('#question').open")
        self.look(f"uploads, {state}")
        self.open(read_only, ROW, "folder")
        self.look(f"nothing to change, {state}")
        self.open(inbox, "document.querySelector('#invite').checkVisibility()")
        self.look(f"a drop box, {state}")
        browser.run(DROP, "report.pdf")
        browser.until("document.querySelector('#items .stored span')?.textContent.startsWith('Stored as report-')")
        self.look(f"a receipt, {state}")
        for url, title in [(writable + "a/b", "There is nothing here"), (inbox + "?fw=x", "This is not permitted")]:
            browser.open(url)
            browser.until("document.querySelector('h1').textContent === a[0]", title)
            self.look(f"{title}, {state}")
        for url, name in [(writable, "form"), (inbox, "form-of-drop-box")]:
            with self.without_script():
                browser.open(url)
                browser.shot(self.shots / f"{name}-{state}.png")
            # The form is part of the document now, and axe needs a script.
            browser.run("document.querySelector('noscript').style.display = 'block'")
            self.look(f"{name} without a script, {state}")


def arrived(browser, condition, *words):
    """Waits until the expression is true of a document that is on its way: a script in the one before it would end with it."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while True:
        with contextlib.suppress(AssertionError):
            if browser.run("const a = arguments; try { return %s } catch { return false }" % condition, *words):
                return
        if time.monotonic() > end:
            shown = browser.run("return document.body.innerText.slice(0, 500)")
            raise AssertionError(f"never: {condition}\nthe page {browser.ask('GET', '/url')}: {shown}")


def a_form_is_sent_without_a_script(looking, writable, inbox, directory, other):
    browser, mine = looking.browser, other / "mine"
    mine.mkdir()
    for name in ["one <b>.txt", "two.bin"]:
        (mine / name).write_bytes(name.encode() + os.urandom(3_000_000))
    chosen = "\n".join(str(path) for path in sorted(mine.iterdir()))
    for url in [writable + "folder/", inbox]:
        with looking.without_script():
            browser.open(url)
            browser.type("form[enctype] input", chosen)
            browser.click("form[enctype] button")
            # Before a script may run again: that could end the request.
            shown = "document.querySelector('h1').textContent === 'Stored'" if url == inbox else f"!!({ROW})"
            arrived(browser, shown, "one <b>.txt")
        if url == inbox:
            names = browser.run("return [...document.querySelectorAll('li bdi')].map(name => name.textContent)")
            stored = [other / "drop" / name for name in names]
            looking.look("what a form became")
            browser.shot(looking.shots / "form-receipt.png")
        else:
            assert browser.ask("GET", "/url") == url, browser.ask("GET", "/url")
            stored = [directory / "folder" / path.name for path in sorted(mine.iterdir())]
        assert [path.read_bytes() for path in stored] == [path.read_bytes() for path in sorted(mine.iterdir())]
    # What is there is not replaced.
    with looking.without_script():
        browser.open(writable + "folder/")
        browser.type("form[enctype] input", str(mine / "two.bin"))
        browser.click("form[enctype] button")
        arrived(browser, "document.querySelector('h1').textContent === 'That name is taken'")
    looking.look("a form that was refused")


def main():
    writable, read_only, inbox, directory, other, axe, shots = sys.argv[1:]
    directory, other, shots = pathlib.Path(directory), pathlib.Path(other), pathlib.Path(shots)
    if not sys.stdin.isatty():
        threading.Thread(target=end_with, args=[sys.stdin], daemon=True).start()
    os.makedirs(shots, exist_ok=True)
    for name in ["empty", "folder"]:
        (directory / name).mkdir()
    for name in ["a.txt", "README.md"]:
        (directory / name).write_text(f"content of {name}")
    browser = Browser()
    looking = Looking(browser, pathlib.Path(axe).read_text(), shots)
    try:
        for scheme in ["light", "dark"]:
            browser.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            for screen, width, height in SCREENS:
                browser.screen(width, height)
                looking.states(writable, read_only, inbox, f"{scheme}-{screen}")
        a_form_is_sent_without_a_script(looking, writable, inbox, directory, other)
        print(f"   axe-core found nothing in {looking.count} states")
    finally:
        browser.end()


if __name__ == "__main__":
    main()
