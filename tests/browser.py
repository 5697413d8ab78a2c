"""The pages in a real browser: live, linked, light and dark, and without JavaScript.

    python3 tests/browser.py CHROMIUM URL [FOLDER]

URL is a server that tells the made-up story of `crates/web` and goes on telling (`--example story -- ADDRESS live runs=10000`). Pictures go
into FOLDER if it is given. Needs nothing but Python: the browser is driven over its debugging pipe.
"""

import base64
import contextlib
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import browser_runs

# A sweep of the many runs, and its parts.
PARENT = browser_runs.PARENT
LIMIT_S = 60


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, chromium, profile):
        to_browser, self.writer = os.pipe()
        self.reader, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        script = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$0" "$@"'
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
            "--window-size=1440,1000", f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank",
        ]
        descriptors = (to_browser, from_browser)
        self.process = subprocess.Popen(["bash", "-c", script, chromium, *flags], pass_fds=descriptors, stderr=subprocess.DEVNULL)
        for descriptor in descriptors:
            os.close(descriptor)
        self.buffer, self.count, self.session = b"", 0, None
        self.events = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def read(self):
        while b"\0" not in self.buffer:
            piece = os.read(self.reader, 1 << 20)
            if not piece:
                raise SystemExit("the browser ended")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def eval(self, script):
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, f"{script}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def wait(self, script, what):
        """Waits until the script gives something true."""
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            with contextlib.suppress(AssertionError):
                found = self.eval(script)
                if found:
                    return found
            time.sleep(0.05)
        raise AssertionError(f"waited {LIMIT_S} s for {what}")

    def open(self, url):
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'", f"{url} to load")

    def click(self, selector):
        """Follows a link, as a person would."""
        before = self.eval("location.href")
        assert self.eval(f"!!document.querySelector({json.dumps(selector)})"), f"{before} has no {selector}"
        self.eval(f"document.querySelector({json.dumps(selector)}).click()")
        self.wait(f"location.href !== {json.dumps(before)} && document.readyState === 'complete'", f"{selector} to lead somewhere")

    def complaints(self):
        """What the page said on the console: errors, refusals of the content security policy."""
        said = []
        for event in self.events:
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(event["params"]["exceptionDetails"]["text"])
            if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                said.append(event["params"]["entry"]["text"])
        return said

    def requests(self):
        sent = [event["params"]["request"]["url"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def picture(self, folder, name):
        if folder:
            data = self.call("Page.captureScreenshot")["data"]
            with open(os.path.join(folder, f"{name}.png"), "wb") as file:
                file.write(base64.b64decode(data))

    def end(self):
        self.process.terminate()
        self.process.wait()


def the_loop_is_live(browser, url, folder):
    browser.open(url + "/")
    browser.wait("document.querySelector('#live.on') !== null", "the page to say that it is live")
    first = browser.wait("document.querySelector('.line.fresh')?.textContent", "a line that came over the stream")
    assert "<b>crash</b>" in first, f"a name became markup: {first}"
    browser.wait("document.querySelectorAll('.line.fresh').length >= 4", "more lines")
    groups = browser.eval("[...document.querySelectorAll('.group')].map(group => group.dataset.thread)")
    threads = [thread for thread in groups if thread]
    assert len(threads) == len(set(threads)), f"a thread is one group: {groups}"
    assert "request-7" in threads, groups
    assert browser.eval("document.querySelectorAll('#stations .spot').length") == 6
    browser.picture(folder, "loop")


def links_lead_from_an_incident_to_its_champion(browser, url, folder):
    browser.open(url + "/")
    browser.click('nav a[href="/incidents"]')
    browser.click('td a[href$="demand-2"]')
    banner = browser.eval("document.querySelector('.banner').textContent")
    assert "Handed to people" in banner, banner
    labels = browser.eval("[...document.querySelectorAll('.no')].map(label => label.textContent)")
    assert labels == ["seen"] + ["asked", "trained", "judged", "done"] * 2 + ["end"], labels
    browser.picture(folder, "incident")
    browser.click("#champion")
    heading = browser.eval("document.querySelector('.titlebar').textContent")
    assert "demand version 4" in heading and "champion" in heading, heading
    browser.picture(folder, "version")
    browser.click('dl.lead a[href^="/runs/"]')
    assert browser.eval("document.querySelectorAll('.curve').length") == 2
    browser.click('.chip[href$="/versions/4"]')


def a_run_draws_its_curves(browser, url, folder):
    browser.open(url + "/runs/00000000000000000000000000000002")
    browser.wait("document.querySelectorAll('.curve canvas').length === 2", "the curves")
    assert "<script>" in browser.eval("document.querySelector('h1').textContent")
    browser.picture(folder, "run")


def pages_are_light_and_ask_no_other_host(browser, url, folder):
    two = "00000000000000000000000000000002"
    paths = (
        "/", "/runs", "/runs?experiment=2&group=off", f"/runs/{two}", f"/compare?parent={PARENT}", "/experiments", "/search?q=otter",
        "/models", "/models/demand", "/models/demand/versions/2", "/incidents/demand-2",
    )
    for path in paths:
        browser.call("Network.clearBrowserCache")
        browser.open(url + path)
        complaints = browser.complaints()
        assert not complaints, f"{path}: {complaints}"
        requests = browser.requests()
        hosts = {urllib.parse.urlsplit(request).netloc for request in requests}
        assert hosts == {urllib.parse.urlsplit(url).netloc}, f"{path} asks {hosts}"
        # What a run logged is shown beside the page, whatever it weighs.
        requests = [request for request in requests if "/file?path=" not in request]
        assert len(requests) <= 6, f"{path}: {len(requests)} requests: {requests}"
        streams = [request for request in requests if "/events" in request]
        size = sum(packed(request) for request in requests if request not in streams)
        assert size <= 120_000, f"{path}: {size} bytes"
        print(f"        {path}: {len(requests)} requests, {size / 1000:.0f} kB packed")


def packed(url):
    with urllib.request.urlopen(url) as answer:
        return len(gzip.compress(answer.read()))


def both_schemes_and_narrow_screens(browser, url, folder):
    grounds = {}
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for path in ("/", "/incidents/demand-1", "/serving"):
            browser.open(url + path)
            browser.picture(folder, f"{scheme}{path.replace('/', '-')}")
        grounds[scheme] = browser.eval("getComputedStyle(document.body).backgroundColor")
    assert grounds["light"] != grounds["dark"], grounds
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    narrow = ("/", "/runs", "/runs/00000000000000000000000000000002", f"/compare?parent={PARENT}", "/models/demand", "/incidents/demand-2")
    for path in (*narrow, "/models/demand/versions/2"):
        browser.open(url + path)
        width = browser.eval("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} wide on a telephone"
    browser.picture(folder, "narrow")
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.call("Emulation.setEmulatedMedia", features=[])


def pages_are_useful_without_javascript(browser, url, folder):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(url + "/")
    assert browser.eval("document.querySelectorAll('.line').length") > 50
    assert browser.eval("document.getElementById('live').hidden"), "nothing is live without JavaScript"
    browser.open(url + "/runs/00000000000000000000000000000002")
    assert browser.eval("document.querySelectorAll('.curve tbody tr').length") == 94 + 50, "the tables hold the curves' stretches"
    assert browser.eval("document.querySelectorAll('.curve svg .trace').length") == 2, "the server draws the curves"
    browser.open(url + "/runs?experiment=2&group=off&sort=metrics.val_mae")
    assert browser.eval("document.querySelectorAll('#runs tbody tr').length") == 100, "a page of rows"
    assert browser.eval("document.querySelector('#next') !== null"), "the next rows are a link away"
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


TESTS = [
    the_loop_is_live,
    links_lead_from_an_incident_to_its_champion,
    a_run_draws_its_curves,
    *browser_runs.TESTS,
    pages_are_light_and_ask_no_other_host,
    both_schemes_and_narrow_screens,
    pages_are_useful_without_javascript,
]


def main():
    chromium, url = sys.argv[1], sys.argv[2].rstrip("/")
    folder = sys.argv[3] if len(sys.argv) > 3 else None
    failed = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(chromium, profile)
        try:
            for test in TESTS:
                try:
                    test(browser, url, folder)
                    print(f"ok      {test.__name__}")
                except AssertionError as error:
                    failed += 1
                    print(f"FAILED  {test.__name__}: {error}")
        finally:
            browser.end()
    print(f"browser: {len(TESTS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
