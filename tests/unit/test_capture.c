/* SPDX-License-Identifier: MIT */
/*
 * Capture files: what libpcap reads back, and what becomes of them when there is no room or no
 * reader. The full disk is a small tmpfs in a mount namespace of this process's own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <vnic/capture.h>

#define NOW_NS UINT64_C(1700000000123456789)
#define DISK_BYTES 65536

static char directory[] = "/tmp/vnic-capture.XXXXXX";
static char path[sizeof(directory) + 16];
static bool has_mount;

static uint8_t bytes[VNIC_PACKET_BYTES];

static struct vnic_packet packet_of(uint32_t length)
{
	return (struct vnic_packet){.data = bytes, .length_bytes = length};
}

static struct vnic_capture *open_capture(const char *name, enum vnic_layer layer)
{
	struct vnic_capture *capture = NULL;
	struct vnic_error error = {.text = ""};

	if (vnic_capture_open(name, layer, &capture, &error) != 0)
		fail_msg("%s", error.text);
	return capture;
}

static void assert_counts(struct vnic_capture *capture, uint64_t written, uint64_t lost)
{
	uint64_t got_written, got_lost;

	vnic_capture_count(capture, &got_written, &got_lost);
	assert_int_equal(got_written, written);
	assert_int_equal(got_lost, lost);
}

/* Reads all records of a file, compares their bytes, and returns how many there were. */
static unsigned read_back(FILE *stream, int link_type, const uint32_t *lengths, uint64_t now_ns)
{
	char reason[PCAP_ERRBUF_SIZE];
	pcap_t *file = pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_NANO,
								reason);
	struct pcap_pkthdr *header;
	const u_char *data;
	unsigned count = 0;
	int code;

	if (!file)
		fail_msg("libpcap: %s", reason);
	assert_int_equal(pcap_datalink(file), link_type);
	while ((code = pcap_next_ex(file, &header, &data)) == 1) {
		if (lengths)
			assert_int_equal(header->len, lengths[count]);
		assert_int_equal(header->caplen, header->len);
		assert_int_equal((uint64_t)header->ts.tv_sec * 1000000000 +
					 (uint64_t)header->ts.tv_usec,
				 now_ns);
		assert_memory_equal(data, bytes, header->caplen);
		count++;
	}
	if (code != PCAP_ERROR_BREAK)
		fail_msg("after %u records libpcap says: %s", count, pcap_geterr(file));
	pcap_close(file);
	return count;
}

static unsigned read_file(const char *name, int link_type, const uint32_t *lengths)
{
	FILE *stream = fopen(name, "rb");

	assert_non_null(stream);
	return read_back(stream, link_type, lengths, NOW_NS);
}

static void test_packets_are_read_back(void **state)
{
	static const uint32_t lengths[] = {0, 1, 20, 84, 1500, 9000, 65535, VNIC_PACKET_BYTES};
	enum {
		COUNT = sizeof(lengths) / sizeof(lengths[0])
	};
	struct vnic_packet packets[COUNT];

	(void)state;
	for (int i = 0; i < COUNT; i++)
		packets[i] = packet_of(lengths[i]);
	for (int layer = VNIC_LAYER_IP; layer <= VNIC_LAYER_ETHERNET; layer++) {
		int link_type = layer == VNIC_LAYER_IP ? DLT_RAW : DLT_EN10MB;
		struct vnic_capture *capture = open_capture(path, (enum vnic_layer)layer);

		assert_int_equal(read_file(path, link_type, lengths), 0);
		assert_int_equal(vnic_capture_write(capture, packets, COUNT, NOW_NS), 0);
		assert_counts(capture, COUNT, 0);
		/* Before it is closed: nothing stays in memory. */
		assert_int_equal(read_file(path, link_type, lengths), COUNT);
		assert_int_equal(vnic_capture_close(capture), 0);
		assert_int_equal(read_file(path, link_type, lengths), COUNT);
	}
}

static void test_one_call_takes_any_number(void **state)
{
	enum {
		COUNT = 3000
	};
	struct vnic_packet *packets = calloc(COUNT, sizeof(*packets));
	struct vnic_capture *capture = open_capture(path, VNIC_LAYER_IP);

	(void)state;
	assert_non_null(packets);
	for (unsigned i = 0; i < COUNT; i++)
		packets[i] = packet_of(i % 7 == 0 ? 60000 : 0);
	assert_int_equal(vnic_capture_write(capture, packets, COUNT, NOW_NS), 0);
	assert_int_equal(vnic_capture_write(capture, packets, 0, NOW_NS), 0);
	assert_counts(capture, COUNT, 0);
	assert_int_equal(vnic_capture_close(capture), 0);
	assert_int_equal(read_file(path, DLT_RAW, NULL), COUNT);
	free(packets);
}

