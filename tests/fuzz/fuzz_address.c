/* SPDX-License-Identifier: MIT */
/*
 * Addresses, prefixes and Ethernet addresses as text. What parses is written, and parses again to the same;
 * and the next host of a prefix is another one inside of it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/address.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(const char *text)
{
	struct vnic_address address, again, group;
	char written[VNIC_ADDRESS_TEXT_BYTES];
	struct vnic_error error;
	uint8_t mac[VNIC_MAC_BYTES];

	if (vnic_address_parse(text, &address, &error) < 0) {
		assert(memchr(error.text, '\0', sizeof(error.text)));
		return;
	}
	assert(strspn(text, "0123456789abcdefABCDEF:.") == strlen(text));
	vnic_address_format(&address, written);
	assert(vnic_address_parse(written, &again, NULL) == 0);
	assert(vnic_address_equal(&address, &again));
	group = vnic_address_solicited_node(&address);
	assert(vnic_address_is_multicast(&group));
	vnic_address_multicast_mac(&address, mac);
	assert(mac[0] & 1);
}

static void check_prefix(const char *text)
{
	char written[VNIC_ADDRESS_TEXT_BYTES];
	struct vnic_prefix prefix, again, network;
	struct vnic_address next;

	if (vnic_prefix_parse(text, &prefix, NULL) < 0)
		return;
	vnic_prefix_format(&prefix, written);
	assert(vnic_prefix_parse(written, &again, NULL) == 0);
	assert(again.length_bits == prefix.length_bits);
	assert(vnic_address_equal(&prefix.address, &again.address));
	assert(vnic_prefix_contains(&prefix, &prefix.address));
	network = vnic_prefix_network(&prefix);
	assert(vnic_prefix_contains(&network, &prefix.address));
	if (vnic_prefix_next_host(&prefix, &next) < 0) {
		assert(prefix.length_bits == (prefix.address.family == VNIC_IPV4 ? 32 : 128));
		return;
	}
	assert(vnic_prefix_contains(&prefix, &next));
	assert(!vnic_address_equal(&next, &prefix.address));
	assert(!vnic_prefix_is_broadcast(&prefix, &next));
}

static void check_mac(const char *text)
{
	uint8_t mac[VNIC_MAC_BYTES], again[VNIC_MAC_BYTES];
	char written[VNIC_ADDRESS_TEXT_BYTES];

	if (vnic_mac_parse(text, mac, NULL) < 0)
		return;
	vnic_mac_format(mac, written);
	assert(vnic_mac_parse(written, again, NULL) == 0);
	assert(memcmp(mac, again, sizeof(mac)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	assert(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	check_address(text);
	check_prefix(text);
	check_mac(text);
	free(text);
	return 0;
}
