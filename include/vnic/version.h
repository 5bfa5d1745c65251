/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The version of the library: of the header at compile time, of the code at run time.
 */
#ifndef VNIC_VERSION_H
#define VNIC_VERSION_H

#include <vnic/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Version of these headers (semantic versioning 2.0.0). */
#define VNIC_VERSION "0.1.0"

/** Version of the library that the program runs with: a static string. */
VNIC_API const char *vnic_version(void);

#ifdef __cplusplus
}
#endif
#endif
