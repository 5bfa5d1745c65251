/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Each wrapper asks fails() first, with its name and the errno that it fails with by default. The
 * state is atomic, for the library makes threads. Functions with "..." take one argument more, as
 * all their users do. close(2) and free() are not here: they do not fail in a way that could be
 * handled.
 */
#include "inject.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_bool armed;
static atomic_uint counted;
static atomic_uint target;
static _Atomic(const char *) every;
static atomic_int every_code;
static _Atomic(const char *) failed;

static void arm(unsigned nth, const char *function, int code)
{
	atomic_store(&counted, 0);
	atomic_store(&target, nth);
	atomic_store(&every, function);
	atomic_store(&every_code, code);
	atomic_store(&failed, NULL);
	atomic_store(&armed, true);
}

void inject_nth(unsigned nth)
{
	arm(nth, NULL, 0);
}

void inject_all(const char *function, int code)
{
	arm(0, function, code);
}

bool inject_end(void)
{
	atomic_store(&armed, false);
	return atomic_load(&failed) != NULL;
}

const char *inject_function(void)
{
	const char *function = atomic_load(&failed);

	return function ? function : "nothing";
}

unsigned inject_count(void)
{
	return atomic_load(&counted);
}

/* Whether this call fails; then errno is set. */
static bool fails(const char *function, int code)
{
	const char *name;

	if (!atomic_load(&armed))
		return false;
	name = atomic_load(&every);
	if (name) {
		if (strcmp(name, function) != 0)
			return false;
		errno = atomic_load(&every_code);
	} else {
		if (atomic_fetch_add(&counted, 1) + 1 != atomic_load(&target))
			return false;
		errno = code;
	}
	atomic_store(&failed, function);
	return true;
}

/*
 * One wrapper: its result, symbol, name for inject_all(), arguments with and without types, the
 * errno, and what a failure returns.
 */
#define WRAP_AS(type, symbol, name, parameters, arguments, code, failure)         \
	type __real_##symbol parameters;                                          \
	type __wrap_##symbol parameters;                                          \
	type __wrap_##symbol parameters                                           \
	{                                                                         \
		return fails(name, code) ? (failure) : __real_##symbol arguments; \
	}
#define WRAP(type, name, parameters, arguments, code, failure) \
	WRAP_AS(type, name, #name, parameters, arguments, code, failure)
/*
 * With 64-bit file offsets asked for, some are other symbols, of the same type on 64-bit machines.
 */
#define WRAP64(type, name, parameters, arguments, code, failure)         \
	WRAP_AS(type, name, #name, parameters, arguments, code, failure) \
	WRAP_AS(type, name##64, #name, parameters, arguments, code, failure)

/* clang-format off */
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), EMFILE, -1)
WRAP(int, socketpair, (int domain, int type, int protocol, int *pair), (domain, type, protocol, pair), EMFILE, -1)
WRAP(int, bind, (int fd, const struct sockaddr *name, socklen_t length), (fd, name, length), ENOMEM, -1)
WRAP(int, connect, (int fd, const struct sockaddr *name, socklen_t length), (fd, name, length), ENETUNREACH, -1)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), EADDRINUSE, -1)
WRAP(int, getsockname, (int fd, struct sockaddr *name, socklen_t *length), (fd, name, length), ENOBUFS, -1)
WRAP(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t length), (fd, level, option, value, length), ENOMEM, -1)
WRAP(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *length), (fd, level, option, value, length), ENOMEM, -1)
WRAP(ssize_t, sendto, (int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length), (fd, data, size, flags, to, length), ENOBUFS, -1)
WRAP(ssize_t, recvfrom, (int fd, void *data, size_t size, int flags, struct sockaddr *from, socklen_t *length), (fd, data, size, flags, from, length), ENOBUFS, -1)
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), ENOBUFS, -1)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), ENOMEM, -1)
WRAP(int, eventfd, (unsigned value, int flags), (value, flags), EMFILE, -1)
WRAP(int, epoll_create1, (int flags), (flags), EMFILE, -1)
WRAP(int, epoll_ctl, (int fd, int what, int other, struct epoll_event *event), (fd, what, other, event), ENOMEM, -1)
WRAP(int, pipe2, (int *pair, int flags), (pair, flags), EMFILE, -1)
WRAP(int, dup, (int fd), (fd), EMFILE, -1)
WRAP(int, setns, (int fd, int type), (fd, type), EPERM, -1)
WRAP(int, unshare, (int flags), (flags), EPERM, -1)
WRAP64(int, stat, (const char *path, struct stat *status), (path, status), ENOMEM, -1)
WRAP64(int, fstat, (int fd, struct stat *status), (fd, status), ENOMEM, -1)
WRAP(DIR *, opendir, (const char *path), (path), EMFILE, NULL)
WRAP64(FILE *, fopen, (const char *path, const char *mode), (path, mode), EMFILE, NULL)
WRAP64(void *, mmap, (void *address, size_t size, int protection, int flags, int fd, off_t offset), (address, size, protection, flags, fd, offset), ENOMEM, MAP_FAILED)
WRAP(void *, malloc, (size_t size), (size), ENOMEM, NULL)
WRAP(void *, calloc, (size_t count, size_t size), (count, size), ENOMEM, NULL)
WRAP(void *, realloc, (void *old, size_t size), (old, size), ENOMEM, NULL)
WRAP(void *, reallocarray, (void *old, size_t count, size_t size), (old, count, size), ENOMEM, NULL)
WRAP(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size), ENOMEM, NULL)
WRAP(int, poll, (struct pollfd *set, nfds_t count, int milliseconds), (set, count, milliseconds), ENOMEM, -1)
WRAP(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size), EIO, -1)
WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), ENOSPC, -1)
WRAP(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count), EIO, -1)
WRAP(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), ENOSPC, -1)
WRAP(int, pthread_create, (pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *argument), (thread, attributes, function, argument), EAGAIN, errno)
/* clang-format on */

#define WRAP_OPEN(symbol)                                                               \
	int __real_##symbol(const char *path, int flags, ...);                          \
	int __wrap_##symbol(const char *path, int flags, ...);                          \
	int __wrap_##symbol(const char *path, int flags, ...)                           \
	{                                                                               \
		va_list arguments;                                                      \
		unsigned mode = 0;                                                      \
                                                                                        \
		if (flags & (O_CREAT | __O_TMPFILE)) {                                  \
			va_start(arguments, flags);                                     \
			mode = va_arg(arguments, unsigned);                             \
			va_end(arguments);                                              \
		}                                                                       \
		return fails("open", EMFILE) ? -1 : __real_##symbol(path, flags, mode); \
	}
WRAP_OPEN(open)
WRAP_OPEN(open64)

#define WRAP_CONTROL(symbol, name, type, code)                                          \
	int __real_##symbol(int fd, type request, ...);                                 \
	int __wrap_##symbol(int fd, type request, ...);                                 \
	int __wrap_##symbol(int fd, type request, ...)                                  \
	{                                                                               \
		va_list arguments;                                                      \
		unsigned long argument;                                                 \
                                                                                        \
		va_start(arguments, request);                                           \
		argument = va_arg(arguments, unsigned long);                            \
		va_end(arguments);                                                      \
		return fails(name, code) ? -1 : __real_##symbol(fd, request, argument); \
	}
WRAP_CONTROL(ioctl, "ioctl", unsigned long, ENOMEM)
WRAP_CONTROL(fcntl, "fcntl", int, EMFILE)
WRAP_CONTROL(fcntl64, "fcntl", int, EMFILE)
