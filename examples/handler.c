/* SPDX-License-Identifier: MIT */
/*
 * A packet handler of your own: it prints each packet and answers the pings among them by itself,
 * with the library's parsers and builders, until Ctrl-C. Start it as root, or without root by
 *
 *     unshare --user --map-root-user --net sh -c './handler & sleep 1; ping -c 3 10.0.0.2; kill $!'
 *
 * or give it another network: ./handler 192.168.7.1/24
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <vnic/vnic.h>

struct responder {
	struct vnic_prefix network; /* the kernel's address in it */
	unsigned long answered;
};

/* A signal handler has no other way to know which device to stop. */
static struct vnic_device *device;

static void stop(int number)
{
	(void)number;
	vnic_stop(device);
}

/* An echo request that is whole, for one address and not for a group of them. */
static int is_ping(const struct responder *responder, const struct vnic_ipv4 *ipv4)
{
	struct vnic_address destination = vnic_address_from_bytes(VNIC_IPV4, ipv4->destination);

	return ipv4->protocol == VNIC_PROTOCOL_ICMP && ipv4->options_bytes == 0 &&
	       !ipv4->more_fragments && ipv4->fragment_offset_bytes == 0 &&
	       vnic_prefix_contains(&responder->network, &destination) &&
	       !vnic_prefix_is_broadcast(&responder->network, &destination);
}

/* Turn an echo request into its reply, where it stands. Returns 0 for any other packet. */
static int answer(const struct responder *responder, struct vnic_packet *packet)
{
	struct vnic_ipv4 ipv4, reply;
	struct vnic_icmp icmp;
	int header = vnic_ipv4_parse(packet->data, packet->length_bytes, &ipv4);
	size_t length;

	/* Every parser checks the length first: behind it, what it returned is safe to read. */
	if (header < 0 || !is_ping(responder, &ipv4))
		return 0;
	length = (size_t)ipv4.total_bytes - (size_t)header;
	if (vnic_icmp_parse(packet->data + header, length, &icmp) < 0 ||
	    icmp.type != VNIC_ICMP_ECHO_REQUEST)
		return 0;

	reply = ipv4;
	reply.ttl = 64;
	memcpy(reply.source, ipv4.destination, sizeof(reply.source));
	memcpy(reply.destination, ipv4.source, sizeof(reply.destination));
	icmp.type = VNIC_ICMP_ECHO_REPLY;
	vnic_icmp_build(packet->data + header, length, &icmp, length - VNIC_ICMP_HEADER_BYTES);
	vnic_ipv4_build(packet->data, packet->length_bytes, &reply);
	packet->length_bytes = ipv4.total_bytes;
	return 1;
}

/* Process packets here. */
static int receive(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
		   void *user)
{
	struct responder *responder = user;
	char line[VNIC_PACKET_LINE_BYTES];

	for (unsigned i = 0; i < count; i++) {
		vnic_packet_print(&packets[i], VNIC_LAYER_IP, line, sizeof(line));
		puts(line);
		if (answer(responder, &packets[i]) && vnic_worker_send(worker, &packets[i], 1) == 1)
			responder->answered++;
	}
	return 0; /* go on; a negative errno would end the run with this error */
}

static void report_link(struct vnic_worker *worker, enum vnic_link_event event, const char *name,
			void *user)
{
	(void)worker;
	(void)user;
	printf("%s: %s\n", name, vnic_link_event_name(event));
}

static int run(struct responder *responder, struct vnic_error *error)
{
	const struct vnic_handler handler = {
		.receive = receive, .link = report_link, .plain = true};
	struct sigaction action = {.sa_handler = stop};
	struct vnic_link_address address = {.prefix = responder->network};
	struct vnic_link_config config = {
		.addresses = &address,
		.address_count = 1,
		.state = VNIC_LINK_UP,
	};
	char name[VNIC_NAME_BYTES], text[VNIC_ADDRESS_TEXT_BYTES];
	int code = vnic_device_configure(device, &config, error);

	if (code == 0)
		code = vnic_device_name(device, name, error);
	if (code < 0)
		return code;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	printf("%s: %s\n", name, vnic_prefix_format(&responder->network, text));
	return vnic_run(device, &handler, responder, error);
}

int main(int argc, char **argv)
{
	struct responder responder = {.answered = 0};
	struct vnic_error error;
	int code;

	setvbuf(stdout, NULL, _IOLBF, 0); /* each packet at once, into a pipe too */
	code = vnic_prefix_parse(argc > 1 ? argv[1] : "10.0.0.1/24", &responder.network, &error);
	if (code == 0)
		code = vnic_device_open(NULL, &device, &error);
	if (code == 0)
		code = run(&responder, &error);
	if (code < 0)
		fprintf(stderr, "handler: %s\n", error.text);
	else
		printf("%lu pings answered\n", responder.answered);
	vnic_device_close(device);
	return code < 0;
}
