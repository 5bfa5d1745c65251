/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Room for the worst case (64 packets of 64 KiB) is reserved often and filled seldom. A mapping of
 * its own gets its pages from the kernel one by one as they are written. malloc() would do that
 * too, but not where huge pages are given to everyone who did not refuse: there the first byte
 * costs 2 MiB, and refusing them takes a mapping of one's own.
 */
#include "base/memory.h"

#include <sys/mman.h>

void *vn_memory_reserve(size_t length_bytes)
{
	void *memory = mmap(NULL, length_bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	/* Refused by a kernel that has no huge pages: as good. */
	(void)madvise(memory, length_bytes, MADV_NOHUGEPAGE);
	return memory;
}

void vn_memory_release(void *memory, size_t length_bytes)
{
	if (memory)
		munmap(memory, length_bytes);
}
