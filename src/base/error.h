/* SPDX-License-Identifier: MIT */
#ifndef VN_BASE_ERROR_H
#define VN_BASE_ERROR_H

#include <vnic/error.h>

/**
 * Fill *error, if there is one, and return code, so that one line both reports and returns:
 *
 *     return vn_error(error, -EINVAL, VNIC_CAUSE_NAME_INVALID, "bad name '%s'", name);
 *
 * code is a negative errno. The sentence is for people and does not name the errno: use
 * vn_error_system() where the errno's text tells something. What is too long is cut.
 */
int vn_error(struct vnic_error *error, int code, enum vnic_cause cause, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/** The same with ": " and the errno's text behind the sentence. */
int vn_error_system(struct vnic_error *error, int code, enum vnic_cause cause, const char *format,
		    ...) __attribute__((format(printf, 4, 5)));

#endif
