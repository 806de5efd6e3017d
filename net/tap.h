/* SPDX-License-Identifier: Apache-2.0 */
/* A link over a TAP device: the kernel's network stack plays the guest. For tests and benches. */
#ifndef NET_TAP_H
#define NET_TAP_H

#include "net/net.h"

struct tap;

/* struct tap_faults - what a bad cable does to frames, both ways; percentages and milliseconds */
struct tap_faults {
	unsigned loss, duplicate, reorder, delay_ms;
};

/*
 * tap_open() - create TAP device @name in the calling thread's network namespace
 * @offload: let segments of 64 KiB and partial checksums pass, as a virtio guest would
 * Return: 0 and *ret_fd; -errno (EPERM, ENOENT: no /dev/net/tun)
 */
int tap_open(const char *name, bool offload, int *ret_fd, struct err *err);

/*
 * tap_new() - plug @net into the device
 * @fd:     from tap_open(), borrowed
 * @faults: copied; NULL: a good cable
 */
int tap_new(struct loop *loop, int fd, bool offload, const struct tap_faults *faults,
	struct net *net, struct tap **ret_tap, struct err *err);
void tap_free(struct tap *tap);

#endif
