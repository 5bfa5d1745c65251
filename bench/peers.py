# SPDX-License-Identifier: MIT
"""What is compared: each way from one end to another.

Every peer is a function that builds its way in a fresh lab and returns the Ends. At the end `a`
is who connects and asks; at `b` who listens. a is pinned to the first processor, b to the second,
and what is between them may run on both: alike for all. Where the peer itself answers, with services
on their well-known ports, it is pinned as b is, and Ends.b is None.
"""

import collections
import os
import re
import shutil
import subprocess
import time

from lab import HOME, Failure, Lab

Ends = collections.namedtuple("Ends", "a b target")  # namespaces, and b's address as a sees it
# kind: "vnic"; "peer", a program that does the same job; or "limit", what none can be better than
Peer = collections.namedtuple("Peer", "name kind build programs text")

A_ADDRESS, B_ADDRESS = "10.77.0.1", "10.77.0.2"
OUTER_A, OUTER_B, PORT = "10.78.0.1", "10.78.0.2", "7000"
WIREGUARD_MTU, UDP_MTU = 1420, 1472
RESOURCE = "/favicon.svg"  # of vnic host: always the same bytes


def address(lab, netns, name, local, mtu):
    lab.ip(
        netns,
        f"link set dev {name} addrgenmode none mtu {mtu}",
        f"address add {local}/24 dev {name}",
        f"link set dev {name} up",
    )


def two_ends(lab):
    return lab.netns("a"), lab.netns("b")


def veth(lab, names=("v0", "v1"), addresses=(A_ADDRESS, B_ADDRESS), mtu=1500):
    lab.ip("a", f"link add {names[0]} type veth peer name {names[1]} netns b")
    address(lab, "a", names[0], addresses[0], mtu)
    address(lab, "b", names[1], addresses[1], mtu)


def build_loopback(lab, mtu):
    lab.netns("a")
    lab.ip("a", f"link set lo mtu {mtu}")
    return Ends("a", "a", "127.0.0.1")


def build_veth(lab, mtu):
    a, b = two_ends(lab)
    veth(lab, mtu=mtu)
    return Ends(a, b, B_ADDRESS)


def between(lab, mtu, arguments, netns=HOME):
    """A program that makes t0 in a and t1 in b."""
    process = lab.start(arguments, netns)
    lab.wait_interface("a", "t0", process)
    lab.wait_interface("b", "t1", process)
    address(lab, "a", "t0", A_ADDRESS, mtu)
    address(lab, "b", "t1", B_ADDRESS, mtu)
    lab.wait_path("a", B_ADDRESS)
    return Ends("a", "b", B_ADDRESS)


def build_loop(lab, mtu):
    two_ends(lab)
    return between(lab, mtu, [lab.settings.program("loop"), "t0@a", "t1@b"])


def build_wire(lab, mtu, *options):
    two_ends(lab)
    return between(lab, mtu, [lab.settings.vnic, "wire", *options, "tun:t0@a", "tun:t1@b"])


def build_wire_queues(lab, mtu):
    return build_wire(lab, mtu, "--queues", "4")


def build_wire_plain(lab, mtu):
    return build_wire(lab, mtu, "--offload", "off")


def build_socat(lab, mtu):
    """socat 1.7 opens both where it runs; an interface can be moved while it is open."""
    two_ends(lab)
    lab.netns("m")
    # Or it sends router solicitations, and one that comes while t0 moves would end socat.
    lab.sysctl("m", "ipv6.conf.default.disable_ipv6", "1")
    process = lab.start(
        [
            "socat",
            "-b65536",
            "TUN,tun-name=t0,iff-no-pi,iff-up",
            "TUN,tun-name=t1,iff-no-pi,iff-up",
        ],
        "m",
    )
    lab.wait_interface("m", "t1", process, up=True)  # up is the last that socat does to it
    for name, netns in ("t0", "a"), ("t1", "b"):
        lab.ip("m", f"link set dev {name} netns {netns}")
    address(lab, "a", "t0", A_ADDRESS, mtu)
    address(lab, "b", "t1", B_ADDRESS, mtu)
    lab.wait_path("a", B_ADDRESS)
    return Ends("a", "b", B_ADDRESS)


