/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * TUNSETOFFLOAD takes all offloads or none: a bit that the kernel does not know is EINVAL, and
 * nothing tells which. So they are tried downward, the newest left out first. Some hang together:
 * TSO and USO mean nothing without checksum offload, ECN nothing without TSO, tunnels nothing
 * without one of those, and USO is one bit for us because the kernel takes it for both IP versions
 * or for none. An offload whose footing is refused goes with it.
 */
#include "device/offload.h"
#include "base/error.h"
#include "device/kernel.h"
#include "device/node.h"
#include <errno.h>
#include <stddef.h>

#define TSO (VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_TSO6)

/* In the order in which they are given up. */
static const struct {
	enum vnic_offload offload;
	unsigned wants; /* one of these at least; 0: nothing */
	unsigned long kernel;
	const char *name;
} offload_table[] = {
	{VNIC_OFFLOAD_UDP_TUNNEL_CSUM, VNIC_OFFLOAD_UDP_TUNNEL, TUN_F_UDP_TUNNEL_GSO_CSUM,
	 "udp-tunnel-csum"},
	{VNIC_OFFLOAD_UDP_TUNNEL, TSO | VNIC_OFFLOAD_USO, TUN_F_UDP_TUNNEL_GSO, "udp-tunnel"},
	{VNIC_OFFLOAD_USO, VNIC_OFFLOAD_CSUM, TUN_F_USO4 | TUN_F_USO6, "uso"},
	{VNIC_OFFLOAD_ECN, TSO, TUN_F_TSO_ECN, "ecn"},
	{VNIC_OFFLOAD_TSO6, VNIC_OFFLOAD_CSUM, TUN_F_TSO6, "tso6"},
	{VNIC_OFFLOAD_TSO4, VNIC_OFFLOAD_CSUM, TUN_F_TSO4, "tso4"},
	{VNIC_OFFLOAD_CSUM, 0, TUN_F_CSUM, "csum"},
};

#define TABLE_LENGTH (sizeof(offload_table) / sizeof(offload_table[0]))

const char *vnic_offload_name(enum vnic_offload offload)
{
	size_t i;

	for (i = 0; i < TABLE_LENGTH; i++) {
		if (offload_table[i].offload == offload)
			return offload_table[i].name;
	}
	return NULL;
}

int vn_offload_check(unsigned offloads, struct vnic_error *error)
{
	size_t i;

	if (offloads & ~(unsigned)VNIC_OFFLOAD_ALL)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "unknown offloads 0x%x",
				offloads & ~(unsigned)VNIC_OFFLOAD_ALL);
	for (i = 0; i < TABLE_LENGTH; i++) {
		if ((offloads & offload_table[i].offload) && offload_table[i].wants &&
		    !(offloads & offload_table[i].wants))
			return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
					"the offload '%s' is nothing without the one it builds on",
					offload_table[i].name);
	}
	return 0;
}

/* Leave out what has lost its footing: from the bottom of the table, where the footings are. */
static unsigned with_footing(unsigned offloads)
{
	size_t i;

	for (i = TABLE_LENGTH; i-- > 0;) {
		if (offload_table[i].wants && !(offloads & offload_table[i].wants))
			offloads &= ~(unsigned)offload_table[i].offload;
	}
	return offloads;
}

static unsigned long to_kernel(unsigned offloads)
{
	unsigned long bits = 0;
	size_t i;

	for (i = 0; i < TABLE_LENGTH; i++) {
		if (offloads & offload_table[i].offload)
			bits |= offload_table[i].kernel;
	}
	return bits;
}

int vn_offload_set(int descriptor, unsigned offloads)
{
	size_t next = 0;
	int code;

	for (;;) {
		offloads = with_footing(offloads);
		code = vn_node_control_value(descriptor, TUNSETOFFLOAD, to_kernel(offloads));
		if (code == 0)
			return (int)offloads;
		if (code != -EINVAL)
			return code;
		while (next < TABLE_LENGTH && !(offloads & offload_table[next].offload))
			next++;
		if (next == TABLE_LENGTH)
			return code;
		offloads &= ~(unsigned)offload_table[next].offload;
	}
}
