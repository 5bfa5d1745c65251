# SPDX-License-Identifier: MIT
"""The status of the host over HTTP: by curl, by Python's http.client, by ApacheBench, by hand, and the
page in Chromium."""

import contextlib
import http.client
import json
import re
import socket

import pytest

import metrics
from browser import Browser
from namespace import FACTOR, SANITIZER, count, wait_until

PREFIXES = ["10.0.0.1/24", "fd00::1/64"]
PEER = {4: "10.0.0.2", 6: "fd00::2"}
HOST = {4: "10.0.0.2", 6: "[fd00::2]"}
DOMAIN = {4: socket.AF_INET, 6: socket.AF_INET6}
KINDS = {"tun": [], "tap": ["--tap"]}
families = pytest.mark.parametrize("family", [4, 6])
kinds = pytest.mark.parametrize("kind", KINDS)


class Client(http.client.HTTPConnection):
    """http.client from inside of the namespace."""

    def __init__(self, netns, family=4):
        super().__init__(HOST[family])
        self.netns, self.family = netns, family

    def connect(self):
        self.sock = dial(self.netns, self.family)

    def get(self, path, method="GET", **headers):
        self.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = self.getresponse()
        return answer, answer.read()


def dial(netns, family=4):
    sock = netns.socket(DOMAIN[family], socket.SOCK_STREAM)
    sock.settimeout(10 * FACTOR)
    sock.connect((PEER[family], 80))
    return sock


def receive_all(sock):
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def talk(netns, data):
    """What comes back for these bytes until the server closes; our side is closed behind them."""
    with dial(netns) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return receive_all(sock)


def status_json(netns, path="/status.json"):
    client = Client(netns)
    answer, body = client.get(path)
    client.close()
    assert answer.status == 200
    return json.loads(body)


# What is there.

@families
@kinds
def test_curl(netns, vnic, family, kind):
    vnic.host(*PREFIXES, *KINDS[kind])
    done = netns.run(["curl", "-sS", "--fail", "-m", 10 * FACTOR, f"http://{HOST[family]}/"])
    for word in (*PREFIXES, *PEER.values(), "echo discard chargen http iperf3", kind.upper()):
        assert word in done.stdout, (word, done.stdout)
    assert re.search(r"in +[1-9]\d* ", done.stdout), done.stdout


@pytest.mark.parametrize("accept, kind", [
    ("*/*", "text/plain"), ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
    ("application/json", "application/json"), ("image/png", "text/plain")])
def test_kinds(netns, vnic, accept, kind):
    vnic.host(*PREFIXES)
    answer, body = Client(netns).get("/", Accept=accept)
    assert answer.status == 200 and answer.headers.get_content_type() == kind
    assert answer.headers["Vary"] == "Accept" and answer.headers["X-Content-Type-Options"] == "nosniff"
    if kind == "application/json":
        assert json.loads(body)["hosts"] == list(PEER.values())
    if kind == "text/html":
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy, policy
        assert b"<th scope=\"row\">In<td>" in body  # for browsers without scripts


@families
def test_json(netns, vnic, family):
    """The counters are those of what was sent; flows are known by their ends."""
    host = vnic.host(*PREFIXES)
    netns.ping(PEER[family], "-s", 400, count=5)
    status = status_json(netns)
    assert status["name"] == host.name and status["type"] == "tun" and status["addresses"] == PREFIXES
    assert [x["name"] for x in status["services"]] == host.ready["services"]
    assert status["stack"]["echo_replies"] == 5
    for way in ("in", "out"):
        traffic = status[way]
        assert traffic["protocols"]["icmp"] == {"packets": 5, "bytes": 5 * (408 + (20 if family == 4 else 40))}
        assert sum(x["packets"] for x in traffic["protocols"].values()) == traffic["packets"]
        assert sum(x["bytes"] for x in traffic["protocols"].values()) == traffic["bytes"]
        assert sum(traffic["sizes"]) == traffic["packets"] == traffic["segments"]
        assert traffic["sizes"][3] >= 5  # up to 512 bytes
    flows = {(x["protocol"], x["local"], x["local_port"]): x for x in status["flows"]}
    flow = flows[1 if family == 4 else 58, PEER[family], 0]
    assert flow["remote"] == PREFIXES[family == 6].split("/")[0] and flow["in"]["packets"] == 5 == flow["out"]["packets"]
    assert (6, PEER[4], 80) in flows, status["flows"]
    assert [sum(x[way]["bytes"] for way in ("in", "out")) for x in status["flows"]] == sorted(
        (sum(x[way]["bytes"] for way in ("in", "out")) for x in status["flows"]), reverse=True)
    summary = host.stop()
    assert count(summary, "received_packets") >= status["in"]["packets"]


