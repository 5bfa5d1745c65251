# SPDX-License-Identifier: MIT
"""Network namespaces for the tests, and what runs in them.

A namespace is held by a process of its own that waits for the end of its standard input, so it ends
with us whatever happens. It also has a mount namespace: its own /run (names of `ip netns` are
private), its own /sys, and its own /dev/net/tun with the permissions that udev gives it.

Commands enter by nsenter. Sockets are made inside by this process itself, which enters for the one
system call: a socket stays where it was made. So packets are built and read by scapy here, without
starting another Python for each.

Everything started in a namespace carries a mark in its environment, which its children inherit. By
it they are found again, however they were detached, and in whichever namespace they are by then.
"""

import contextlib
import ctypes
import errno
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("VNIC_BUILD", os.path.join(ROOT, "build")))
SANITIZER = os.environ.get("VNIC_SANITIZER", "")  # "", "address" or "thread"
# How much longer everything may take than on an idle machine without a sanitizer.
FACTOR = float(os.environ.get("VNIC_TEST_FACTOR", {"": 1, "address": 4, "thread": 8}[SANITIZER]))
MARK = "VNIC_TEST_MARK"
NOBODY = 65534
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def wait_until(condition, what, seconds=5):
    """Waits until condition() is true, and returns its value; fails with `what` when it does not
    become so. `what` may be a function, called at the end to say what was found instead."""
    deadline = time.monotonic() + seconds * FACTOR
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * FACTOR:g} s: {what() if callable(what) else what}")
        time.sleep(0.002)


def processes_with_mark(mark):
    """{pid: command line} of every process that was started with this mark. No zombies."""
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
            if wanted not in environment:
                continue
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                found[int(pid)] = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
    return found


class Lines:
    """What a process prints, line by line, while it runs."""

    def __init__(self, stream):
        self.stream = stream
        self.lines = []
        self.ended = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.stream:
            with self.changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    @property
    def text(self):
        with self.changed:
            return "\n".join(self.lines)

    def wait(self, predicate, seconds=5):
        """The first line for which predicate(line) is true, or None. A text is searched for."""
        match = predicate if callable(predicate) else (lambda line: predicate in line)
        seen = 0

        def found():
            nonlocal seen
            while seen < len(self.lines):
                seen += 1
                if match(self.lines[seen - 1]):
                    return True
            return self.ended

        with self.changed:
            self.changed.wait_for(found, seconds * FACTOR)
            for line in self.lines[:seen]:
                if match(line):
                    return line
        return None

    def finish(self):
        """Waits for the end of the stream. A process that holds it open is not waited for."""
        self.thread.join(2 * FACTOR)
        return self.text


class Process:
    """A command that goes on running, its output collected."""

    def __init__(self, popen, mark, command):
        self.popen = popen
        self.pid = popen.pid
        self.mark = mark
        self.command = command
        self.stdout = Lines(popen.stdout) if popen.stdout else None
        self.stderr = Lines(popen.stderr) if popen.stderr else None

    @property
    def running(self):
        return self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def wait(self, seconds=10):
        """Waits for its end: the exit status, as subprocess gives it (-N: ended by signal N)."""
        try:
            status = self.popen.wait(seconds * FACTOR)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds * FACTOR:g} s: {self}") from None
        for lines in (self.stdout, self.stderr):
            if lines:
                lines.finish()
        return status

    def __str__(self):
        out = self.stdout.text if self.stdout else "(not collected)"
        err = self.stderr.text if self.stderr else "(not collected)"
        return (f"{shlex.join(self.command)}\n  status: {self.popen.poll()}\n"
                f"  stdout: {out}\n  stderr: {err}")

    def family(self):
        """It and everything that it started and that still runs: {pid: command line}."""
        return processes_with_mark(self.mark)

    def kill(self):
        for _ in range(50):
            family = self.family()
            if not family:
                break
            for pid in family:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        if self.running:
            self.popen.kill()
        self.popen.wait()