static void test_what_cannot_be_opened(void **state)
{
	static const struct {
		const char *path;
		int code;
	} cases[] = {
		{"/tmp", -EISDIR},
		{"/nonexistent/vnic.pcap", -ENOENT},
		{"/proc/vnic.pcap", -ENOENT},
		{"/dev/full", -ENOSPC},
		{"", -ENOENT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_capture *untouched = (struct vnic_capture *)&cases;
		struct vnic_capture *capture = untouched;
		struct vnic_error error = {.code = 1};
		int code = vnic_capture_open(cases[i].path, VNIC_LAYER_IP, &capture, &error);

		if (code != cases[i].code)
			fail_msg("'%s': %d, expected %d", cases[i].path, code, cases[i].code);
		assert_int_equal(error.code, code);
		assert_int_equal(error.cause, VNIC_CAUSE_FILE);
		assert_ptr_equal(capture, untouched);
		if (!strstr(error.text, cases[i].path) || !strstr(error.text, strerror(-code)))
			fail_msg("the text for '%s' is '%s'", cases[i].path, error.text);
	}
	assert_int_equal(vnic_capture_close(NULL), 0);
}

/* A file of this size leaves so many bytes of the disk. */
static void fill_disk(const char *name, off_t size)
{
	int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(file >= 0);
	if (size > 0)
		assert_int_equal(posix_fallocate(file, 0, size), 0);
	assert_int_equal(close(file), 0);
}

static void test_full_disk(void **state)
{
	struct vnic_packet packets[16];
	struct vnic_capture *capture;
	char filler[sizeof(path) + 8];
	uint64_t written, lost, before;

	(void)state;
	if (!has_mount)
		skip();
	for (int i = 0; i < 16; i++)
		packets[i] = packet_of(1000);
	snprintf(filler, sizeof(filler), "%s.filler", path);
	fill_disk(path, 0);
	fill_disk(filler, DISK_BYTES / 2);

	/*
	 * In bursts of 16 records of 1016 bytes the 32 KiB that are left are full within the second
	 * or third.
	 */
	capture = open_capture(path, VNIC_LAYER_IP);
	for (int i = 0; i < 10; i++)
		vnic_capture_write(capture, packets, 16, NOW_NS);
	assert_int_equal(vnic_capture_write(capture, packets, 16, NOW_NS), -ENOSPC);
	vnic_capture_count(capture, &written, &lost);
	assert_int_equal(written + lost, 11 * 16);
	if (written < 16 || written > 32)
		fail_msg("%lu packets written, expected 16 to 32", (unsigned long)written);
	assert_int_equal(read_file(path, DLT_RAW, NULL), written);

	/* A smaller one may still fit in: whole or not at all. */
	packets[0] = packet_of(60);
	for (int i = 0; i < 100; i++)
		vnic_capture_write(capture, packets, 1, NOW_NS);
	before = written;
	vnic_capture_count(capture, &written, &lost);
	assert_true(written >= before && lost > 0);
	assert_int_equal(read_file(path, DLT_RAW, NULL), written);

	/* Room comes back, and so do the records. */
	assert_int_equal(unlink(filler), 0);
	before = written;
	packets[0] = packet_of(1000);
	assert_int_equal(vnic_capture_write(capture, packets, 16, NOW_NS), 0);
	assert_counts(capture, before + 16, lost);
	assert_int_equal(vnic_capture_close(capture), -ENOSPC);
	assert_int_equal(read_file(path, DLT_RAW, NULL), before + 16);
	assert_int_equal(unlink(path), 0);
}

static void test_full_disk_when_it_begins(void **state)
{
	struct vnic_capture *capture = NULL;
	char filler[sizeof(path) + 8];
	struct vnic_error error;

	(void)state;
	if (!has_mount)
		skip();
	snprintf(filler, sizeof(filler), "%s.filler", path);
	fill_disk(path, 0);
	fill_disk(filler, DISK_BYTES);
	assert_int_equal(vnic_capture_open(path, VNIC_LAYER_IP, &capture, &error), -ENOSPC);
	assert_int_equal(error.cause, VNIC_CAUSE_FILE);
	assert_int_equal(unlink(filler), 0);
}

static void test_file_size_limit(void **state)
{
	struct rlimit before, limit;
	struct vnic_packet packet = packet_of(1000);
	struct vnic_capture *capture = open_capture(path, VNIC_LAYER_IP);
	int code = 0;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 24 + 2 * 1016 + 500;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int i = 0; i < 4; i++)
		code = vnic_capture_write(capture, &packet, 1, NOW_NS);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(code, -EFBIG);
	assert_counts(capture, 2, 2);
	assert_int_equal(read_file(path, DLT_RAW, NULL), 2);
	assert_int_equal(vnic_capture_close(capture), -EFBIG);
}

