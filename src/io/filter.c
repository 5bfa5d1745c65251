/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The language is libpcap's, so that what people know from tcpdump works here.
 * An expression is compiled on a handle without an interface ("dead"), which knows no more than the
 * link type, into classic BPF, and the program is interpreted in user space. The interpreter checks
 * each load against the packet's length, so any bytes at all may be matched.
 *
 * Threads: a compiled program is only read. Compiling keeps its state in the handle since libpcap
 * 1.8, so no lock is needed around it.
 *
 * An expression with a host name in it makes libpcap ask the resolver, as it does in tcpdump.
 */
#include <errno.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <vnic/capture.h>

#include "base/error.h"

/* No packet of ours is longer, and it is the most that other tools read. */
#define SNAP_BYTES 262144

struct vnic_filter {
	struct bpf_program program;
};

int vnic_filter_new(const char *expression, enum vnic_layer layer, struct vnic_filter **filter,
		    struct vnic_error *error)
{
	int link_type = layer == VNIC_LAYER_ETHERNET ? DLT_EN10MB : DLT_RAW;
	struct vnic_filter *made = calloc(1, sizeof(*made));
	pcap_t *handle = pcap_open_dead(link_type, SNAP_BYTES);
	int code = 0;

	if (!made || !handle)
		code = vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for the filter '%s'",
				expression);
	else if (pcap_compile(handle, &made->program, expression, 1, PCAP_NETMASK_UNKNOWN) < 0)
		code = vn_error(error, -EINVAL, VNIC_CAUSE_FILTER_INVALID, "bad filter '%s': %s",
				expression, pcap_geterr(handle));
	if (handle)
		pcap_close(handle);
	if (code < 0) {
		free(made);
		return code;
	}
	*filter = made;
	return 0;
}

void vnic_filter_free(struct vnic_filter *filter)
{
	if (!filter)
		return;
	pcap_freecode(&filter->program);
	free(filter);
}

bool vnic_filter_match(const struct vnic_filter *filter, const struct vnic_packet *packet)
{
	struct pcap_pkthdr header = {.caplen = packet->length_bytes, .len = packet->length_bytes};

	return !filter || pcap_offline_filter(&filter->program, &header, packet->data) != 0;
}