@pytest.mark.limit(60)
def test_history(netns, vnic):
    """Rates of whole seconds are kept, by their numbers; quiet ones are zero."""
    vnic.host(*PREFIXES)
    netns.ping(PEER[4], "-s", 1000, count=10)

    def noted():
        history = status_json(netns, "/status.json?since=0")["history"]
        return history if sum(history["in_bytes"]) >= 10 * 1028 else None
    history = wait_until(noted, "the pings in the history")
    assert history["first_s"] == 0
    assert len({len(history[key]) for key in history if key != "first_s"}) == 1
    last = len(history["in_bytes"])
    later = wait_until(lambda: (lambda h: h if h["in_bytes"] else None)(
        status_json(netns, f"/status.json?since={last}")["history"]), "another second", 10)
    assert later["first_s"] == last
    assert "history" not in status_json(netns)
    far = status_json(netns, "/status.json?since=1000000")["history"]
    assert far["in_bytes"] == [] and far["first_s"] < 1000


@pytest.mark.parametrize("options", [[], ["--queues", "2"], ["--tap"]], ids=str)
def test_metrics(netns, vnic, options):
    vnic.host(*PREFIXES, *options)
    netns.ping(PEER[4], count=3)
    answer, body = Client(netns).get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = metrics.parse(body.decode())
    assert samples["vnic_stack_events_total", (("event", "echo_replies"),)] == 3
    icmp = samples["vnic_protocol_packets_total", (("direction", "in"), ("protocol", "icmp"))]
    assert icmp >= 3 if "--tap" in options else icmp == 3  # on Ethernet neighbours are discovered too
    queues = [value for (name, _), value in samples.items() if name == "vnic_received_packets_total"]
    assert len(queues) == (2 if "--queues" in options else 1) and sum(queues) >= 3
    assert samples["vnic_interface_up", ()] == 1


def test_strange_name(netns, vnic):
    """A name of an interface may contain nearly anything, and is never taken for anything else."""
    name = '<i>"\\&x'
    host = vnic.host(PREFIXES[0], "--name", name)
    assert host.name == name
    assert status_json(netns)["name"] == name
    samples = metrics.parse(Client(netns).get("/metrics")[1].decode())
    assert any(name == "vnic_info" and ("interface", host.name) in labels for name, labels in samples)
    page = Client(netns).get("/", Accept="text/html")[1]
    assert b"<i>\"" not in page and b"&lt;i&gt;&quot;\\&amp;x" in page


# The protocol.

@families
def test_keep_alive(netns, vnic, family):
    """Many requests on one connection, of all kinds."""
    host = vnic.host(*PREFIXES)
    client = Client(netns, family)
    for _ in range(20):
        for path, status in (("/", 200), ("/metrics", 200), ("/nothing", 404), ("/status.json", 200)):
            answer, body = client.get(path)
            assert answer.status == status and len(body) == int(answer.headers["Content-Length"])
            head, nothing = client.get(path, "HEAD")
            assert head.status == status and nothing == b""
            assert int(head.headers["Content-Length"]) > 0
    client.close()
    assert count(host.stop(), "accepted") == 1


def test_pipelined(netns, vnic):
    """Requests that do not wait are answered in their order."""
    vnic.host(*PREFIXES)
    paths = [b"/favicon.svg", b"/none", b"/metrics"] * 30
    data = b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in paths)
    got = talk(netns, data)
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", got)
    types = re.findall(rb"^Content-Type: (\S+)\r", got.replace(b"; ", b";"), re.M)
    assert statuses == [b"200", b"404", b"200"] * 30
    assert [x.split(b";")[0] for x in types] == [b"image/svg+xml", b"text/plain", b"text/plain"] * 30


def test_piecemeal(netns, vnic):
    """A request byte by byte, with an answer that is larger than the buffers."""
    vnic.host(*PREFIXES)
    with dial(netns) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nConnection: close\r\n\r\n":
            sock.send(bytes([byte]))
        got = receive_all(sock)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and b"Connection: close" in head
    assert len(body) == int(re.search(rb"Content-Length: (\d+)", head)[1]) > 20000
    assert body.rstrip().endswith(b"</script>")


