/* SPDX-License-Identifier: MIT
 * A TCP server in user space, which sends everything back. As root: ./tcp_echo; ncat 10.0.0.2 7 */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <vnic/vnic.h>
static struct vnic_device *device;
static void transmit(void *user, const struct vnic_packet *packets, unsigned count)
{
	vnic_device_send(device, 0, packets, count);
}

static void fill(void *user, void *bytes, size_t length_bytes)
{
	arc4random_buf(bytes, length_bytes);
}

static void ready(struct vnic_socket *socket, void *user, unsigned what)
{
	const uint8_t *bytes;
	ssize_t length;

	if (what & VNIC_SOCKET_ACCEPTABLE && vnic_socket_accept(socket, &socket) < 0)
		return;
	while ((length = vnic_socket_peek(socket, &bytes)) > 0 &&
	       (length = vnic_socket_write(socket, bytes, (size_t)length)) > 0)
		vnic_socket_consume(socket, (size_t)length);
	if (length != -EAGAIN) /* the end, or an error: what was written is still sent */
		vnic_socket_close(socket);
}

static int process(struct vnic_worker *worker, struct vnic_packet *packets, unsigned n, void *host)
{
	return vnic_stack_receive(host, packets, n, vnic_worker_now_ns(worker)), 0;
}

static uint64_t timer(struct vnic_worker *worker, uint64_t now_ns, void *host)
{
	return vnic_stack_advance(host, now_ns);
}

int main(void)
{
	struct vnic_link_address kernel = {.prefix = {{VNIC_IPV4, {10, 0, 0, 1}}, 24}};
	struct vnic_link_config config = {&kernel, 1, .state = VNIC_LINK_UP};
	struct vnic_stack_options options = {.send = transmit, .random = fill, .plain = true};
	struct vnic_socket_options listen = {.ready = ready};
	struct vnic_handler handler = {.receive = process, .timer = timer};
	struct vnic_socket *echo;
	struct vnic_stack *host;
	struct vnic_error error;

	if (vnic_device_open(NULL, &device, &error) < 0 ||
	    vnic_device_configure(device, &config, &error) < 0 ||
	    vnic_stack_new(&options, &host, &error) < 0 ||
	    vnic_stack_add_prefix(host, &kernel.prefix, &error) < 0 ||
	    vnic_socket_listen(host, NULL, 7, &listen, &echo, &error) < 0 ||
	    vnic_run(device, &handler, host, &error) < 0)
		errx(1, "%s", error.text);
}
