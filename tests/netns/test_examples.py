# SPDX-License-Identifier: MIT
"""The examples do what their first comments say."""

import importlib.util
import os
import re
import signal
import socket
import sys
import threading

import pytest

from namespace import BUILD, FACTOR, ROOT, wait_until

EXAMPLES = os.path.join(BUILD, "examples")
SOURCES = os.path.join(ROOT, "examples")
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def start(netns, name, *arguments):
    """An example of ours, with its interface up."""
    process = netns.start([os.path.join(EXAMPLES, name), *arguments])

    def is_up():
        links = netns.links()
        return not process.running or (links and "UP" in netns.link(min(links))["flags"])

    wait_until(is_up, lambda: f"up\n{process}")
    assert process.running, f"ended: {process}"
    return process


def end(process, number, status):
    process.signal(number)
    got = process.wait()
    assert got == status, f"status {got}, not {status}: {process}"
    return process.stdout.text


@pytest.mark.threads
def test_tun(netns):
    tun = start(netns, "tun")
    netns.ping("10.0.0.2", "-i", "0.01")
    netns.ping("10.0.0.254", "-i", "0.01", "-s", 65507)
    end(tun, signal.SIGINT, -signal.SIGINT)
    assert netns.links() == set(), "the interface is still there"


@pytest.mark.parametrize("name, most", [("tun", 40), ("tcp_echo", 60)])
def test_fits_on_a_page(name, most):
    with open(os.path.join(SOURCES, f"{name}.c"), encoding="ascii") as file:
        lines = len(file.readlines())
    assert lines <= most, f"{lines} lines"


def connect(netns, address):
    client = netns.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(10 * FACTOR)
    client.connect(address)
    return client


def exchange(client, data):
    """Sends and receives at once, for neither side keeps more than its window; then the end, both ways."""
    def send():
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    received = bytearray()
    while chunk := client.recv(1 << 16):
        received += chunk
    sender.join()
    client.close()
    return bytes(received)


@pytest.mark.threads
def test_tcp_echo(netns):
    server = start(netns, "tcp_echo")
    for length in (0, 1, 1000, 3_000_001):
        data = os.urandom(length)
        assert exchange(connect(netns, ("10.0.0.2", 7)), data) == data, f"{length} bytes\n{server}"
    # Several at once, one of which does not read what it is sent.
    lazy = connect(netns, ("10.0.0.3", 7))
    lazy.settimeout(0.2)
    with pytest.raises(TimeoutError):
        while True:
            lazy.send(bytes(1 << 16))
    clients = [connect(netns, ("10.0.0.2", 7)) for _ in range(20)]
    data = os.urandom(10_000)
    assert [exchange(client, data) for client in clients] == [data] * 20, server
    lazy.close()
    with pytest.raises(ConnectionRefusedError):
        connect(netns, ("10.0.0.2", 8))
    end(server, signal.SIGINT, -signal.SIGINT)


def test_tcp_echo_with_a_program(netns):
    server = start(netns, "tcp_echo")
    done = netns.run(["curl", "--silent", "--show-error", "--max-time", "10", "telnet://10.0.0.2:7"],
                     input="hello\n", check=False)
    assert done.stdout == "hello\n", f"{done}\n{server}"


@pytest.mark.parametrize("name", ["tun", "tcp_echo", "handler"])
def test_without_privilege(netns, name):
    done = netns.run(["setpriv", "--bounding-set", "-all", os.path.join(EXAMPLES, name)], check=False)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert re.fullmatch(rf"{name}: cannot .*: Operation not permitted\n", done.stderr), done.stderr


@pytest.mark.threads
def test_handler(netns):
    handler = start(netns, "handler")
    assert handler.stdout.wait("10.0.0.1/24"), handler
    netns.ping("10.0.0.2", "-i", "0.01", count=5)
    netns.ping("10.0.0.77", "-i", "0.01", count=5)
    netns.run(["ping", "-c1", "-W1", "-b", "10.0.0.255"], check=False)  # is not answered
    lines = end(handler, signal.SIGINT, 0).splitlines()
    requests = [line for line in lines if "ICMP echo request" in line]
    # The kernel answers a broadcast ping of its own by itself, if at all.
    assert len([line for line in requests if "10.0.0.1 > 10.0.0.2 " in line]) == 5, lines
    assert len([line for line in requests if "10.0.0.1 > 10.0.0.77 " in line]) == 5, lines
    assert lines[-1] == "10 pings answered", lines
    assert netns.links() == set(), "the interface is still there"


def test_handler_with_another_network(netns):
    handler = start(netns, "handler", "192.168.7.1/30")
    assert handler.stdout.wait("192.168.7.1/30"), handler
    netns.ping("192.168.7.2", "-i", "0.01")
    assert end(handler, signal.SIGTERM, 0).splitlines()[-1] == "3 pings answered"


def test_handler_with_a_bad_network(netns):
    done = netns.run([os.path.join(EXAMPLES, "handler"), "10.0.0.1/33"], check=False)
    assert done.returncode == 1, done
    assert done.stderr.startswith("handler: ") and "10.0.0.1/33" in done.stderr, done.stderr


def test_handler_sees_what_happens_to_the_interface(netns):
    handler = start(netns, "handler")
    assert handler.stdout.wait("10.0.0.1/24"), handler
    name, = netns.links()
    for command, seen in [("set dev {} down", "down"), ("set dev {} up", "up"), ("delete {}", "gone")]:
        netns.run(["ip", "link", *command.format(name).split()])
        assert handler.stdout.wait(f"{name}: {seen}"), f"{seen}: {handler}"
    assert handler.wait() == 1, handler
    assert handler.stderr.text == f"handler: interface '{name}' is gone", handler


def test_handler_in_python(netns, vnic):
    responder = vnic.start("exec", "10.0.0.1/24", "--", PYTHON, os.path.join(SOURCES, "handler.py"),
                           json=False)
    assert responder.stdout.wait("answering on"), responder
    netns.ping("10.0.0.2", "-i", "0.01")
    netns.ping("10.0.0.3", "-i", "0.01", "-s", 1001)  # an odd number of bytes


def test_handler_in_python_wants_a_descriptor(netns):
    done = netns.run([PYTHON, os.path.join(SOURCES, "handler.py")], check=False)
    assert done.returncode == 1 and "VNIC_FD" in done.stderr, done


def test_handler_in_python_survives_any_bytes():
    spec = importlib.util.spec_from_file_location("handler", os.path.join(SOURCES, "handler.py"))
    handler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(handler)
    from scapy.layers.inet import ICMP, IP
    good = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(id=1, seq=2) / b"hello")
    reply = IP(handler.answer(good))
    assert (reply.src, reply.dst, reply[ICMP].type) == ("10.0.0.2", "10.0.0.1", 0)
    assert bytes(reply[ICMP].payload) == b"hello"
    checksums = reply.chksum, reply[ICMP].chksum
    del reply.chksum, reply[ICMP].chksum
    rebuilt = IP(bytes(reply))
    assert checksums == (rebuilt.chksum, rebuilt[ICMP].chksum)
    for length in range(len(good)):
        assert handler.answer(good[:length]) is None, f"cut off after {length} bytes"
    for at in range(len(good)):
        for value in range(256):
            handler.answer(good[:at] + bytes([value]) + good[at + 1:])
