# SPDX-License-Identifier: MIT
"""`vnic show` against what ip says of the same interfaces."""

import json

import pytest

from namespace import NOBODY, wait_until

kinds = pytest.mark.parametrize("kind", ["tun", "tap"])


def add(netns, vnic, name, *options, mode="tun"):
    """A persistent interface made by others."""
    netns.run(["ip", "tuntap", "add", name, "mode", mode, *options])
    vnic.expected.add(name)


def fails(done, status, *words):
    """It said one line on stderr with all these words in it, and nothing on stdout."""
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("vnic: "), done.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])
    assert done.stdout == "", done.stdout


def shown(vnic, *arguments, **options):
    done = vnic.run("show", "--json", *arguments, **options)
    assert done.returncode == 0 and done.stderr == "", done
    return json.loads(done.stdout)


def table(done):
    """The rows of the table: {name: {title: cell}}."""
    assert done.returncode == 0 and done.stderr == "", done
    titles, *rows = done.stdout.splitlines()
    starts = [titles.index(title) for title in titles.split()]
    ends = starts[1:] + [None]
    cells = [[row[a:b].strip() for a, b in zip(starts, ends)] for row in rows]
    return {row[0]: dict(zip(titles.split(), row)) for row in cells}


def test_nothing(vnic):
    done = vnic.run("show")
    assert done.returncode == 0 and "no TUN or TAP interface" in done.stdout, done
    assert len(done.stdout.splitlines()) == 1, done.stdout
    assert shown(vnic) == []


def test_only_tuns_and_taps(netns, vnic):
    netns.run(["ip", "link", "add", "bridge7", "type", "bridge"])
    vnic.expected.add("bridge7")
    add(netns, vnic, "tun7")
    assert [x["name"] for x in shown(vnic)] == ["tun7"]


def test_table(netns, vnic):
    add(netns, vnic, "tun7", "user", "root")
    add(netns, vnic, "tap7", "user", "12345", "group", "54321", "multi_queue", mode="tap")
    add(netns, vnic, "free7")
    netns.run(["ip", "addr", "add", "10.0.0.1/24", "dev", "tun7"])
    netns.run(["ip", "addr", "add", "fd00::1/64", "dev", "tun7", "nodad"])
    netns.run(["ip", "link", "set", "tun7", "mtu", "9000", "up"])
    rows = table(vnic.run("show"))
    assert set(rows) == {"tun7", "tap7", "free7"}, rows
    row = rows["tun7"]
    assert (row["TYPE"], row["STATE"], row["MTU"], row["OWNER"]) == \
           ("TUN", "no carrier", "9000", "root"), row
    assert {"10.0.0.1/24", "fd00::1/64"} <= set(row["ADDRESSES"].split(",")), row
    assert row["PROCESS"] == "-", row
    row = rows["tap7"]
    assert (row["TYPE"], row["STATE"], row["MTU"], row["ADDRESSES"], row["OWNER"]) == \
           ("TAP", "down", "1500", "-", "12345:54321"), row
    assert rows["free7"]["OWNER"] == "(anyone)", rows


@kinds
@pytest.mark.parametrize("options", [[], ["user", "12345"], ["group", "54321"], ["multi_queue"],
                                     ["pi"], ["vnet_hdr"]])
def test_json_against_ip(netns, vnic, kind, options):
    add(netns, vnic, "nic7", *options, mode=kind)
    netns.run(["ip", "link", "set", "nic7", "mtu", "1400", "txqueuelen", "77"])
    mine, theirs = shown(vnic, "nic7"), netns.link("nic7")
    data = theirs["linkinfo"]["info_data"]
    assert mine["name"] == "nic7" and mine["index"] == theirs["ifindex"], mine
    assert mine["type"] == data["type"] == kind, (mine, data)
    assert mine["up"] is ("UP" in theirs["flags"]), (mine, theirs)
    assert mine["mtu_bytes"] == theirs["mtu"] == 1400, (mine, theirs)
    assert (mine["mtu_least_bytes"], mine["mtu_most_bytes"]) == \
           (theirs["min_mtu"], theirs["max_mtu"]), (mine, theirs)
    assert mine["queue_packets"] == theirs["txqlen"] == 77, (mine, theirs)
    assert mine["mac"] == (theirs.get("address") if kind == "tap" else None), (mine, theirs)
    for my, their in (("packet_information", "pi"), ("vnet_header", "vnet_hdr"),
                      ("multi_queue", "multi_queue"), ("persistent", "persist")):
        assert mine[my] is bool(data.get(their)), (my, mine, data)
    owner = {"uid": 12345, "name": None} if "user" in options else None
    group = {"gid": 54321, "name": None} if "group" in options else None
    assert mine["owner"] == owner and mine["group"] == group, (mine, data)
    assert mine["addresses"] == [] and mine["processes"] == [], mine


