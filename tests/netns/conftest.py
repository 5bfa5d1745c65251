# SPDX-License-Identifier: MIT
"""Fixtures for the tests on real interfaces.

    def test_something(netns, vnic):
        host = vnic.host("10.0.0.1/24")             # `vnic host --json ...`, ready to answer
        netns.run(["ping", "-c1", "10.0.0.2"])      # any command in the namespace; asserts status 0
        netns.start([...])                          # one that goes on running
        wire = netns.wire(host.name)                # packets by scapy: wire.send(), wire.receive()
        summary = host.stop()                       # SIGTERM; the counters of the JSON summary
        done = vnic.run("show")                     # another command to its end, any status
        vnic.run("host", "fd00::1/64", "--private", user=NOBODY)

    netns   a network namespace of the test's own, with its own /run, /sys and /dev/net/tun
    vnic    the tool inside of it. At the end what still runs is stopped, and a process or an
            interface that it left behind is a failure
    spare   makes further namespaces: spare()

See namespace.py. Marks: `threads`: run under TSan too; `limit(seconds)`: instead of 30 s.
Needs root. The time limits grow with VNIC_TEST_FACTOR, by default after the sanitizer in use.
"""

import faulthandler
import os
import shutil
import signal
import sys

import pytest

from namespace import FACTOR, Namespace, Tool, install_tool

LIMIT = 30  # seconds for each test


class TimeLimit(Exception):
    """Not an AssertionError, so that no test takes it for its own."""


def pytest_configure(config):
    config.addinivalue_line("markers", "threads: of the threaded parts: run under TSan too")
    config.addinivalue_line("markers", "limit(seconds): time limit of this test")


def limited(item, phase):
    marker = item.get_closest_marker("limit")
    seconds = (marker.args[0] if marker else LIMIT) * FACTOR

    def expired(_number, _frame):
        raise TimeLimit(f"{item.nodeid}: {phase} took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    # Where Python itself hangs the signal is not delivered: then the whole run ends, and
    # tests/run names the test that was running.
    faulthandler.dump_traceback_later(seconds + 30, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    yield from limited(item, "setup")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    yield from limited(item, "test")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    yield from limited(item, "teardown")


@pytest.fixture(scope="session")
def vnic_path():
    """The path of the tool, which every user may run."""
    directory = install_tool()
    yield os.path.join(directory, "vnic")
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def netns():
    space = Namespace()
    yield space
    space.destroy()


@pytest.fixture
def spare():
    """More namespaces: each call makes one."""
    spaces = []

    def make():
        spaces.append(Namespace())
        return spaces[-1]

    yield make
    for space in spaces:
        space.destroy()


@pytest.fixture
def vnic(netns, vnic_path):
    tool = Tool(netns, vnic_path)
    yield tool
    problems = tool.finish()
    # What a test made itself, persistent interfaces among it, it names in tool.expected.
    left = netns.links() - tool.expected
    if left:
        problems.append(f"interfaces left behind: {sorted(left)}")
    assert not problems, "\n".join(problems)
