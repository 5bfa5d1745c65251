/* SPDX-License-Identifier: MIT */
/* Rates of the last minutes, second by second: see history.c. Thread-safe. */
#ifndef TOOL_HISTORY_H
#define TOOL_HISTORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HISTORY_SECONDS 300

/* What happened in one second; or, for history_note(), since the beginning. */
struct history_second {
	uint64_t in_packets, in_bytes, out_packets, out_bytes, drops;
};

struct history;
/* @return NULL: no memory */
struct history *history_new(uint64_t start_ns);
void history_free(struct history *history);

/* True when a second has gone by that is not noted yet: costs one comparison. */
bool history_is_due(const struct history *history, uint64_t now_ns);
/* What has been counted up to now. Where somebody else is noting it already nothing is done. */
void history_note(struct history *history, const struct history_second *total, uint64_t now_ns);
/* When history_note() is wanted; UINT64_MAX: nothing has happened since the last time. */
uint64_t history_next_ns(const struct history *history, bool has_traffic);
/*
 * Copy the seconds that are noted from number `since` on, the oldest first. *first is the number of
 * the first of them. Returns how many.
 */
unsigned history_read(struct history *history, uint64_t since,
		      struct history_second seconds[HISTORY_SECONDS], uint64_t *first);

#endif