class Wire:
    """A packet socket on an interface of the namespace: what the kernel's side of the virtual NIC
    sends and receives. TAP: Ethernet frames; TUN: IP packets."""

    def __init__(self, namespace, name):
        self.socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self.socket.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
        self.socket.bind((name, 3))
        self.name = name
        self.ethernet = self.socket.getsockname()[3] == 1  # ARPHRD_ETHER

    def send(self, packet):
        data = bytes(packet)
        if self.ethernet:
            self.socket.send(data)
        else:
            version = data[0] >> 4 if data else 0
            self.socket.sendto(data, (self.name, 0x86dd if version == 6 else 0x0800))

    def receive(self, seconds=2):
        """The next packet that came from the virtual NIC, parsed by scapy; None: none came."""
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6
        from scapy.layers.l2 import Ether
        deadline = time.monotonic() + seconds * FACTOR
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data, ancillary, _, address = self.socket.recvmsg(1 << 17, 256)
            except (TimeoutError, socket.timeout):
                return None
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # told once; it goes on when the interface is up
                    continue
                raise
            if address[2] == 4:  # PACKET_OUTGOING: the kernel's own
                continue
            if self.ethernet:
                return Ether(self._with_vlan(data, ancillary))
            return IPv6(data) if data[:1] and data[0] >> 4 == 6 else IP(data)

    @staticmethod
    def _with_vlan(data, ancillary):
        """The kernel takes the VLAN tag out of a frame, and tells it beside."""
        for level, kind, auxiliary in ancillary:
            if (level, kind) == (263, 8):
                state, _, _, _, _, tag, protocol = struct.unpack_from("=IIIHHHH", auxiliary)
                if state & 0x10:  # TP_STATUS_VLAN_VALID
                    return data[:12] + struct.pack("!HH", protocol or 0x8100, tag) + data[12:]
        return data

    def receive_until(self, predicate, seconds=2):
        """All packets up to the one for which predicate(packet) is true, that one included."""
        packets = []
        deadline = time.monotonic() + seconds * FACTOR
        while True:
            packet = self.receive(max(0, deadline - time.monotonic()) / FACTOR)
            if packet is None:
                shown = "\n".join(f"  {p.summary()}" for p in packets)
                raise AssertionError(f"the packet waited for did not come; what came:\n{shown}")
            packets.append(packet)
            if predicate(packet):
                return packets

    def close(self):
        self.socket.close()


