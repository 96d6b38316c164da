"""Drives headless Chromium over the page of a folder, with nothing but the standard library.

    browser.py WRITABLE_URL READ_ONLY_URL FOLDER SHOTS

Both servers serve FOLDER, which is empty at the start. Pictures of the page are left in SHOTS.
Every wait is for something that is seen in the page; nothing here waits for a length of time.
"""

import base64
import contextlib
import http.client
import json
import math
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import wave

PATIENCE_MS = 240_000
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
NAMES = [
    "it's \"quoted\".txt",
    "two  blanks .txt",
    "schöne grüße 😀.txt",
    "<script>alert(1)<&script>.txt",
    "50%41 #1?.txt",
    "back\\slash.txt",
    "שלום.txt",
    "javascript:alert(1)",
    "\"><img src=x onerror=alert(1)>",
]


class Browser:
    """One session of chromedriver (W3C WebDriver, and the DevTools commands under it)."""

    def __init__(self, trusting=False):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        for line in self.driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                break
        else:
            raise SystemExit("chromedriver did not start")
        self.port = int(found[1])
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += " --disable-component-update --disable-sync --user-data-dir=" + self.profile.name
        wanted = {
            "goog:chromeOptions": {"args": flags.split()},
            "goog:loggingPrefs": {"browser": "ALL"},
            "acceptInsecureCerts": trusting,
            "timeouts": {"script": PATIENCE_MS, "pageLoad": PATIENCE_MS},
            "unhandledPromptBehavior": "ignore",
        }
        self.session = ""
        self.session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self.screen(1280, 900)

    def ask(self, method, path, body=None):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * PATIENCE_MS / 1000)
        where = f"/session/{self.session}{path}" if self.session else path
        link.request(method, where, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = json.loads(link.getresponse().read())["value"]
        link.close()
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"{path}: {answer['error']}: {answer['message'][:600]}")
        return answer

    def end(self):
        try:
            self.ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.profile.cleanup()

    def open(self, url):
        self.ask("POST", "/url", {"url": url})

    def run(self, script, *words):
        """What `script` returns."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(words)})

    def until(self, condition, *words):
        """Waits until the expression is true in the page, and returns its value. `a` holds the words."""
        script = """
            const done = arguments[arguments.length - 1], a = [...arguments], end = performance.now() + %d;
            const look = () => {
                let seen;
                try { seen = %s; } catch (error) { seen = null; }
                if (seen) done(seen);
                else if (performance.now() > end) done(null);
                else setTimeout(look, 20);
            };
            look();
        """ % (PATIENCE_MS // 2, condition)
        seen = self.ask("POST", "/execute/async", {"script": script, "args": list(words)})
        assert seen, f"never: {condition} {words}\nthe page: {self.run('return document.body.innerText.slice(0, 2000)')}"
        return seen

    def find(self, selector):
        return self.ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector):
        self.ask("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector, text):
        self.ask("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def keys(self, *keys):
        """Presses keys, wherever the focus is."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def cdp(self, command, **words):
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": words})

    def shot(self, path):
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def screen(self, width, height):
        small = width < 500
        scale = 2 if small else 1
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=small)

    def complaints(self):
        """What the console says, without answers that the page expects and shows."""
        lines = self.ask("POST", "/se/log", {"type": "browser"})
        usual = re.compile(r"Failed to load resource: the server responded with a status of (404|405|409|412|413)")
        return [line["message"] for line in lines if not usual.search(line["message"])]


ROW = "[...document.querySelectorAll('#rows tr')].find(row => row.querySelector('bdi')?.textContent === a[0])"
NAMES_SHOWN = "return [...document.querySelectorAll('#rows bdi')].map(name => name.textContent)"
ITEM = "[...document.querySelectorAll('#items li')].find(item => item.querySelector('bdi').textContent === a[0])"
UP, DOWN, END, HOME, ESCAPE, ENTER = "\ue013", "\ue015", "\ue010", "\ue011", "\ue00c", "\ue007"