def build_slirp(lab, mtu):
    """The other end is the loopback of the namespace in which slirp4netns runs: 10.0.2.2 from a."""
    lab.netns("a")
    process = lab.start(
        [
            "slirp4netns",
            "--configure",
            f"--mtu={min(mtu, 65520)}",
            "--disable-dns",
            "--netns-type=path",
            "/run/netns/a",
            "t0",
        ]
    )
    lab.wait_interface("a", "t0", process)
    lab.wait_path("a", "10.0.2.2")
    return Ends("a", HOME, "10.0.2.2")


def build_passt(lab, mtu):
    """pasta takes its addresses from an interface with a default route; this one leads nowhere."""
    lab.netns("a")
    lab.netns("outside")
    lab.netns("nowhere")
    lab.ip(
        "outside",
        "link add u0 type veth peer name u1 netns nowhere",
        "address add 10.79.0.2/24 dev u0",
        "link set dev u0 up",
    )
    lab.ip("nowhere", "link set dev u1 up")
    lab.ip("outside", "route add default via 10.79.0.1 dev u0")
    process = lab.start(
        [
            "pasta",
            "-f",
            "-q",
            "-4",
            "--config-net",
            "-m",
            str(min(mtu, 65520)),
            "-I",
            "t0",
            "--runas",
            "0",
            "--netns-only",
            "--netns",
            "/run/netns/a",
        ],
        "outside",
    )
    lab.wait_interface("a", "t0", process)
    return Ends("a", "outside", "10.79.0.1")


def tunnel(lab, mtu, command):
    """Two programs, one in each namespace, that join t0 and t1 over a veth pair of MTU 1500.

    command(own address, the other's, interface, whether it is the second) gives the arguments.
    """
    two_ends(lab)
    veth(lab, ("v0", "v1"), (OUTER_A, OUTER_B), 1500)
    for netns, name, own, other, inner in (
        ("b", "t1", OUTER_B, OUTER_A, B_ADDRESS),
        ("a", "t0", OUTER_A, OUTER_B, A_ADDRESS),
    ):
        arguments = command(own, other, name, netns == "a")
        process = lab.start(arguments, netns)
        if "listen" in arguments:
            process.wait_ready()
        lab.wait_interface(netns, name, process)
        address(lab, netns, name, inner, mtu)
    lab.wait_path("a", B_ADDRESS)
    return Ends("a", "b", B_ADDRESS)


def build_udp_wire(lab, mtu):
    return tunnel(
        lab,
        min(mtu, UDP_MTU),
        lambda own, other, name, second: [
            lab.settings.vnic,
            "wire",
            f"tun:{name}",
            f"udp:{own}:{PORT}-{other}:{PORT}",
        ],
    )


def build_udp_loop(lab, mtu):
    return tunnel(
        lab,
        min(mtu, UDP_MTU),
        lambda own, other, name, second: [
            lab.settings.program("loop"),
            name,
            "udp",
            own,
            other,
            PORT,
        ],
    )


def build_udp_socat(lab, mtu):
    return tunnel(
        lab,
        min(mtu, UDP_MTU),
        lambda own, other, name, second: [
            "socat",
            "-b65536",
            f"UDP4:{other}:{PORT},bind={own}:{PORT}",
            f"TUN,tun-name={name},iff-no-pi",
        ],
    )


def build_tcp_wire(lab, mtu):
    return tunnel(
        lab,
        mtu,
        lambda own, other, name, second: [
            lab.settings.vnic,
            "wire",
            f"tun:{name}",
            f"tcp:{other}:{PORT}" if second else f"tcp-listen:{own}:{PORT}",
        ],
    )


def build_tcp_loop(lab, mtu):
    return tunnel(
        lab,
        mtu,
        lambda own, other, name, second: [lab.settings.program("loop"), name]
        + (["connect", other, PORT] if second else ["listen", own, PORT]),
    )


