/* SPDX-License-Identifier: MIT */
/*
 * What iperf3 clients say. The first byte chooses what it is: parameters, results, datagrams, a
 * cookie. What is understood is within its bounds, and results that are written again read the
 * same.
 *
 * It stands before a page that cannot be read: the JSON library has no sanitizer.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iperf3_test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_parameters(const char *text, size_t size)
{
	struct iperf3_parameters parameters;

	if (iperf3_parameters_parse(text, size, &parameters) != IPERF3_PROBLEM_NONE)
		return;
	assert(parameters.streams >= 1 && parameters.streams <= IPERF3_STREAMS_MOST);
	assert(parameters.block_bytes >= 1 && parameters.block_bytes <= 1048576);
	if (parameters.is_udp)
		assert(parameters.block_bytes >=
			       IPERF3_DATAGRAM_LEAST(parameters.has_wide_counters) &&
		       parameters.block_bytes <= IPERF3_DATAGRAM_BYTES_MOST);
	assert(!(parameters.is_reverse && parameters.is_bidirectional));
	assert(parameters.duration_s <= 86400 && parameters.omit_s <= 600);
	assert(parameters.rate_bits <= UINT64_C(10000000000000));
	assert(parameters.pacing_ns >= 100000 && parameters.pacing_ns <= 100000000);
	assert(parameters.burst_blocks <= 1000);
	assert(parameters.window_bytes <= UINT64_C(1) << 53);
}

static void try_results(const char *text, size_t size)
{
	static struct iperf3_results results, again;
	char *written;
	unsigned i;

	if (iperf3_results_parse(text, size, &results) < 0) {
		assert(results.count == 0);
		return;
	}
	assert(results.count <= 2 * IPERF3_STREAMS_MOST);
	written = iperf3_results_format(&results);
	assert(written);
	assert(iperf3_results_parse(written, strlen(written), &again) == 0);
	assert(again.count == results.count);
	for (i = 0; i < results.count; i++) {
		assert(again.streams[i].id == results.streams[i].id);
		assert(again.streams[i].bytes == results.streams[i].bytes);
		assert(again.streams[i].packets == results.streams[i].packets);
		assert(again.streams[i].errors == results.streams[i].errors);
	}
	free(written);
}

static void try_datagram(const uint8_t *bytes, size_t size, bool is_wide)
{
	struct iperf3_datagram datagram;
	uint8_t again[16];

	if (iperf3_datagram_parse(bytes, size, is_wide, &datagram) < 0)
		return;
	assert(size >= IPERF3_DATAGRAM_LEAST(is_wide));
	iperf3_datagram_build(again, is_wide, &datagram);
	assert(memcmp(again, bytes, IPERF3_DATAGRAM_LEAST(is_wide)) == 0);
}

static void try_all(const uint8_t *data, size_t size)
{
	char cookie[IPERF3_COOKIE_BYTES] = {0};

	switch (*data % 5) {
	case 0:
		try_parameters((const char *)data + 1, size - 1);
		break;
	case 1:
		try_results((const char *)data + 1, size - 1);
		break;
	case 2:
	case 3:
		try_datagram(data + 1, size - 1, *data % 5 == 3);
		break;
	default:
		memcpy(cookie, data + 1, size - 1 < sizeof(cookie) ? size - 1 : sizeof(cookie));
		if (iperf3_cookie_is_possible(cookie))
			assert(memchr(cookie, 0, sizeof(cookie)) != NULL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), most = (size + page - 1) / page * page;
	uint8_t *memory;

	if (size < 1)
		return 0;
	memory =
		mmap(NULL, most + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(memory != MAP_FAILED);
	assert(mprotect(memory + most, page, PROT_NONE) == 0);
	memcpy(memory + most - size, data, size);
	try_all(memory + most - size, size);
	munmap(memory, most + page);
	return 0;
}
