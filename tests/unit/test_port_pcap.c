/* SPDX-License-Identifier: MIT */
/*
 * pcap: as a source and as a sink. The files are made here, byte by byte, and broken in every way;
 * they lie in memory (memfd_create(2)) and are opened by their names below /proc.
 */
#include "wired.h"

#include <pcap/pcap.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define SECOND UINT64_C(1000000000)
#define FILE_BYTES (4 * 1024 * 1024)
#define RAW 101
#define ETHERNET 1
#define NANOSECONDS 0xa1b23c4d
#define MICROSECONDS 0xa1b2c3d4
#define MUTATIONS 4000

static char directory[] = "/tmp/vnic-pcap.XXXXXX";
static char recorded[sizeof(directory) + 32], sink[sizeof(recorded) + 8];

/* A file that is being made. */
static uint8_t bytes[FILE_BYTES];
static size_t length;
static int file = -1;
static char source[64];

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(recorded, sizeof(recorded), "%s/recorded.pcap", directory);
	snprintf(sink, sizeof(sink), "pcap:%s", recorded);
	file = memfd_create("source", MFD_CLOEXEC);
	snprintf(source, sizeof(source), "pcap:/proc/self/fd/%d", file);
	return file < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(file);
	unlink(recorded);
	return rmdir(directory);
}

static void put(const void *data, size_t size)
{
	assert_true(length + size <= sizeof(bytes));
	memcpy(bytes + length, data, size);
	length += size;
}

static void put32(uint32_t value)
{
	put(&value, sizeof(value));
}

static void begin_file(uint32_t magic, uint32_t link_type)
{
	const uint16_t version[] = {2, 4};

	length = 0;
	put32(magic);
	put(version, sizeof(version));
	put32(0);
	put32(0);
	put32(262144);
	put32(link_type);
}

/* An IPv4 packet, or what looks like one: nobody on the way has to look at it. */
static void put_packet(uint32_t seconds, uint32_t fraction, uint32_t captured, uint32_t whole,
		       uint8_t mark)
{
	static uint8_t packet[300000];

	memset(packet, mark, captured);
	if (captured > 0)
		packet[0] = 0x45;
	put32(seconds);
	put32(fraction);
	put32(captured);
	put32(whole);
	put(packet, captured);
}

static void end_file(void)
{
	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(pwrite(file, bytes, length, 0), length);
}

/* Replay it as fast as can be into a port. Returns what the run did. */
static int replay(struct wired *wired, const char *to, bool fast)
{
	const struct vnic_port_options options = {.replay_fast = fast};
	int code;

	wired_open(wired, source, to, &options);
	wired_start(wired);
	code = wired_join(wired);
	wired_check(wired);
	return code;
}

static void assert_refused(const char *specification, int code, enum vnic_cause cause,
			   const char *text)
{
	struct vnic_error error = {.text = ""};
	struct vnic_port *port = NULL;

	assert_int_equal(vnic_port_open(specification, NULL, &port, &error), code);
	assert_null(port);
	assert_int_equal(error.cause, cause);
	if (!strstr(error.text, text))
		fail_msg("'%s' does not say '%s'", error.text, text);
}

/* Compare a file that was recorded with what is in memory, from the packet with mark 0 on. */
static unsigned read_back(int link_type)
{
	char reason[PCAP_ERRBUF_SIZE];
	pcap_t *back = pcap_open_offline_with_tstamp_precision(recorded, PCAP_TSTAMP_PRECISION_NANO,
							       reason);
	struct pcap_pkthdr *header;
	const u_char *data;
	unsigned count = 0;
	int code;

	if (!back)
		fail_msg("%s", reason);
	assert_int_equal(pcap_datalink(back), link_type);
	while ((code = pcap_next_ex(back, &header, &data)) == 1) {
		assert_int_equal(header->caplen, header->len);
		assert_int_equal(header->len, 20 + count);
		assert_int_equal(data[0], 0x45);
		for (unsigned i = 1; i < header->len; i++)
			assert_int_equal(data[i], (uint8_t)count);
		count++;
	}
	assert_int_equal(code, PCAP_ERROR_BREAK);
	pcap_close(back);
	return count;
}

