/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A line is written from left to right while the headers are parsed from the outside in, by the
 * same parsers that everything else uses, in their lenient form: a printer is asked most where
 * packets are broken. What turns out to be wrong is collected beside it, and stands at the end of
 * the line:
 *
 *     [MAC > MAC [vlan N]] ADDRESS > ADDRESS [headers] PROTOCOL details, N bytes[, what is wrong]
 *
 * Only numbers and our own words are written, no byte of the packet as it is, so a line cannot
 * upset a terminal. Whatever may repeat in a packet (extension headers, options) is cut after a
 * few, so that any line fits VNIC_PACKET_LINE_BYTES.
 *
 * This file has the line, Ethernet and ARP; print_ip.c the IP headers, print_icmp.c ICMP with
 * neighbour discovery, print_transport.c UDP and TCP.
 */
#include "packet/print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void vn_text_add(struct vn_text *text, const char *format, ...)
{
	size_t room = text->size_bytes - text->used_bytes;
	va_list arguments;
	int length;

	if (!text->size_bytes)
		return;
	va_start(arguments, format);
	length = vsnprintf(text->start + text->used_bytes, room, format, arguments);
	va_end(arguments);
	if (length > 0)
		text->used_bytes += (size_t)length < room ? (size_t)length : room - 1;
}

void vn_print_note(struct vn_print *print, const char *what)
{
	if (!print->quoted)
		vn_text_add(print->notes, ", %s", what);
}

static void print_arp(struct vn_print *print, const uint8_t *bytes, size_t length_bytes)
{
	char text[VNIC_ADDRESS_TEXT_BYTES], other[VNIC_ADDRESS_TEXT_BYTES];
	struct vnic_address sender, target;
	struct vnic_arp arp;

	vn_text_add(print->line, "ARP");
	if (vnic_arp_parse(bytes, length_bytes, &arp) < 0) {
		if (length_bytes < VNIC_ARP_BYTES)
			print->truncated = true;
		else
			vn_text_add(print->line, " not for IPv4 over Ethernet");
		return;
	}
	sender = vnic_address_from_bytes(VNIC_IPV4, arp.sender_ip);
	target = vnic_address_from_bytes(VNIC_IPV4, arp.target_ip);
	vnic_address_format(&sender, text);
	vnic_address_format(&target, other);
	switch (arp.operation) {
	case VNIC_ARP_REQUEST:
		if (vnic_address_is_unspecified(&sender))
			vn_text_add(print->line, " probe: who has %s?", other);
		else if (vnic_address_equal(&sender, &target))
			vn_text_add(print->line, " announcement of %s", text);
		else
			vn_text_add(print->line, " who has %s? tell %s", other, text);
		break;
	case VNIC_ARP_REPLY:
		vnic_mac_format(arp.sender_mac, other);
		vn_text_add(print->line, " %s is at %s", text, other);
		break;
	default:
		vn_text_add(print->line, " operation %u from %s for %s", arp.operation, text,
			    other);
	}
}

static void print_tags(struct vn_print *print, const struct vnic_ethernet *ethernet)
{
	for (unsigned i = 0; i < ethernet->vlan_count; i++) {
		uint16_t tci = ethernet->vlan[i].tci;

		vn_text_add(print->line, "%s %u ",
			    ethernet->vlan[i].protocol == VNIC_ETHERTYPE_QINQ ? "svlan" : "vlan",
			    tci & 0xfff);
		if (tci >> 13)
			vn_text_add(print->line, "prio %u ", tci >> 13);
	}
}

static void print_ethernet(struct vn_print *print, const uint8_t *bytes, size_t length_bytes)
{
	char source[VNIC_ADDRESS_TEXT_BYTES], destination[VNIC_ADDRESS_TEXT_BYTES];
	struct vnic_ethernet ethernet;
	int used = vnic_ethernet_parse(bytes, length_bytes, &ethernet);
	size_t left;

	if (used < 0) {
		vn_text_add(print->line, "Ethernet");
		print->truncated = true;
		return;
	}
	bytes += used;
	left = length_bytes - (size_t)used;
	vn_text_add(print->line, "%s > %s ", vnic_mac_format(ethernet.source, source),
		    vnic_mac_format(ethernet.destination, destination));
	print_tags(print, &ethernet);
	switch (ethernet.ethertype) {
	case VNIC_ETHERTYPE_IPV4:
	case VNIC_ETHERTYPE_IPV6:
		vn_print_ip(print, bytes, left);
		if (left && bytes[0] >> 4 != (ethernet.ethertype == VNIC_ETHERTYPE_IPV4 ? 4 : 6))
			vn_print_note(print, "bad EtherType");
		break;
	case VNIC_ETHERTYPE_ARP:
		print_arp(print, bytes, left);
		break;
	default:
		if (ethernet.ethertype < 0x0600)
			vn_text_add(print->line, "802.3 length %u", ethernet.ethertype);
		else
			vn_text_add(print->line, "EtherType 0x%04x", ethernet.ethertype);
	}
}

size_t vnic_packet_print(const struct vnic_packet *packet, enum vnic_layer layer, char *line,
			 size_t size_bytes)
{
	char notes_bytes[160];
	struct vn_text text = {.size_bytes = size_bytes};
	struct vn_text notes = {.start = notes_bytes, .size_bytes = sizeof(notes_bytes)};
	struct vn_print print = {
		.packet = packet,
		.line = &text,
		.notes = &notes,
		.truncated = packet->flags & VNIC_PACKET_TRUNCATED,
	};

	text.start = line;
	notes_bytes[0] = '\0';
	if (packet->length_bytes == 0)
		vn_text_add(&text, "empty packet");
	else if (layer == VNIC_LAYER_ETHERNET)
		print_ethernet(&print, packet->data, packet->length_bytes);
	else
		vn_print_ip(&print, packet->data, packet->length_bytes);
	vn_text_add(&text, ", %u bytes", packet->length_bytes);
	if (packet->gso_type != VNIC_GSO_NONE)
		vn_text_add(&text, ", gso %u", packet->gso_size_bytes);
	if (print.truncated)
		vn_text_add(&text, ", truncated");
	vn_text_add(&text, "%s", notes_bytes);
	return text.used_bytes;
}
