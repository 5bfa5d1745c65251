/* SPDX-License-Identifier: MIT */
/* How long to wait before what failed is tried again: twice as long each time, up to a bound. */
#ifndef VN_IO_BACKOFF_H
#define VN_IO_BACKOFF_H

#include <stdint.h>

#define VN_BACKOFF_LEAST_NS (UINT64_C(100) * 1000000)
#define VN_BACKOFF_MOST_NS (UINT64_C(5000) * 1000000)

/** All zero: nothing failed yet. */
struct vn_backoff {
	uint64_t last_ns;
};

/** It failed (again). @return how long to wait now */
static inline uint64_t vn_backoff_next(struct vn_backoff *backoff)
{
	uint64_t next_ns = backoff->last_ns * 2;

	if (next_ns < VN_BACKOFF_LEAST_NS)
		next_ns = VN_BACKOFF_LEAST_NS;
	if (next_ns > VN_BACKOFF_MOST_NS)
		next_ns = VN_BACKOFF_MOST_NS;
	backoff->last_ns = next_ns;
	return next_ns;
}

/** It went well. */
static inline void vn_backoff_reset(struct vn_backoff *backoff)
{
	backoff->last_ns = 0;
}

#endif
