/* SPDX-License-Identifier: Apache-2.0 */
/* Host names in their one canonical form: lower case, no leading or trailing dot, text. */
#ifndef NET_NAME_H
#define NET_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define NAME_MAX_LEN 253
#define NAME_BUF     (NAME_MAX_LEN + 1)

/* Resolves to the gateway, and through it to services on the host's loopback. */
#define NAME_HOST_ALIAS "host.microsandbox.internal"

/*
 * name_canon() - check and canonicalise the name in @s, @len bytes
 * Letters, digits, '-' and '_' in labels of 1 to 63; dots around the name are dropped.
 * Return: 0; -EINVAL (@ret untouched)
 */
int name_canon(const char *s, size_t len, char ret[NAME_BUF]);

/* name_labels() - how many labels a canonical name has. */
unsigned name_labels(const char *name);

/* name_under() - is canonical @name equal to @suffix or below it? Whole labels only. */
bool name_under(const char *name, const char *suffix);

#endif
