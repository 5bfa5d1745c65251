/* SPDX-License-Identifier: MIT */
#include "stack/stack.h"

int vn_neighbors_new(struct vnic_stack *stack)
{
	(void)stack;
	return 0;
}

void vn_neighbors_free(struct vnic_stack *stack)
{
	(void)stack;
}

uint64_t vn_neighbors_advance(struct vnic_stack *stack)
{
	(void)stack;
	return UINT64_MAX;
}

void vn_neighbor_send(struct vnic_stack *stack, uint8_t *ip, size_t length_bytes)
{
	static const struct vn_link none;

	vn_output_ip(stack, &none, ip, length_bytes);
}
