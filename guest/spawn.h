/* SPDX-License-Identifier: Apache-2.0 */
/* Start one command: environment, user, limits, pipes or a terminal (agent-protocol 3.1-3.4). */
#ifndef GUEST_SPAWN_H
#define GUEST_SPAWN_H

#include <sys/types.h>

#include "guest/failure.h"
#include "protocol/protocol.h"

/*
 * struct exec_defaults - what a request leaves open; from core.bootstrap
 * @env: of every command, before the request's own; struct env_var
 */
struct exec_defaults {
	const char *user;
	const char *cwd;
	struct list env;
};

/*
 * struct child - a running command
 * @pid:    also its process group and session
 * @in_fd:  to its stdin; with a tty the terminal
 * @out_fd: stdout and stderr; with a tty the terminal and -1
 * All non-blocking; the caller's.
 */
struct child {
	pid_t pid;
	int in_fd;
	int out_fd[2];
};

/*
 * spawn_command() - fork and exec; returns when the command runs or could not be started
 * Return: 0 and *ret; -1 and the reason in *ret_failure
 */
int spawn_command(const struct exec_request *req, const struct exec_defaults *defaults,
	struct child *ret, struct failure *ret_failure);

#endif