def build_wireguard(lab, _):
    """Its program, not the kernel's. The keys are made for this one run."""
    two_ends(lab)
    veth(lab, ("v0", "v1"), (OUTER_A, OUTER_B), 1500)
    private = [run(["wg", "genkey"]) for _ in range(2)]
    public = [run(["wg", "pubkey"], key) for key in private]
    for i, (netns, own, inner, other, other_inner) in enumerate(
        (
            ("a", OUTER_A, A_ADDRESS, OUTER_B, B_ADDRESS),
            ("b", OUTER_B, B_ADDRESS, OUTER_A, A_ADDRESS),
        )
    ):
        name = f"t{i}"
        key = os.path.join(lab.scratch(), f"key{i}")
        with open(key, "w", encoding="ascii") as file:
            file.write(private[i])
        process = lab.start(["wireguard-go", "-f", name], netns)
        lab.wait_interface(netns, name, process)
        socket_path = f"/var/run/wireguard/{name}.sock"
        wait_for(lambda: os.path.exists(socket_path), f"wireguard-go made no {socket_path}")
        run(
            [
                "wg",
                "set",
                name,
                "listen-port",
                PORT,
                "private-key",
                key,
                "peer",
                public[1 - i],
                "allowed-ips",
                f"{other_inner}/32",
                "endpoint",
                f"{other}:{PORT}",
            ],
            netns=netns,
        )
        address(lab, netns, name, inner, WIREGUARD_MTU)
    lab.wait_path("a", B_ADDRESS)
    return Ends("a", "b", B_ADDRESS)


def build_vnic_host(lab, mtu):
    a = lab.netns("a")
    process = lab.start(
        [
            lab.settings.vnic,
            "host",
            f"{A_ADDRESS}/24",
            "--name",
            "t0",
            "--mtu",
            str(mtu),
            "--netns",
            "a",
        ],
        cpus=lab.settings.cpu_b,
    )
    lab.wait_interface(a, "t0", process)
    lab.wait_path(a, B_ADDRESS)
    return Ends(a, None, B_ADDRESS)


def build_loop_echo(lab, mtu):
    a = lab.netns("a")
    process = lab.start([lab.settings.program("loop"), "t0", "echo"], a, lab.settings.cpu_b)
    lab.wait_interface(a, "t0", process)
    address(lab, a, "t0", A_ADDRESS, mtu)
    lab.wait_path(a, B_ADDRESS)
    return Ends(a, None, B_ADDRESS)


# One process that does its own work, as with one worker, and needs neither the directories of the
# package nor another user. As many header fields as vnic host sends; the file stays open, and no
# connection is closed for its age: without a handicap.
NGINX = """\
daemon off;
master_process off;
error_log stderr error;
pid {directory}/pid;
events {{}}
http {{
	access_log off;
	sendfile on;
	etag off;
	max_ranges 0;
	open_file_cache max=16;
	keepalive_requests 1000000000;
	types {{}}
	default_type {type};
	client_body_temp_path {directory}/body;
	proxy_temp_path {directory}/proxy;
	fastcgi_temp_path {directory}/fastcgi;
	uwsgi_temp_path {directory}/uwsgi;
	scgi_temp_path {directory}/scgi;
	server {{
		listen {address}:80;
		root {directory}/www;
	}}
}}
"""


def build_nginx(lab, mtu):
    """Behind a veth pair, with a copy of what vnic host serves."""
    fields, body = resource(lab.settings)
    ends = build_veth(lab, mtu)
    directory = lab.scratch()
    os.mkdir(os.path.join(directory, "www"))
    with open(os.path.join(directory, "www", RESOURCE[1:]), "wb") as file:
        file.write(body)
    path = os.path.join(directory, "nginx.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write(
            NGINX.format(
                directory=directory, address=B_ADDRESS, type=dict(fields)["Content-Type"]
            )
        )
    lab.start(
        ["nginx", "-p", directory, "-e", "stderr", "-c", path], ends.b, lab.settings.cpu_b
    )
    return Ends(ends.a, None, ends.target)