/* Lets "-" lead into a pipe whose reading end is returned. */
static int pipe_stdout(int *saved, int flags)
{
	int ends[2];

	fflush(stdout);
	*saved = dup(STDOUT_FILENO);
	assert_true(*saved >= 0);
	assert_int_equal(pipe2(ends, flags), 0);
	assert_true(dup2(ends[1], STDOUT_FILENO) >= 0);
	close(ends[1]);
	return ends[0];
}

static void restore_stdout(int saved)
{
	dup2(saved, STDOUT_FILENO);
	close(saved);
}

struct reader {
	int descriptor;
	unsigned count;
	pthread_t thread;
};

static void *read_all(void *argument)
{
	struct reader *reader = argument;

	reader->count = read_back(fdopen(reader->descriptor, "rb"), DLT_EN10MB, NULL, NOW_NS);
	return NULL;
}

static void write_through_pipe(int flags)
{
	enum {
		BURSTS = 40
	};
	struct vnic_packet packets[] = {packet_of(60), packet_of(VNIC_PACKET_BYTES), packet_of(0)};
	struct vnic_capture *capture;
	struct reader reader = {0};
	int saved, code = 0;

	reader.descriptor = pipe_stdout(&saved, 0);
	fcntl(STDOUT_FILENO, F_SETFL, O_WRONLY | flags);
	capture = open_capture("-", VNIC_LAYER_ETHERNET);
	pthread_create(&reader.thread, NULL, read_all, &reader);
	for (int i = 0; i < BURSTS && code == 0; i++)
		code = vnic_capture_write(capture, packets, 3, NOW_NS);
	if (code == 0)
		code = vnic_capture_close(capture);
	/* The standard output was left open. */
	if (code == 0 && fcntl(STDOUT_FILENO, F_GETFD) < 0)
		code = -EBADF;
	restore_stdout(saved);
	pthread_join(reader.thread, NULL);
	assert_int_equal(code, 0);
	assert_int_equal(reader.count, BURSTS * 3);
}

static void test_pipe(void **state)
{
	(void)state;
	write_through_pipe(0);
	write_through_pipe(O_NONBLOCK);
}

static void test_header_and_bursts_come_at_once(void **state)
{
	struct vnic_packet packet = packet_of(60);
	struct vnic_capture *capture;
	int saved, descriptor = pipe_stdout(&saved, O_NONBLOCK);
	uint8_t got[256];
	ssize_t header, record, nothing;

	(void)state;
	capture = open_capture("-", VNIC_LAYER_IP);
	header = read(descriptor, got, sizeof(got));
	vnic_capture_write(capture, &packet, 1, NOW_NS);
	record = read(descriptor, got, sizeof(got));
	vnic_capture_close(capture);
	restore_stdout(saved);
	nothing = read(descriptor, got, sizeof(got));
	close(descriptor);
	assert_int_equal(header, 24);
	assert_int_equal(record, 16 + 60);
	assert_int_equal(nothing, 0);
}

static void test_closed_pipe(void **state)
{
	struct vnic_packet packets[] = {packet_of(60), packet_of(60)};
	struct vnic_capture *capture;
	int saved, descriptor = pipe_stdout(&saved, 0), code;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	capture = open_capture("-", VNIC_LAYER_IP);
	close(descriptor);
	code = vnic_capture_write(capture, packets, 2, NOW_NS);
	restore_stdout(saved);
	assert_int_equal(code, -EPIPE);
	assert_counts(capture, 0, 2);
	assert_int_equal(vnic_capture_close(capture), -EPIPE);
}