static void replayed_and_recorded(void **state)
{
	static const uint32_t types[][2] = {
		{RAW, DLT_RAW}, {228, DLT_RAW}, {229, DLT_RAW}, {ETHERNET, DLT_EN10MB}};
	struct wired wired;

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		begin_file(i % 2 ? MICROSECONDS : NANOSECONDS, types[i][0]);
		for (unsigned j = 0; j < 1000; j++)
			put_packet(1700000000, j, 20 + j, 20 + j, (uint8_t)j);
		end_file();
		assert_int_equal(replay(&wired, sink, true), 0);
		assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_IN_PACKETS), 1000);
		assert_int_equal(wired_counter(&wired, 1, VNIC_PORT_OUT_PACKETS), 1000);
		wired_wait(&wired, VNIC_PORT_END, 1, "is at its end: 1000 packets");
		wired_close(&wired);
		assert_int_equal(read_back((int)types[i][1]), 1000);
	}
}

/* pcapng: a section, an interface with nanoseconds, and packets. */
static void pcapng(void **state)
{
	struct wired wired;
	uint8_t packet[64] = {0x45};

	(void)state;
	length = 0;
	put32(0x0a0d0d0a);
	put32(28);
	put32(0x1a2b3c4d);
	put32(1);
	put32(UINT32_MAX);
	put32(UINT32_MAX);
	put32(28);
	put32(1);
	put32(32);
	put32(RAW);
	put32(262144);
	put32(9 | 1 << 16); /* if_tsresol: 10^-9 */
	put32(9);
	put32(0);
	put32(32);
	for (unsigned i = 0; i < 40; i++) {
		unsigned padded = (20 + i + 3) / 4 * 4;

		memset(packet + 1, (int)i, sizeof(packet) - 1);
		put32(6);
		put32(32 + padded);
		put32(0);
		put32(0);
		put32(i);
		put32(20 + i);
		put32(20 + i);
		put(packet, padded);
		put32(32 + padded);
	}
	end_file();
	assert_int_equal(replay(&wired, sink, true), 0);
	wired_close(&wired);
	assert_int_equal(read_back(DLT_RAW), 40);
}

static void other_link_types(void **state)
{
	(void)state;
	begin_file(NANOSECONDS, 113);
	end_file();
	assert_refused(source, -EPROTONOSUPPORT, VNIC_CAUSE_FILE, "its link type is LINUX_SLL,");
	begin_file(NANOSECONDS, 0);
	end_file();
	assert_refused(source, -EPROTONOSUPPORT, VNIC_CAUSE_FILE, "its link type is NULL,");
	begin_file(NANOSECONDS, 60000);
	end_file();
	assert_refused(source, -EPROTONOSUPPORT, VNIC_CAUSE_FILE, "its link type is 60000,");
}

static void no_captures(void **state)
{
	const struct vnic_port_options bad[] = {
		{.replay_speed = -1}, {.replay_speed = 0.0 / 0.0}, {.replay_speed = 1 / 0.0}};
	char fifo[sizeof(directory) + 16], name[sizeof(fifo) + 8];
	struct vnic_port *port = NULL;

	(void)state;
	assert_refused("pcap:", -EINVAL, VNIC_CAUSE_ARGUMENT, "FILE");
	assert_refused("pcap:/nowhere/a.pcap", -ENOENT, VNIC_CAUSE_FILE, "/nowhere/a.pcap");
	assert_refused("pcap:/tmp", -EINVAL, VNIC_CAUSE_FILE, "no regular file");
	snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
	snprintf(name, sizeof(name), "pcap:%s", fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_refused(name, -EINVAL, VNIC_CAUSE_FILE, "no regular file");
	unlink(fifo);
	length = 0;
	end_file();
	assert_refused(source, -EBADMSG, VNIC_CAUSE_FILE, "is no capture");
	put("This is no capture, but long enough to be one.", 46);
	end_file();
	assert_refused(source, -EBADMSG, VNIC_CAUSE_FILE, "is no capture");
	begin_file(NANOSECONDS, RAW);
	end_file();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vnic_port_open(source, &bad[i], &port, NULL), -EINVAL);
}

static void nothing_in_it(void **state)
{
	struct wired wired;

	(void)state;
	begin_file(NANOSECONDS, RAW);
	end_file();
	assert_int_equal(replay(&wired, "discard:", false), 0);
	wired_close(&wired);
}

