# SPDX-License-Identifier: MIT
"""The iperf3 service of `vnic host`, measured by the iperf3 client that everybody has.

What is looked at is that each way to measure works, and that both ends agree on what was sent and
received; never how fast it was.
"""

import json
import os
import re
import signal
import socket
import struct

import pytest

from namespace import wait_until

ADDRESSES = ("10.0.0.1/24", "fd00::1/64")
FOUR, SIX = "10.0.0.2", "fd00::2"
PORT = 5201
COOKIE = b"abcdefghijklmnopqrstuvwxyz2345672345\0"
PARAM_EXCHANGE, CREATE_STREAMS, TEST_START, TEST_RUNNING = 9, 10, 1, 2
TEST_END, EXCHANGE_RESULTS, DISPLAY_RESULTS, IPERF_DONE = 4, 13, 14, 16
SERVER_TERMINATE, CLIENT_TERMINATE = 11, 12
DENIED, ERROR = 0xff, 0xfe

pytestmark = pytest.mark.limit(60)


@pytest.fixture
def host(vnic):
    return vnic.host(*ADDRESSES)


@pytest.fixture(autouse=True)
def in_order(vnic):
    """Whatever clients did, the host ends in order: a sanitizer's findings are its exit status."""
    yield
    for running in vnic.hosts:
        running.stop()


def client(netns, *options, address=FOUR, seconds=40):
    """What the client says, as it says it."""
    return netns.run(["iperf3", "-c", address, *options], check=False, seconds=seconds)


def measure(netns, *options, address=FOUR):
    """The client's report, of a test that went well."""
    done = client(netns, "-J", *options, address=address)
    report = json.loads(done.stdout or "{}")
    assert done.returncode == 0 and "error" not in report, (
        f"iperf3 {' '.join(options)}: status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr}")
    return report["end"]


def check_both(sent, received, least):
    """Each byte that arrived was sent."""
    assert received["bytes"] >= least, f"received {received}, not {least} bytes"
    assert sent["bytes"] >= received["bytes"], f"received more than was sent: {sent}, {received}"
    assert received["seconds"] > 0 and sent["seconds"] > 0, f"{sent}, {received}"


def check_upload(end, least=1):
    """Over TCP each byte that was sent has arrived, and is counted, before the results."""
    sent, received = end["sum_sent"], end["sum_received"]
    check_both(sent, received, least)
    assert sent["bytes"] == received["bytes"], f"sent {sent}, received {received}"


def check_streams(end, count):
    streams = end["streams"]
    assert len(streams) == count, f"{len(streams)} streams, not {count}"
    for stream in streams:
        if "udp" in stream:
            assert stream["udp"]["bytes"] > 0, stream
        elif stream["sender"]["sender"]:
            assert stream["sender"]["bytes"] == stream["receiver"]["bytes"], stream
        else:
            assert stream["sender"]["bytes"] >= stream["receiver"]["bytes"] > 0, stream
            assert stream["sender"]["retransmits"] >= 0, stream


def check_datagrams(received, sent):
    assert received["packets"] <= sent["packets"], f"received {received}, sent {sent}"
    assert sent["bytes"] > 0 and received["bytes"] > 0, f"received {received}, sent {sent}"
    assert 0 <= received["lost_packets"] <= received["packets"], received
    assert received["jitter_ms"] >= 0, received


KINDS = {"tun": (), "tap": ("--tap",), "queues": ("--queues", "2"), "tap-queues": ("--tap", "--queues", "2")}


@pytest.mark.threads
@pytest.mark.parametrize("address", (FOUR, SIX))
@pytest.mark.parametrize("kind", KINDS)
def test_ways(netns, vnic, kind, address):
    """All directions, over TCP and UDP, through each kind of interface."""
    vnic.host(*ADDRESSES, *KINDS[kind])
    end = measure(netns, "-n", "2M", address=address)
    check_upload(end, 2 << 20)
    check_streams(end, 1)
    assert end["receiver_tcp_congestion"] == "cubic"

    end = measure(netns, "-n", "2M", "-R", address=address)
    check_both(end["sum_sent"], end["sum_received"], 2 << 20)
    assert end["sum_sent"]["retransmits"] >= 0
    check_streams(end, 1)

    end = measure(netns, "-t", "1", "-P", "8", address=address)
    check_upload(end)
    check_streams(end, 8)

    end = measure(netns, "-t", "1", "-P", "4", "-R", address=address)
    check_both(end["sum_sent"], end["sum_received"], 1)
    check_streams(end, 4)

    end = measure(netns, "-t", "1", "-u", "-b", "4M", address=address)
    check_datagrams(end["sum_received"], end["sum_sent"])
    end = measure(netns, "-t", "1", "-u", "-b", "4M", "-R", address=address)
    check_datagrams(end["sum_received"], end["sum_sent"])


