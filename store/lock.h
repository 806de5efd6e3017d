/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flock(2) with a deadline. A lock belongs to the open file description: it ends when the last
 * descriptor of it is closed, however the process ends, and it follows a fork.
 *
 * Dedicated lock files may be deleted by whoever holds them exclusively (lock_remove()): taking a
 * lock makes sure that the file locked is still the one under that name.
 */
#ifndef STORE_LOCK_H
#define STORE_LOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/err.h"

enum lock_kind { LOCK_SHARED, LOCK_EXCLUSIVE };

/* How long msb waits for another msb that does something short. */
#define LOCK_SHORT_MS 30000

/* struct lock - @fd: the locked file, -1: none */
struct lock {
	int fd;
};

#define LOCK_INIT ((struct lock){ .fd = -1 })

/*
 * lock_take() - lock the file @name below @dirfd, creating it if need be
 * @timeout_ms: how long to wait for others; 0: not at all
 * @what: what is protected, for the error: "image 'debian'"
 * Return: 0 and *ret (lock_release()); -EBUSY: held by others all the time, and the message names
 * one of them if it can be known; -errno. Blocks at most @timeout_ms.
 */
int lock_take(int dirfd, const char *name, enum lock_kind kind, uint64_t timeout_ms,
	const char *what, struct lock *ret, struct err *err);

/* lock_fd() - as lock_take(), for a file or folder that is open already; @fd stays the caller's. */
int lock_fd(int fd, enum lock_kind kind, uint64_t timeout_ms, const char *what, struct err *err);

/* lock_release() - unlock; fine on LOCK_INIT and twice. */
void lock_release(struct lock *lock);

/* lock_remove() - delete the lock file @name below @dirfd, which @lock holds exclusively, and
 * unlock. Best effort: a file that stays is harmless. */
void lock_remove(int dirfd, const char *name, struct lock *lock);

/*
 * lock_holder() - who holds a lock on the file behind @fd, of those the kernel tells us of
 * @ret: "msb (pid 12)", or "another process"; cut to @size bytes
 */
void lock_holder(int fd, char *ret, size_t size);

#define cleanup_lock cleanup_(lock_release)

#endif
