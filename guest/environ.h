/* SPDX-License-Identifier: Apache-2.0 */
/* A command's environment under construction: later values replace earlier ones. */
#ifndef GUEST_ENVIRON_H
#define GUEST_ENVIRON_H

#include <stdbool.h>
#include <stddef.h>

/* struct environ - @v: NULL-terminated "K=V" strings for execve(), owned */
struct environ {
	char **v;
	size_t n, cap;
};

#define cleanup_environ __attribute__((cleanup(environ_release)))

void environ_release(struct environ *env);

/* environ_set() - set @key (of @key_len bytes) to @value, in place if it is there already.
 * Return: 0, -ENOMEM. */
int environ_set(struct environ *env, const char *key, size_t key_len, const char *value);

/* environ_get() - the value of @key, borrowed; NULL if unset. */
const char *environ_get(const struct environ *env, const char *key);

#endif
