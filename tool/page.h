/* SPDX-License-Identifier: MIT */
/* The status page, which embed.py makes of page.html: what stands before and behind the numbers. */
#ifndef TOOL_PAGE_H
#define TOOL_PAGE_H

#include <stddef.h>

extern const unsigned char page_head[], page_tail[];
extern const size_t page_head_bytes, page_tail_bytes;
/* Fields of the answer that carries it, each with CRLF: its Content-Security-Policy, above all. */
extern const char page_fields[];

#endif