@pytest.mark.threads
@pytest.mark.parametrize("kind", ("tun", "queues"))
def test_both_directions(netns, vnic, kind):
    """--bidir: which streams are which is told by the order in which the client has made them."""
    vnic.host(*ADDRESSES, *KINDS[kind])
    for streams in (1, 3):
        end = measure(netns, "-t", "1", "--bidir", "-P", str(streams))
        check_streams(end, 2 * streams)
        check_upload(end)
        check_both(end["sum_sent_bidir_reverse"], end["sum_received_bidir_reverse"], 1)
    end = measure(netns, "-t", "1", "--bidir", "-u", "-b", "2M", "-P", "2")
    check_streams(end, 4)
    check_datagrams(end["sum_received"], end["sum_sent"])
    check_datagrams(end["sum_received_bidir_reverse"], end["sum_sent_bidir_reverse"])


@pytest.mark.parametrize("options", (
    ("-k", "20"), ("-k", "20", "-R"), ("-n", "1M", "-l", "1000"), ("-n", "1M", "-l", "1M"),
    ("-t", "1", "-i", "0.1"), ("-n", "1M", "-w", "32K"), ("-n", "1M", "-w", "32K", "-R"),
    ("-n", "1M", "-M", "500"), ("-n", "1M", "-M", "500", "-R"), ("-n", "1M", "-Z"), ("-n", "1M", "-N"),
    ("-n", "1M", "-A", "0,0"), ("-n", "1M", "-S", "0x10"), ("-n", "1M", "-C", "reno"),
    ("-n", "1M", "-4"), ("-n", "1M", "-T", "title", "--extra-data", "x" * 5000),
    ("-n", "1M", "--repeating-payload"), ("-t", "1", "-b", "20M"), ("-t", "1", "-b", "20M/8", "-R"),
    ("-t", "1", "--fq-rate", "20M", "-R"), ("-n", "1M", "--pacing-timer", "5000", "-R")), ids=" ".join)
def test_options(netns, host, options):
    end = measure(netns, *options)
    check_both(end["sum_sent"], end["sum_received"], 1)
    if "-R" not in options:
        check_upload(end)


@pytest.mark.parametrize("options", (
    (), ("-l", "16"), ("-l", "3000"), ("-l", "20000"), ("--udp-counters-64bit",), ("-b", "0", "-n", "1M"),
    ("-b", "10M/20",), ("-S", "0x10"), ("-l", "60000", "-b", "4M")), ids=lambda x: " ".join(x) or "default")
@pytest.mark.parametrize("reverse", (False, True))
def test_udp_options(netns, host, options, reverse):
    if "-n" not in options:
        options = ("-t", "1", *options)
    end = measure(netns, "-u", *options, *["-R"] * reverse)
    check_datagrams(end["sum_received"], end["sum_sent"])


@pytest.mark.parametrize("reverse", (False, True))
def test_rate(netns, host, reverse):
    """A rate is not exceeded, whatever the machine is busy with, and slow datagrams are not lost."""
    end = measure(netns, "-u", "-t", "1", "-b", "1M", "-l", "1000", *["-R"] * reverse)
    check_datagrams(end["sum_received"], end["sum_sent"])
    assert end["sum_received"]["lost_packets"] == 0, end["sum_received"]
    if not reverse:  # otherwise the client ends while some are on their way
        assert end["sum_received"]["packets"] == end["sum_sent"]["packets"], end
    most = 1000000 / 8 * end["sum_sent"]["seconds"] + 20000
    assert end["sum_sent"]["bytes"] <= most, f"sent {end['sum_sent']}, allowed {most}"


@pytest.mark.parametrize("options", ((), ("-R",), ("-u",), ("-u", "-R")), ids=lambda x: " ".join(x) or "tcp")
def test_omit(netns, host, options):
    """What comes in the first seconds is not counted, at either end."""
    end = measure(netns, "-O", "1", "-t", "1", "-b", "8M", *options)
    for part in ("sum_sent", "sum_received"):
        assert 0 < end[part]["bytes"] < 3000000, f"{part}: {end[part]}"
        # With the second before, it would be 2.
        assert end[part]["bits_per_second"] < 15e6, f"{part}: {end[part]}"


