"""Stores a file through the page of a server with TLS in headless Chromium, and reads it back.

    encrypted.py URL

What is stored is compared by the caller, too. The certificate is not checked.
"""

import sys

from browser import Browser

DROP = """
    const content = new Uint8Array(3000000).map((_, place) => place % 251), dropped = new DataTransfer();
    dropped.items.add(new File([content], 'dropped.bin'));
    const how = { dataTransfer: dropped, bubbles: true, cancelable: true };
    for (const kind of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent(new DragEvent(kind, how));
"""
FETCH = """
    const done = arguments[0];
    fetch('/dropped.bin').then(reply => reply.arrayBuffer()).then(content => {
        const bytes = new Uint8Array(content);
        done(bytes.length === 3000000 && bytes.every((byte, place) => byte === place % 251));
    }, error => done(String(error)));
"""

browser = Browser(trusting=True)
try:
    browser.open(sys.argv[1])
    assert browser.run("return isSecureContext && location.protocol") == "https:"
    browser.run(DROP)
    browser.until("[...document.querySelectorAll('tr')].some(row => row.textContent.includes('dropped.bin'))")
    seen = browser.ask("POST", "/execute/async", {"script": FETCH, "args": []})
    assert seen is True, seen
finally:
    browser.end()
