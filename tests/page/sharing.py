"""Drives headless Chromium over the signed links of the page of a folder.

    sharing.py ANNA_URL BOB_URL PUBLIC_URL INBOX_URL FOLDER SHOTS

The addresses of the first two hold the user and the password; anna may read and write in /home/, bob may only list it.
The third is of /home/public/, which anybody may read, and the last a link that may read, list, create and replace in
/home/inbox/. FOLDER is served, and is empty at the start.
"""

import os
import pathlib
import sys
import threading
import urllib.error
import urllib.request

from browser import ROW, Browser, end_with

OFFERED = "return [...document.querySelectorAll('.share')].map(node => node.closest('tr').querySelector('bdi').textContent)"


def fill(folder):
    for name in ["note.txt", "album/first.txt", "album/deep/last.txt", "public/p.txt", "inbox/old.txt"]:
        path = folder / "home" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    for number in range(250):
        (folder / f"home/album/deep/file {number:03}").write_text("many")


def copied(browser, name, choice):
    """Makes a link by the button of a row; the link."""
    browser.run("const a = arguments, button = %s.querySelector('.share'); button.focus(); button.click()" % ROW, name)
    browser.until("document.querySelector('#share').open && document.activeElement.value === 'copy'")
    browser.type("#share select", choice)
    browser.click("#share [value=copy]")
    browser.until("/Valid until \\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d\\.$/.test(document.querySelector('#share [role=status]').textContent)")
    assert browser.run("return document.querySelector('#share [role=alert]').textContent") == ""
    return browser.run("return document.querySelector('#share input').value")


def fetched(url):
    try:
        return urllib.request.urlopen(url).read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code


def links_are_made_where_the_caller_may_read(browser, bob, guest, anna, bob_url, public, shots):
    browser.open(anna)
    browser.until(ROW, "note.txt")
    assert browser.run(OFFERED) == ["album", "inbox", "public", "note.txt"], browser.run(OFFERED)
    note = copied(browser, "note.txt", "1 hour")
    browser.shot(shots / "share.png")
    browser.click("#share [value=close]")
    browser.until("!document.querySelector('#share').open && document.activeElement.matches('.share')")
    assert "@" not in note and fetched(note) == "content of note.txt", note
    assert fetched(note.split("?")[0]) == 401
    album = copied(browser, "album", "7 days")
    browser.screen(390, 844)
    browser.shot(shots / "share-phone.png")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    browser.screen(1280, 900)
    # Names that are loaded later have the button too.
    browser.open(anna + "album/deep/")
    browser.click("#all")
    browser.until("document.querySelector('#status').textContent.startsWith('251 files')")
    browser.until("document.querySelectorAll('#rows .share').length === 251")
    for who, url, offered, visitor in [(bob, bob_url, ["public"], "Logged in as bob"), (guest, public, [], "Log in")]:
        who.open(url)
        who.until("document.querySelector('#rows tr')")
        assert who.run(OFFERED) == offered, who.run(OFFERED)
        assert who.run("return document.querySelector('#visitor').textContent") == visitor
    return album


def a_login_leads_back_and_every_folder_knows_the_visitor(visitor, anna, public, shots):
    visitor.open(public)
    visitor.until("document.querySelector('#visitor a')")
    visitor.shot(shots / "log-in.png")
    login = visitor.run("return document.querySelector('#visitor a').href")
    assert fetched(login) == 401
    # Nothing can be typed where the browser asks for a user and a password: it takes them from an address first. That
    # one leads to addresses with a password in them as well, for which Chromium waits to be asked.
    visitor.open(anna.split("@")[0] + "@" + login.split("://")[1])
    visitor.open(login)
    visitor.until("location.href === arguments[0] && document.querySelector('#visitor bdi')?.textContent === 'anna'", public)
    visitor.screen(390, 844)
    visitor.shot(shots / "logged-in-phone.png")
    assert visitor.run("return document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    visitor.screen(1280, 900)
    visitor.shot(shots / "logged-in.png")
    # The served folder shows the way to what is hers.
    visitor.click("nav li:first-child a")
    visitor.until("document.querySelectorAll('#rows tr').length === 1 && document.querySelector('#visitor bdi')")
    visitor.click("#rows a.folder")
    visitor.until(ROW, "note.txt")
    assert visitor.run("return document.querySelector('#visitor bdi').textContent") == "anna"


def a_link_to_a_folder_shows_all_of_it_and_nothing_else(browser, album, shots):
    browser.open(album)
    browser.until(ROW, "first.txt")
    assert browser.run(OFFERED) == [], "a link makes no links"
    assert not browser.run("return document.querySelector('.write').checkVisibility()")
    browser.shot(shots / "shared.png")
    browser.click("#rows a.text")
    browser.until("document.querySelector('.stage pre')?.textContent === 'content of album/first.txt'")
    assert fetched(browser.run("return document.querySelector('#preview [download]').href")) == "content of album/first.txt"
    browser.click("#preview [autofocus]")
    browser.click("#rows a.folder")
    browser.click("#all")
    browser.until("document.querySelector('#status').textContent.startsWith('251 files')")
    assert fetched(browser.run("return document.querySelector('#rows .get').href")) == "many"
    browser.until("document.querySelectorAll('nav a').length === 1")
    browser.click("nav a")
    browser.until(ROW, "first.txt")
    assert browser.run("return document.querySelectorAll('nav a').length") == 0


def a_link_that_may_create_takes_uploads_small_and_large(browser, inbox, folder):
    browser.open(inbox)
    browser.until(ROW, "old.txt")
    for name, size in [("small.bin", 1000), ("large.bin", 9 << 20)]:
        browser.run(
            "const dropped = new DataTransfer(); dropped.items.add(new File([new Uint8Array(arguments[1])], arguments[0]));"
            "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true }))",
            name,
            size,
        )
        browser.until(ROW, name)
        assert (folder / "home/inbox" / name).stat().st_size == size
    kept = browser.run("return JSON.stringify(localStorage)")
    assert "fw" not in kept, kept
    # Without the right to delete, nothing offers it.
    assert not browser.run("return !!document.querySelector('.del')")


def main():
    anna, bob, public, inbox, folder, shots = sys.argv[1:]
    folder, shots = pathlib.Path(folder), pathlib.Path(shots)
    threading.Thread(target=end_with, args=[sys.stdin], daemon=True).start()
    os.makedirs(shots, exist_ok=True)
    fill(folder)
    browsers = []
    try:
        # A browser each: one that was given a password gives it to every page of the server.
        for _ in range(4):
            browsers.append(Browser())
        owner, other, guest, visitor = browsers
        album = links_are_made_where_the_caller_may_read(owner, other, guest, anna, bob, public, shots)
        a_login_leads_back_and_every_folder_knows_the_visitor(visitor, anna, public, shots)
        a_link_to_a_folder_shows_all_of_it_and_nothing_else(guest, album, shots)
        assert not guest.complaints()
        a_link_that_may_create_takes_uploads_small_and_large(guest, inbox, folder)
    finally:
        for browser in browsers:
            browser.end()


if __name__ == "__main__":
    main()
