/* SPDX-License-Identifier: MIT */
/* Theory of operation. The header says what a program was compiled with, this what it runs with. */
#include <vnic/version.h>

const char *vnic_version(void)
{
	return VNIC_VERSION;
}
