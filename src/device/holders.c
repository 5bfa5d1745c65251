/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * /proc/PID/fdinfo/FD of a descriptor of /dev/net/tun has a line "iff:\tNAME". That is the only
 * place where the kernel tells who is behind an interface, and it tells no namespace: interfaces of
 * two namespaces may have one name. The device's namespace is that in which its opener was, so a
 * process in another namespace than the one asked about is held for the holder of another
 * interface, unless its descriptor says otherwise: pidfd_getfd(2) gives us a copy, and
 * TUNGETDEVNETNS asks it. Both want privileges (CAP_SYS_PTRACE, CAP_NET_ADMIN); where they are
 * missing, a process that opened its device in another namespace than it lives in is not found.
 *
 * Processes come and go meanwhile: whatever cannot be read is passed over.
 */
#include "base/error.h"
#include "device/array.h"
#include "device/kernel.h"
#include "device/link.h"
#include "device/netns.h"
#include "device/system.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

struct search {
	const char *name;
	struct stat netns;
	struct vn_array found;
};

/* The number that a directory entry's name is; -1: none. */
static int to_number(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);

	return text[0] >= '0' && text[0] <= '9' && !*end && number <= INT_MAX ? (int)number : -1;
}

static bool is_namespace(const struct search *search, const struct stat *other)
{
	return search->netns.st_dev == other->st_dev && search->netns.st_ino == other->st_ino;
}

/* The namespace of the interface behind another process's descriptor. */
static bool ask_descriptor(int process, int descriptor, struct stat *netns)
{
	int handle = (int)syscall(SYS_pidfd_open, process, 0);
	int copy = handle < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, handle, descriptor, 0);
	int inside = copy < 0 ? -1 : ioctl(copy, TUNGETDEVNETNS, 0);
	bool known = inside >= 0 && fstat(inside, netns) == 0;

	if (inside >= 0)
		close(inside);
	if (copy >= 0)
		close(copy);
	if (handle >= 0)
		close(handle);
	return known;
}

static bool is_same_interface(const struct search *search, int process, int descriptor)
{
	char path[64];
	struct stat netns;

	if (ask_descriptor(process, descriptor, &netns))
		return is_namespace(search, &netns);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", process);
	return stat(path, &netns) == 0 && is_namespace(search, &netns);
}

/* Whether a descriptor's information names the interface. */
static bool names_interface(const struct search *search, int process, int descriptor)
{
	char path[64];
	char line[128];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", process, descriptor);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		found = strncmp(line, "iff:\t", 5) == 0 && strcmp(line + 5, search->name) == 0;
	}
	fclose(file);
	return found;
}

static void read_command(int process, char *command, size_t size)
{
	char path[64];
	FILE *file;

	command[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/comm", process);
	file = fopen(path, "re");
	if (!file)
		return;
	if (!fgets(command, (int)size, file))
		command[0] = '\0';
	command[strcspn(command, "\n")] = '\0';
	fclose(file);
}

static int search_process(struct search *search, int process)
{
	char path[64];
	struct dirent *entry;
	DIR *directory;
	int code = 0;

	/* The directory of descriptors alone shows which are of the node, without reading each. */
	snprintf(path, sizeof(path), "/proc/%d/fd", process);
	directory = opendir(path);
	if (!directory)
		return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
	while (code == 0 && (entry = readdir(directory))) {
		int descriptor = to_number(entry->d_name);
		struct vnic_link_holder *holder;
		char target[32];
		ssize_t length;

		if (descriptor < 0)
			continue;
		length = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = '\0';
		/* A node elsewhere, in a container, has another path but the same last name. */
		if (strlen(target) < 4 || strcmp(target + strlen(target) - 4, "/tun") != 0 ||
		    !names_interface(search, process, descriptor) ||
		    !is_same_interface(search, process, descriptor))
			continue;
		holder = vn_array_add(&search->found, sizeof(*holder));
		if (!holder) {
			code = -ENOMEM;
			break;
		}
		holder->process = process;
		holder->descriptor = descriptor;
		read_command(process, holder->command, sizeof(holder->command));
	}
	closedir(directory);
	return code;
}

static int search_all(struct search *search)
{
	struct dirent *entry;
	DIR *directory = opendir("/proc");
	int code = 0;

	if (!directory)
		return -errno;
	while (code == 0 && (entry = readdir(directory))) {
		int process = to_number(entry->d_name);

		if (process > 0)
			code = search_process(search, process);
	}
	closedir(directory);
	return code;
}

int vnic_link_holders(const char *netns, const char *name, struct vnic_link_holder **holders,
		      size_t *count, struct vnic_error *error)
{
	struct search search = {.name = name};
	struct vnic_link_info info;
	int code;
	int descriptor;

	code = vnic_link_query(netns, name, &info, error);
	if (code < 0)
		return code;
	descriptor = vnic_netns_open(netns, error);
	if (descriptor < 0)
		return descriptor;
	code = fstat(descriptor, &search.netns) < 0 ? -errno : 0;
	close(descriptor);
	if (code == 0)
		code = search_all(&search);
	if (code < 0) {
		vn_array_clear(&search.found);
		return vn_error_system(error, code, vn_system_cause(code),
				       "cannot look for the programs behind '%s'", name);
	}
	*holders = search.found.elements;
	*count = search.found.count;
	return 0;
}