def test_addresses(netns, vnic):
    add(netns, vnic, "tun7")
    netns.run(["ip", "addr", "add", "10.0.0.1/24", "dev", "tun7"])
    netns.run(["ip", "addr", "add", "10.9.0.1", "peer", "10.9.0.2", "dev", "tun7"])
    netns.run(["ip", "addr", "add", "fd00::1/64", "dev", "tun7", "nodad"])
    found = {(x["address"], x["length_bits"], x["peer"]) for x in shown(vnic, "tun7")["addresses"]}
    wanted = {("10.0.0.1", 24, None), ("10.9.0.1", 32, "10.9.0.2"), ("fd00::1", 64, None)}
    assert wanted <= found, found
    text = vnic.run("show", "tun7").stdout
    assert "10.9.0.1/32 peer 10.9.0.2" in text and "fd00::1/64" in text, text


@kinds
def test_the_process_behind_it(netns, vnic, kind):
    host = vnic.host("10.0.0.1/24", "--name", "nic7", *(["--tap"] if kind == "tap" else []))
    mine = shown(vnic, "nic7")
    assert mine["up"] and mine["carrier"], mine
    assert any(host.pid == x["process"] for x in mine["processes"]), (host.pid, mine["processes"])
    holder = [x for x in mine["processes"] if x["process"] == host.pid][0]
    assert holder["command"] == "vnic" and "10.0.0.1/24" in holder["command_line"], holder
    row = table(vnic.run("show"))["nic7"]
    assert row["STATE"] == "up" and f"vnic({host.pid})" in row["PROCESS"], row
    text = vnic.run("show", "nic7").stdout
    assert f"vnic ({host.pid})" in text and "up" in text, text
    host.stop()
    assert shown(vnic) == []


def test_queues(netns, vnic):
    host = vnic.host("10.0.0.1/24", "--queues", 4)
    mine = shown(vnic, host.name)
    assert mine["multi_queue"] and mine["queues"] == 4 and mine["queues_detached"] == 0, mine
    row = table(vnic.run("show"))[host.name]
    assert row["QUEUES"] == "4" and row["PROCESS"].count("vnic(") == 1, row


def test_statistics(netns, vnic):
    host = vnic.host("10.0.0.1/24")
    netns.ping("10.0.0.2", "-i", "0.005", "-s", 100, count=10)
    mine, theirs = shown(vnic, host.name), netns.link(host.name)["stats64"]
    for my, their in (("program_sent", "rx"), ("program_received", "tx")):
        for field in ("packets", "bytes", "errors", "dropped"):
            assert mine[my][field] == theirs[their][field], (my, field, mine[my], theirs)
    assert mine["program_sent"]["packets"] == 10, mine
    text = vnic.run("show", host.name).stdout
    sent = [line for line in text.splitlines() if "the program sent" in line]
    assert sent and "10 packets" in sent[0] and "1.2 KiB" in sent[0], text


def test_state_follows_the_interface(netns, vnic):
    host = vnic.host("10.0.0.1/24")
    netns.run(["ip", "link", "set", host.name, "down"])
    assert table(vnic.run("show"))[host.name]["STATE"] == "down"
    netns.run(["ip", "link", "set", host.name, "up"])
    assert table(vnic.run("show"))[host.name]["STATE"] == "up"
    add(netns, vnic, "idle7")
    netns.run(["ip", "link", "set", "idle7", "up"])
    assert table(vnic.run("show"))["idle7"]["STATE"] == "no carrier"
    assert "no program is behind it" in vnic.run("show", "idle7").stdout


@pytest.mark.parametrize("kind", ["lo", "veth", "bridge"])
def test_other_kinds(netns, vnic, kind):
    name = "lo" if kind == "lo" else "other7"
    if kind != "lo":
        netns.run(["ip", "link", "add", name, "type", kind])
        vnic.expected |= netns.links()
    fails(vnic.run("show", name), 1, f"'{name}'", "neither a TUN nor a TAP",
          f"'{kind}'" if kind != "lo" else "lo")
    done = vnic.run("show", name, "--json")
    assert done.returncode == 1, done
    assert json.loads(done.stdout)["cause"] == "kind-mismatch", done.stdout


def test_missing(netns, vnic):
    fails(vnic.run("show", "none7"), 1, "none7", "vnic show")
    done = vnic.run("show", "none7", "--json")
    assert json.loads(done.stdout)["cause"] == "interface-missing", done.stdout
    add(netns, vnic, "a" * 15)
    fails(vnic.run("show", "a" * 16), 1, "a" * 16)  # and not the one whose name was cut off


