/* SPDX-License-Identifier: MIT */
/* Ethernet headers with their tags, and ARP. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/arp.h>
#include <vnic/ethernet.h>

#include "packets.h"

static const uint8_t mac1[] = {0x02, 0x00, 0x5e, 0x10, 0x00, 0x01};
static const uint8_t mac2[] = {0x02, 0x00, 0x5e, 0x10, 0x00, 0x02};

static void test_ethernet_of_scapy(void **state)
{
	static const struct {
		const char *hex;
		int header_bytes;
		uint16_t ethertype;
		unsigned vlan_count;
		struct vnic_vlan_tag vlan[2];
	} cases[] = {
		{PACKET_LLDP, 14, 0x88cc, 0, {{0, 0}, {0, 0}}},
		{PACKET_VLAN_PING, 18, VNIC_ETHERTYPE_IPV4, 1, {{0x8100, 3 << 13 | 5}, {0, 0}}},
		{PACKET_QINQ_PING6, 22, VNIC_ETHERTYPE_IPV6, 2, {{0x88a8, 100}, {0x8100, 5}}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_ethernet ethernet;
		uint8_t built[22];
		size_t length;
		uint8_t *bytes = from_hex(cases[i].hex, &length);

		assert_int_equal(vnic_ethernet_parse(bytes, length, &ethernet),
				 cases[i].header_bytes);
		assert_memory_equal(ethernet.source, mac1, sizeof(mac1));
		assert_int_equal(ethernet.ethertype, cases[i].ethertype);
		assert_int_equal(ethernet.vlan_count, cases[i].vlan_count);
		for (unsigned v = 0; v < ethernet.vlan_count; v++) {
			assert_int_equal(ethernet.vlan[v].protocol, cases[i].vlan[v].protocol);
			assert_int_equal(ethernet.vlan[v].tci, cases[i].vlan[v].tci);
		}
		assert_int_equal(vnic_ethernet_build(built, sizeof(built), &ethernet),
				 cases[i].header_bytes);
		assert_memory_equal(built, bytes, (size_t)cases[i].header_bytes);
		for (size_t room = 0; room < (size_t)cases[i].header_bytes; room++) {
			uint8_t *short_copy = exact_copy(bytes, room);
			struct vnic_ethernet untouched;

			memset(&ethernet, 0xa5, sizeof(ethernet));
			memset(&untouched, 0xa5, sizeof(untouched));
			assert_int_equal(vnic_ethernet_parse(short_copy, room, &ethernet),
					 -EBADMSG);
			assert_memory_equal(&ethernet, &untouched, sizeof(ethernet));
			ethernet.vlan_count = cases[i].vlan_count;
			assert_int_equal(vnic_ethernet_build(short_copy, room, &ethernet), -ENOSPC);
			free(short_copy);
		}
		free(bytes);
	}
}

static void test_third_tag_is_payload(void **state)
{
	static const uint8_t bytes[26] = {[12] = 0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 8, 0};
	struct vnic_ethernet ethernet;

	(void)state;
	assert_int_equal(vnic_ethernet_parse(bytes, sizeof(bytes), &ethernet), 22);
	assert_int_equal(ethernet.vlan_count, 2);
	assert_int_equal(ethernet.ethertype, VNIC_ETHERTYPE_VLAN);
}

static void test_arp_of_scapy(void **state)
{
	static const uint8_t zero[6], one[4] = {10, 0, 0, 1}, two[4] = {10, 0, 0, 2};
	uint8_t built[VNIC_ARP_BYTES];
	struct vnic_arp arp;
	size_t length;
	uint8_t *bytes = from_hex(PACKET_ARP_REQUEST, &length);

	(void)state;
	assert_int_equal(vnic_arp_parse(bytes + 14, length - 14, &arp), VNIC_ARP_BYTES);
	assert_int_equal(arp.operation, VNIC_ARP_REQUEST);
	assert_memory_equal(arp.sender_mac, mac1, 6);
	assert_memory_equal(arp.sender_ip, one, 4);
	assert_memory_equal(arp.target_mac, zero, 6);
	assert_memory_equal(arp.target_ip, two, 4);
	assert_int_equal(vnic_arp_build(built, sizeof(built), &arp), VNIC_ARP_BYTES);
	assert_memory_equal(built, bytes + 14, sizeof(built));
	free(bytes);

	bytes = from_hex(PACKET_ARP_REPLY, &length);
	assert_int_equal(vnic_arp_parse(bytes + 14, length - 14, &arp), VNIC_ARP_BYTES);
	assert_int_equal(arp.operation, VNIC_ARP_REPLY);
	assert_memory_equal(arp.sender_mac, mac2, 6);
	assert_memory_equal(arp.target_mac, mac1, 6);
	assert_int_equal(vnic_arp_build(built, sizeof(built), &arp), VNIC_ARP_BYTES);
	assert_memory_equal(built, bytes + 14, sizeof(built));
	free(bytes);
}

static void test_arp_is_refused(void **state)
{
	struct vnic_arp arp, untouched;
	size_t length;
	uint8_t *bytes = from_hex(PACKET_ARP_REQUEST, &length);

	(void)state;
	memset(&arp, 0xa5, sizeof(arp));
	untouched = arp;
	for (size_t room = 0; room < VNIC_ARP_BYTES; room++) {
		uint8_t *copy = exact_copy(bytes + 14, room);

		assert_int_equal(vnic_arp_parse(copy, room, &arp), -EBADMSG);
		assert_int_equal(vnic_arp_build(copy, room, &arp), -ENOSPC);
		free(copy);
	}
	/* Hardware, protocol and the lengths of their addresses: each byte must be what it is. */
	for (size_t at = 14; at < 20; at++) {
		bytes[at] ^= 1;
		assert_int_equal(vnic_arp_parse(bytes + 14, length - 14, &arp), -EBADMSG);
		bytes[at] ^= 1;
	}
	assert_memory_equal(&arp, &untouched, sizeof(arp));
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ethernet_of_scapy),
		cmocka_unit_test(test_third_tag_is_payload),
		cmocka_unit_test(test_arp_of_scapy),
		cmocka_unit_test(test_arp_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
