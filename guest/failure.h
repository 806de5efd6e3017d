/* SPDX-License-Identifier: Apache-2.0 */
/* Why a command could not be started, in the words of core.exec.failed (agent-protocol 3.4). */
#ifndef GUEST_FAILURE_H
#define GUEST_FAILURE_H

/*
 * struct failure
 * @kind:    one of the protocol's kinds; static
 * @error:   errno, or 0 when no system call failed
 * @stage:   static, NULL for none
 */
struct failure {
	const char *kind;
	int error;
	const char *stage;
	char message[512];
};

/* failure_set_errno() - kind and message from an errno: "ATTEMPT: STRERROR (os error N)". */
void failure_set_errno(struct failure *f, const char *stage, int error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5), nonnull(4)));

/* failure_set() - a failure without errno; kind "other". */
void failure_set(struct failure *f, const char *stage, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* failure_errno_name() - "ENOENT", or NULL for what the protocol has no name for. */
const char *failure_errno_name(int error);

/* failure_stdin_errno_name() - the same for core.exec.stdin.error, which knows fewer. */
const char *failure_stdin_errno_name(int error);

#endif
