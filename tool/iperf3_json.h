/* SPDX-License-Identifier: MIT */
/* What an iperf3 client and its server tell each other in JSON. */
#ifndef TOOL_IPERF3_JSON_H
#define TOOL_IPERF3_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPERF3_STREAMS_MOST 128          /* in one direction, as the client has it */
#define IPERF3_TEXT_BYTES_MOST 131072    /* of one JSON text from a client */
#define IPERF3_DATAGRAM_BYTES_MOST 65507 /* of payload */

/* Why a test fails, by the numbers that the client has sentences for. */
enum iperf3_problem {
	IPERF3_PROBLEM_NONE = 0,
	IPERF3_PROBLEM_DURATION = 5,
	IPERF3_PROBLEM_STREAMS = 6,
	IPERF3_PROBLEM_BLOCK = 7,
	IPERF3_PROBLEM_OMIT = 12,
	IPERF3_PROBLEM_BURST = 15,
	IPERF3_PROBLEM_SCTP = 18,
	IPERF3_PROBLEM_DATAGRAM = 20,
	IPERF3_PROBLEM_DIRECTIONS = 25,
	IPERF3_PROBLEM_MESSAGE = 110,
	IPERF3_PROBLEM_PARAMETERS = 114,
	IPERF3_PROBLEM_RESULTS = 117
};

/* What the client wants. */
struct iperf3_parameters {
	bool is_udp;
	bool is_reverse;       /* the server sends */
	bool is_bidirectional; /* both do */
	bool has_wide_counters;
	bool wants_output;
	uint8_t traffic_class;
	unsigned streams; /* in each direction */
	unsigned block_bytes;
	unsigned burst_blocks;
	unsigned omit_s;
	unsigned duration_s; /* 0: until the client says so */
	uint64_t rate_bits;  /* a second, of each stream; 0: no limit */
	uint64_t pacing_ns;
	uint64_t window_bytes; /* 0: the server's choice */
};
/* Returns IPERF3_PROBLEM_NONE, or why there is no such test. */
enum iperf3_problem iperf3_parameters_parse(const char *text, size_t length_bytes,
					    struct iperf3_parameters *parameters);

/* What became of one stream, at one end. */
struct iperf3_stream_result {
	unsigned id;
	uint64_t bytes;
	int64_t retransmits; /* -1: unknown */
	double jitter_s;
	uint64_t errors; /* datagrams that did not come */
	uint64_t packets;
	double duration_s;
};

struct iperf3_results {
	double cpu_total, cpu_user, cpu_system; /* in percent of one processor */
	int has_retransmits;                    /* -1: does not send */
	const char *congestion;                 /* NULL: not TCP */
	char *output;                           /* NULL: was not asked for */
	unsigned count;
	struct iperf3_stream_result streams[2 * IPERF3_STREAMS_MOST];
};
/* What the client tells. Returns 0, -EBADMSG, -ENOMEM. output and congestion are not set. */
int iperf3_results_parse(const char *text, size_t length_bytes, struct iperf3_results *results);
/* Returns text to be freed; NULL: no memory. */
char *iperf3_results_format(const struct iperf3_results *results);

/* The beginning of each datagram of a test. */
struct iperf3_datagram {
	uint64_t sent_ns; /* by the sender's clock */
	uint64_t number;  /* 1 for the first one of its stream */
};
#define IPERF3_DATAGRAM_LEAST(is_wide) ((is_wide) ? 16u : 12u)
/* Returns 0, or -EBADMSG: too short, or it cannot be. */
int iperf3_datagram_parse(const uint8_t *bytes, size_t length_bytes, bool is_wide,
			  struct iperf3_datagram *datagram);
void iperf3_datagram_build(uint8_t *bytes, bool is_wide, const struct iperf3_datagram *datagram);

#endif
