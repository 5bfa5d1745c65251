/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Privileges are needed to make and configure an interface, and never after
 * that: moving packets takes an open descriptor only. So what parses packets from strangers runs
 * with none. They go in this order: the bounding set (which takes CAP_SETPCAP), the groups and the
 * user (CAP_SETGID, CAP_SETUID), then all capabilities, then the last way back, by a program with
 * the set-user-ID bit or with capabilities of its own (no_new_privs).
 *
 * Root who names no --user stays user 0, so it may still open what belongs to root, but may do
 * nothing that takes a capability.
 */
#include "process.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

struct user {
	char *name;
	char *home;
	uid_t uid;
	gid_t gid;
};

int user_find(const char *name, const struct tool_command *command, struct user **user)
{
	const struct passwd *entry;
	struct user *found;
	char *end;
	unsigned long number;

	*user = NULL;
	if (!name)
		return -1;
	entry = getpwnam(name);
	if (!entry) {
		number = strtoul(name, &end, 10);
		if (name[0] >= '0' && name[0] <= '9' && !*end && number < (uid_t)-1)
			entry = getpwuid((uid_t)number);
	}
	if (!entry)
		return usage_error(command, "--user: there is no user '%s'", name);
	found = calloc(1, sizeof(*found));
	if (!found)
		return error_say(NULL, "out of memory");
	found->name = strdup(entry->pw_name);
	found->home = strdup(entry->pw_dir);
	found->uid = entry->pw_uid;
	found->gid = entry->pw_gid;
	if (!found->name || !found->home) {
		user_free(found);
		return error_say(NULL, "out of memory");
	}
	capng_get_caps_process();
	if (found->uid == geteuid() && found->uid != 0) {
		user_free(found); /* nothing to become */
		return -1;
	}
	if (found->uid != geteuid() && !capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID)) {
		user_free(found);
		return usage_error(command, "--user: only root can become '%s'", name);
	}
	*user = found;
	return -1;
}

void user_free(struct user *user)
{
	if (!user)
		return;
	free(user->name);
	free(user->home);
	free(user);
}

int user_set_environment(const struct user *user)
{
	if (!user)
		return 0;
	if (setenv("HOME", user->home, 1) < 0 || setenv("USER", user->name, 1) < 0 ||
	    setenv("LOGNAME", user->name, 1) < 0)
		return -errno;
	return 0;
}

static int become(const struct user *user)
{
	if (initgroups(user->name, user->gid) < 0)
		return -errno;
	if (setresgid(user->gid, user->gid, user->gid) < 0)
		return -errno;
	if (setresuid(user->uid, user->uid, user->uid) < 0)
		return -errno;
	return 0;
}

int privilege_drop(const struct user *user, const struct hint_context *context)
{
	int code;

	capng_get_caps_process();
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP)) {
		capng_clear(CAPNG_SELECT_BOUNDS);
		if (capng_apply(CAPNG_SELECT_BOUNDS) < 0)
			return error_say(context, "cannot give up the capability bounding set");
	}
	if (user) {
		code = become(user);
		if (code < 0)
			return error_say(context, "cannot become user '%s': %s", user->name,
					 strerror(-code));
	}
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return error_say(context, "cannot give up the capabilities");
	/* The ambient set goes with the permitted one (capabilities(7)), where there is one. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_say(context, "cannot set no_new_privs: %s", strerror(errno));
	/* What was dropped must be gone: all else here rests on it. */
	capng_get_caps_process();
	if (capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
		return error_say(context, "capabilities are left that could not be given up");
	return -1;
}