REQUESTS = {
    "404": (b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", 404, True),
    "405": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405, True),
    "400 no host": (b"GET / HTTP/1.1\r\n\r\n", 400, False),
    "400 space": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, False),
    "400 tls": (bytes.fromhex("16030100c8010000c40303") + bytes(100), 400, False),
    "413": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(100000), 413, False),
    "414": (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, False),
    "414 endless": (b"a" * 100000, 414, False),
    "431": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 100000, 431, False),
    "431 many": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431, False),
    "501": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501, False),
    "505": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, False),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_errors(netns, vnic, name):
    """The answer comes, however much is sent behind; where the next request begins is known or not."""
    data, status, goes_on = REQUESTS[name]
    vnic.host(*PREFIXES)
    got = talk(netns, data + b"GET /favicon.svg HTTP/1.1\r\nHost: x\r\n\r\n")
    statuses = [int(x) for x in re.findall(rb"^HTTP/1\.1 (\d+)", got, re.M)]
    assert statuses == [status] + [200] * goes_on, got[:500]
    assert (b"Connection: close" in got) == (not goes_on), got[:500]
    assert status != 405 or b"Allow: GET, HEAD\r\n" in got


def test_old_client(netns, vnic):
    """HTTP/1.0 is told the end by the end of the connection, and typed lines may end in LF."""
    vnic.host(*PREFIXES)
    with dial(netns) as sock:
        sock.send(b"GET / HTTP/1.0\n\n")
        got = receive_all(sock)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n") and b"Connection: close\r\n" in got


def test_many(netns, vnic):
    """More connections than there is room for: the idle ones make room, a new one is answered."""
    vnic.host(*PREFIXES)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(dial(netns)) for _ in range(100)]
        for sock in idle[:80]:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                sock.send(b"GET /favicon.svg HTTP/1.1\r\nHost: x\r\n\r\n")
        answer, _ = Client(netns).get("/status.json")
        assert answer.status == 200


def test_slow_reader(netns, vnic):
    """Who asks and does not read keeps nobody else waiting."""
    vnic.host(*PREFIXES)
    with dial(netns) as sock:
        sock.setblocking(False)
        request = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n"
        with contextlib.suppress(BlockingIOError):
            for _ in range(10000):
                sock.send(request)
        for _ in range(5):
            assert Client(netns).get("/metrics")[0].status == 200


@pytest.mark.limit(90)
def test_slow_client(netns, vnic):
    """A request that does not come to its end is told so, and an empty connection is closed."""
    vnic.host(*PREFIXES)
    with dial(netns) as half, dial(netns) as empty:
        half.settimeout(40 * FACTOR)
        empty.settimeout(40 * FACTOR)
        half.send(b"GET / HT")
        assert receive_all(half).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert receive_all(empty) == b""


@pytest.mark.parametrize("options", [[], ["-k"]], ids=["close", "keep-alive"])
@pytest.mark.parametrize("queues", [1, 2])
def test_apache_bench(netns, vnic, options, queues):
    vnic.host(*PREFIXES, "--queues", queues)
    requests = 600 if not SANITIZER else 100
    done = netns.run(["ab", "-q", "-n", requests, "-c", 20, *options, "http://10.0.0.2/favicon.svg"], seconds=25)
    assert f"Complete requests:      {requests}" in done.stdout, done.stdout
    assert "Failed requests:        0" in done.stdout, done.stdout


@pytest.mark.threads
def test_many_readers(netns, vnic):
    """Each shard reads what the others write meanwhile."""
    vnic.host(*PREFIXES, "--queues", 4)
    pings = [netns.start(["ping", "-q", "-f", "-c", 300, address]) for address in PEER.values()]
    for _ in range(30):
        status = status_json(netns, "/status.json?since=0")
        assert len(status["queues"]) == 4
        metrics.parse(Client(netns).get("/metrics")[1].decode())
    for process in pings:
        assert process.wait() == 0, process


# The page.

SCREENS = {"desktop": (1440, 900), "phone": (390, 844)}


@pytest.fixture
def browser(netns):
    made = Browser(netns)
    yield made
    made.close()


@pytest.mark.skipif(bool(SANITIZER), reason="the browser is slow enough, and it is not what is looked at")
@pytest.mark.limit(90)
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page(netns, vnic, browser, screen, dark):
    """It lives: numbers move, plots are drawn, nothing is wider than the screen, no error is logged."""
    host = vnic.host(*PREFIXES)
    netns.start(["ping", "-q", "-i", "0.02", "-s", "900", PEER[4]])
    browser.show_as(*SCREENS[screen], dark=dark)
    browser.log()
    browser.open("http://10.0.0.2/")
    browser.wait_text("#live", lambda text: text == "Live")
    assert browser.text("#name") == host.name and host.name in browser.run("return document.title")
    for word in (*PREFIXES, *PEER.values()):
        assert word in browser.text("#addresses"), browser.text("#addresses")
    first = browser.wait_text("#in-rate", lambda text: "kbit/s" in text)  # 50 packets of 928 bytes
    browser.wait_text("#in-more", lambda text: re.search(r"\d packets/s", text))
    browser.wait_text("#in-rate", lambda text: text != first)
    browser.wait_text("#flows", lambda text: "ICMP" in text and "10.0.0.1→10.0.0.2" in text)
    assert "http" in browser.text("#flows")
    assert "ICMP" in browser.text("#protocols") and "KiB" in browser.text("#protocols")
    assert "echo replies" in browser.text("#events")
    assert browser.text("#no-drops") == "Nothing was dropped."
    length = "return document.querySelector('#plot path.line.in').getTotalLength()"
    wait_until(lambda: browser.run(length) > 10, "a line of some seconds", 20)
    assert browser.run("return document.querySelectorAll('#sizes rect').length") == 18
    assert browser.run("return document.documentElement.scrollWidth") <= SCREENS[screen][0]
    background = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == dark, background
    assert browser.screenshot()[:8] == b"\x89PNG\r\n\x1a\n"
    assert browser.log() == []


