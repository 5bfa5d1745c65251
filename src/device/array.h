/* SPDX-License-Identifier: MIT */
#ifndef VN_DEVICE_ARRAY_H
#define VN_DEVICE_ARRAY_H

#include <stddef.h>
#include <stdlib.h>

/** An array that grows by one element at a time. All zero: empty. */
struct vn_array {
	void *elements;
	size_t count;
	size_t room;
};

/** Room for one more element of size_bytes, counted already; NULL: out of memory. */
static inline void *vn_array_add(struct vn_array *array, size_t size_bytes)
{
	if (array->count == array->room) {
		size_t room = array->room ? array->room * 2 : 8;
		void *elements = reallocarray(array->elements, room, size_bytes);

		if (!elements)
			return NULL;
		array->elements = elements;
		array->room = room;
	}
	return (char *)array->elements + array->count++ * size_bytes;
}

static inline void vn_array_clear(struct vn_array *array)
{
	free(array->elements);
	*array = (struct vn_array){0};
}

#endif
