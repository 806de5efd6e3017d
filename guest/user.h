/* SPDX-License-Identifier: Apache-2.0 */
/* Who a command runs as: USER[:GROUP] against /etc/passwd and /etc/group (agent-protocol 3.2). */
#ifndef GUEST_USER_H
#define GUEST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"

#define USER_GROUPS_MAX 256
#define USER_HOME_MAX	4096

/*
 * struct user
 * @home:   "" when passwd does not know the user
 * @groups: supplementary ones, without @gid
 */
struct user {
	uid_t uid;
	gid_t gid;
	char home[USER_HOME_MAX];
	size_t group_count;
	gid_t groups[USER_GROUPS_MAX];
};

/*
 * user_resolve() - look a spec up; blanks around the parts do not matter
 * @spec: NULL or empty: root, as agentd itself
 * Return: 0; -EINVAL or -ENOENT with the protocol's message: "guest user not found: X"
 */
int user_resolve(const char *spec, struct user *ret, struct err *err);

/* user_apply() - make this process run as @user. Return: 0, -errno. */
int user_apply(const struct user *user);

#endif