def test_server_output(netns, host):
    done = client(netns, "-n", "1M", "-P", "2", "--get-server-output")
    assert done.returncode == 0, done.stdout + done.stderr
    output = done.stdout.split("Server output:")[1]
    assert "Accepted connection from 10.0.0.1" in output, done.stdout
    assert output.count("local 10.0.0.2 port 5201 connected to 10.0.0.1 port") == 2, done.stdout
    assert re.search(r"\[SUM\] +0.00-\d+.\d\d sec +1.\d\d MBytes +[0-9.]+ [KMG]?bits/sec  receiver", output), done.stdout
    done = client(netns, "-u", "-t", "1", "--bidir", "--get-server-output")
    output = done.stdout.split("Server output:")[1].split("iperf Done")[0]
    assert done.returncode == 0 and "%)  receiver" in output and "sender" in output, done.stdout


@pytest.mark.parametrize("options", (("-n", "1M"), ("-n", "1M", "-R"), ("-u", "-n", "20K"), ("-u", "-n", "20K", "-R")),
                         ids=" ".join)
def test_again_from_the_same_port(netns, vnic, options):
    """The client's ports are not in TIME-WAIT afterwards, and the service lets go of them at once."""
    vnic.host(*ADDRESSES, "--queues", "2")
    for _ in range(3):
        measure(netns, "--cport", "7000", *options)


def test_many_in_a_row(netns, vnic):
    """No client is refused because of the one before."""
    vnic.host(*ADDRESSES, "--queues", "2")
    for _ in range(10):
        check_upload(measure(netns, "-n", "100K"))


def start_long(netns, *options):
    """A client that measures until it is stopped: returns when its test runs."""
    process = netns.start(["iperf3", "-c", FOUR, "-t", "1000", "-i", "0.1", "--forceflush", *options])
    wait_until(lambda: "0.00-0.1" in process.stdout.text or not process.running,
               lambda: f"no interval of {process}", 20)
    assert process.running, str(process)
    return process


@pytest.mark.parametrize("options", ((), ("-R",), ("-u", "-b", "10M"), ("-u", "-R", "-b", "10M")),
                         ids=lambda x: " ".join(x) or "tcp")
@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGKILL))
def test_busy_and_aborted(netns, vnic, options, number):
    """A second client is told that there is a first one, until that is gone, however it goes."""
    vnic.host(*ADDRESSES, "--queues", "2")
    first = start_long(netns, *options)
    for more in ((), ("-u",)):
        done = client(netns, "-n", "1K", *more)
        assert done.returncode != 0 and "busy" in done.stderr, done.stdout + done.stderr
    assert first.running, str(first)
    first.signal(number)
    first.wait()
    wait_until(lambda: client(netns, "-n", "100K").returncode == 0,
               lambda: f"still busy: {client(netns, '-n', '100K')}", 20)


def test_client_is_cut_off(netns, host):
    """A client that is silent all of a sudden does not keep the others out, though no FIN comes."""
    first = start_long(netns, "-R")
    netns.run(["ip", "link", "set", host.name, "down"])
    first.signal(signal.SIGKILL)
    first.wait()
    netns.run(["ip", "link", "set", host.name, "up"])
    wait_until(lambda: client(netns, "-n", "100K").returncode == 0, "still busy", 20)


# By hand.

def call(netns, first=COOKIE):
    connection = netns.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(20)
    connection.connect((FOUR, PORT))
    connection.sendall(first)
    return connection


def read(connection, count):
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        if not more:
            break
        got += more
    return got


def expect(connection, *states):
    wanted = bytes(states)
    got = read(connection, len(wanted))
    assert got == wanted, f"{got!r}, not {wanted!r}"


def expect_end(connection):
    """The end of the connection, in whatever way, with nothing before."""
    try:
        got = connection.recv(1000)
    except ConnectionResetError:
        return
    assert got == b"", f"{got!r}, not the end"


