#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One end of a wire, in Python: prints every packet, and answers ping. Each message is one packet.

    vnic wire tun:,10.0.0.1/24 "exec:python3 examples/wire.py"     # then: ping 10.0.0.2

or on its own, as the peer of a socket in the file system:

    vnic wire tun:,10.0.0.1/24 unix-listen:/tmp/wire & python3 examples/wire.py /tmp/wire
"""

import os
import socket
import sys

LONGEST = 65535 + 22


def connect():
    if len(sys.argv) > 1:
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        wire.connect(sys.argv[1])
        return wire
    return socket.socket(fileno=int(os.environ["VNIC_FD"]))


def answer(packet):
    """The reply to an IPv4 ping; None for any other packet."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    header = (packet[0] & 15) * 4
    icmp = packet[header:]
    fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF
    if header < 20 or len(icmp) < 8 or fragment or packet[9] != 1 or icmp[0] != 8:
        return None
    total = int.from_bytes(icmp[2:4], "big") + 0x0800  # what the type loses, the checksum gets
    checksum = ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big")
    return (packet[:12] + packet[16:20] + packet[12:16] + packet[20:header]
            + bytes([0, icmp[1]]) + checksum + icmp[4:])


def main():
    wire = connect()
    while packet := wire.recv(LONGEST):  # nothing: the wire is gone
        reply = answer(packet)
        print(f"{len(packet)} bytes{', answered' if reply else ''}", flush=True)
        if reply:
            wire.send(reply)


if __name__ == "__main__":
    try:
        main()
    except KeyError:
        sys.exit("no VNIC_FD: start me by  vnic wire ... exec:'python3 wire.py', or with a path")
    except KeyboardInterrupt:
        pass
    except OSError as error:
        sys.exit(f"no wire: {error.strerror}")