def natural(name):
    """Digits count as numbers, and upper case as lower case."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(20), name.lower())


class Link:
    """A way to the server that can be cut."""

    def __init__(self, url):
        there = urllib.parse.urlsplit(url)
        self.there, self.pairs = (there.hostname, there.port), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            pair = self.listener.accept()[0], socket.create_connection(self.there)
            self.pairs.append(pair)
            for source, sink in [pair, pair[::-1]]:
                threading.Thread(target=self.copy, args=[source, sink], daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while content := source.recv(65536):
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was cut

    def cut(self):
        for pair in self.pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self.pairs.clear()


class Check:
    """The checks, in the order in which they build upon each other."""

    def __init__(self, browser, writable, read_only, folder, shots):
        self.browser, self.writable, self.read_only = browser, writable, read_only
        self.folder, self.shots = pathlib.Path(folder), pathlib.Path(shots)
        self.outside = tempfile.TemporaryDirectory()
        self.mine = pathlib.Path(self.outside.name)

    def put(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def drop(self, name, script):
        """Drops a file that `script` makes in the page, as a program would: without an entry."""
        self.browser.run(
            "const dropped = new DataTransfer(); dropped.items.add(new File([%s], arguments[0]));"
            "const how = { dataTransfer: dropped, bubbles: true, cancelable: true };"
            "for (const kind of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent(new DragEvent(kind, how));" % script,
            name,
        )

    def item(self, name, state):
        self.browser.until(f"{ITEM}?.className === a[1]", name, state)

    def counted(self, words):
        self.browser.until("document.querySelector('#summary').textContent === a[0]", words)

    def press(self, row, selector):
        """Clicks something in the row of a name."""
        self.browser.run("const a = arguments; %s.querySelector(a[1]).click()" % ROW, row, selector)

    def slowly(self, rate, offline=False):
        """Uploads at this many bytes a second, or as fast as they go (-1)."""
        self.browser.cdp("Network.enable")
        self.browser.cdp("Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=rate)

    def an_empty_folder_says_so(self):
        self.browser.open(self.writable)
        self.browser.until("document.querySelector('#empty').checkVisibility()")
        assert not self.browser.run("return document.querySelector('table').checkVisibility()")
        self.browser.shot(self.shots / "empty.png")

    def what_is_not_the_pages_own_does_not_run(self):
        self.browser.open(self.writable)
        self.browser.run(
            "const style = document.createElement('style'); style.textContent = 'body { display: none }';"
            "document.body.append(style);"
        )
        for text_that_becomes_code in ["document.body.innerHTML = '<b>'", "document.body.setAttribute('onclick', 'x')"]:
            refused = self.browser.run("try { %s; } catch (error) { return error.name; }" % text_that_becomes_code)
            assert refused == "TypeError", refused
        assert self.browser.run("return getComputedStyle(document.body).display") == "block"
        # The console reports this, so it would have reported violations of the other checks as well.
        told = self.browser.complaints()
        assert any("style-src" in line for line in told) and any("TrustedHTML" in line for line in told), told

    def everything_to_press_has_a_name_and_the_table_stays_one(self):
        self.put("a.txt", b"a")
        for width, height in [(1280, 900), (390, 844)]:
            self.browser.screen(width, height)
            self.browser.open(self.writable)
            nodes = self.browser.cdp("Accessibility.getFullAXTree")["nodes"]
            nodes = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
            for role, name in nodes:
                assert name or role not in ("button", "link", "searchbox", "checkbox", "table", "heading"), (role, nodes)
            for wanted in [("columnheader", "Name ↑"), ("rowheader", "a.txt"), ("link", "Download a.txt"), ("button", "Delete a.txt"), ("heading", "Files")]:
                assert wanted in nodes, (wanted, nodes)
        self.browser.screen(1280, 900)
        (self.folder / "a.txt").unlink()

    def names_of_every_kind_are_listed_and_lead_to_their_files(self):
        for name in NAMES:
            self.put(name, name.encode())
        self.put("sub/inner.txt", b"inner")
        self.browser.open(self.writable)
        shown = self.browser.run(NAMES_SHOWN)
        assert shown == ["sub", *sorted(NAMES, key=natural)], shown
        for name in NAMES:
            link = self.browser.run("const a = arguments; return %s.querySelector('th a').href" % ROW, name)
            answer = self.browser.until("window.read?.[a[0]] || (window.read ??= {}, fetch(a[0]).then(r => r.text()).then(t => { window.read[a[0]] = t; }), null)", link)
            assert answer == name, (link, answer)

    def the_list_is_sorted_filtered_and_walked(self):
        for place, name in enumerate(["big.bin", "mid.bin", "small.bin"]):
            path = self.put(name, b"x" * 10 ** (6 - 2 * place))
            os.utime(path, (1_000_000_000 + place, 1_000_000_000 + place))
        self.browser.open(self.writable)
        bins = lambda: [name for name in self.browser.run(NAMES_SHOWN) if name.endswith(".bin")]
        head = "[data-sort=%s] button"
        for column, once in [("size", ["big.bin", "mid.bin", "small.bin"]), ("time", ["small.bin", "mid.bin", "big.bin"])]:
            self.browser.click(head % column)
            assert bins() == once, (column, bins())
            assert self.browser.run("return document.querySelector(arguments[0]).ariaSort", f"[data-sort={column}]") == "descending"
            self.browser.click(head % column)
            assert bins() == once[::-1], (column, bins())
        self.browser.click(head % "name")
        assert bins() == ["big.bin", "mid.bin", "small.bin"]
        self.browser.keys("/")
        self.browser.type("#filter", "MID")
        assert self.browser.run(NAMES_SHOWN) == ["mid.bin"]
        self.browser.type("#filter", "nothing of the kind")
        self.browser.until("document.querySelector('#none').checkVisibility()")
        self.browser.keys(ESCAPE)
        # A second Escape is for whatever the browser itself did with the first.
        self.browser.until("document.querySelector('#filter').value === ''")
        shown = self.browser.run(NAMES_SHOWN)
        focused = "return document.activeElement.closest('tr')?.querySelector('bdi').textContent"
        for key, name in [(DOWN, shown[0]), (DOWN, shown[1]), (END, shown[-1]), (UP, shown[-2]), (HOME, shown[0])]:
            self.browser.keys(key)
            assert self.browser.run(focused) == name, (key, name, self.browser.run(focused))

    def files_and_folders_are_uploaded(self):
        (self.mine / "chosen one.txt").write_text("chosen 1")
        (self.mine / "chosen%two.txt").write_text("chosen 2")
        self.browser.type("#files", f"{self.mine / 'chosen one.txt'}\n{self.mine / 'chosen%two.txt'}")
        self.item("chosen one.txt", "stored")
        self.item("chosen%two.txt", "stored")
        assert (self.folder / "chosen%two.txt").read_text() == "chosen 2"
        self.browser.until(ROW, "chosen one.txt")
        # A folder that is dropped, with what is in it.
        inner = self.mine / "tree #1" / "a b"
        inner.mkdir(parents=True)
        (inner / "leaf?.txt").write_text("leaf")
        (self.mine / "tree #1" / "top.txt").write_text("top")
        (self.mine / "tree #1" / "hollow").mkdir()
        for kind in ["dragEnter", "dragOver", "drop"]:
            data = {"items": [], "files": [str(self.mine / "tree #1")], "dragOperationsMask": 1}
            self.browser.cdp("Input.dispatchDragEvent", type=kind, x=300, y=300, data=data)
            if kind == "dragOver":
                self.browser.until("document.querySelector('#drop').checkVisibility()")
                self.browser.shot(self.shots / "drop.png")
        self.item("tree #1/a b/leaf?.txt", "stored")
        self.item("tree #1/top.txt", "stored")
        # An empty folder is made, too.
        self.browser.until(f"{ITEM} === undefined", "tree #1/hollow")
        assert (self.folder / "tree #1/hollow").is_dir()
        assert (self.folder / "tree #1/a b/leaf?.txt").read_text() == "leaf"
        self.browser.until(ROW + ".querySelector('.folder')", "tree #1")
        # A folder that is chosen.
        (self.mine / "picked").mkdir()
        (self.mine / "picked/p.txt").write_text("picked")
        self.browser.type("#folder", str(self.mine / "picked"))
        self.item("picked/p.txt", "stored")
        # A picture that is pasted.
        self.browser.run(
            "const pasted = new DataTransfer(); pasted.items.add(new File(['pasted'], 'pasted.txt'));"
            "document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: pasted, bubbles: true, cancelable: true }))"
        )
        self.item("pasted.txt", "stored")
        assert (self.folder / "pasted.txt").read_text() == "pasted"
        self.browser.click("#clear")

    def an_upload_shows_its_progress_and_is_cancelled_and_retried(self):
        self.slowly(400_000)
        for number in range(5):
            self.drop(f"slow {number}.bin", "new Uint8Array(3_000_000)")
        self.browser.until(f"{ITEM}?.querySelector('.sent').value > 0 && /B\\/s/.test({ITEM}.innerText)", "slow 0.bin")
        running = self.browser.run("return document.querySelectorAll('#items .sending').length")
        assert running == 3, f"{running} at once"
        self.browser.shot(self.shots / "uploading.png")
        self.browser.run("const a = arguments; %s.querySelector('button').click()" % ITEM, "slow 0.bin")
        self.item("slow 0.bin", "cancelled")
        self.slowly(-1)
        for number in range(1, 5):
            self.item(f"slow {number}.bin", "stored")
        self.counted("4 of 5 files stored, 1 cancelled")
        assert not (self.folder / "slow 0.bin").exists()
        self.browser.run("const a = arguments; %s.querySelector('button').click()" % ITEM, "slow 0.bin")
        self.item("slow 0.bin", "stored")
        assert (self.folder / "slow 0.bin").stat().st_size == 3_000_000
        self.counted("5 files stored")
        self.browser.click("#clear")

    def a_large_upload_continues_after_a_break_and_after_a_reload(self):
        size, name = 24_000_000, "large one.bin"
        # The same file for the browser: its name, its length and its time tell.
        choose = """
            window.sent = 0;
            const send = XMLHttpRequest.prototype.send;
            XMLHttpRequest.prototype.send = function (body) { window.sent += body?.size ?? 0; send.call(this, body); };
            const content = new Uint8Array(arguments[1]).map((_, place) => place % 251), dropped = new DataTransfer();
            dropped.items.add(new File([content], arguments[0], { lastModified: 1_000_000 }));
            document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true }));
        """
        safe = f"{ITEM}?.querySelector('.safe').value"
        link = Link(self.writable)
        self.browser.open(link.url)
        self.slowly(2_000_000)
        self.browser.run(choose, name, size)
        before = self.browser.until(f"{safe} > 0.1 && {safe}", name)
        self.slowly(2_000_000, offline=True)
        link.cut()
        self.browser.until(f"{ITEM}.querySelector('span').innerText === 'Waiting for the network'", name)
        self.browser.shot(self.shots / "offline.png")
        self.slowly(2_000_000)
        again = self.browser.until(f"{safe} > a[1] + 0.2 && {safe}", name, before)
        assert not (self.folder / name).exists()
        noted = self.browser.run("return [localStorage.key(0), localStorage.getItem(localStorage.key(0))]")
        self.browser.open(link.url)
        self.slowly(-1)
        # What came too slowly is no reason to give up what came.
        self.browser.run("""
            const open = XMLHttpRequest.prototype.open;
            XMLHttpRequest.prototype.open = function (method, ...rest) {
                if (method === 'PATCH' && !window.slow) {
                    window.slow = true;
                    Object.defineProperty(this, 'status', { get: () => 408 });
                }
                open.call(this, method, ...rest);
            };
        """)
        self.browser.run(choose, name, size)
        self.item(name, "stored")
        assert self.browser.run("return window.slow")
        sent = self.browser.run("return window.sent")
        assert sent <= size * (1 - again), f"{sent} bytes were sent again, where {again} of all was safe"
        assert (self.folder / name).read_bytes() == bytes(place % 251 for place in range(251)) * (size // 251) + bytes(range(size % 251))
        assert not self.browser.run("return localStorage.length")
        # An upload that was complete before is no proof that the file is there still.
        (self.folder / name).unlink()
        self.browser.open(link.url)
        self.browser.run("localStorage.setItem(...arguments)", *noted)
        self.browser.run(choose, name, size)
        self.item(name, "stored")
        assert (self.folder / name).stat().st_size == size
        # What was cancelled leaves nothing.
        self.slowly(2_000_000)
        self.browser.run(choose, "cancelled.bin", size)
        self.browser.until(f"{safe} > 0.1", "cancelled.bin")
        at = self.browser.run("return localStorage.getItem(localStorage.key(0))")
        self.browser.run("const a = arguments; %s.querySelector('button').click()" % ITEM, "cancelled.bin")
        self.item("cancelled.bin", "cancelled")
        self.slowly(-1)
        # It is removed by a request that is not waited for.
        removed = """
            const [at, done] = arguments;
            const look = async () => {
                const { status } = await fetch(at, { method: 'HEAD', cache: 'no-store' });
                if ([404, 410].includes(status)) done(status); else setTimeout(look, 20);
            };
            look();
        """
        self.browser.ask("POST", "/execute/async", {"script": removed, "args": [at]})
        assert not self.browser.run("return localStorage.length")
        self.browser.complaints()
        self.browser.click("#clear")

    def a_name_that_is_taken_is_asked_about(self):
        for name in ["taken.txt", "kept.txt", "third.txt", "fourth.txt"]:
            self.put(name, b"old")
        question = "document.querySelector('#question').open && document.querySelector('#question bdi').textContent === a[0]"
        self.drop("taken.txt", "'new'")
        self.browser.until(question, "taken.txt")
        self.browser.shot(self.shots / "question.png")
        self.browser.click("#question [value=replace]")
        self.item("taken.txt", "stored")
        assert (self.folder / "taken.txt").read_text() == "new"
        self.drop("kept.txt", "'new'")
        self.browser.until(question, "kept.txt")
        self.browser.click("#question [value=skip]")
        self.item("kept.txt", "skipped")
        assert (self.folder / "kept.txt").read_text() == "old"
        # For all others: only one question is asked.
        self.browser.run(
            "const dropped = new DataTransfer();"
            "for (const name of ['kept.txt', 'third.txt', 'fourth.txt']) dropped.items.add(new File(['all'], name));"
            "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true }))"
        )
        self.browser.until("document.querySelector('#question').open")
        self.browser.click("#question label")
        self.browser.click("#question [value=replace]")
        self.item("fourth.txt", "stored")
        self.browser.until("document.querySelectorAll('#items .stored').length === 4")
        assert [(self.folder / name).read_text() for name in ["kept.txt", "third.txt", "fourth.txt"]] == ["all"] * 3
        # A large file is not sent to learn that.
        self.put("large.bin", b"old")
        self.drop("large.bin", "new Uint8Array(2_000_000)")
        self.browser.until(question, "large.bin")
        self.browser.until(f"{ITEM}?.className === 'asking' && {ITEM}.querySelector('.sent').value === 0", "large.bin")
        self.browser.click("#question [value=replace]")
        self.item("large.bin", "stored")
        assert (self.folder / "large.bin").stat().st_size == 2_000_000
        # What the server refuses is shown in its words, also when it does not read all of it.
        self.drop("too large.bin", "new Uint8Array(40_000_000)")
        self.item("too large.bin", "failed")
        self.browser.until(f"{ITEM}.querySelector('span').innerText.includes('(413)')", "too large.bin")
        # What a proxy refuses is not shown as the source of its page.
        for text, shown in [("\\n<html>\\r\\n<b>413</b></html>", "A proxy before the server does not let requests of this size pass. Ask its operator to raise the limit. (413)"), ("a < b", "a < b (413)")]:
            assert self.browser.run(f"return reason(413, '{text}')") == shown
        self.counted("5 of 7 files stored, 1 failed, 1 skipped")
        self.drop("sub", "'not a folder'")
        self.browser.until(f"document.querySelector('#question').open || {ITEM}?.className === 'failed'", "sub")
        if self.browser.run("return document.querySelector('#question').open"):
            self.browser.click("#question [value=replace]")
        self.item("sub", "failed")
        self.browser.until(f"{ITEM}.querySelector('span').innerText.includes('(409)')", "sub")
        self.browser.click("#clear")

    def media_and_texts_are_previewed(self):
        # A film is made by the browser itself, and arrives by being dropped.
        film = self.browser.ask("POST", "/execute/async", {"args": [], "script": """
            const done = arguments[0], canvas = Object.assign(document.createElement('canvas'), { width: 160, height: 90 });
            const ink = canvas.getContext('2d'), parts = [], recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: 'video/webm' });
            let frames = 0;
            recorder.ondataavailable = event => parts.push(event.data);
            recorder.onstop = async () => done([...new Uint8Array(await new Blob(parts).arrayBuffer())]);
            recorder.start();
            const paint = () => {
                ink.fillStyle = `hsl(${frames * 12} 60% 50%)`;
                ink.fillRect(0, 0, 160, 90);
                if (frames++ < 30) setTimeout(paint, 40); else recorder.stop();
            };
            paint();
        """})
        self.drop("film.webm", "new Uint8Array(%s)" % film)
        self.item("film.webm", "stored")
        self.browser.click("#clear")
        self.put("picture.svg", b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 6'><rect width='8' height='6' fill='#2a7'/><circle cx='5' cy='2' r='1.2' fill='#fd6'/><path d='M0 6l3-3 2 2 1-1 2 2z' fill='#154'/><script>top.hacked = 1</script></svg>")
        with wave.open(str(self.folder / "sound.wav"), "wb") as sound:
            sound.setparams((1, 2, 22050, 0, "NONE", ""))
            sound.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(n / 16))) for n in range(22050 * 60)))
        # The part that is read ends within an ö.
        self.put("words.txt", b"12345" + "schön ".encode() * 20_000)
        self.put("page.html", b"<script>top.hacked = 1</script><h1>not run</h1>")
        self.browser.open(self.writable)

        self.press("film.webm", "th a")
        self.browser.until("document.querySelector('.stage video').readyState >= 1 && document.querySelector('.stage video').videoWidth === 160")
        self.press("sound.wav", "th a")
        self.browser.until("document.querySelector('.stage audio').readyState >= 1")
        self.browser.run("document.querySelector('.stage audio').currentTime = 50")
        # Only a server that answers ranges can be asked for what was not read yet.
        self.browser.until("!document.querySelector('.stage audio').seeking && document.querySelector('.stage audio').currentTime === 50")
        self.press("picture.svg", "th a")
        self.browser.until("document.querySelector('.stage img').naturalWidth > 0")
        self.browser.shot(self.shots / "preview.png")
        self.press("words.txt", "th a")
        self.browser.until("document.querySelector('.stage pre').textContent.includes('first 64 KiB of 140')")
        text = self.browser.run("return document.querySelector('.stage pre').textContent")
        assert text.startswith("12345schön schön") and "\ufffd" not in text
        self.browser.shot(self.shots / "text.png")
        self.press("page.html", "th a")
        self.browser.until("document.querySelector('.stage pre').textContent.includes('<h1>not run</h1>')")
        assert not self.browser.run("return window.hacked")
        self.browser.click("#preview [value='1']")
        self.browser.until("document.querySelector('#preview bdi').textContent !== 'page.html'")
        self.browser.keys(ESCAPE)
        self.browser.until("!document.querySelector('#preview').open && !document.querySelector('.stage').firstChild")

    def a_file_is_deleted_when_it_is_confirmed(self):
        self.press("big.bin", ".del")
        self.browser.until("document.querySelector('#removal').open && document.activeElement.value === 'keep'")
        self.browser.shot(self.shots / "delete.png")
        self.browser.keys(ENTER)
        self.browser.until("!document.querySelector('#removal').open")
        assert (self.folder / "big.bin").exists()
        self.press("big.bin", ".del")
        self.browser.click("#removal [value=delete]")
        self.browser.until(f"!document.querySelector('#removal').open && !({ROW})", "big.bin")
        assert not (self.folder / "big.bin").exists()
        # The focus stays in the list.
        assert self.browser.run("return document.activeElement.closest('#rows') !== null")

    def a_read_only_server_shows_nothing_to_change(self):
        self.browser.open(self.read_only)
        self.browser.until(ROW, "words.txt")
        assert not self.browser.run("return [...document.querySelectorAll('.write, .write *, .del, #rename, #move, #delete')].some(node => node.checkVisibility())")
        assert self.browser.run("return document.querySelectorAll('.get').length") > 5
        self.drop("refused.txt", "'x'")
        assert not self.browser.run("return document.querySelector('#uploads').checkVisibility()")
        self.browser.shot(self.shots / "read-only.png")

    def a_hundred_thousand_names_stay_few_rows(self):
        for number in range(100_000):
            (self.folder / "many").mkdir(exist_ok=True) if number == 0 else None
            os.close(os.open(self.folder / "many" / f"file {number:06}.txt", os.O_CREAT | os.O_WRONLY, 0o666))
        self.browser.open(self.writable + "many/")
        self.browser.until("/^[\d,]+ names loaded; there are more$/.test(document.querySelector('#status').textContent)")
        self.browser.shot(self.shots / "many.png")
        self.browser.click("#all")
        self.browser.until("document.querySelector('#all').checkVisibility() === false")
        self.browser.until("document.querySelector('#status').textContent.startsWith('100,000 files')")
        made = "return document.querySelectorAll('#rows tr').length"
        assert self.browser.run(made) < 300
        self.browser.run("document.querySelector('#rows a').focus(); scrollTo(0, document.body.scrollHeight / 2)")
        self.browser.until("/file 0[45]/.test(document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest('tr')?.textContent)")
        # The row with the focus has not lost it, far away as it is.
        assert self.browser.run("return document.activeElement.textContent") == "file 000000.txt"
        assert self.browser.run(made) < 300
        self.browser.keys(END)
        assert self.browser.run("return document.activeElement.textContent") == "file 099999.txt"
        self.browser.until("document.activeElement.getBoundingClientRect().bottom <= innerHeight")
        self.browser.type("#filter", "12345")
        self.browser.until("document.querySelector('#status').textContent.startsWith('1 of 100,000 names')")
        assert self.browser.run(NAMES_SHOWN) == ["file 012345.txt"]

    def without_a_script_it_lists_pages_and_downloads(self):
        self.browser.cdp("Emulation.setScriptExecutionDisabled", value=True)
        self.browser.open(self.writable + "many/?limit=50")
        self.browser.shot(self.shots / "no-script.png")
        self.browser.click("#more a")
        where = self.browser.ask("GET", "/url")
        assert "/many/?" in where and "after=" in where and "limit=50" in where, where
        source = self.browser.ask("GET", "/source")
        assert "<bdi>file 000050.txt</bdi>" in source and "<bdi>file 000049.txt</bdi>" not in source
        assert 'href="file%20000050.txt" download' in source
        self.browser.cdp("Emulation.setScriptExecutionDisabled", value=False)

    def it_looks_well_on_every_screen(self):
        for path in (self.folder / "many").iterdir():
            path.unlink()
        (self.folder / "many").rmdir()
        for scheme in ["light", "dark"]:
            self.browser.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            for screen, width, height in [("desktop", 1280, 900), ("phone", 390, 844)]:
                self.browser.screen(width, height)
                self.browser.open(self.writable)
                self.browser.until(ROW, "words.txt")
                assert self.browser.run("return document.documentElement.scrollWidth <= innerWidth"), f"{screen} scrolls sideways"
                self.browser.shot(self.shots / f"{screen}-{scheme}.png")

    def all(self):
        for name in [name for name in vars(Check) if "_" in name and not name.startswith("_")]:
            print("==", name.replace("_", " "), flush=True)
            getattr(self, name)()
            complaints = self.browser.complaints()
            assert not complaints, complaints


def end_with(stream):
    """Ends everything when its parent closes the stream, or dies."""
    stream.read()
    os.kill(os.getpid(), signal.SIGINT)


def main():
    writable, read_only, folder, shots = sys.argv[1:]
    if not sys.stdin.isatty():
        threading.Thread(target=end_with, args=[sys.stdin], daemon=True).start()
    os.makedirs(shots, exist_ok=True)
    browser = Browser()
    try:
        Check(browser, writable, read_only, folder, shots).all()
    finally:
        browser.end()


if __name__ == "__main__":
    main()
