# SPDX-License-Identifier: MIT
"""A laboratory: network namespaces, and processes in them, for as long as one measurement takes.

Everything runs below enclose(): in a process, mount and network namespace of our own, the latter
without a way out. The kernel ends all of it when we end, in whatever way, so nothing is left
behind; and the names of `ip netns` are private, so they can be short.
"""

import contextlib
import ctypes
import fcntl
import http.client
import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, IFF_UP = 0x8913, 1
LIBC = ctypes.CDLL(None, use_errno=True)
INSIDE = "VNIC_BENCH_INSIDE"
HOME = ""  # the namespace that we are in ourselves


class Failure(Exception):
    """Something cannot be measured; the text is for people."""


def enclose(arguments):
    """Runs this program again, enclosed; returns its exit status. None: this is the one inside."""
    if os.environ.get(INSIDE):
        prepare_inside()
        return None
    command = [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=SIGKILL",
        "--mount-proc",
    ]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    child = subprocess.Popen(
        command + [sys.executable, "-B"] + arguments,
        env={**os.environ, INSIDE: "1"},
        preexec_fn=inner_signals,
    )
    for number in signal.SIGTERM, signal.SIGHUP, signal.SIGALRM:
        signal.signal(number, lambda *_: child.kill())
    # Ctrl-C reaches the one inside as well. It has a moment to say what there is to say.
    signal.signal(signal.SIGINT, lambda *_: signal.alarm(2))
    return child.wait()


def inner_signals():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def prepare_inside():
    # Of our own: names of namespaces, wireguard's sockets, files for the moment.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    os.mkdir("/run/netns")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # The first process of a process namespace gets no signal that it does not handle.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def inside(netns):
    """Enters a namespace for what this thread does itself."""
    with contextlib.ExitStack() as stack:
        if netns != HOME:
            home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, home)
            there = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, there)
            if LIBC.setns(there, CLONE_NEWNET):
                raise Failure(f"setns: {os.strerror(ctypes.get_errno())}")
            stack.callback(LIBC.setns, home, CLONE_NEWNET)
        yield


class Process:
    """A program in a namespace, on given processors, in a session of its own."""

    def __init__(self, lab, arguments, netns, cpus):
        self.arguments = arguments
        self.name = os.path.basename(arguments[0])
        self.errors = tempfile.TemporaryFile()
        prefix = [] if netns == HOME else ["nsenter", f"--net=/run/netns/{netns}"]
        prefix += ["taskset", "-c", cpus] if cpus else []
        lab.tell(f"  {netns or 'home'}: " + shlex.join(prefix[-3:] * bool(cpus) + arguments))
        self.popen = subprocess.Popen(
            prefix + arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,
        )

    def wait_ready(self, limit=5):
        """Until it prints its first line."""
        os.set_blocking(self.popen.stdout.fileno(), False)
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self.popen.stdout.read(6):
                os.set_blocking(self.popen.stdout.fileno(), True)
                return
            self.check_alive()
            time.sleep(0.002)
        raise Failure(f"{self.name}: not ready after {limit} s{self.complaint()}")

    def check_alive(self, patience=0):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(patience)
            raise Failure(f"{self.name} ended with {self.popen.returncode}{self.complaint()}")

    def complaint(self):
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def result(self, limit):
        """What it printed, once it ended well."""
        try:
            output, _ = self.popen.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{self.name}: killed, since it hung for {limit:.0f} s") from None
        if self.popen.returncode != 0:
            raise Failure(f"{self.name} ended with {self.popen.returncode}{self.complaint()}")
        return output.decode(errors="replace")

    def kill(self):
        """Politely for a moment, as the program may have something of its own to remove."""
        for number, patience in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.popen.pid, number)
            except ProcessLookupError:
                pass
            try:
                self.popen.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        self.popen.stdout.close()
        self.errors.close()


class Lab:
    """As a context manager: its end kills every process and removes every namespace."""

    def __init__(self, settings):
        self.settings = settings
        self.processes = []
        self.namespaces = []
        self.tell = settings.tell
        self.directory = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
        for netns in self.namespaces:
            subprocess.run(["ip", "netns", "delete", netns], check=False)
        if self.directory:
            self.directory.cleanup()

    def netns(self, name):
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.namespaces.append(name)
        self.ip(name, "link set lo up")
        return name

    def ip(self, netns, *lines):
        """Commands of ip(8), in one call."""
        for line in lines:
            self.tell(f"  {netns or 'home'}: ip {line}")
        command = ["ip"] + (["-n", netns] if netns != HOME else []) + ["-batch", "-"]
        done = subprocess.run(
            command, input="\n".join(lines) + "\n", text=True, capture_output=True, check=False
        )
        if done.returncode != 0:
            for process in self.processes:
                process.check_alive(0.2)  # where its end is the cause, its own words are better
            raise Failure(f"ip {'; '.join(lines)}: {done.stderr.strip().splitlines()[0]}")

    def start(self, arguments, netns=HOME, cpus=None):
        """One that goes on running. By default it may run on all processors of the benchmark."""
        process = Process(self, arguments, netns, cpus or self.settings.cpus)
        self.processes.append(process)
        return process

    def stop(self, process):
        process.kill()
        self.processes.remove(process)

    def scratch(self):
        if not self.directory:
            self.directory = tempfile.TemporaryDirectory(dir="/run")
        return self.directory.name

    def sysctl(self, netns, name, value):
        self.tell(f"  {netns or 'home'}: sysctl net.{name}={value}")
        with inside(netns), open(
            f"/proc/sys/net/{name.replace('.', '/')}", "w", encoding="ascii"
        ) as file:
            file.write(value)

    def fetch(self, netns, target, path, limit=5):
        """What GET answers as (fields, body), as soon as somebody does."""
        deadline = time.monotonic() + limit
        while True:
            try:
                with inside(netns), contextlib.closing(
                    http.client.HTTPConnection(target, timeout=limit)
                ) as connection:
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    body = answer.read()
            except ConnectionRefusedError:
                for process in self.processes:
                    process.check_alive()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
                continue
            except http.client.HTTPException as error:
                raise Failure(f"GET {path}: {error!r}") from error
            if answer.status != 200:
                raise Failure(f"GET {path}: status {answer.status}")
            return answer.getheaders(), body

    def wait_interface(self, netns, name, process, limit=5, up=False):
        """Until it is there, or up."""
        request = struct.pack("16sH14x", name.encode(), 0)
        deadline = time.monotonic() + limit
        with inside(netns), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    flags = struct.unpack("16sH14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
                    if flags & IFF_UP or not up:
                        return
                process.check_alive()
                time.sleep(0.002)
        raise Failure(f"{process.name}: no interface {name} after {limit} s{process.complaint()}")

    def wait_path(self, netns, target, limit=5):
        """Until the other end answers a ping. Without a route ping ends at once, so again."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            done = subprocess.run(
                [
                    "nsenter",
                    f"--net=/run/netns/{netns}",
                    "ping",
                    "-q",
                    "-c",
                    "1",
                    "-i",
                    "0.02",
                    "-w",
                    "1",
                    target,
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            if done.returncode == 0:
                return
            for process in self.processes:
                process.check_alive()
            time.sleep(0.01)
        complaints = "".join(process.complaint() for process in self.processes)
        raise Failure(f"no way to the other end after {limit} s{complaints}")