/* Wherever it is cut off, what is whole before that is replayed, and the packet is named. */
static void truncated_file(void **state)
{
	struct wired wired;
	char text[32];
	size_t whole;

	(void)state;
	begin_file(NANOSECONDS, RAW);
	for (unsigned i = 0; i < 100; i++)
		put_packet(1700000000, i, 20 + i, 20 + i, (uint8_t)i);
	whole = length;
	for (size_t cut = 1; cut < 16 + 119; cut++) {
		length = whole - cut;
		end_file();
		assert_int_equal(replay(&wired, sink, true), -EBADMSG);
		assert_int_equal(wired.error.cause, VNIC_CAUSE_FILE);
		snprintf(text, sizeof(text), "packet 100 of '/proc");
		if (!strstr(wired.error.text, text))
			fail_msg("'%s' does not say '%s'", wired.error.text, text);
		assert_int_equal(wired_counter(&wired, 1, VNIC_PORT_OUT_PACKETS), 99);
		wired_close(&wired);
	}
	assert_int_equal(read_back(DLT_RAW), 99);
}

/* A record of a length that cannot be ends it there. */
static void corrupt_record(void **state)
{
	struct wired wired;

	(void)state;
	begin_file(NANOSECONDS, RAW);
	for (unsigned i = 0; i < 70; i++)
		put_packet(1700000000, i, 20 + i, 20 + i, (uint8_t)i);
	put_packet(1700000000, 70, 0, 0, 0);
	memset(bytes + length - 8, 0xff, 8);
	end_file();
	assert_int_equal(replay(&wired, sink, true), -EBADMSG);
	assert_non_null(strstr(wired.error.text, "packet 71 of"));
	wired_close(&wired);
	assert_int_equal(read_back(DLT_RAW), 70);
}

/* Packets whose end was not captured, empty ones, and longer ones than there are. */
static void incomplete_packets(void **state)
{
	struct wired wired;

	(void)state;
	begin_file(NANOSECONDS, RAW);
	put_packet(1700000000, 0, 20, 20, 0);
	for (unsigned i = 0; i < 200; i++)
		put_packet(1700000000, 0, 68, 1500, 1);
	put_packet(1700000000, 0, 0, 0, 0);
	put_packet(1700000000, 0, VNIC_PACKET_BYTES + 1, VNIC_PACKET_BYTES + 1, 1);
	put_packet(1700000000, 0, 200000, 200000, 1);
	put_packet(1700000000, 0, 21, 21, 1);
	end_file();
	for (unsigned fast = 0; fast < 2; fast++) {
		assert_int_equal(replay(&wired, sink, fast), 0);
		assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_IN_PACKETS), 205);
		assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_DROP_TRUNCATED), 200);
		assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_DROP_MALFORMED), 3);
		assert_int_equal(wired_counter(&wired, 1, VNIC_PORT_OUT_PACKETS), 2);
		wired_close(&wired);
		assert_int_equal(read_back(DLT_RAW), 2);
	}
}

/* Time. */

