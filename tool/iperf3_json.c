/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. An iperf3 client says what it wants, and both ends say what came of it, in
 * JSON behind its length. Everything from a client is checked against the bounds that iperf3 itself
 * has, by type and range, before it is a number here; what is unknown is passed over, since every
 * version adds something. A text is at most IPERF3_TEXT_BYTES_MOST long, and cJSON bounds how deeply it nests.
 *
 * The numbers of datagrams stand in their first bytes, in the network's order: seconds, microseconds, and a number of
 * 32 or 64 bits.
 */
#include "iperf3_json.h"

#include <cjson/cJSON.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DURATION_MOST_S 86400.0
#define OMIT_MOST_S 600.0
#define BLOCK_BYTES_MOST 1048576.0
#define RATE_MOST_BITS 1e13
#define BURST_MOST 1000.0
#define COUNT_MOST 9007199254740992.0 /* 2^53: beyond it a double skips numbers */
#define BLOCK_BYTES_TCP 131072u
#define BLOCK_BYTES_UDP 1460u
#define PACING_US_LEAST 100.0
#define PACING_US_MOST 100000.0

/* A number between 0 and most; what is missing is the default. Returns false: it is neither. */
static bool take_number(const cJSON *object, const char *key, double most, double missing,
			double *value)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	*value = missing;
	if (!item)
		return true;
	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= most))
		return false;
	*value = item->valuedouble;
	return true;
}

/* true, or a number that is not 0. */
static bool take_flag(const cJSON *object, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	return cJSON_IsTrue(item) || (cJSON_IsNumber(item) && item->valuedouble != 0);
}

static enum iperf3_problem take_kind(const cJSON *object, struct iperf3_parameters *parameters)
{
	if (take_flag(object, "sctp"))
		return IPERF3_PROBLEM_SCTP;
	parameters->is_udp = take_flag(object, "udp");
	if (parameters->is_udp == take_flag(object, "tcp"))
		return IPERF3_PROBLEM_PARAMETERS;
	parameters->is_reverse = take_flag(object, "reverse");
	parameters->is_bidirectional = take_flag(object, "bidirectional");
	if (parameters->is_reverse && parameters->is_bidirectional)
		return IPERF3_PROBLEM_DIRECTIONS;
	parameters->has_wide_counters = take_flag(object, "udp_counters_64bit");
	parameters->wants_output = take_flag(object, "get_server_output");
	return IPERF3_PROBLEM_NONE;
}

static enum iperf3_problem take_size(const cJSON *object, struct iperf3_parameters *parameters)
{
	bool is_udp = parameters->is_udp;
	double value;

	if (!take_number(object, "parallel", IPERF3_STREAMS_MOST, 1, &value) || value < 1)
		return IPERF3_PROBLEM_STREAMS;
	parameters->streams = (unsigned)value;
	if (!take_number(object, "time", DURATION_MOST_S, 0, &value))
		return IPERF3_PROBLEM_DURATION;
	parameters->duration_s = (unsigned)value;
	if (!take_number(object, "omit", OMIT_MOST_S, 0, &value))
		return IPERF3_PROBLEM_OMIT;
	parameters->omit_s = (unsigned)value;
	if (!take_number(object, "len", is_udp ? IPERF3_DATAGRAM_BYTES_MOST : BLOCK_BYTES_MOST,
			 is_udp ? BLOCK_BYTES_UDP : BLOCK_BYTES_TCP, &value) ||
	    value < (is_udp ? IPERF3_DATAGRAM_LEAST(parameters->has_wide_counters) : 1))
		return is_udp ? IPERF3_PROBLEM_DATAGRAM : IPERF3_PROBLEM_BLOCK;
	parameters->block_bytes = (unsigned)value;
	return IPERF3_PROBLEM_NONE;
}

static enum iperf3_problem take_rate(const cJSON *object, struct iperf3_parameters *parameters)
{
	double rate, other, value;

	/* Both limit each stream: what the sender gives, and what its socket would let through. */
	if (!take_number(object, "bandwidth", RATE_MOST_BITS, 0, &rate) ||
	    !take_number(object, "fqrate", RATE_MOST_BITS, 0, &other))
		return IPERF3_PROBLEM_PARAMETERS;
	if (other > 0 && (rate == 0 || other < rate))
		rate = other;
	parameters->rate_bits = (uint64_t)rate;
	if (!take_number(object, "burst", BURST_MOST, 0, &value))
		return IPERF3_PROBLEM_BURST;
	parameters->burst_blocks = (unsigned)value;
	if (!take_number(object, "pacing_timer", COUNT_MOST, 1000, &value))
		return IPERF3_PROBLEM_PARAMETERS;
	if (value > PACING_US_MOST)
		value = PACING_US_MOST;
	if (value < PACING_US_LEAST)
		value = PACING_US_LEAST;
	parameters->pacing_ns = (uint64_t)value * 1000;
	if (!take_number(object, "window", COUNT_MOST, 0, &value))
		return IPERF3_PROBLEM_PARAMETERS;
	parameters->window_bytes = (uint64_t)value;
	if (!take_number(object, "TOS", UINT8_MAX, 0, &value))
		return IPERF3_PROBLEM_PARAMETERS;
	parameters->traffic_class = (uint8_t)value;
	return IPERF3_PROBLEM_NONE;
}

enum iperf3_problem iperf3_parameters_parse(const char *text, size_t length_bytes,
					    struct iperf3_parameters *parameters)
{
	struct iperf3_parameters found = {0};
	enum iperf3_problem problem = IPERF3_PROBLEM_PARAMETERS;
	cJSON *object = cJSON_ParseWithLength(text, length_bytes);

