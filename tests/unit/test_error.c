/* SPDX-License-Identifier: MIT */
/* Filling an error and returning its code, and the names of the causes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void test_error_is_filled_and_returned(void **state)
{
	struct vnic_error error;

	(void)state;
	assert_int_equal(vn_error(&error, -EINVAL, VNIC_CAUSE_NAME_INVALID, "bad name '%s'", "a/b"),
			 -EINVAL);
	assert_int_equal(error.code, -EINVAL);
	assert_int_equal(error.cause, VNIC_CAUSE_NAME_INVALID);
	assert_string_equal(error.text, "bad name 'a/b'");
}

static void test_no_error_is_asked_for(void **state)
{
	(void)state;
	assert_int_equal(vn_error(NULL, -EPERM, VNIC_CAUSE_CAPABILITY, "no"), -EPERM);
	assert_int_equal(vn_error_system(NULL, -EIO, VNIC_CAUSE_SYSTEM, "no"), -EIO);
}

static void test_system_error_names_the_errno(void **state)
{
	struct vnic_error error;

	(void)state;
	assert_int_equal(vn_error_system(&error, -EPERM, VNIC_CAUSE_CAPABILITY,
					 "cannot create '%s'", "tun0"),
			 -EPERM);
	assert_int_equal(error.code, -EPERM);
	assert_string_equal(error.text, "cannot create 'tun0': Operation not permitted");
}

static void test_long_text_is_cut(void **state)
{
	struct {
		struct vnic_error error;
		char guard[8];
	} here;
	char name[2 * VNIC_ERROR_TEXT_BYTES];

	(void)state;
	memset(&here, '#', sizeof(here));
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	vn_error(&here.error, -EINVAL, VNIC_CAUSE_ARGUMENT, "%s", name);
	assert_int_equal(strlen(here.error.text), VNIC_ERROR_TEXT_BYTES - 1);
	vn_error_system(&here.error, -EINVAL, VNIC_CAUSE_SYSTEM, "%s", name);
	assert_int_equal(strlen(here.error.text), VNIC_ERROR_TEXT_BYTES - 1);
	/* There is room for a part of the errno's text only. */
	name[VNIC_ERROR_TEXT_BYTES - 6] = '\0';
	vn_error_system(&here.error, -EINVAL, VNIC_CAUSE_SYSTEM, "%s", name);
	assert_int_equal(strlen(here.error.text), VNIC_ERROR_TEXT_BYTES - 1);
	assert_string_equal(here.error.text + VNIC_ERROR_TEXT_BYTES - 6, ": Inv");
	assert_memory_equal(here.guard, "########", sizeof(here.guard));
}

static void test_errno_is_left_alone(void **state)
{
	struct vnic_error error;

	(void)state;
	errno = ENOTTY;
	vn_error_system(&error, -EINVAL, VNIC_CAUSE_SYSTEM, "no");
	assert_int_equal(errno, ENOTTY);
}

static void test_every_cause_has_a_name_of_its_own(void **state)
{
	(void)state;
	assert_string_equal(vnic_cause_name(VNIC_CAUSE_NONE), "none");
	assert_string_equal(vnic_cause_name(VNIC_CAUSE_NAME_TAKEN), "name-taken");
	for (int a = 0; a <= VNIC_CAUSE_HANDLER; a++) {
		const char *name = vnic_cause_name((enum vnic_cause)a);

		assert_string_not_equal(name, "unknown");
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
		for (int b = 0; b < a; b++)
			assert_string_not_equal(name, vnic_cause_name((enum vnic_cause)b));
	}
}

static void test_no_cause_is_unknown(void **state)
{
	(void)state;
	assert_string_equal(vnic_cause_name((enum vnic_cause)1000), "unknown");
	assert_string_equal(vnic_cause_name((enum vnic_cause) - 1), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_is_filled_and_returned),
		cmocka_unit_test(test_no_error_is_asked_for),
		cmocka_unit_test(test_system_error_names_the_errno),
		cmocka_unit_test(test_long_text_is_cut),
		cmocka_unit_test(test_errno_is_left_alone),
		cmocka_unit_test(test_every_cause_has_a_name_of_its_own),
		cmocka_unit_test(test_no_cause_is_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
