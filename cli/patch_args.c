/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/patch_args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"

static int check_path(const char *path, struct err *err)
{
	const char *p = path;

	if (path[0] != '/' || path[strspn(path, "/")] == '\0')
		return err_msg(err, EDOM, "guest path must be absolute and not '/': '%s'", path);
	if (strlen(path) >= PATH_MAX / 2)
		return err_msg(err, EDOM, "guest path is too long: '%.60s...'", path);
	while (*p) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 2 && p[0] == '.' && p[1] == '.')
			return err_msg(err, EDOM, "guest path may not hold '..': '%s'", path);
		p += len;
	}
	return 0;
}

/* COPY takes what is there. */
static int check_source(struct patch_arg *arg, struct err *err)
{
	struct stat st;

	if (stat(arg->source, &st) < 0)
		return err_msg(err, EDOM, "cannot copy '%s': %s", arg->source, strerror(errno));
	if (arg->kind == PATCH_COPY)
		arg->kind = S_ISDIR(st.st_mode) ? PATCH_COPY_DIR : PATCH_COPY_FILE;
	if (arg->kind == PATCH_COPY_DIR && !S_ISDIR(st.st_mode))
		return err_msg(err, EDOM, "cannot copy '%s': not a folder", arg->source);
	if (arg->kind == PATCH_COPY_FILE && !S_ISREG(st.st_mode))
		return err_msg(err, EDOM, "cannot copy '%s': not a regular file", arg->source);
	return 0;
}

void patch_arg_release(struct patch_arg *arg)
{
	free(arg->source);
	free(arg->path);
	free(arg->content);
}

static bool copies(enum patch_kind kind)
{
	return kind <= PATCH_COPY_DIR;
}

static int split(struct patch_arg *arg, const char *spec, struct err *err)
{
	const char *colon = strchr(spec, ':');

	if (!copies(arg->kind)) {
		arg->path = strdup(spec);
	} else {
		if (!colon || colon == spec)
			return err_msg(err, EDOM, "expected SOURCE:GUEST, not '%s'", spec);
		arg->source = strndup(spec, (size_t)(colon - spec));
		arg->path = strdup(colon + 1);
		if (!arg->source)
			return err_set(err, ENOMEM, "copy patch");
	}
	return arg->path ? 0 : err_set(err, ENOMEM, "copy patch");
}

/* Behind all of its rank and of those before it; what --copy turned out to be does not count. */
static int insert(struct patch_args *args, struct patch_arg *arg, bool last, struct err *err)
{
	struct patch_arg *v;
	size_t at = args->n;

	if (args->n == PATCH_ARGS_MAX)
		return err_msg(err, EDOM, "more than %d changes to the root", PATCH_ARGS_MAX);
	v = reallocarray(args->v, args->n + 1, sizeof(*v));
	if (!v)
		return err_set(err, ENOMEM, "copy patch");
	args->v = v;
	args->n++;
	for (; !last && at > 0 && v[at - 1].rank > arg->rank; at--)
		v[at] = v[at - 1];
	v[at] = *arg;
	return 0;
}

static int check_and_insert(
	struct patch_args *args, struct patch_arg *arg, bool last, struct err *err)
{
	int rc = check_path(arg->path, err);

	if (rc == 0 && copies(arg->kind))
		rc = check_source(arg, err);
	if (rc == 0 && arg->kind == PATCH_SYMLINK && strlen(arg->source) >= PATH_MAX)
		rc = err_msg(err, EDOM, "link target is too long: '%.60s...'", arg->source);
	if (rc == 0)
		rc = insert(args, arg, last, err);
	if (rc < 0)
		patch_arg_release(arg);
	return rc;
}

int patch_args_add(struct patch_args *args, enum patch_kind kind, const char *spec, struct err *err)
{
	struct patch_arg arg = { .kind = kind, .rank = kind };
	int rc = split(&arg, spec, err);

	if (rc < 0) {
		patch_arg_release(&arg);
		return rc;
	}
	return check_and_insert(args, &arg, false, err);
}

int patch_args_append(struct patch_args *args, struct patch_arg *arg, struct err *err)
{
	arg->rank = arg->kind;
	return check_and_insert(args, arg, true, err);
}

int patch_args_move(struct patch_args *to, struct patch_args *from, struct err *err)
{
	size_t done = 0;
	int rc = 0;

	while (done < from->n && (rc = insert(to, &from->v[done], true, err)) == 0)
		done++;
	for (; done < from->n; done++)
		patch_arg_release(&from->v[done]);
	free(from->v);
	*from = (struct patch_args){ 0 };
	return rc;
}

void patch_args_release(struct patch_args *args)
{
	for (size_t i = 0; i < args->n; i++)
		patch_arg_release(&args->v[i]);
	free(args->v);
	*args = (struct patch_args){ 0 };
}
