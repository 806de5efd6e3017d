/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_SERVE_H
#define GUEST_SERVE_H

#include "lib/err.h"

/*
 * serve_stream() - the agent as an ordinary process, on a stream socket
 * Takes the host through the same start-up, but leaves the system as it is: mounts, hostname and
 * limits of the bootstrap are not applied. Adopts orphans of its commands.
 * @fd: borrowed; made non-blocking
 * Return: 0 after core.shutdown, or when the host is gone; -errno
 */
int serve_stream(int fd, struct err *err);

#endif
