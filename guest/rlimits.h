/* SPDX-License-Identifier: Apache-2.0 */
/* Resource limits by their names on the wire. */
#ifndef GUEST_RLIMITS_H
#define GUEST_RLIMITS_H

#include "lib/err.h"
#include "protocol/protocol.h"

/* rlimits_apply() - set what is known of @list (struct rlimit_spec) for this process; unknown names
 * are skipped. Return: 0, -errno. */
int rlimits_apply(const struct list *list);

/* rlimits_check() - names known and unique, soft <= hard. Return: 0, -EINVAL. */
int rlimits_check(const struct list *list, struct err *err);

#endif