def send_json(connection, value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    connection.sendall(struct.pack(">I", len(text)) + text)


def expect_error(connection, problem):
    got = read(connection, 9)
    assert got == struct.pack(">BII", ERROR, problem, 0), f"{got!r}, not the error {problem}"
    expect_end(connection)


PARAMETERS = {"tcp": True, "omit": 0, "time": 0, "num": 1000, "parallel": 1, "len": 1000}


def begin(netns, parameters=PARAMETERS):
    control = call(netns)
    expect(control, PARAM_EXCHANGE)
    send_json(control, parameters)
    return control


def test_conversation(netns, host):
    """Step by step, byte by byte, with two streams of a bidirectional test."""
    control = call(netns, b"")
    for byte in COOKIE:
        control.sendall(bytes([byte]))
    expect(control, PARAM_EXCHANGE)
    text = json.dumps({**PARAMETERS, "bidirectional": True}).encode()
    for byte in struct.pack(">I", len(text)) + text:
        control.sendall(bytes([byte]))
    expect(control, CREATE_STREAMS)
    up = call(netns)
    down = call(netns)
    expect(control, TEST_START, TEST_RUNNING)
    up.sendall(b"x" * 5000)
    assert len(read(down, 5000)) == 5000
    control.sendall(bytes([TEST_END]))
    expect(control, EXCHANGE_RESULTS)
    send_json(control, {"streams": [{"id": 1, "bytes": 5000}, {"id": 3, "bytes": 5000}]})
    results = json.loads(read(control, struct.unpack(">I", read(control, 4))[0]))
    assert results["sender_has_retransmits"] == 1, results
    assert [x["id"] for x in results["streams"]] == [1, 3], results
    assert results["streams"][0]["bytes"] == 5000, results
    assert results["streams"][1]["bytes"] >= 5000, results
    assert results["streams"][0]["retransmits"] == -1, results
    assert results["streams"][1]["retransmits"] >= 0, results
    expect(control, DISPLAY_RESULTS)
    assert up.recv(1) == b"", "the service finishes its side of a stream"
    control.sendall(bytes([IPERF_DONE]))
    expect_end(control)


def test_strangers(netns, vnic):
    """Cookies that nobody knows are refused while a test goes on, and do it no harm."""
    vnic.host(*ADDRESSES, "--queues", "2")
    control = begin(netns)
    expect(control, CREATE_STREAMS)
    for cookie in (COOKIE.replace(b"a", b"z"), b"z" * 36 + b"\0"):
        stranger = call(netns, cookie)
        expect(stranger, DENIED)
        expect_end(stranger)
    stream = call(netns)
    expect(control, TEST_START, TEST_RUNNING)
    late = call(netns)  # one more than was agreed upon
    expect(late, DENIED)
    stream.sendall(b"x" * 1000)
    control.sendall(bytes([TEST_END]))
    expect(control, EXCHANGE_RESULTS)
    send_json(control, {"streams": [{"id": 1, "bytes": 1000}]})
    results = json.loads(read(control, struct.unpack(">I", read(control, 4))[0]))
    assert results["streams"][0]["bytes"] == 1000, results


@pytest.mark.parametrize("greeting", (
    b"GET / HTTP/1.1\r\nHost: 10.0.0.2\r\nAccept: */*\r\n\r\n", bytes(37), b"\xff" * 37, b"a" * 37,
    b"short\0" + b"x" * 31, COOKIE + b"more", os.urandom(5000)), ids=range(7))
def test_garbage_for_a_cookie(netns, host, greeting):
    stranger = call(netns, greeting)
    expect_end(stranger)
    check_upload(measure(netns, "-n", "100K"))


@pytest.mark.parametrize("text, problem", (
    (b"{{{{{{", 114), (b"[]", 114), (b"null", 114), (b"\0\0\0", 114), (b"[" * 5000, 114), (b"{}", 114),
    ({**PARAMETERS, "parallel": 129}, 6), ({**PARAMETERS, "parallel": 0}, 6), ({**PARAMETERS, "parallel": "8"}, 6),
    ({**PARAMETERS, "time": 86401}, 5), ({**PARAMETERS, "time": -1}, 5), ({**PARAMETERS, "omit": 601}, 12),
    ({**PARAMETERS, "len": 1 << 21}, 7), ({**PARAMETERS, "tcp": False, "udp": True, "len": 65508}, 20),
    ({**PARAMETERS, "tcp": False, "udp": True, "len": 11}, 20), ({**PARAMETERS, "bandwidth": 1e300}, 114),
    ({**PARAMETERS, "reverse": True, "bidirectional": True}, 25), ({"sctp": True}, 18)), ids=range(18))
def test_bad_parameters(netns, host, text, problem):
    control = begin(netns, text)
    expect_error(control, problem)
    check_upload(measure(netns, "-n", "100K"))


@pytest.mark.parametrize("length", (0, 131073, 0x7fffffff, 0xffffffff))
def test_bad_length(netns, host, length):
    control = call(netns)
    expect(control, PARAM_EXCHANGE)
    control.sendall(struct.pack(">I", length))
    expect_error(control, 114)
    check_upload(measure(netns, "-n", "100K"))


@pytest.mark.parametrize("state", (TEST_END, IPERF_DONE, TEST_RUNNING, 0, 100, 255))
def test_state_at_the_wrong_time(netns, host, state):
    control = begin(netns)
    expect(control, CREATE_STREAMS)
    control.sendall(bytes([state]))
    expect_error(control, 110)
    check_upload(measure(netns, "-n", "100K"))


@pytest.mark.parametrize("results", (b"{}", b"{{{", b'{"streams":[1]}', b'{"streams":{}}',
                                     {"streams": [{"id": 1, "bytes": -1}]},
                                     {"streams": [{"id": 1, "bytes": 1}] * 257}), ids=range(6))
def test_bad_results(netns, host, results):
    control = begin(netns)
    expect(control, CREATE_STREAMS)
    stream = call(netns)
    expect(control, TEST_START, TEST_RUNNING)
    control.sendall(bytes([TEST_END]))
    expect(control, EXCHANGE_RESULTS)
    send_json(control, results)
    expect_error(control, 117)
    expect_end(stream)
    check_upload(measure(netns, "-n", "100K"))


def test_results_that_never_arrive(netns, host):
    """A client may say that it has sent what it has not: it is waited for, but not for ever."""
    control = begin(netns)
    expect(control, CREATE_STREAMS)
    stream = call(netns)
    expect(control, TEST_START, TEST_RUNNING)
    stream.sendall(b"x" * 100)
    control.sendall(bytes([TEST_END]))
    expect(control, EXCHANGE_RESULTS)
    send_json(control, {"streams": [{"id": 1, "bytes": 1 << 50}, {"id": 77, "bytes": 1}]})
    results = json.loads(read(control, struct.unpack(">I", read(control, 4))[0]))
    assert results["streams"][0]["bytes"] == 100, results
    expect(control, DISPLAY_RESULTS)


def test_client_terminates(netns, host):
    control = begin(netns)
    expect(control, CREATE_STREAMS)
    control.sendall(bytes([CLIENT_TERMINATE]))
    expect_end(control)
    check_upload(measure(netns, "-n", "100K"))


@pytest.mark.parametrize("step", (0, 1, 2, 3))
def test_silence(netns, host, step):
    """A client that says no more has 10 seconds; the next one is served afterwards."""
    control = call(netns, COOKIE if step else COOKIE[:20])
    if step >= 1:
        expect(control, PARAM_EXCHANGE)
    if step >= 2:
        send_json(control, PARAMETERS)
        expect(control, CREATE_STREAMS)
    if step >= 3:
        stream = call(netns)
        expect(control, TEST_START, TEST_RUNNING)
        control.sendall(bytes([TEST_END]))
        expect(control, EXCHANGE_RESULTS)
    if step:
        expect(control, SERVER_TERMINATE)
    expect_end(control)
    if step >= 3:
        expect_end(stream)
    check_upload(measure(netns, "-n", "100K"))


def test_many_that_say_nothing(netns, host):
    """The oldest of those without a cookie have to go; a client is served all the same."""
    silent = [call(netns, b"") for _ in range(300)]
    check_upload(measure(netns, "-n", "100K"))
    expect_end(silent[0])


def test_udp_from_strangers(netns, host):
    """Without a test that waits for it a greeting has no answer; with one, nothing else has."""
    greeting, answer = struct.pack("<I", 0x36373839), struct.pack("<I", 0x39383736)
    stranger = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.settimeout(20)
    stranger.connect((FOUR, PORT))
    stranger.send(greeting)
    control = begin(netns, {**PARAMETERS, "tcp": False, "udp": True, "parallel": 2})
    expect(control, CREATE_STREAMS)
    for wrong in (b"", b"123", b"12345", b"9876x", os.urandom(2000)):
        stranger.send(wrong)
    old = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    old.settimeout(20)
    old.connect((FOUR, PORT))
    old.send(struct.pack("<I", 123456789))  # as before version 3.12
    assert old.recv(100) == struct.pack("<I", 987654321)
    stranger.send(greeting)
    assert stranger.recv(100) == answer
    expect(control, TEST_START, TEST_RUNNING)
    # Numbers 1, 4, 3: one is lost. Then what is none.
    for number in (1, 4, 3):
        stranger.send(struct.pack(">III", 1, 0, number) + bytes(88))
    for wrong in (b"", b"12345", struct.pack(">III", 1, 1000000, 9)):
        stranger.send(wrong)
    control.sendall(bytes([TEST_END]))
    expect(control, EXCHANGE_RESULTS)
    send_json(control, {"streams": [{"id": 1, "packets": 0}, {"id": 3, "packets": 4}]})
    results = json.loads(read(control, struct.unpack(">I", read(control, 4))[0]))
    lines = results["streams"]
    assert (lines[0]["packets"], lines[0]["bytes"]) == (0, 0), results
    assert (lines[1]["packets"], lines[1]["errors"], lines[1]["bytes"]) == (4, 1, 300), results
    assert "congestion_used" not in results, results
