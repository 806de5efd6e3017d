/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files are read directly: getpwnam() and friends may ask a name service that the guest's
 * programs control, and would wait for it.
 */
#include "guest/user.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"

#define PART_MAX 256

/* struct spec - the parts of USER[:GROUP]; no group: @has_group false */
struct spec {
	char user[PART_MAX], group[PART_MAX];
	bool has_group;
};

/* Only regular files: a FIFO in its place would make the agent wait. */
static FILE *open_table(const char *path)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	FILE *f;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	f = fdopen(fd, "r");
	if (f)
		(void)take_fd(&fd);
	return f;
}

static int copy_part(const char *s, size_t len, char *dst)
{
	while (len > 0 && isspace((unsigned char)*s)) {
		s++;
		len--;
	}
	while (len > 0 && isspace((unsigned char)s[len - 1]))
		len--;
	if (len >= PART_MAX)
		return -ENAMETOOLONG;
	memcpy(dst, s, len);
	dst[len] = '\0';
	return 0;
}

static int parse_spec(const char *text, struct spec *ret, struct err *err)
{
	const char *colon = strchr(text, ':');

	*ret = (struct spec){ .has_group = colon };
	if (copy_part(text, colon ? (size_t)(colon - text) : strlen(text), ret->user) < 0 ||
		(colon && copy_part(colon + 1, strlen(colon + 1), ret->group) < 0))
		return err_msg(err, EINVAL, "user spec is too long");
	if (colon && !ret->user[0])
		return err_msg(err, EINVAL, "user spec has empty user");
	if (colon && !ret->group[0])
		return err_msg(err, EINVAL, "user spec has empty group");
	return 0;
}

static bool parse_id(const char *s, uint32_t *ret)
{
	unsigned long long v;
	char *end;

	if (!isdigit((unsigned char)s[0]))
		return false;
	errno = 0;
	v = strtoull(s, &end, 10);
	/* The highest id means "leave unchanged" to the kernel. */
	if (errno || *end || v >= UINT32_MAX)
		return false;
	*ret = v;
	return true;
}

/* Find a passwd entry by name, or by uid if @name is NULL; fills @ret and *ret_name. */
static bool find_user(const char *name, uid_t uid, struct user *ret, char *ret_name)
{
	cleanup_file FILE *f = open_table("/etc/passwd");
	struct passwd *pw;

	while (f && (pw = fgetpwent(f))) {
		if (name ? strcmp(pw->pw_name, name) != 0 : pw->pw_uid != uid)
			continue;
		if (strlen(pw->pw_dir) >= USER_HOME_MAX || strlen(pw->pw_name) >= PART_MAX)
			continue;
		ret->uid = pw->pw_uid;
		ret->gid = pw->pw_gid;
		strcpy(ret->home, pw->pw_dir);
		strcpy(ret_name, pw->pw_name);
		return true;
	}
	return false;
}

static int find_group(const char *name, gid_t *ret, struct err *err)
{
	cleanup_file FILE *f = NULL;
	struct group *gr;

	if (parse_id(name, ret))
		return 0;
	f = open_table("/etc/group");
	while (f && (gr = fgetgrent(f))) {
		if (strcmp(gr->gr_name, name) == 0) {
			*ret = gr->gr_gid;
			return 0;
		}
	}
	return err_msg(err, ENOENT, "guest group not found: %s", name);
}

static bool is_member(const struct group *gr, const char *name)
{
	for (char **m = gr->gr_mem; *m; m++) {
		if (strcmp(*m, name) == 0)
			return true;
	}
	return false;
}

static void find_groups_of(const char *name, struct user *user)
{
	cleanup_file FILE *f = open_table("/etc/group");
	struct group *gr;

	while (f && user->group_count < USER_GROUPS_MAX && (gr = fgetgrent(f))) {
		if (gr->gr_gid != user->gid && is_member(gr, name))
			user->groups[user->group_count++] = gr->gr_gid;
	}
}

int user_resolve(const char *text, struct user *ret, struct err *err)
{
	struct user user = { .gid = getegid() };
	char name[PART_MAX] = "";
	uint32_t id = 0;
	struct spec spec;
	bool known;
	int res;

	res = parse_spec(text ? text : "", &spec, err);
	if (res < 0)
		return res;
	if (!spec.user[0] || parse_id(spec.user, &id)) {
		user.uid = spec.user[0] ? id : geteuid();
		known = find_user(NULL, user.uid, &user, name);
	} else {
		known = find_user(spec.user, 0, &user, name);
		if (!known)
			return err_msg(err, ENOENT, "guest user not found: %s", spec.user);
	}
	if (spec.has_group) {
		res = find_group(spec.group, &user.gid, err);
		if (res < 0)
			return res;
	}
	if (known)
		find_groups_of(name, &user);
	*ret = user;
	return 0;
}

int user_apply(const struct user *user)
{
	if (setgroups(user->group_count, user->groups) < 0 || setgid(user->gid) < 0 ||
		setuid(user->uid) < 0)
		return -errno;
	return 0;
}