def test_wrong_usage(vnic):
    for arguments, word in ((["one", "two"], "two"), (["--what"], "--what"),
                            (["--netns"], "--netns"), (["--netns", ""], "--netns"),
                            (["--json=yes"], "--json"), (["--", "true"], "COMMAND")):
        fails(vnic.run("show", *arguments), 2, word, "vnic show --help")


def test_netns(netns, vnic, spare):
    other = spare()
    other.run(["ip", "tuntap", "add", "there7", "mode", "tap"])
    other.run(["ip", "addr", "add", "10.7.0.1/24", "dev", "there7"])
    for place in (other.path, str(other.pid)):
        assert [x["name"] for x in shown(vnic, "--netns", place)] == ["there7"], place
        mine = shown(vnic, "there7", f"--netns={place}")
        assert mine["addresses"][0]["address"] == "10.7.0.1", mine
    assert shown(vnic) == []
    netns.run(["mkdir", "-p", "/run/netns"])
    netns.run(["touch", "/run/netns/blue"])
    netns.run(["mount", "--bind", other.path, "/run/netns/blue"])
    assert [x["name"] for x in shown(vnic, "--netns", "blue")] == ["there7"]


def test_netns_missing(vnic):
    for place in ("nowhere", "/run/nowhere", "4194304", "/etc/passwd"):
        fails(vnic.run("show", "--netns", place), 1, place)
        done = vnic.run("show", "--netns", place, "--json")
        assert json.loads(done.stdout)["cause"] == "netns-missing", done.stdout


def test_as_an_ordinary_user(netns, vnic):
    host = vnic.host("10.0.0.1/24")
    mine = shown(vnic, host.name, user=NOBODY)
    assert mine["addresses"][0]["address"] == "10.0.0.1" and mine["carrier"], mine
    assert mine["processes"] == [], mine
    text = vnic.run("show", host.name, user=NOBODY).stdout
    assert "another user's: root sees which" in text, text


def test_names_cannot_write_to_the_terminal(netns, vnic):
    """What ip prints of such names is no JSON, so they are gone before the fixtures look."""
    name = "x\x1b[31m\u0085\xe9"  # an escape sequence, a control character of two bytes, a letter
    raw = b"y\xff\xfez".decode(errors="surrogateescape")  # no UTF-8
    for each in (name, raw):
        netns.run(["ip", "tuntap", "add", each, "mode", "tun"])
    try:
        for arguments in ([], [name], ["--json"]):
            done = vnic.run("show", *arguments)
            assert done.returncode == 0 and "x?[31m" in done.stdout and "\xe9" in done.stdout, done
            assert "\x1b" not in done.stdout and "\u0085" not in done.stdout, done
        assert "y??z" in [x["name"] for x in shown(vnic)]
    finally:
        for each in (name, raw):
            netns.run(["ip", "link", "delete", each])


def test_colours_are_for_terminals(netns, vnic):
    add(netns, vnic, "tun7")
    assert "\x1b" not in vnic.run("show").stdout
    terminal = ["script", "-qec", f"{vnic.path} show", "/dev/null"]
    done = netns.run(terminal, env={"TERM": "xterm", "NO_COLOR": ""})
    assert "\x1b[1mNAME" in done.stdout and "tun7" in done.stdout, done.stdout
    assert "\x1b" not in netns.run(terminal, env={"TERM": "xterm", "NO_COLOR": "1"}).stdout
    assert "\x1b" not in netns.run(terminal, env={"TERM": "dumb", "NO_COLOR": ""}).stdout


def test_stdout_that_cannot_be_written(netns, vnic):
    add(netns, vnic, "tun7")
    for arguments in ("", "tun7", "--json"):
        done = netns.run(["sh", "-c", f"{vnic.path} show {arguments} >/dev/full"], check=False)
        assert done.returncode == 1 and "No space left on device" in done.stderr, done
        done = netns.run(["sh", "-c", f"{vnic.path} show {arguments} >&-"], check=False)
        assert done.returncode == 0 and done.stderr == "", done


def test_interfaces_that_come_and_go(netns, vnic):
    """The list is never wrong: it has those that are there, and no error for those that went."""
    churn = netns.start(["sh", "-c", "while :; do ip tuntap add go7 mode tun;"
                                     "ip link delete go7; done"])
    wait_until(lambda: churn.running, "the shell")
    add(netns, vnic, "stay7")
    for _ in range(50):
        names = {x["name"] for x in shown(vnic)}
        assert "stay7" in names and names <= {"stay7", "go7"}, names
    churn.kill()
    netns.run(["ip", "link", "delete", "go7"], check=False)
