/* SPDX-License-Identifier: MIT */
#ifndef VN_DEVICE_SYSTEM_H
#define VN_DEVICE_SYSTEM_H

#include <errno.h>
#include <vnic/error.h>

/** The cause of an errno that means the same wherever it comes from. */
static inline enum vnic_cause vn_system_cause(int code)
{
	switch (-code) {
	case EMFILE:
	case ENFILE:
		return VNIC_CAUSE_LIMIT;
	case ENOMEM:
	case ENOBUFS:
		return VNIC_CAUSE_MEMORY;
	case EPERM:
		return VNIC_CAUSE_CAPABILITY;
	default:
		return VNIC_CAUSE_SYSTEM;
	}
}

#endif
