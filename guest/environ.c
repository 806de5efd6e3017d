/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/environ.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void environ_release(struct environ *env)
{
	for (size_t i = 0; i < env->n; i++)
		free(env->v[i]);
	free(env->v);
	*env = (struct environ){ 0 };
}

static char **find(const struct environ *env, const char *key, size_t key_len)
{
	for (size_t i = 0; i < env->n; i++) {
		if (strncmp(env->v[i], key, key_len) == 0 && env->v[i][key_len] == '=')
			return &env->v[i];
	}
	return NULL;
}

/* Room for one more and the NULL behind it. */
static int grow(struct environ *env)
{
	size_t cap = env->cap ? env->cap * 2 : 16;
	char **v;

	if (env->n + 2 <= env->cap)
		return 0;
	v = realloc(env->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	env->v = v;
	env->cap = cap;
	return 0;
}

int environ_set(struct environ *env, const char *key, size_t key_len, const char *value)
{
	char **slot = find(env, key, key_len);
	size_t value_len = strlen(value);
	char *entry;

	if (!slot && grow(env) < 0)
		return -ENOMEM;
	entry = malloc(key_len + 1 + value_len + 1);
	if (!entry)
		return -ENOMEM;
	memcpy(entry, key, key_len);
	entry[key_len] = '=';
	memcpy(entry + key_len + 1, value, value_len + 1);
	if (slot) {
		free(*slot);
		*slot = entry;
		return 0;
	}
	env->v[env->n++] = entry;
	env->v[env->n] = NULL;
	return 0;
}

const char *environ_get(const struct environ *env, const char *key)
{
	size_t len = strlen(key);
	char **slot = find(env, key, len);

	return slot ? *slot + len + 1 : NULL;
}
