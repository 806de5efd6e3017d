/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/paths.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int bad_path(struct text path, const char *what, const char *why, struct err *err)
{
	return err_msg(err, EINVAL, "%s '%.200s': %s", what, path.s ? path.s : "", why);
}

int path_normalize(struct text path, const char *what, char *dst, size_t max, struct err *err)
{
	size_t len = 0, n;

	if (path.len == 0 || path.s[0] != '/' || text_has_nul(path))
		return bad_path(path, what, "not an absolute path", err);
	if (path.len >= max)
		return bad_path(path, what, "path too long", err);
	for (const char *p = path.s; *p; p += n) {
		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.'))
			continue;
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return bad_path(path, what, "'..' in the path", err);
		dst[len++] = '/';
		memcpy(dst + len, p, n);
		len += n;
	}
	dst[len] = '\0';
	return len > 0 ? 0 : bad_path(path, what, "the root itself", err);
}

int path_make_dirs(char *path)
{
	for (char *p = path + 1;; p++) {
		char c = *p;

		if (c && c != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = c;
		if (!c)
			return 0;
	}
}

int path_make_parents(char *path)
{
	char *last = strrchr(path, '/');
	int ret = 0;

	if (last == path)
		return 0;
	*last = '\0';
	ret = path_make_dirs(path);
	*last = '/';
	return ret;
}