def resource(settings):
    """What vnic host answers for RESOURCE: (fields, body). Asked once, in a lab of its own."""
    if not settings.resource:
        with Lab(settings) as lab:
            ends = build_vnic_host(lab, 1500)
            settings.resource = lab.fetch(ends.a, ends.target, RESOURCE)
    return settings.resource


def run(arguments, text=None, netns=HOME):
    prefix = [] if netns == HOME else ["nsenter", f"--net=/run/netns/{netns}"]
    done = subprocess.run(
        prefix + arguments, input=text, capture_output=True, text=True, timeout=5, check=False
    )
    if done.returncode != 0:
        raise Failure(f"{arguments[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def wait_for(condition, complaint, limit=5):
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(complaint)
        time.sleep(0.002)


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "loopback",
            "limit",
            build_loopback,
            (),
            "the kernel's loopback interface, no program between",
        ),
        Peer(
            "veth",
            "limit",
            build_veth,
            (),
            "a veth pair between two namespaces, no program between",
        ),
        Peer("wire", "vnic", build_wire, ("vnic",), "vnic wire between two TUN interfaces"),
        Peer("wire-4-queues", "vnic", build_wire_queues, ("vnic",), "the same with --queues 4"),
        Peer("wire-plain", "vnic", build_wire_plain, ("vnic",), "the same with --offload off"),
        Peer(
            "loop",
            "peer",
            build_loop,
            (),
            "the tutorial's loop: select, one packet per read and write",
        ),
        Peer("socat", "peer", build_socat, ("socat",), "socat between two TUN interfaces"),
        Peer(
            "slirp4netns",
            "peer",
            build_slirp,
            ("slirp4netns",),
            "slirp4netns: a namespace to a socket outside; it ends the connection itself",
        ),
        Peer("passt", "peer", build_passt, ("pasta",), "passt's pasta: as slirp4netns"),
        Peer(
            "udp-wire", "vnic", build_udp_wire, ("vnic",), "vnic wire tun: udp:, over a veth pair"
        ),
        Peer("udp-loop", "peer", build_udp_loop, (), "the tutorial's loop over UDP"),
        Peer("udp-socat", "peer", build_udp_socat, ("socat",), "socat's TUN over UDP"),
        Peer(
            "wireguard-go",
            "peer",
            build_wireguard,
            ("wireguard-go", "wg"),
            "wireguard-go; it also encrypts, which none of the others does",
        ),
        Peer(
            "tcp-wire", "vnic", build_tcp_wire, ("vnic",), "vnic wire tun: tcp:, over a veth pair"
        ),
        Peer("tcp-loop", "peer", build_tcp_loop, (), "the tutorial's simpletun: the loop over TCP"),
        Peer(
            "vnic-host",
            "vnic",
            build_vnic_host,
            ("vnic",),
            "vnic host: its services, on the library's own stack",
        ),
        Peer(
            "loop-echo",
            "peer",
            build_loop_echo,
            (),
            "a loop that turns each echo request into its reply",
        ),
        Peer(
            "nginx",
            "peer",
            build_nginx,
            ("nginx",),
            "nginx, one process, behind a veth pair; sends as many header fields and the same file",
        ),
        Peer("library", "vnic", None, (), "functions of libvnic"),
    )
}


def missing(peer, settings, programs=()):
    """Why a peer cannot take part, or None."""
    for program in (*peer.programs, *programs):
        if program == "vnic":
            if not os.access(settings.vnic, os.X_OK):
                return f"{settings.vnic} is not there"
            if "wire" in peer.name and not knows_wire(settings):
                return "this vnic has no command wire"
        elif not shutil.which(program):
            return f"{program} is not installed"
    return None


def knows_wire(settings):
    done = subprocess.run([settings.vnic, "--help"], capture_output=True, text=True, check=False)
    return re.search(r"^\s*(vnic )?wire\b", done.stdout, re.MULTILINE) is not None
