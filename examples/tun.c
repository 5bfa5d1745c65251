/* SPDX-License-Identifier: MIT */
/* A virtual NIC with hosts behind it. As root: ./tun, and in another window: ping 10.0.0.2 */
#include <err.h>
#include <stdlib.h>
#include <vnic/vnic.h>

static void transmit(void *device, const struct vnic_packet *packets, unsigned count)
{
	vnic_device_send(device, 0, packets, count); /* or they are lost, as on a wire */
}

static void fill(void *device, void *bytes, size_t length_bytes)
{
	(void)device;
	arc4random_buf(bytes, length_bytes);
}

static int process(struct vnic_worker *worker, struct vnic_packet *packets, unsigned n, void *host)
{
	vnic_stack_receive(host, packets, n, vnic_worker_now_ns(worker)); /* process packets here */
	vnic_stack_advance(host, vnic_worker_now_ns(worker));
	return 0;
}

int main(void)
{
	struct vnic_link_address kernel = {.prefix = {{VNIC_IPV4, {10, 0, 0, 1}}, 24}};
	struct vnic_link_config config = {&kernel, 1, .state = VNIC_LINK_UP};
	struct vnic_stack_options options = {.send = transmit, .random = fill};
	struct vnic_device *device;
	struct vnic_stack *host;
	struct vnic_error error;

	if (vnic_device_open(NULL, &device, &error) < 0 ||
	    vnic_device_configure(device, &config, &error) < 0 ||
	    (options.user = device, vnic_stack_new(&options, &host, &error)) < 0 ||
	    vnic_stack_add_prefix(host, &kernel.prefix, &error) < 0 ||
	    vnic_run(device, &(struct vnic_handler){process, .plain = true}, host, &error) < 0)
		errx(1, "%s", error.text); /* and the kernel takes the NIC away, as for any end */
}
