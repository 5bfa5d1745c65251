/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. With --netns the tool itself moves into the namespace, as private.c
 * explains. From then on it holds the namespace: the interface would stay, invisible and useless,
 * when the namespace's name is removed. So the directory that holds the name is watched. The watch
 * signals with SIGIO, because the loop that serves the device waits for nothing else.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

int netns_enter(const char *netns, const struct hint_context *context)
{
	struct vnic_error error;
	int descriptor = vnic_netns_open(netns, &error);

	if (descriptor < 0)
		return error_report(&error, context);
	if (setns(descriptor, CLONE_NEWNET) < 0) {
		error.code = -errno;
		error.cause = errno == EPERM ? VNIC_CAUSE_CAPABILITY : VNIC_CAUSE_SYSTEM;
		snprintf(error.text, sizeof(error.text), "cannot enter network namespace '%s': %s",
			 netns, strerror(errno));
		close(descriptor);
		return error_report(&error, context);
	}
	close(descriptor);
	return -1;
}

int netns_watch_open(struct netns_watch *watch, const char *netns)
{
	char directory[PATH_MAX];
	struct stat status;

	watch->descriptor = -1;
	if (strchr(netns, '/'))
		snprintf(watch->path, sizeof(watch->path), "%s", netns);
	else if (strspn(netns, "0123456789") == strlen(netns))
		return 0; /* a process: its namespace has no name that could be removed */
	else
		snprintf(watch->path, sizeof(watch->path), "/run/netns/%s", netns);
	if (stat(watch->path, &status) < 0)
		return -errno;
	watch->device = status.st_dev;
	watch->inode = status.st_ino;
	watch->descriptor = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->descriptor < 0)
		return -errno;
	snprintf(directory, sizeof(directory), "%s", watch->path);
	if (inotify_add_watch(watch->descriptor, dirname(directory),
			      IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF) < 0 ||
	    fcntl(watch->descriptor, F_SETOWN, getpid()) < 0 ||
	    fcntl(watch->descriptor, F_SETFL, O_NONBLOCK | O_ASYNC) < 0) {
		int code = -errno;

		netns_watch_close(watch);
		return code;
	}
	return 0;
}

bool netns_watch_is_gone(struct netns_watch *watch)
{
	char events[4096];
	struct stat status;

	if (watch->descriptor < 0)
		return false;
	while (read(watch->descriptor, events, sizeof(events)) > 0)
		;
	return stat(watch->path, &status) < 0 || status.st_dev != watch->device ||
	       status.st_ino != watch->inode;
}

void netns_watch_close(struct netns_watch *watch)
{
	if (watch->descriptor >= 0)
		close(watch->descriptor);
	watch->descriptor = -1;
}
