# SPDX-License-Identifier: MIT
"""A browser in a namespace of a test: headless Chromium, driven by chromedriver's HTTP protocol
(W3C WebDriver, and the DevTools protocol through it for what WebDriver lacks). It reaches nothing but
what is in the namespace."""

import base64
import http.client
import json
import re
import shutil
import tempfile

from namespace import FACTOR, wait_until

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--hide-scrollbars"]


class Connection(http.client.HTTPConnection):
    """HTTP to an address in the namespace."""

    def __init__(self, namespace, address, port):
        super().__init__(address, port)
        self.namespace = namespace

    def connect(self):
        import socket
        self.sock = self.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(60 * FACTOR)
        self.sock.connect((self.host, self.port))


class Browser:
    """One page at a time. Close it at the end."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.directory = tempfile.mkdtemp(prefix="vnic-browser.")
        self.driver = namespace.start(["chromedriver", "--port=0"], env={
            "HOME": self.directory, "TMPDIR": self.directory, "XDG_RUNTIME_DIR": self.directory})
        line = self.driver.stdout.wait("was started successfully on port", 20)
        assert line, f"no chromedriver: {self.driver}"
        self.port = int(re.search(r"port (\d+)", line)[1])
        self.session = None
        made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": shutil.which("chromium"),
                                   "args": FLAGS + [f"--user-data-dir={self.directory}/profile"]}}}})
        self.session = made["sessionId"]

    def ask(self, method, path, body=None):
        connection = Connection(self.namespace, "127.0.0.1", self.port)
        try:
            prefix = f"/session/{self.session}" if self.session else ""
            connection.request(method, prefix + path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            value = json.loads(answer.read())["value"]
            assert answer.status == 200, f"{method} {path}: {answer.status} {value}"
            return value
        finally:
            connection.close()

    def devtools(self, command, **parameters):
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show_as(self, width, height, dark=False, scale=1):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=scale, mobile=width < 500)
        self.devtools("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, address):
        self.ask("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        """The value of a script that ends in `return`."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": arguments})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def wait_text(self, selector, predicate, seconds=10):
        """Waits until predicate(text of the element) is true, and returns the text."""
        seen = []

        def there():
            seen.append(self.text(selector))
            return predicate(seen[-1])
        wait_until(there, lambda: f"{selector}: {seen[-1]!r}", seconds)
        return seen[-1]

    def log(self):
        """What the page printed on its console since the last time, errors of the network too."""
        return [f"{entry['level']} {entry['message']}"
                for entry in self.ask("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path=None, whole=False):
        """PNG bytes of what is seen, or of the whole page."""
        parameters = {}
        if whole:
            size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
            parameters = {"captureBeyondViewport": True,
                          "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        data = base64.b64decode(self.devtools("Page.captureScreenshot", format="png", **parameters)["data"])
        if path:
            with open(path, "wb") as file:
                file.write(data)
        return data

    def close(self):
        try:
            if self.session:
                self.ask("DELETE", "")
        finally:
            self.driver.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