/* A reader that stands still costs packets, not the run; and what it then reads is whole. */
static void test_stalled_pipe(void **state)
{
	struct vnic_packet packet = packet_of(50000), last = packet_of(60);
	struct vnic_capture *capture;
	struct reader reader = {0};
	uint64_t written, lost, after = 0, lost_after;
	int saved, first, codes = 0;

	(void)state;
	reader.descriptor = pipe_stdout(&saved, 0);
	assert_true(fcntl(STDOUT_FILENO, F_SETPIPE_SZ, 65536) > 0);
	capture = open_capture("-", VNIC_LAYER_ETHERNET);
	first = vnic_capture_write(capture, &packet, 1, NOW_NS);
	/* The second is cut in the middle, and from then on nobody waits any more. */
	for (int i = 0; i < 1000; i++)
		codes += vnic_capture_write(capture, &packet, 1, NOW_NS) == -EAGAIN;
	vnic_capture_count(capture, &written, &lost);
	pthread_create(&reader.thread, NULL, read_all, &reader);
	/* The tail of the second goes out before this one, sooner or later. */
	do {
		struct pollfd room = {.fd = STDOUT_FILENO, .events = POLLOUT};

		if (poll(&room, 1, 10000) != 1)
			break;
		vnic_capture_write(capture, &last, 1, NOW_NS);
		vnic_capture_count(capture, &after, &lost_after);
	} while (after < 3);
	first += vnic_capture_close(capture) != -EAGAIN;
	restore_stdout(saved);
	pthread_join(reader.thread, NULL);
	assert_int_equal(first, 0);
	assert_int_equal(codes, 1000);
	assert_int_equal(written, 1);
	assert_int_equal(lost, 999); /* one is still to be ended */
	assert_true(reader.count >= 3);
}

static void *write_many(void *argument)
{
	struct vnic_packet packets[] = {packet_of(60), packet_of(1500)};

	for (int i = 0; i < 200; i++)
		vnic_capture_write(argument, packets, 2, NOW_NS);
	return NULL;
}

static void test_threads_share_a_capture(void **state)
{
	struct vnic_capture *capture = open_capture(path, VNIC_LAYER_IP);
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, capture), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_counts(capture, 1600, 0);
	assert_int_equal(vnic_capture_close(capture), 0);
	assert_int_equal(read_file(path, DLT_RAW, NULL), 1600);
}

static void test_append_to_shared_file(void **state)
{
	struct vnic_packet packet = packet_of(60);
	struct vnic_capture *capture;
	int saved = dup(STDOUT_FILENO),
	    file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
	FILE *stream;

	(void)state;
	/* `{ echo hello; vnic host --capture -; } >>FILE` leaves alone what is there. */
	assert_int_equal(write(file, "hello", 5), 5);
	fflush(stdout);
	dup2(file, STDOUT_FILENO);
	capture = open_capture("-", VNIC_LAYER_IP);
	vnic_capture_write(capture, &packet, 1, NOW_NS);
	vnic_capture_close(capture);
	restore_stdout(saved);
	assert_int_equal(lseek(file, 5, SEEK_SET), 5);
	stream = fdopen(file, "rb");
	assert_int_equal(read_back(stream, DLT_RAW, NULL, NOW_NS), 1);
}

static unsigned open_descriptors(void)
{
	DIR *listing = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(listing);
	while (readdir(listing))
		count++;
	closedir(listing);
	return count;
}

static unsigned descriptors_before;

static int set_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/file.pcap", directory);
	has_mount = unshare(CLONE_NEWNS) == 0 &&
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		    mkdir(path, 0700) == 0 && rmdir(path) == 0;
	descriptors_before = open_descriptors();
	return 0;
}

static int with_disk(void **state)
{
	(void)state;
	has_mount = has_mount && mount("none", directory, "tmpfs", 0, "size=64k") == 0;
	return 0;
}

static int without_disk(void **state)
{
	(void)state;
	return has_mount ? umount2(directory, MNT_DETACH) : 0;
}

static int tear_down(void **state)
{
	unsigned after = open_descriptors();

	(void)state;
	unlink(path);
	rmdir(directory);
	if (after != descriptors_before) {
		print_error("%u descriptors before, %u after\n", descriptors_before, after);
		return -1;
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets_are_read_back),
		cmocka_unit_test(test_one_call_takes_any_number),
		cmocka_unit_test(test_what_cannot_be_opened),
		cmocka_unit_test_setup_teardown(test_full_disk, with_disk, without_disk),
		cmocka_unit_test_setup_teardown(test_full_disk_when_it_begins, with_disk,
						without_disk),
		cmocka_unit_test(test_file_size_limit),
		cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_header_and_bursts_come_at_once),
		cmocka_unit_test(test_closed_pipe),
		cmocka_unit_test(test_stalled_pipe),
		cmocka_unit_test(test_threads_share_a_capture),
		cmocka_unit_test(test_append_to_shared_file),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
