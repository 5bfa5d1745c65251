/* SPDX-License-Identifier: MIT */
#include "stack/stack.h"

int vn_paths_new(struct vnic_stack *stack)
{
	(void)stack;
	return 0;
}

void vn_paths_free(struct vnic_stack *stack)
{
	(void)stack;
}

unsigned vn_path_mtu(const struct vnic_stack *stack, const struct vnic_address *remote)
{
	(void)remote;
	return stack->options.mtu_bytes;
}

bool vn_path_learn(struct vnic_stack *stack, const struct vnic_address *remote, unsigned mtu_bytes)
{
	(void)stack;
	(void)remote;
	(void)mtu_bytes;
	return false;
}
