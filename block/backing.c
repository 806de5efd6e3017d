/* SPDX-License-Identifier: Apache-2.0 */
#include "block/backing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/file.h"
#include "block/open.h"
#include "lib/cleanup.h"

/* What is left of @path below @dir, both absolute; NULL if it is not there. */
static const char *below(const char *dir, const char *path)
{
	size_t len = dir ? strlen(dir) : 0;

	if (!dir)
		return NULL;
	while (len && dir[len - 1] == '/')
		len--;
	return strncmp(dir, path, len) == 0 && path[len] == '/' ? path + len + 1 : NULL;
}

static int too_long(const char *name, struct err *err)
{
	return err_msg(err, ENAMETOOLONG, "the path to backing file '%.100s' is too long", name);
}

int backing_start(const struct block_config *cfg, struct backing_chain *ret, struct err *err)
{
	const char *rest = cfg->path ? below(cfg->dir_path, cfg->path) : NULL;
	const char *slash = rest ? strrchr(rest, '/') : NULL;
	size_t len = slash ? (size_t)(slash - rest) + 1 : 0;

	if (len >= sizeof(ret->folder))
		return too_long(rest, err);
	*ret = (struct backing_chain){ 0 };
	memcpy(ret->folder, rest ? rest : "", len);
	return 0;
}

/* ---- names ---- */

/* Drop the last component of @path, which is @len bytes long. False: there is none. */
static bool leave(const char *path, size_t *len)
{
	if (!*len)
		return false;
	while (*len && path[*len - 1] == '/')
		(*len)--;
	while (*len && path[*len - 1] != '/')
		(*len)--;
	return true;
}

/* Append what @name leads to; folders end in a slash. */
static int walk(char path[BACKING_PATH_MAX], size_t len, const char *name, struct err *err)
{
	const char *p = name;

	while (*p) {
		size_t n = strcspn(p, "/");
		const char *next = p + n + strspn(p + n, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.') {
			if (!leave(path, &len))
				return err_msg(err, EACCES,
					"backing file '%s' is not in the folder that is allowed",
					name);
		} else if (n > 1 || (n == 1 && p[0] != '.')) {
			if (len + n + 2 > BACKING_PATH_MAX)
				return too_long(name, err);
			memcpy(path + len, p, n);
			len += n;
			if (*next)
				path[len++] = '/';
		}
		p = next;
	}
	path[len] = '\0';
	return 0;
}

int backing_resolve(const struct block_config *cfg, const char *folder, const char *name,
	char ret[BACKING_PATH_MAX], struct err *err)
{
	const char *inside = name;

	if (strncmp(name, "json:", 5) == 0 || strstr(name, "://"))
		return err_msg(err, ENOTSUP,
			"the qcow2 image builds on '%s', which is no file: not supported", name);
	if (name[0] == '/') {
		inside = below(cfg->dir_path, name);
		folder = "";
	}
	if (!inside)
		return err_msg(err, EACCES,
			"backing file '%s' is not in the folder that is allowed (%s)", name,
			cfg->dir_path ? cfg->dir_path : "none");
	(void)snprintf(ret, BACKING_PATH_MAX, "%s", folder);
	return walk(ret, strlen(ret), inside, err);
}

/* ---- opening ---- */

static int check(const struct block_config *cfg, const struct backing_chain *chain,
	const char *name, const char *format, struct err *err)
{
	if (!cfg->backing)
		return err_msg(err, EACCES,
			"the qcow2 image builds on the file '%s': allow that with backing=on if "
			"you trust the image",
			name);
	if (chain->depth >= BACKING_DEPTH_MAX)
		return err_msg(err, EINVAL, "more than %d backing files behind each other",
			BACKING_DEPTH_MAX);
	if (!format[0])
		return err_msg(err, EINVAL,
			"the qcow2 image does not say the format of its backing file '%s': add it "
			"with qemu-img rebase -u -F",
			name);
	return 0;
}

static int parse_format(const char *format, enum block_format *ret, struct err *err)
{
	if (block_format_parse(format, ret, NULL) == 0 && *ret != BLOCK_VMDK)
		return 0;
	return err_msg(
		err, ENOTSUP, "a backing file is raw or qcow2; '%s' is not supported", format);
}

static int open_next(const struct block_config *cfg, const char *folder, const char *name,
	const char *format, struct backing_chain *next, struct block **ret, struct err *err)
{
	struct block_config file = *cfg;
	cleanup_fd int fd = -1;
	char *slash;
	int r = parse_format(format, &file.format, err);

	if (r == 0)
		r = backing_resolve(cfg, folder, name, next->folder, err);
	if (r == 0)
		r = file_open_beneath(cfg->dir_fd, next->folder, &fd, err);
	if (r < 0)
		return r;
	slash = strrchr(next->folder, '/');
	slash = slash ? slash + 1 : next->folder;
	*slash = '\0';
	file.fd = fd;
	file.read_only = true;
	return block_open_nested(&file, next, ret, err);
}

int backing_open(const struct block_config *cfg, const struct backing_chain *chain,
	const char *name, const char *format, struct block **ret, struct err *err)
{
	struct backing_chain next = { .depth = chain->depth + 1 };
	int r = check(cfg, chain, name, format, err);

	if (r < 0)
		return r;
	r = open_next(cfg, chain->folder, name, format, &next, ret, err);
	if (r < 0 && chain->depth == 0) /* once: what failed further down has its own name */
		(void)err_wrap(err, "backing file '%s'", name);
	return r;
}