	if (cJSON_IsObject(object))
		problem = take_kind(object, &found);
	if (problem == IPERF3_PROBLEM_NONE)
		problem = take_size(object, &found);
	if (problem == IPERF3_PROBLEM_NONE)
		problem = take_rate(object, &found);
	if (problem == IPERF3_PROBLEM_NONE)
		*parameters = found;
	cJSON_Delete(object);
	return problem;
}

static bool take_stream(const cJSON *object, struct iperf3_stream_result *stream)
{
	double id, bytes, packets, errors, jitter;

	if (!cJSON_IsObject(object) || !take_number(object, "id", UINT16_MAX, 0, &id) ||
	    !take_number(object, "bytes", COUNT_MOST, 0, &bytes) ||
	    !take_number(object, "packets", COUNT_MOST, 0, &packets) ||
	    !take_number(object, "errors", COUNT_MOST, 0, &errors) ||
	    !take_number(object, "jitter", COUNT_MOST, 0, &jitter) || id < 1)
		return false;
	*stream = (struct iperf3_stream_result){
		.id = (unsigned)id,
		.bytes = (uint64_t)bytes,
		.packets = (uint64_t)packets,
		.errors = (uint64_t)errors,
		.jitter_s = jitter,
		.retransmits = -1,
	};
	return true;
}

int iperf3_results_parse(const char *text, size_t length_bytes, struct iperf3_results *results)
{
	cJSON *object = cJSON_ParseWithLength(text, length_bytes);
	const cJSON *streams = cJSON_GetObjectItemCaseSensitive(object, "streams"), *stream;
	int code = cJSON_IsArray(streams) ? 0 : -EBADMSG;
	unsigned count = 0;

	if (code == 0)
		cJSON_ArrayForEach(stream, streams)
		{
			if (count == 2 * IPERF3_STREAMS_MOST ||
			    !take_stream(stream, &results->streams[count])) {
				code = -EBADMSG;
				break;
			}
			count++;
		}
	results->count = code == 0 ? count : 0;
	cJSON_Delete(object);
	return code;
}

/* cJSON writes a double with up to 17 digits; a count has up to 20. */
static void add_count(cJSON *object, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	cJSON_AddRawToObject(object, key, text);
}

static bool add_stream(cJSON *array, const struct iperf3_stream_result *result)
{
	cJSON *stream = cJSON_CreateObject();

	if (!stream)
		return false;
	cJSON_AddNumberToObject(stream, "id", result->id);
	add_count(stream, "bytes", result->bytes);
	cJSON_AddNumberToObject(stream, "retransmits", (double)result->retransmits);
	cJSON_AddNumberToObject(stream, "jitter", result->jitter_s);
	add_count(stream, "errors", result->errors);
	add_count(stream, "packets", result->packets);
	cJSON_AddNumberToObject(stream, "start_time", 0);
	cJSON_AddNumberToObject(stream, "end_time", result->duration_s);
	return cJSON_AddItemToArray(array, stream);
}

char *iperf3_results_format(const struct iperf3_results *results)
{
	cJSON *object = cJSON_CreateObject(), *streams;
	char *text = NULL;
	unsigned i = 0;

	cJSON_AddNumberToObject(object, "cpu_util_total", results->cpu_total);
	cJSON_AddNumberToObject(object, "cpu_util_user", results->cpu_user);
	cJSON_AddNumberToObject(object, "cpu_util_system", results->cpu_system);
	cJSON_AddNumberToObject(object, "sender_has_retransmits", results->has_retransmits);
	if (results->congestion)
		cJSON_AddStringToObject(object, "congestion_used", results->congestion);
	if (results->output)
		cJSON_AddStringToObject(object, "server_output_text", results->output);
	streams = cJSON_AddArrayToObject(object, "streams");
	while (streams && i < results->count && add_stream(streams, &results->streams[i]))
		i++;
	if (streams && i == results->count)
		text = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	return text;
}

static uint64_t get_be(const uint8_t *bytes, unsigned length)
{
	uint64_t value = 0;

	while (length--)
		value = value << 8 | *bytes++;
	return value;
}

static void put_be32(uint8_t *bytes, uint32_t value)
{
	value = htobe32(value);
	memcpy(bytes, &value, sizeof(value));
}

int iperf3_datagram_parse(const uint8_t *bytes, size_t length_bytes, bool is_wide,
			  struct iperf3_datagram *datagram)
{
	uint64_t microseconds;

	if (length_bytes < IPERF3_DATAGRAM_LEAST(is_wide))
		return -EBADMSG;
	microseconds = get_be(bytes + 4, 4);
	if (microseconds >= 1000000)
		return -EBADMSG;
	datagram->sent_ns = get_be(bytes, 4) * 1000000000 + microseconds * 1000;
	datagram->number = get_be(bytes + 8, is_wide ? 8 : 4);
	/* So that a difference of two is a number with a sign. */
	return datagram->number < UINT64_C(1) << 62 ? 0 : -EBADMSG;
}

void iperf3_datagram_build(uint8_t *bytes, bool is_wide, const struct iperf3_datagram *datagram)
{
	put_be32(bytes, (uint32_t)(datagram->sent_ns / 1000000000));
	put_be32(bytes + 4, (uint32_t)(datagram->sent_ns % 1000000000 / 1000));
	if (is_wide) {
		put_be32(bytes + 8, (uint32_t)(datagram->number >> 32));
		bytes += 4;
	}
	put_be32(bytes + 8, (uint32_t)datagram->number);
}
