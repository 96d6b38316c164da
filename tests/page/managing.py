"""Drives headless Chromium over what the page of a directory does with directories and selections.

    managing.py WRITABLE_URL READ_ONLY_URL INBOX_URL DIRECTORY OTHER SHOTS

The first two serve DIRECTORY, which is empty at the start; the third is `drop/` in OTHER, where anybody may store and do
nothing else. Everything is done on a screen of a desktop and on that of a phone.
"""

import os
import pathlib
import re
import shutil
import sys
import threading

from browser import ENTER, ESCAPE, NAMES_SHOWN, ROW, Browser, end_with

SCREENS = [("desktop", 1280, 900), ("phone", 390, 844)]
STATUS = "document.querySelector('#status').textContent"
SPACE, DELETE, F2, SHIFT, CONTROL, DOWN = " ", "\ue017", "\ue032", "\ue008", "\ue009", "\ue015"


def fill(directory):
    for path in directory.iterdir():
        if path.name != ".filewharf":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ["file-2.txt", "file-10.txt", "File-3.txt", "zeta.bin", "album/a.txt", "Docs/one/deep/needle.txt", "Docs/two.txt", "README.md"]:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name} <b>")
    os.utime(directory / "file-2.txt", (1_000_000_000, 1_000_000_000))


class Page:
    def __init__(self, browser, directory, shots, screen):
        self.browser, self.directory, self.shots, self.screen = browser, directory, shots, screen

    def names(self):
        return self.browser.run(NAMES_SHOWN)

    def in_row(self, name, selector, event="click"):
        self.browser.run("const a = arguments; %s.querySelector(a[1])[a[2]]()" % ROW, name, selector, event)

    def click(self, name, **keys):
        script = "const a = arguments; %s.querySelector('th').dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true, ...a[1] }))"
        self.browser.run(script % ROW, name, keys)

    def with_key(self, held, key):
        steps = [("keyDown", held), ("keyDown", key), ("keyUp", key), ("keyUp", held)]
        steps = [{"type": kind, "value": value} for kind, value in steps]
        self.browser.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def selected(self, names):
        found = "[...document.querySelectorAll('tr.picked bdi')].map(node => node.textContent).join()"
        self.browser.until(f"{found} === a[0]", ",".join(names))

    def closed(self, dialog):
        self.browser.until(f"!document.querySelector('{dialog}').open")

    def shot(self, name):
        assert self.browser.run("return document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
        self.browser.shot(self.shots / f"{name}-{self.screen}.png")

    def error(self, dialog):
        return self.browser.until(f"document.querySelector('{dialog} .error').textContent")

    # Checks, in the order in which they build upon each other.

    def directories_come_first_and_numbers_count(self):
        names = self.names()
        assert names == ["album", "Docs", "file-2.txt", "File-3.txt", "file-10.txt", "README.md", "zeta.bin"], names
        self.browser.until("document.querySelector('#readme pre')?.textContent === 'content of README.md <b>'")
        self.shot("list")

    def a_new_folder_is_made_and_a_name_that_is_taken_is_refused(self):
        self.browser.click("#new")
        self.shot("new-folder")
        self.browser.type("#naming input", "made #1")
        self.browser.keys(ENTER)
        self.browser.until("document.activeElement.textContent === 'made #1'")
        assert (self.directory / "made #1").is_dir()
        self.browser.click("#new")
        self.browser.type("#naming input", "made #1")
        self.browser.keys(ENTER)
        self.error("#naming")
        self.browser.keys(ESCAPE)
        self.closed("#naming")

    def names_are_selected_with_the_mouse_and_with_keys(self):
        self.in_row("file-2.txt", ".pick input")
        self.click("file-10.txt", shiftKey=True)
        self.selected(["file-2.txt", "File-3.txt", "file-10.txt"])
        self.click("File-3.txt", ctrlKey=True)
        self.selected(["file-2.txt", "file-10.txt"])
        self.shot("selected")
        self.browser.click("#none-chosen")
        self.selected([])
        self.in_row("file-2.txt", "th a", "focus")
        self.browser.keys(SPACE)
        self.selected(["file-2.txt"])
        self.with_key(SHIFT, DOWN)
        self.selected(["file-2.txt", "File-3.txt"])
        self.with_key(CONTROL, "a")
        self.selected(self.names())
        self.browser.keys(ESCAPE)
        self.selected([])

    def a_selection_is_moved_and_nothing_is_replaced(self):
        for name in ["file-2.txt", "Docs"]:
            self.in_row(name, ".pick input")
        self.browser.click("#move")
        step = "[...document.querySelectorAll('#moving li button')].find(node => node.textContent === a[0])"
        self.browser.until(step, "made #1")
        assert not self.browser.run("const a = arguments; return !!(%s)" % step, "Docs"), "a directory does not move into itself"
        self.shot("move")
        self.browser.run("const a = arguments; %s.click()" % step, "made #1")
        self.browser.until("document.querySelector('#moving p bdi').textContent === '/made #1/'")
        self.browser.click("#moving [type=button][value=close]")
        shutil.copytree(self.directory / "Docs", self.directory / "made #1/Docs")
        shutil.copy(self.directory / "file-2.txt", self.directory / "made #1/file-2.txt")
        # What is there stays.
        self.browser.click("#move")
        self.browser.until(step, "made #1")
        self.browser.run("const a = arguments; %s.click()" % step, "made #1")
        self.browser.until("document.querySelector('#moving p bdi').textContent === '/made #1/'")
        self.browser.click("#moving [value=move]")
        assert "file-2.txt" in self.error("#moving")
        shutil.rmtree(self.directory / "made #1/Docs")
        (self.directory / "made #1/file-2.txt").unlink()
        self.browser.click("#moving [value=move]")
        self.closed("#moving")
        self.browser.until(f"!({ROW})", "Docs")
        assert (self.directory / "made #1/Docs/two.txt").exists() and not (self.directory / "Docs").exists()

    def a_copy_is_made_where_the_server_copies(self):
        self.in_row("README.md", ".pick input")
        self.browser.click("#move")
        self.browser.until("document.querySelector('#moving li')")
        offered = self.browser.ask("POST", "/execute/async", {"args": [], "script": "offerCopies().then(() => arguments[0](!document.querySelector('#moving [value=copy]').hidden))"})
        if offered:
            step = "[...document.querySelectorAll('#moving li button')].find(node => node.textContent === 'album')"
            self.browser.run(step + ".click()")
            self.browser.until("document.querySelector('#moving p bdi').textContent === '/album/'")
            self.browser.click("#moving [value=copy]")
            self.browser.until("!document.querySelector('#moving').open")
            assert (self.directory / "album/README.md").read_text() == (self.directory / "README.md").read_text()
            (self.directory / "album/README.md").unlink()
        else:
            self.browser.click("#moving [type=button][value=close]")
        self.browser.click("#none-chosen")

    def a_name_is_changed(self):
        self.in_row("zeta.bin", "th a", "focus")
        self.browser.keys(F2)
        # Only the part before the extension is selected.
        self.browser.type("#naming input", "omega")
        self.browser.keys(ENTER)
        self.browser.until("document.activeElement.textContent.startsWith('omega')")
        assert not (self.directory / "zeta.bin").exists() and [path for path in self.directory.iterdir() if path.name.startswith("omega")]
        self.in_row("album", ".pick input")
        self.browser.click("#rename")
        self.browser.run("document.querySelector('#naming input').value = 'README.md'")
        self.browser.keys(ENTER)
        self.error("#naming")
        self.browser.run("document.querySelector('#naming input').value = 'Album 2'")
        self.browser.keys(ENTER)
        self.browser.until("document.activeElement.textContent === 'Album 2'")
        assert (self.directory / "Album 2/a.txt").exists()

    def what_is_under_the_directory_is_searched(self):
        self.browser.type("#filter", "needle")
        self.browser.until("document.querySelector('#none').checkVisibility()")
        self.browser.click("#below")
        self.browser.until(f"{STATUS}.startsWith('1 name found among') && !{STATUS}.includes('searching')")
        assert self.names() == ["made #1/Docs/one/deep/needle.txt"], self.names()
        self.shot("search")
        self.browser.type("#filter", "")
        self.browser.click("#filter")
        self.browser.keys(ESCAPE)
        self.browser.until(ROW, "Album 2")

    def a_directory_is_deleted_when_it_is_known_how_much_is_in_it(self):
        self.in_row("made #1", ".del")
        self.browser.until("document.querySelector('#removal p').textContent.startsWith('3 files will be deleted')")
        self.shot("delete")
        self.browser.click("#removal [value=delete]")
        self.closed("#removal")
        assert not (self.directory / "made #1").exists()
        for name in ["file-10.txt", "File-3.txt"]:
            self.in_row(name, ".pick input")
        self.in_row("File-3.txt", "th a", "focus")
        self.browser.keys(DELETE)
        self.browser.click("#removal [value=delete]")
        self.closed("#removal")
        assert not list(self.directory.glob("*ile-*")), list(self.directory.iterdir())

    def back_closes_a_preview(self):
        self.in_row("README.md", "th a")
        self.browser.until("document.querySelector('.stage pre')?.textContent")
        address = self.browser.ask("GET", "/url")
        self.browser.ask("POST", "/back", {})
        self.closed("#preview")
        assert self.browser.ask("GET", "/url") == address
        self.in_row("README.md", "th a")
        self.browser.until("document.querySelector('.stage pre')?.textContent")
        self.browser.keys(ESCAPE)
        self.browser.until("!document.querySelector('#preview').open && !history.state")

    def all(self):
        for name in [name for name in vars(Page) if name.count("_") > 2 and not name.startswith("_")]:
            print("==", self.screen, name.replace("_", " "), flush=True)
            getattr(self, name)()


def a_selection_is_downloaded_as_an_archive(browser, url):
    browser.run("""
        window.asked = [];
        HTMLAnchorElement.prototype.click = function () { window.asked.push(this.href); };
        HTMLFormElement.prototype.submit = function () { window.asked.push([this.action, new URLSearchParams(new FormData(this)).toString().length]); };
    """)
    for form in ["zip", "tar"]:
        browser.run("document.querySelectorAll('.pick input').forEach(box => { if (box.id !== 'every' && !box.checked) box.click(); })")
        browser.click(f"#chosen [value={form}]")
        browser.until("window.asked.length")
        address = browser.run("return window.asked.pop()")
        assert address.startswith(f"{url}?archive={form}&name="), address
        browser.until("window.got?.[a[0]] || (window.got ??= {}, fetch(a[0]).then(r => { window.got[a[0]] = r.ok }), null)", address)


def a_server_that_permits_nothing_offers_nothing(browser, url, shots):
    browser.open(url)
    browser.until(ROW, "README.md")
    seen = "return [...document.querySelectorAll('.write *, .del, #rename, #move, #delete')].filter(node => node.checkVisibility()).length"
    assert browser.run(seen) == 0
    if browser.run("return !!document.querySelector('.pick')"):
        browser.run("document.querySelector('tbody .pick input').click()")
        assert browser.run(seen) == 0
        assert browser.run("return document.querySelector('#chosen').checkVisibility()")
    browser.shot(shots / "nothing-to-change.png")


def a_drop_box_takes_files_and_gives_receipts(browser, url, directory, shots):
    for screen, width, height in SCREENS:
        browser.screen(width, height)
        browser.open(url)
        browser.until("document.querySelector('#invite').checkVisibility()")
        hidden = "#list table, .bar, #new, #folder, .del, #empty"
        assert not browser.run("return [...document.querySelectorAll(arguments[0])].some(node => node.checkVisibility())", hidden)
        browser.run(
            "const dropped = new DataTransfer(); dropped.items.add(new File(['report'], 'report.pdf'));"
            "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true }))"
        )
        words = browser.until("document.querySelector('#items .stored span')?.textContent")
        assert words.startswith("Stored as report-"), words
        assert {path.read_text() for path in (directory / "drop").glob("report-*.pdf")} == {"report"}, os.listdir(directory / "drop")
        browser.shot(shots / f"receipt-{screen}.png")


def errors_of_proxies_are_plain_words(browser):
    page = "<html><head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>"
    for status, words in [(413, "A proxy before the server does not let"), (502, "A proxy cannot reach the server"), (418, "The server answered 418.")]:
        shown = browser.run("return reason(...arguments)", status, page)
        assert shown.startswith(words) and "<" not in shown, shown


def an_unfinished_upload_is_named_after_a_reload(browser, url, shots):
    browser.open(url)
    browser.cdp("Network.enable")
    slowly = dict(offline=False, latency=0, downloadThroughput=-1)
    browser.cdp("Network.emulateNetworkConditions", uploadThroughput=3_000_000, **slowly)
    choose = (
        "const dropped = new DataTransfer(); dropped.items.add(new File([new Uint8Array(24_000_000)], 'long.bin', { lastModified: 1 }));"
        "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true }))"
    )
    browser.run(choose)
    browser.until("/sent, .* safe, .*\\/s, \\d+ (s|min) left/.test(document.querySelector('#items span')?.textContent)")
    assert browser.run("return document.querySelector('progress.sent').value >= document.querySelector('progress.safe').value")
    browser.shot(shots / "progress.png")
    browser.open(url)
    browser.until("document.querySelector('#unfinished').checkVisibility() && /long.bin.* of 24.0 MB are safe/.test(document.querySelector('#unfinished').textContent)")
    browser.shot(shots / "unfinished.png")
    browser.cdp("Network.emulateNetworkConditions", uploadThroughput=-1, **slowly)
    browser.run(choose)
    browser.until("document.querySelector('#items .stored') && !document.querySelector('#unfinished').checkVisibility()")


def all_names_are_sorted_and_filtered_by_the_server(browser, url, directory):
    (directory / "many").mkdir()
    for number in range(10_000):
        (directory / "many" / f"n{number}.txt").write_bytes(b"x" * (number % 97))
    (directory / "many" / "n777.txt").write_bytes(b"x" * 1000)
    browser.open(url + "many/")
    ready = "performance.getEntriesByType('navigation')[0]"
    took = browser.until(f"document.querySelector('tbody .pick, tbody tr') && {ready}.loadEventEnd && Math.ceil({ready}.loadEventEnd)")
    print(f"   10,000 names: usable after {took} ms")
    names = browser.run(NAMES_SHOWN)
    assert names[:3] == ["n0.txt", "n1.txt", "n2.txt"], names[:3]
    browser.click("[data-sort=size] button")
    browser.until("document.querySelector('#rows bdi').textContent === 'n777.txt'")
    browser.type("#filter", "N999")
    browser.until("document.querySelectorAll('#rows bdi').length === 11 && " + STATUS + ".startsWith('11 names found')")
    shutil.rmtree(directory / "many")


def main():
    writable, read_only, inbox, directory, other, shots = sys.argv[1:]
    directory, other, shots = pathlib.Path(directory), pathlib.Path(other), pathlib.Path(shots)
    if not sys.stdin.isatty():
        threading.Thread(target=end_with, args=[sys.stdin], daemon=True).start()
    os.makedirs(shots, exist_ok=True)
    browser = Browser()
    try:
        for screen, width, height in SCREENS:
            fill(directory)
            browser.screen(width, height)
            browser.open(writable)
            browser.until(ROW, "album")
            Page(browser, directory, shots, screen).all()
        browser.screen(1280, 900)
        errors_of_proxies_are_plain_words(browser)
        a_selection_is_downloaded_as_an_archive(browser, writable)
        an_unfinished_upload_is_named_after_a_reload(browser, writable, shots)
        all_names_are_sorted_and_filtered_by_the_server(browser, writable, directory)
        a_drop_box_takes_files_and_gives_receipts(browser, inbox, other, shots)
        browser.screen(1280, 900)
        a_server_that_permits_nothing_offers_nothing(browser, read_only, shots)
        unexpected = [line for line in browser.complaints() if not re.search("status of 405|beforeunload", line)]
        assert not unexpected, unexpected
    finally:
        browser.end()


if __name__ == "__main__":
    main()
