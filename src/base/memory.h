/* SPDX-License-Identifier: MIT */
#ifndef VN_BASE_MEMORY_H
#define VN_BASE_MEMORY_H

#include <stddef.h>

/**
 * Reserve memory that is zero and costs nothing until it is touched, and then by the page.
 * @return  page-aligned; NULL: out of address space. To be returned with vn_memory_release().
 */
void *vn_memory_reserve(size_t length_bytes);
/** NULL is allowed. */
void vn_memory_release(void *memory, size_t length_bytes);

#endif