/* Replay to the end. Returns how long that took. */
static uint64_t replay_for(double speed)
{
	const struct vnic_port_options options = {.replay_speed = speed};
	struct timespec begin, end;
	struct wired wired;

	end_file();
	wired_open(&wired, source, sink, &options);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	wired_start(&wired);
	assert_int_equal(wired_join(&wired), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	wired_check(&wired);
	wired_close(&wired);
	return (uint64_t)(end.tv_sec - begin.tv_sec) * SECOND + (uint64_t)end.tv_nsec -
	       (uint64_t)begin.tv_nsec;
}

static void assert_took(uint64_t took_ns, uint64_t least_ns, uint64_t most_ns)
{
	if (took_ns < least_ns || took_ns > most_ns)
		fail_msg("it took %.6f s, not %.6f to %.6f", (double)took_ns / 1e9,
			 (double)least_ns / 1e9, (double)most_ns / 1e9);
}

/* Upper bounds are far away: they tell a wrong time from a busy machine. */
static void own_timing(void **state)
{
	(void)state;
	begin_file(NANOSECONDS, RAW);
	for (unsigned i = 0; i < 11; i++)
		put_packet(1700000000 + i / 5, i % 5 * 200000000, 20 + i, 20 + i, (uint8_t)i);
	assert_took(replay_for(10), SECOND / 5, SECOND * 3 / 2);
	assert_took(replay_for(1000), SECOND / 500, SECOND);
	assert_took(replay_for(0), 2 * SECOND, 10 * SECOND);
	begin_file(NANOSECONDS, RAW);
	put_packet(1700000000, 0, 20, 20, 0);
	put_packet(1700000000, 30000000, 21, 21, 1);
	assert_took(replay_for(0.1), SECOND * 3 / 10, 3 * SECOND);
	assert_int_equal(read_back(DLT_RAW), 2);
}

/* A clock that was set back by a year, and packets that overtook one another by a little. */
static void time_goes_back(void **state)
{
	(void)state;
	begin_file(NANOSECONDS, RAW);
	put_packet(1700000000, 0, 20, 20, 0);
	put_packet(1700000000, 100000000, 21, 21, 1);
	put_packet(1700000000, 50000000, 22, 22, 2);
	put_packet(1700000000, 200000000, 23, 23, 3);
	put_packet(1670000000, 0, 24, 24, 4);
	put_packet(1670000000, 100000000, 25, 25, 5);
	assert_took(replay_for(1), SECOND * 3 / 10, 3 * SECOND);
	assert_int_equal(read_back(DLT_RAW), 6);
}

/* Stamps that make no sense: the wire waits, and can be stopped. */
static void far_away(void **state)
{
	struct vnic_port_options options = {0};
	struct wired wired;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		options.replay_speed = i ? 1e-6 : 1;
		begin_file(NANOSECONDS, RAW);
		put_packet(0, 0, 20, 20, 0);
		put_packet(UINT32_MAX, UINT32_MAX, 21, 21, 1);
		end_file();
		wired_open(&wired, source, "discard:", &options);
		wired_start(&wired);
		wired_wait_counter(&wired, 1, VNIC_PORT_OUT_PACKETS, 1);
		assert_int_equal(poll(NULL, 0, 20), 0);
		assert_int_equal(wired_stop(&wired), 0);
		assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_IN_PACKETS), 1);
		wired_close(&wired);
	}
}

/* A slow reader behind a small queue gets every packet of a fast replay. */
static void waits_for_room(void **state)
{
	static char path[sizeof(directory) + 16], port[sizeof(path) + 16];
	static uint8_t in[VNIC_PACKET_BYTES];
	const struct vnic_port_options options = {.replay_fast = true};
	struct wired wired;
	ssize_t got;
	int peer;

	(void)state;
	begin_file(NANOSECONDS, RAW);
	for (unsigned i = 0; i < 20000; i++)
		put_packet(1700000000, 0, 20 + i % 200, 20 + i % 200, (uint8_t)i);
	end_file();
	snprintf(path, sizeof(path), "%s/wire", directory);
	snprintf(port, sizeof(port), "unix-listen:%s", path);
	wired_open(&wired, source, port, &options);
	wired_start(&wired); /* it waits for somebody to come, too */
	assert_int_equal(poll(NULL, 0, 20), 0);
	assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_IN_PACKETS), 0);
	peer = wired_socket(path, false);
	for (unsigned i = 0; i < 20000; i++) {
		got = wired_receive(peer, in, sizeof(in));
		if (got != 20 + i % 200 || in[19] != (uint8_t)i)
			fail_msg("packet %u is another: %zd bytes", i, got);
	}
	assert_int_equal(wired_join(&wired), 0);
	assert_int_equal(wired_counter(&wired, 1, VNIC_PORT_OUT_PACKETS), 20000);
	wired_check(&wired);
	wired_close(&wired);
	close(peer);
}

/* The sink. */

static void cannot_be_written(void **state)
{
	const struct vnic_port_options record = {.record = true};
	struct vnic_port *ports[2] = {NULL, NULL};
	struct vnic_wire *wire = NULL;
	struct vnic_error error = {.text = ""};

	(void)state;
	assert_int_equal(vnic_port_open("discard:", NULL, &ports[0], NULL), 0);
	assert_int_equal(vnic_port_open("pcap:/nowhere/a.pcap", &record, &ports[1], NULL), 0);
	assert_int_equal(vnic_wire_new(ports[0], ports[1], NULL, &wire, &error), -ENOENT);
	assert_int_equal(error.cause, VNIC_CAUSE_FILE);
	assert_non_null(strstr(error.text, "/nowhere/a.pcap"));
	assert_null(wire);
	vnic_port_close(ports[0]);
	vnic_port_close(ports[1]);
}

