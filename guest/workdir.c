/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/workdir.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as many as the kernel follows */

/* Return: 0 there is something at @path now; -ENOENT it is a link that leads nowhere; -errno */
static int make_one(const char *path)
{
	struct stat st;

	if (mkdir(path, 0755) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	return stat(path, &st) < 0 ? -errno : 0;
}

/* Put what the link leads to in the place of its name, which is path[at, end). */
static int follow(char path[PATH_MAX], size_t at, size_t end)
{
	char target[PATH_MAX], rest[PATH_MAX];
	size_t rest_len = strlen(path + end) + 1;
	ssize_t len;

	memcpy(rest, path + end, rest_len);
	path[end] = '\0';
	len = readlink(path, target, sizeof(target));
	if (len < 0)
		return -errno;
	if (len > 0 && target[0] == '/')
		at = 0;
	if ((size_t)len + rest_len > PATH_MAX - at)
		return -ENAMETOOLONG;
	memcpy(path + at, target, (size_t)len);
	memcpy(path + at + len, rest, rest_len);
	return 0;
}

/* make_one() for what comes before @end. */
static int make_until(char *path, size_t end)
{
	char saved = path[end];
	int ret;

	path[end] = '\0';
	ret = make_one(path);
	path[end] = saved;
	return ret;
}

int workdir_make(const char *path)
{
	char todo[PATH_MAX];
	unsigned links = 0;
	size_t at = 0, end;
	int ret;

	if (strlen(path) >= sizeof(todo))
		return -ENAMETOOLONG;
	strcpy(todo, path);
	for (;;) {
		at += strspn(todo + at, "/");
		end = at + strcspn(todo + at, "/");
		if (end == at)
			return 0;
		ret = make_until(todo, end);
		if (ret == 0) {
			at = end;
			continue;
		}
		if (ret != -ENOENT)
			return ret;
		ret = ++links > LINKS_MAX ? -ELOOP : follow(todo, at, end);
		if (ret < 0)
			return ret;
		at = 0;
	}
}