class Namespace:
    """A network namespace of a test's own."""

    def __init__(self):
        self.mark = uuid.uuid4().hex
        self.children = []
        self.wires = []
        script = ("set -e; mount -t tmpfs -o mode=0755 tmpfs /run; mount -t sysfs sysfs /sys;"
                  "if mknod -m 0666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun;"
                  "then touch /run/own-node; fi 2>/dev/null; ip link set lo up; echo ready; exec cat")
        # unshare does not fork, so the process is the holder itself.
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.pid = self.holder.pid
        first = self.holder.stdout.readline()
        if first != b"ready\n":
            rest = first + self.holder.stdout.read()
            self.destroy()
            raise RuntimeError(f"cannot make a network namespace: {rest.decode()}")
        self.path = f"/proc/{self.pid}/ns/net"
        # A file of it, since a test may outlive the path, and the inode tells namespaces apart.
        self.descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def own_node(self):
        """True where /dev/net/tun is the namespace's own, so that its permissions may be changed."""
        return os.path.exists(f"/proc/{self.pid}/root/run/own-node")

    def chmod_node(self, mode):
        assert self.own_node, "would change the machine's /dev/net/tun"
        os.chmod(f"/proc/{self.pid}/root/run/tun", mode)

    def _command(self, command, user):
        prefix = ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt"]
        if user is not None:
            prefix += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return prefix + ["--"] * (user is None) + [str(x) for x in command]

    def _environment(self, env, mark):
        environment = dict(os.environ)
        environment["LC_ALL"] = "C.UTF-8"
        environment[MARK] = mark
        environment.update(env or {})
        return environment

    def start(self, command, *, user=None, env=None, stdin=subprocess.DEVNULL,
              stdout=subprocess.PIPE, stderr=subprocess.PIPE, collect=True, **options):
        """Starts a command and returns a Process. It is killed at the end of the test."""
        mark = f"{self.mark}.{len(self.children)}."
        popen = subprocess.Popen(self._command(command, user), stdin=stdin, stdout=stdout,
                                 stderr=stderr, env=self._environment(env, mark), **options)
        if collect:
            process = Process(popen, mark, [str(x) for x in command])
        else:  # the pipes are the caller's
            out, err, popen.stdout, popen.stderr = popen.stdout, popen.stderr, None, None
            process = Process(popen, mark, [str(x) for x in command])
            popen.stdout, popen.stderr = out, err
        self.children.append(process)
        return process

    def run(self, command, *, check=True, user=None, env=None, seconds=20, input=None, **options):
        """Runs a command to its end: a CompletedProcess with text. A failure is an AssertionError
        that shows the output, unless check is False."""
        mark = f"{self.mark}.run."
        if input is None:
            options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        try:
            done = subprocess.run(self._command(command, user), env=self._environment(env, mark),
                                  timeout=seconds * FACTOR, input=input, text=True,
                                  errors="replace", check=False, **options)
        except subprocess.TimeoutExpired as late:
            for pid in processes_with_mark(mark):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"still runs after {seconds * FACTOR:g} s: "
                                 f"{shlex.join(map(str, command))}\n{late.stdout}\n{late.stderr}") from None
        if check:
            assert done.returncode == 0, (f"{shlex.join(map(str, command))}: status "
                                          f"{done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, command, **options):
        """Runs a command that prints JSON, such as ["ip", "-j", "addr"]."""
        return json.loads(self.run(command, **options).stdout or "[]")

    def echo_replies(self):
        """How many the kernel took in here, of both families."""
        with open(f"/proc/{self.pid}/net/snmp", encoding="ascii") as file:
            names, values = [line.split() for line in file if line.startswith("Icmp:")]
        with open(f"/proc/{self.pid}/net/snmp6", encoding="ascii") as file:
            six = dict(line.split() for line in file)
        return int(values[names.index("InEchoReps")]) + int(six.get("Icmp6InEchoReplies", 0))

    def ping(self, address, *options, count=3):
        """ping, of which every single reply must come, once and unchanged. Returns its output.

        ping waits no longer than two round trips for the last ones, which on a busy machine is too
        short; so it may miss some, if the kernel says that they came."""
        if "-f" not in options and "-i" not in options:
            options = ("-i", "0.01", *options)
        before = self.echo_replies()
        done = self.run(["ping", "-n", "-c", count, "-W", max(1, FACTOR), *options, address],
                        check=False)
        wanted = f"{count} packets transmitted, {count} received, 0% packet loss"
        wrong = [x for x in done.stdout.splitlines() if "wrong" in x or "DUP!" in x or "error" in x]
        # It ends with 0 if one reply came.
        assert done.returncode == 0 and f"{count} packets transmitted" in done.stdout and not wrong, (
            f"ping {' '.join(map(str, options))} {address}: status {done.returncode}, wanted: {wanted}\n"
            f"{done.stdout[-3000:]}\n{done.stderr[-1000:]}")
        if wanted not in done.stdout:
            wait_until(lambda: self.echo_replies() - before >= count,
                       lambda: f"{self.echo_replies() - before} replies came of {count}")
        return done.stdout

    def links(self):
        """The names of the interfaces, lo excepted."""
        return {x["ifname"] for x in self.json(["ip", "-j", "link"])} - {"lo"}

    def link(self, name):
        """What `ip -d -s addr` says about one interface; None where there is none."""
        done = self.run(["ip", "-j", "-d", "-s", "addr", "show", "dev", name], check=False)
        entries = [x for x in json.loads(done.stdout or "[]") if x] if done.returncode == 0 else []
        return entries[0] if entries else None

    @contextlib.contextmanager
    def entered(self):
        """This thread inside of the network namespace. For as few lines as can be."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._setns(self.descriptor)
            try:
                yield
            finally:
                self._setns(own)
        finally:
            os.close(own)

    @staticmethod
    def _setns(descriptor):
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def socket(self, *arguments):
        """A socket inside of the namespace: socket.socket(*arguments)."""
        with self.entered():
            return socket.socket(*arguments)

    def wire(self, name):
        """A packet socket on an interface: see Wire."""
        wire = Wire(self, name)
        self.wires.append(wire)
        return wire

    def destroy(self):
        """Kills everything in it and lets it go."""
        for wire in self.wires:
            wire.close()
        for child in self.children:
            child.kill()
        for pid in processes_with_mark(self.mark):  # of run(), where it was interrupted
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self.holder.stdin:
            self.holder.stdin.close()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class Host(Process):
    """A running `vnic host` or `vnic exec`."""

    READY = re.compile(r'^\{.*"event": *"ready"')

    def __init__(self, process):
        self.__dict__.update(process.__dict__)
        self.ready = {}

    def wait_ready(self, seconds=5):
        """Waits for the line that says that the interface is up and the host answers."""
        def there():
            for lines in (self.stdout, self.stderr):
                for line in (lines.lines if lines else []):
                    if self.READY.match(line):
                        self.ready = json.loads(line)
                        return True
            return not self.running
        wait_until(there, lambda: f"ready\n{self}", seconds)
        assert self.ready, f"ended before it was ready: {self._end()}"
        return self

    def _end(self):
        self.wait()
        return str(self)

    @property
    def name(self):
        return self.ready["name"]

    def events(self):
        """All JSON objects that it printed, in their order."""
        text = "\n".join(lines.text for lines in (self.stdout, self.stderr) if lines)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def stop(self, number=signal.SIGTERM, status=0):
        """Ends it by a signal, looks at its exit status, and returns its summary."""
        if self.running:
            self.signal(number)
        got = self.wait()
        assert got == status, f"status {got}, not {status}: {self}"
        return self.summary()

    def stop_silently(self, number=signal.SIGTERM):
        """The same where it prints no JSON: only the status is looked at."""
        self.signal(number)
        status = self.wait()
        assert status == 0, f"status {status}: {self}"

    def summary(self):
        """The counters that it printed at its end."""
        found = [event for event in self.events() if event.get("event") == "summary"]
        assert found, f"printed no summary: {self}"
        return found[-1]


def count(event, name):
    """The number of that name, wherever in the object it stands."""
    if isinstance(event, dict):
        if name in event and not isinstance(event[name], (dict, list)):
            return event[name]
        values = event.values()
    else:
        values = event if isinstance(event, list) else []
    for value in values:
        found = count(value, name)
        if found is not None:
            return found
    return None


class Tool:
    """The `vnic` under test, in one namespace."""

    def __init__(self, namespace, path):
        self.namespace = namespace
        self.path = path
        self.hosts = []
        self.expected = set()  # interfaces that the test made by other means

    def run(self, *arguments, **options):
        """`vnic ARGUMENTS` to its end: a CompletedProcess, whatever its status (check=True: fail
        unless 0). Options as of Namespace.run."""
        options.setdefault("check", False)
        return self.namespace.run([self.path, *arguments], **options)

    def start(self, *arguments, ready=True, json=True, **options):
        """`vnic ARGUMENTS` in the background: a Host. With json it is given --json and waited for
        until it is ready. Options as of Namespace.start."""
        command = [str(x) for x in arguments]
        if json and "--json" not in command:
            at = command.index("--") if "--" in command else len(command)
            command.insert(at, "--json")
        host = Host(self.namespace.start([self.path, *command], **options))
        self.hosts.append(host)
        return host.wait_ready() if ready and json else host

    def host(self, *arguments, **options):
        """`vnic host ARGUMENTS`, ready."""
        return self.start("host", *arguments, **options)

    def finish(self):
        """Ends what still runs, and looks whether something was left behind."""
        problems = []
        for host in self.hosts:
            if host.running:
                host.signal(signal.SIGTERM)
                try:
                    host.wait()
                except AssertionError as error:
                    problems.append(str(error))
            try:
                wait_until(lambda: not host.family(), "", 2)
            except AssertionError:
                problems.append(f"processes left behind by {host}\n  {host.family()}")
            host.kill()
        return problems


def install_tool():
    """A copy of the tool that every user may run: the build may be below a private directory.
    Returns its directory."""
    directory = tempfile.mkdtemp(prefix="vnic-netns.")
    os.chmod(directory, 0o755)
    shutil.copy2(os.path.join(BUILD, "vnic"), directory)
    os.chmod(os.path.join(directory, "vnic"), 0o755)
    return directory