/* A file that takes no more: counted, told once, and the wire goes on. */
static void takes_no_more(void **state)
{
	const struct vnic_port_options options = {.replay_fast = true};
	struct rlimit limit, small;
	struct wired wired;

	(void)state;
	begin_file(NANOSECONDS, RAW);
	for (unsigned i = 0; i < 300; i++)
		put_packet(1700000000, 0, 20, 20, 0);
	end_file();
	wired_open(&wired, source, sink, &options);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = 200; /* the header, and a few packets */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	wired_start(&wired);
	assert_int_equal(wired_join(&wired), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	signal(SIGXFSZ, SIG_DFL);
	wired_check(&wired);
	assert_int_equal(wired_count_events(&wired, VNIC_PORT_FULL), 1);
	wired_wait(&wired, VNIC_PORT_FULL, 1, "File too large; what cannot be written is dropped");
	assert_true(wired_counter(&wired, 1, VNIC_PORT_DROP_FULL) > 290);
	assert_int_equal(wired_counter(&wired, 1, VNIC_PORT_OUT_PACKETS) +
				 wired_counter(&wired, 1, VNIC_PORT_DROP_FULL),
			 300);
	wired_close(&wired);
}

/* Nobody reads the pipe any more: there is nothing left to do. */
static void reader_goes(void **state)
{
	struct wired wired;
	char fifo[sizeof(directory) + 16], name[sizeof(fifo) + 8];
	int reader;

	(void)state;
	snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
	snprintf(name, sizeof(name), "pcap:%s", fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	reader = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	begin_file(NANOSECONDS, RAW);
	put_packet(1700000000, 0, 20, 20, 0);
	put_packet(1700000000, 100000000, 20, 20, 0);
	put_packet(1800000000, 0, 20, 20, 0); /* never */
	end_file();
	wired_open(&wired, source, name, NULL);
	signal(SIGPIPE, SIG_IGN);
	wired_start(&wired);
	wired_wait_counter(&wired, 1, VNIC_PORT_OUT_PACKETS, 1);
	close(reader);
	assert_int_equal(wired_join(&wired), 0);
	wired_wait(&wired, VNIC_PORT_END, 1, "nobody reads");
	wired_check(&wired);
	signal(SIGPIPE, SIG_DFL);
	wired_close(&wired);
	unlink(fifo);
}

/* Files from strangers: whatever is in them, it ends, and every packet is somewhere. */
static void mutations(void **state)
{
	static uint8_t good[FILE_BYTES];
	uint64_t seed = 1, good_length, errors = 0, refused = 0;
	struct wired wired;
	struct vnic_port *probe;

	(void)state;
	begin_file(NANOSECONDS, RAW);
	for (unsigned i = 0; i < 40; i++)
		put_packet(1700000000, i, 20 + i, 20 + i, (uint8_t)i);
	good_length = length;
	memcpy(good, bytes, length);
	for (unsigned round = 0; round < MUTATIONS; round++) {
		memcpy(bytes, good, good_length);
		length = good_length;
		for (unsigned i = 0; i <= round % 4; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			/* Half of them hit the headers of the file and the first records. */
			bytes[(seed >> 40) % (seed & 1 << 30 ? good_length : 64)] ^=
				(uint8_t)(1 << (seed >> 61));
		}
		if (round % 8 == 0)
			length = (seed >> 33) % good_length;
		end_file();
		probe = NULL;
		if (vnic_port_open(source, NULL, &probe, NULL) < 0) {
			refused++;
			continue;
		}
		vnic_port_close(probe);
		errors += replay(&wired, "discard:", true) < 0;
		wired_close(&wired);
	}
	/* Both must have been walked, or these are no mutations. */
	if (errors < 100 || refused < 100)
		fail_msg("of %u files %llu ended with an error and %llu were refused", MUTATIONS,
			 (unsigned long long)errors, (unsigned long long)refused);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replayed_and_recorded),
		cmocka_unit_test(pcapng),
		cmocka_unit_test(other_link_types),
		cmocka_unit_test(no_captures),
		cmocka_unit_test(nothing_in_it),
		cmocka_unit_test(truncated_file),
		cmocka_unit_test(corrupt_record),
		cmocka_unit_test(incomplete_packets),
		cmocka_unit_test(own_timing),
		cmocka_unit_test(time_goes_back),
		cmocka_unit_test(far_away),
		cmocka_unit_test(waits_for_room),
		cmocka_unit_test(cannot_be_written),
		cmocka_unit_test(takes_no_more),
		cmocka_unit_test(reader_goes),
		cmocka_unit_test(mutations),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