CONTRAST = """
function rgb(text) { return text.match(/[\\d.]+/g).map(Number); }
function light([r, g, b]) {
    return [r, g, b].map(x => x / 255).map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
        .reduce((sum, x, i) => sum + x * [.2126, .7152, .0722][i], 0);
}
const low = [];
for (const element of document.querySelectorAll("#app *")) {
    const own = [...element.childNodes].some(x => x.nodeType === 3 && x.data.trim());
    if (!own || !element.checkVisibility() || element.closest("svg"))
        continue;
    let behind = element;
    while (behind && rgb(getComputedStyle(behind).backgroundColor)[3] === 0)
        behind = behind.parentElement;
    const a = light(rgb(getComputedStyle(element).color)), b = light(rgb(getComputedStyle(behind).backgroundColor));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5)
        low.push(element.textContent + " " + ratio.toFixed(2));
}
return low;
"""


@pytest.mark.skipif(bool(SANITIZER), reason="as above")
@pytest.mark.limit(90)
def test_page_accessible(netns, vnic, browser):
    """Contrast by WCAG 2.1 (4.5), plots and buttons have names, the plot answers to keys."""
    vnic.host(*PREFIXES)
    netns.ping(PEER[4])
    for dark in (False, True):
        browser.show_as(1440, 900, dark=dark)
        browser.open("http://10.0.0.2/")
        browser.wait_text("#live", lambda text: text == "Live")
        browser.wait_text("#in-rate", lambda text: "bit/s" in text)
        assert browser.run(CONTRAST) == []
    unnamed = "return [...document.querySelectorAll('svg[role=img]')].filter(x => !x.getAttribute('aria-label')).length"
    assert browser.run(unnamed) == 0
    assert "In " in browser.run("return document.querySelector('#plot svg').getAttribute('aria-label')")
    wait_until(lambda: browser.run("return seconds.length") > 2, "three seconds", 10)
    for key in ("ArrowLeft", "ArrowLeft"):
        browser.run("document.getElementById('plot').focus(); document.getElementById('plot').dispatchEvent("
                    "new KeyboardEvent('keydown', {key: arguments[0]}))", key)
    assert "ago" in browser.text(".tip")
    before = browser.run("return seconds.length")
    wait_until(lambda: browser.run("return seconds.length") > before, "another second", 10)
    assert "ago" in browser.text(".tip")  # it and the focus survive the next picture
    assert browser.run("return document.activeElement.id") == "plot"
    browser.run("document.getElementById('packets').click()")
    assert "packets/s" in browser.run("return document.querySelector('#plot svg').getAttribute('aria-label')")
    assert browser.run("return document.getElementById('packets').getAttribute('aria-pressed')") == "true"


@pytest.mark.skipif(bool(SANITIZER), reason="as above")
@pytest.mark.limit(90)
def test_page_loses_the_host(netns, vnic, browser):
    """It says so, and goes on when there is one again."""
    host = vnic.host(*PREFIXES)
    browser.open("http://10.0.0.2/")
    browser.wait_text("#live", lambda text: text == "Live")
    host.stop()
    browser.wait_text("#live", lambda text: text == "No answer", 20)
    vnic.host(*PREFIXES)
    browser.wait_text("#live", lambda text: text == "Live", 20)


@pytest.mark.skipif(bool(SANITIZER), reason="as above")
@pytest.mark.limit(90)
def test_page_without_scripts(netns, vnic, browser):
    """The numbers of the moment stand there, and nothing that waits for a script."""
    vnic.host(*PREFIXES)
    netns.ping(PEER[4])
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    browser.open("http://10.0.0.2/")
    tree = browser.devtools("Accessibility.getFullAXTree")["nodes"]
    texts = [node.get("name", {}).get("value", "") for node in tree if not node.get("ignored")]
    assert any("The host answers as" in text for text in texts), texts
    assert "ICMP" in texts and "Dropped" in texts, texts
    assert not any("Largest flows" in text for text in texts), texts
