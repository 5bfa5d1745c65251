#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Answers ping, in Python and without a privilege. The NIC comes from vnic, as descriptor VNIC_FD:

    vnic exec 10.0.0.1/24 -- python3 examples/handler.py      # then: ping 10.0.0.2

Every read gives one packet that the kernel sent, every write is one that it receives.
"""

import os
import sys

ICMP, ECHO_REPLY, ECHO_REQUEST = 1, 0, 8
LONGEST = 65535


def checksum(data):
    """RFC 1071: the complement of the sum of 16-bit numbers, carries added back in."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[i:i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def answer(packet):
    """The reply to an IPv4 echo request; None for any other packet."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    header = (packet[0] & 15) * 4
    total = int.from_bytes(packet[2:4], "big")
    fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF  # its offset, and "more follow"
    if header < 20 or not header + 8 <= total <= len(packet) or fragment or packet[9] != ICMP:
        return None
    icmp = packet[header:total]
    if icmp[0] != ECHO_REQUEST or checksum(icmp) != 0 or packet[16] >= 224:  # 224...: groups
        return None

    reply = bytes([ECHO_REPLY, 0, 0, 0]) + icmp[4:]
    reply = reply[:2] + checksum(reply).to_bytes(2, "big") + reply[4:]
    # Where the addresses change places the sum over the header stays what it was.
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:header] + reply


def main():
    try:
        nic = int(os.environ["VNIC_FD"])
    except (KeyError, ValueError):
        sys.exit("no VNIC_FD: start me by  vnic exec 10.0.0.1/24 -- python3 handler.py")
    os.set_blocking(nic, True)
    print(f"answering on {os.environ.get('VNIC_NAME', 'the NIC')}", flush=True)
    try:
        while True:
            reply = answer(os.read(nic, LONGEST))
            if reply:
                os.write(nic, reply)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        sys.exit(f"the NIC is gone: {error.strerror}")


if __name__ == "__main__":
    main()
