/* SPDX-License-Identifier: MIT */
/* What the files of the iperf3 service share. How they work together is told in service_iperf3.c. */
#ifndef TOOL_IPERF3_H
#define TOOL_IPERF3_H

#include "iperf3_test.h"

#define IPERF3_PORT 5201
#define IPERF3_SECOND_NS UINT64_C(1000000000)
#define IPERF3_MILLISECOND_NS UINT64_C(1000000)
#define IPERF3_TICK_NS IPERF3_MILLISECOND_NS /* how often shards look at each other's work */
#define IPERF3_FRAME_BYTES 65536u
#define IPERF3_WINDOW_BYTES (16u << 20) /* what was received is thrown away, so it is always free */

/* The service on one shard. */
struct iperf3_shard {
	struct iperf3_shared *shared;
	struct vnic_stack *stack;
	struct vnic_listener *listener;
	struct vnic_endpoint *endpoint; /* takes the first datagram of each stream */
	struct iperf3_greeting *greetings;
	struct iperf3_control *controls;
	struct iperf3_stream *streams;
	unsigned greeting_count;
	unsigned control_count;
	unsigned stream_count;
	bool is_stirred;  /* something happened: look at everything */
	uint64_t next_ns; /* when to look again otherwise */
	uint8_t *frame;   /* IPERF3_FRAME_BYTES: datagrams are built in it */
};

uint64_t iperf3_now_ns(void);

/* iperf3_greeting.c: a connection until its cookie says what it is for. */

/* Take a connection in; 0, -ENOMEM. The oldest one has to go where there are too many. */
int iperf3_greeting_new(struct iperf3_shard *shard, struct vnic_connection *connection);
/* These go through all of the shard; *next_ns becomes the time to look again where that is sooner. */
void iperf3_greetings_advance(struct iperf3_shard *shard, uint64_t now_ns, uint64_t *next_ns);
void iperf3_greetings_free(struct iperf3_shard *shard);

/* iperf3_control.c: the control connection of a test. */

/* Takes the reference to the test over. 0, -ENOMEM. */
int iperf3_control_new(struct iperf3_shard *shard, struct iperf3_test *test,
		       struct vnic_connection *connection);
void iperf3_controls_advance(struct iperf3_shard *shard, uint64_t now_ns, uint64_t *next_ns);
void iperf3_controls_free(struct iperf3_shard *shard);

/* iperf3_stream.c: a stream of a test; iperf3_udp.c: what is different over UDP. */

struct iperf3_stream {
	struct iperf3_stream *next;
	struct iperf3_shard *shard;
	struct iperf3_test *test;
	struct iperf3_counts *counts;       /* its place in the test */
	struct vnic_connection *connection; /* NULL: UDP, or it has ended */
	struct vnic_endpoint *endpoint;     /* NULL: TCP */
	bool is_started, is_settled, is_closing;
	bool has_omitted;
	uint64_t linger_ns;                          /* until then it may close in order */
	uint64_t received_bytes;                     /* the cookie is not counted */
	uint64_t sent_bytes, sent_packets;           /* UDP */
	uint64_t omitted_bytes, omitted_retransmits; /* before the time to be omitted was over */
	uint64_t acked_offset;                       /* TCP */
	uint64_t highest_number, lost_packets;       /* UDP */
	uint64_t pace_ns, paced_packets; /* UDP: since when the rate is kept, and how many since */
	int64_t transit_ns;              /* UDP: of the last datagram */
	bool has_transit;
	unsigned greetings; /* UDP: answered once more */
	double jitter_ns;
};
/* Both take the reference to the test over. 0, or a negative errno. */
int iperf3_stream_adopt(struct iperf3_shard *shard, struct iperf3_test *test, unsigned index,
			struct vnic_connection *connection);
int iperf3_stream_open(struct iperf3_shard *shard, struct iperf3_test *test, unsigned index,
		       const struct vnic_flow *flow);
void iperf3_streams_advance(struct iperf3_shard *shard, uint64_t now_ns, uint64_t *next_ns);
void iperf3_streams_free(struct iperf3_shard *shard);

/* Callbacks of the shard's endpoint, whose user is the shard, and of a stream's. */
void iperf3_udp_open(struct vnic_endpoint *endpoint, void *user,
		     const struct vnic_datagram *datagrams, unsigned count);
void iperf3_udp_receive(struct vnic_endpoint *endpoint, void *user,
			const struct vnic_datagram *datagrams, unsigned count);
/* Send what is due. Returns when the next is. */
uint64_t iperf3_udp_send(struct iperf3_stream *stream, uint64_t now_ns);

/* iperf3_report.c: what --get-server-output shows. Returns text to be freed; NULL: no memory. */
char *iperf3_report_format(const struct iperf3_test *test, const struct iperf3_results *results);

#endif
