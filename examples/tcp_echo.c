/* SPDX-License-Identifier: MIT */
/*
 * A TCP server without the kernel's TCP: the connections end in this program. What is sent to port 7
 * of any address behind the NIC comes back. As root: ./tcp_echo, and in another window: nc 10.0.0.2 7
 */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <vnic/vnic.h>

/* Written is what was taken; what there is no room for stays unread, and closes the window in time. */
static void answer(struct vnic_socket *socket, void *user, unsigned ready)
{
	const uint8_t *bytes;
	ssize_t length = 0, written = 0;

	(void)user;
	(void)ready; /* whatever became possible: try both */
	while (written >= 0 && (length = vnic_socket_peek(socket, &bytes)) > 0) {
		written = vnic_socket_write(socket, bytes, (size_t)length);
		if (written > 0)
			vnic_socket_consume(socket, (size_t)written);
	}
	if (written == -EAGAIN || length == -EAGAIN)
		return;            /* and we are called again */
	vnic_socket_close(socket); /* the other end has finished (0), or it failed */
}

static void welcome(struct vnic_socket *listening, void *user, unsigned ready)
{
	struct vnic_socket *socket;

	(void)ready;
	while (vnic_socket_accept(listening, &socket) == 0) {
		vnic_socket_set_ready(socket, answer, user);
		answer(socket, user, 0); /* something may be there already */
	}
}

/* The host's side of the cable. */

static struct vnic_worker *worker_now;

static void transmit(void *user, const struct vnic_packet *packets, unsigned count)
{
	(void)user;
	if (worker_now)
		vnic_worker_send(worker_now, packets, count); /* or they are lost, as on a wire */
}

static void fill(void *user, void *bytes, size_t length_bytes)
{
	(void)user;
	arc4random_buf(bytes, length_bytes);
}

static int receive(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
		   void *host)
{
	worker_now = worker;
	vnic_stack_receive(host, packets, count, vnic_worker_now_ns(worker));
	return 0;
}

/* Retransmissions, delayed ACKs and whatever else waits for its time. */
static uint64_t advance(struct vnic_worker *worker, uint64_t now_ns, void *host)
{
	worker_now = worker;
	return vnic_stack_advance(host, now_ns);
}

int main(void)
{
	struct vnic_link_address kernel = {.prefix = {{VNIC_IPV4, {10, 0, 0, 1}}, 24}};
	struct vnic_link_config config = {&kernel, 1, .state = VNIC_LINK_UP};
	struct vnic_stack_options options = {.send = transmit, .random = fill};
	struct vnic_socket_options server = {.ready = welcome};
	struct vnic_handler handler = {.receive = receive, .timer = advance};
	struct vnic_device *device;
	struct vnic_stack *host;
	struct vnic_socket *listening;
	struct vnic_error error;

	if (vnic_device_open(NULL, &device, &error) < 0 ||
	    vnic_device_configure(device, &config, &error) < 0 ||
	    vnic_stack_new(&options, &host, &error) < 0 ||
	    vnic_stack_add_prefix(host, &kernel.prefix, &error) < 0 ||
	    vnic_socket_listen(host, NULL, 7, &server, &listening, &error) < 0 ||
	    vnic_run(device, &handler, host, &error) < 0)
		errx(1, "%s", error.text); /* and the kernel takes the NIC away, as for any end */
}
