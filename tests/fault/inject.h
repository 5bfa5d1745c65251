/* SPDX-License-Identifier: MIT */
/*
 * Makes system and library calls fail, one after another.
 *
 * The linker's --wrap option sends every call of the library's (and of the test's) to the functions
 * listed in meson.build through inject.c. While armed, they are counted, and one of them fails with
 * an errno that the call may really have. So every error path is walked:
 *
 *     for (n = 1;; n++) {
 *             inject_nth(n);
 *             code = the_call_under_test(..., &error);
 *             if (!inject_end())
 *                     break;                  // it was not reached: there are fewer than n calls
 *             check that code tells of it, that nothing leaked ...
 *     }
 *
 * In a meson.build: sources: fault_sources, link_args: fault_link_args, include_directories:
 * fault_include. Threads are counted together; only one operation may be armed at a time. Calls
 * that the C library makes inside itself are not seen, nor those that were compiled into its
 * checking variants (_FORTIFY_SOURCE).
 */
#ifndef INJECT_H
#define INJECT_H

#include <stdbool.h>

/** Arm: the nth call from now on, counted from 1, fails; 0: none does. */
void inject_nth(unsigned nth);
/**
 * Arm: every call of the function named so fails with this errno. The name must live until
 * inject_end().
 */
void inject_all(const char *function, int code);
/** Disarm. @return whether any call failed */
bool inject_end(void);
/** Which function failed last since arming; "nothing" if none did. For messages. */
const char *inject_function(void);
/** How many calls were counted since arming. */
unsigned inject_count(void);

#endif
