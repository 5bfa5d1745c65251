/* SPDX-License-Identifier: MIT */
/*
 * System calls that fail under a run and under a capture. The kernel is made to refuse them by a
 * seccomp filter, which cannot be taken off again: so each test does it in a child process, whose
 * exit status says how it went. Everything happens in a network and mount namespace of this
 * process's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pcap/pcap.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <vnic/capture.h>
#include <vnic/run.h>

#define ANY_DESCRIPTOR (-1)

/* In a child: what does not hold ends it. */
#define CHECK(condition, ...)                                \
	do {                                                 \
		if (!(condition)) {                          \
			fprintf(stderr, "%s: ", #condition); \
			fprintf(stderr, __VA_ARGS__);        \
			fprintf(stderr, "\n");               \
			_exit(1);                            \
		}                                            \
	} while (0)

/* From now on this system call fails, on one descriptor or on all of them. */
static void refuse(long number, int descriptor, int error)
{
	/* Each jump passes over so many instructions: where it is true, where it is false. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)descriptor, 0,
			 descriptor != ANY_DESCRIPTOR),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "%s", strerror(errno));
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "%s", strerror(errno));
}

/*
 * What a child may still have to ask of its parent: to delete an interface, to make room on a disk.
 */
static void in_child(void (*body)(int to_parent, int from_parent),
		     void (*help)(const char *request))
{
	int up[2], down[2], status;
	char request[64];
	ssize_t length;
	pid_t child;

	assert_int_equal(pipe(up), 0);
	assert_int_equal(pipe(down), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		close(up[0]);
		close(down[1]);
		alarm(60);
		body(up[1], down[0]);
		_exit(0);
	}
	close(up[1]);
	close(down[0]);
	while ((length = read(up[0], request, sizeof(request) - 1)) > 0) {
		request[length] = 0;
		help(request);
		assert_int_equal(write(down[1], "", 1), 1);
	}
	close(up[0]);
	close(down[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void ask_parent(int to_parent, int from_parent, const char *request)
{
	char answer;

	CHECK(write(to_parent, request, strlen(request)) > 0, "%s", strerror(errno));
	CHECK(read(from_parent, &answer, 1) == 1, "%s", strerror(errno));
}

/* Runs. */

struct seen {
	unsigned starts;
	unsigned events;
	enum vnic_link_event last;
	int to_parent, from_parent;
	bool delete_it;
};

static uint64_t note_start(struct vnic_worker *worker, uint64_t now_ns, void *user)
{
	struct seen *seen = user;
	char name[VNIC_NAME_BYTES];

	(void)now_ns;
	if (vnic_worker_index(worker) == 0 && seen->starts++ == 0 && seen->delete_it) {
		CHECK(vnic_device_name(vnic_worker_device(worker), name, NULL) == 0, "no name");
		ask_parent(seen->to_parent, seen->from_parent, name);
	}
	return VNIC_NEVER;
}

static int ignore_packets(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
			  void *user)
{
	(void)worker;
	(void)packets;
	(void)count;
	(void)user;
	return 0;
}

static void note_event(struct vnic_worker *worker, enum vnic_link_event event, const char *name,
		       void *user)
{
	struct seen *seen = user;

	(void)worker;
	(void)name;
	seen->events++;
	seen->last = event;
}

static const struct vnic_handler handler = {
	.receive = ignore_packets,
	.timer = note_start,
	.link = note_event,
};

static struct vnic_device *open_device(unsigned queues)
{
	struct vnic_device_options options = {.queues = queues};
	struct vnic_link_config config = {.state = VNIC_LINK_UP};
	struct vnic_device *device = NULL;
	struct vnic_error error;

	CHECK(vnic_device_open(&options, &device, &error) == 0, "%s", error.text);
	CHECK(vnic_device_configure(device, &config, &error) == 0, "%s", error.text);
	return device;
}

static void run_without_threads(int to_parent, int from_parent)
{
	struct vnic_device *many = open_device(4), *one = open_device(1);
	struct vnic_error error = {.text = ""};
	struct seen seen = {.starts = 0};
	int code;

	(void)to_parent;
	(void)from_parent;
	refuse(SYS_clone, ANY_DESCRIPTOR, EAGAIN);
	refuse(SYS_clone3, ANY_DESCRIPTOR, EAGAIN);
	code = vnic_run(many, &handler, &seen, &error);
	CHECK(code == -EAGAIN && error.code == code, "%d", code);
	CHECK(error.cause == VNIC_CAUSE_LIMIT, "%s", vnic_cause_name(error.cause));
	CHECK(strstr(error.text, "queue 1: "), "%s", error.text);
	CHECK(seen.starts == 0, "%u", seen.starts);
	/* Who has one queue needs no thread. */
	vnic_stop(one);
	code = vnic_run(one, &handler, &seen, &error);
	CHECK(code == 0 && seen.starts == 1, "%d, %u", code, seen.starts);
	vnic_device_close(many);
	vnic_device_close(one);
}

static void test_no_thread_to_be_had(void **state)
{
	(void)state;
	in_child(run_without_threads, NULL);
}

static void delete_interface(const char *name)
{
	struct vnic_error error;

	if (vnic_link_delete(NULL, name, &error) != 0)
		print_error("%s\n", error.text);
}

/* No netlink, no link events: but that the interface goes is seen. */
static void run_without_watch(int to_parent, int from_parent)
{
	struct vnic_device *device = open_device(1);
	struct seen seen = {.to_parent = to_parent, .from_parent = from_parent};
	struct vnic_error error = {.text = ""};
	int code;

	seen.delete_it = true;
	refuse(SYS_socket, ANY_DESCRIPTOR, EPERM);
	code = vnic_run(device, &handler, &seen, &error);
	CHECK(code == -ENODEV, "%d: %s", code, error.text);
	CHECK(error.cause == VNIC_CAUSE_DEVICE_GONE, "%s", error.text);
	CHECK(seen.events == 1 && seen.last == VNIC_LINK_EVENT_GONE, "%u events", seen.events);
	vnic_device_close(device);
}

static void test_no_watch_to_be_had(void **state)
{
	(void)state;
	in_child(run_without_watch, delete_interface);
}

static void run_without_poll(int error_code, enum vnic_cause cause)
{
	struct vnic_device *device = open_device(2);
	struct vnic_error error = {.text = ""};
	struct seen seen = {.starts = 0};
	int code;

	refuse(SYS_ppoll, ANY_DESCRIPTOR, error_code);
	code = vnic_run(device, &handler, &seen, &error);
	CHECK(code == -error_code, "%d: %s", code, error.text);
	CHECK(error.cause == cause, "%s", vnic_cause_name(error.cause));
	CHECK(strstr(error.text, "cannot receive from 'tun"), "%s", error.text);
	vnic_device_close(device);
}

static void run_without_memory_to_poll(int to_parent, int from_parent)
{
	(void)to_parent;
	(void)from_parent;
	run_without_poll(ENOMEM, VNIC_CAUSE_MEMORY);
}

static void run_forbidden_to_poll(int to_parent, int from_parent)
{
	(void)to_parent;
	(void)from_parent;
	run_without_poll(EPERM, VNIC_CAUSE_SYSTEM);
}

static void test_poll_fails(void **state)
{
	(void)state;
	in_child(run_without_memory_to_poll, NULL);
	in_child(run_forbidden_to_poll, NULL);
}

static void run_without_read(int to_parent, int from_parent)
{
	struct vnic_device *device = open_device(2);
	struct vnic_error error = {.text = ""};
	struct seen seen = {.starts = 0};
	int code;

	(void)to_parent;
	(void)from_parent;
	refuse(SYS_read, vnic_device_descriptor(device, 1), EIO);
	refuse(SYS_readv, vnic_device_descriptor(device, 1), EIO);
	code = vnic_run(device, &handler, &seen, &error);
	CHECK(code == -EIO && error.cause == VNIC_CAUSE_SYSTEM, "%d: %s", code, error.text);
	CHECK(strstr(error.text, strerror(EIO)), "%s", error.text);
	CHECK(seen.events == 0, "%u events", seen.events);
	vnic_device_close(device);
}

static void test_one_queue_fails(void **state)
{
	(void)state;
	in_child(run_without_read, NULL);
}

/* Captures. */

static char directory[] = "/tmp/vnic-faults.XXXXXX";
static char path[sizeof(directory) + 16], filler[sizeof(directory) + 16];
static uint8_t bytes[1000];

static unsigned count_records(void)
{
	char reason[PCAP_ERRBUF_SIZE];
	pcap_t *file = pcap_open_offline(path, reason);
	struct pcap_pkthdr *header;
	const u_char *data;
	unsigned count = 0;
	int code;

	CHECK(file, "%s", reason);
	while ((code = pcap_next_ex(file, &header, &data)) == 1) {
		CHECK(header->caplen == sizeof(bytes) && memcmp(data, bytes, sizeof(bytes)) == 0,
		      "record %u is broken", count);
		count++;
	}
	CHECK(code == PCAP_ERROR_BREAK, "after %u records: %s", count, pcap_geterr(file));
	pcap_close(file);
	return count;
}

static void capture_with_write_errors(int to_parent, int from_parent)
{
	struct vnic_packet packets[] = {
		{.data = bytes, .length_bytes = sizeof(bytes)},
		{.data = bytes, .length_bytes = sizeof(bytes)},
	};
	struct vnic_capture *capture;
	struct vnic_error error;
	uint64_t written, lost;
	int next = dup(STDIN_FILENO), code; /* the number that the file will have */

	(void)to_parent;
	(void)from_parent;
	close(next);
	CHECK(vnic_capture_open(path, VNIC_LAYER_IP, &capture, &error) == 0, "%s", error.text);
	CHECK(vnic_capture_write(capture, packets, 1, 0) == 0, "the first packet");
	refuse(SYS_write, next, EIO);
	code = vnic_capture_write(capture, packets, 2, 0);
	CHECK(code == -EIO, "%d", code);
	vnic_capture_count(capture, &written, &lost);
	CHECK(written == 1 && lost == 2, "%lu written, %lu lost", (long)written, (long)lost);
	code = vnic_capture_close(capture);
	CHECK(code == -EIO, "%d", code);
	CHECK(count_records() == 1, "not 1 record");
}

static void test_capture_write_fails(void **state)
{
	(void)state;
	in_child(capture_with_write_errors, NULL);
}

static void make_room(const char *request)
{
	(void)request;
	unlink(filler);
}

/* A file that cannot be cut back keeps half a record only until there is room for the rest. */
static void capture_without_truncate(int to_parent, int from_parent)
{
	struct vnic_packet packet = {.data = bytes, .length_bytes = sizeof(bytes)};
	struct vnic_capture *capture;
	struct vnic_error error;
	uint64_t written, lost;
	int code = 0;

	CHECK(vnic_capture_open(path, VNIC_LAYER_IP, &capture, &error) == 0, "%s", error.text);
	refuse(SYS_ftruncate, ANY_DESCRIPTOR, EPERM);
	for (int i = 0; i < 100; i++)
		code = vnic_capture_write(capture, &packet, 1, 0);
	vnic_capture_count(capture, &written, &lost);
	CHECK(code == -ENOSPC, "%d", code);
	CHECK(written + lost == 99, "%lu written, %lu lost: one is begun", (long)written,
	      (long)lost);
	ask_parent(to_parent, from_parent, "room");
	code = vnic_capture_write(capture, &packet, 1, 0);
	CHECK(code == 0, "%d", code);
	CHECK(vnic_capture_close(capture) == -ENOSPC, "not the first error");
	code = (int)count_records();
	CHECK(code == (int)written + 2, "%d records, %lu expected", code, (long)written + 2);
}

static void test_capture_cannot_cut_back(void **state)
{
	int file;

	(void)state;
	assert_int_equal(mount("none", directory, "tmpfs", 0, "size=64k"), 0);
	file = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	assert_int_equal(posix_fallocate(file, 0, 32768), 0);
	assert_int_equal(close(file), 0);
	in_child(capture_without_truncate, make_room);
	assert_int_equal(umount2(directory, MNT_DETACH), 0);
}

static int set_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/file.pcap", directory);
	snprintf(filler, sizeof(filler), "%s/filler", directory);
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		return 0;
	print_error("no namespaces: %s\n", strerror(errno));
	return -1;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_thread_to_be_had),
		cmocka_unit_test(test_no_watch_to_be_had),
		cmocka_unit_test(test_poll_fails),
		cmocka_unit_test(test_one_queue_fails),
		cmocka_unit_test(test_capture_write_fails),
		cmocka_unit_test(test_capture_cannot_cut_back),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
