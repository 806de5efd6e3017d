/* SPDX-License-Identifier: Apache-2.0 */
#include "store/home.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/num.h"
#include "lib/path.h"

#define HOME_NAME      ".microsandbox"
#define CONFIG_MAX     MIB(16)
#define DB_DIR	       "db"
#define MODE_SHARED    0755
#define MODE_PRIVATE   0700
#define BUSY_DEFAULT   5
#define MEMORY_DEFAULT 512

static const char *const dir_name[HOME_DIRS] = {
	[HOME_CACHE] = "cache",
	[HOME_SANDBOXES] = "sandboxes",
	[HOME_VOLUMES] = "volumes",
	[HOME_SNAPSHOTS] = "snapshots",
	[HOME_SECRETS] = "secrets",
	[HOME_LOGS] = "logs",
};

/* --- values of the document */

static int wrong(const struct home *h, const char *key, const char *want, struct err *err)
{
	return err_msg(err, EINVAL, "%s: '%s' must be %s", h->config_path, key, want);
}

/* The value at "a.b.c"; NULL if any of it is missing or null. */
static const json_t *at(const json_t *doc, const char *key)
{
	char part[64];

	while (doc) {
		size_t n = strcspn(key, ".");

		(void)snprintf(part, sizeof(part), "%.*s", (int)n, key);
		doc = json_object_get(doc, part);
		if (json_is_null(doc))
			return NULL;
		if (!key[n])
			break;
		key += n + 1;
	}
	return doc;
}

static int get_text(const struct home *h, const char *key, const char **ret, struct err *err)
{
	const json_t *v = at(h->config, key);

	if (!v)
		return 0;
	if (!json_is_string(v) || !*json_string_value(v))
		return wrong(h, key, "a text that is not empty", err);
	*ret = json_string_value(v);
	return 0;
}

static int get_number(const struct home *h, const char *key, uint64_t min, uint64_t max,
	uint64_t *ret, struct err *err)
{
	const json_t *v = at(h->config, key);
	char want[80];

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < (json_int_t)min ||
		json_integer_value(v) > (json_int_t)max) {
		(void)snprintf(want, sizeof(want), "a number from %llu to %llu",
			(unsigned long long)min, (unsigned long long)max);
		return wrong(h, key, want, err);
	}
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

/* --- paths */

/* Relative to the current folder, now: the process may go elsewhere later. */
static int absolute(const char *path, char **ret, struct err *err)
{
	char cwd[PATH_MAX];

	if (path[0] == '/') {
		*ret = strdup(path);
	} else {
		if (!getcwd(cwd, sizeof(cwd)))
			return err_set(err, errno, "find the current folder");
		if (asprintf(ret, "%s/%s", cwd, path) < 0)
			*ret = NULL;
	}
	return *ret ? 0 : err_set(err, ENOMEM, "find the home folder");
}

static int default_root(char **ret, struct err *err)
{
	const char *home = getenv("MSB_HOME"), *user = getenv("HOME");
	char path[PATH_MAX];

	if (home && *home)
		return absolute(home, ret, err);
	if (!user || !*user) {
		const struct passwd *pw = getpwuid(getuid());

		user = pw && pw->pw_dir && *pw->pw_dir ? pw->pw_dir : ".";
	}
	(void)snprintf(path, sizeof(path), "%s/" HOME_NAME, user);
	return absolute(path, ret, err);
}

static int join(const char *a, const char *b, char **ret, struct err *err)
{
	if (asprintf(ret, "%s/%s", a, b) < 0) {
		*ret = NULL;
		return err_set(err, ENOMEM, "find the home folder");
	}
	return 0;
}

/* --- config.json */

static int find_config(struct home *h, struct err *err)
{
	const char *path = getenv("MSB_CONFIG_PATH");

	return path && *path ? absolute(path, &h->config_path, err)
			     : join(h->root, "config.json", &h->config_path, err);
}

static int read_config(struct home *h, struct err *err)
{
	cleanup_fd int fd = open(h->config_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	json_error_t where;
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "open '%s'", h->config_path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)CONFIG_MAX)
		return err_msg(err, EINVAL, "%s: not a file of at most 16 MiB", h->config_path);
	h->config = json_loadfd(fd, JSON_REJECT_DUPLICATES, &where);
	if (!h->config)
		return err_msg(
			err, EINVAL, "%s: line %d: %s", h->config_path, where.line, where.text);
	if (!json_is_object(h->config))
		return err_msg(err, EINVAL, "%s: must be a JSON object", h->config_path);
	return 0;
}

static int read_settings(struct home *h, struct err *err)
{
	struct home_settings *s = &h->settings;
	uint64_t busy = BUSY_DEFAULT, cpus = 1;
	int rc = get_text(h, "log_level", &s->log_level, err);

	s->memory_mib = MEMORY_DEFAULT;
	rc = rc ? rc : get_number(h, "database.busy_timeout_secs", 1, 3600, &busy, err);
	rc = rc ? rc : get_number(h, "sandbox_defaults.cpus", 1, 255, &cpus, err);
	rc = rc ? rc
		: get_number(h, "sandbox_defaults.memory_mib", 1, UINT32_MAX, &s->memory_mib, err);
	rc = rc ? rc
		: get_number(h, "sandbox_defaults.oci.upper_size_mib", 1, UINT32_MAX,
			  &s->upper_size_mib, err);
	rc = rc ? rc : get_text(h, "sandbox_defaults.shell", &s->shell, err);
	rc = rc ? rc : get_text(h, "sandbox_defaults.workdir", &s->workdir, err);
	rc = rc ? rc : get_text(h, "paths.msb", &s->msb, err);
	rc = rc ? rc : get_text(h, "paths.libkrunfw", &s->libkrunfw, err);
	s->busy_timeout_s = (unsigned)busy;
	s->cpus = (unsigned)cpus;
	return rc;
}

static int find_dirs(struct home *h, struct err *err)
{
	int rc = join(h->root, DB_DIR, &h->db_dir, err);

	for (unsigned i = 0; rc == 0 && i < HOME_DIRS; i++) {
		const char *path = NULL;
		char key[32];

		(void)snprintf(key, sizeof(key), "paths.%s", dir_name[i]);
		rc = get_text(h, key, &path, err);
		if (rc == 0)
			rc = path ? absolute(path, &h->dir[i], err)
				  : join(h->root, dir_name[i], &h->dir[i], err);
	}
	return rc;
}

static int move_home(struct home *h, struct err *err)
{
	const char *home = NULL;
	char *moved = NULL;
	int rc = get_text(h, "home", &home, err);

	if (rc < 0 || !home)
		return rc;
	rc = absolute(home, &moved, err);
	if (rc < 0)
		return rc;
	free(h->root);
	h->root = moved;
	return 0;
}

int home_init(struct home *ret, struct err *err)
{
	cleanup_home struct home h = { 0 };
	int rc = default_root(&h.root, err);

	rc = rc ? rc : find_config(&h, err);
	rc = rc ? rc : read_config(&h, err);
	rc = rc ? rc : move_home(&h, err);
	rc = rc ? rc : read_settings(&h, err);
	rc = rc ? rc : find_dirs(&h, err);
	if (rc < 0)
		return rc;
	*ret = h;
	h = (struct home){ 0 };
	return 0;
}

void home_release(struct home *home)
{
	for (unsigned i = 0; i < HOME_DIRS; i++)
		free(home->dir[i]);
	free(home->db_dir);
	free(home->root);
	free(home->config_path);
	json_decref(home->config);
	*home = (struct home){ 0 };
}

int home_make(const char *path, unsigned mode, struct err *err)
{
	cleanup_fd int slash = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return path_mkdirs_beneath(slash, path, mode, err);
}

int home_open_dir(
	const struct home *home, enum home_dir dir, bool create, int *ret_fd, struct err *err)
{
	int rc = create ? home_make(home->dir[dir],
				  dir == HOME_SECRETS ? MODE_PRIVATE : MODE_SHARED, err)
			: 0;

	if (rc < 0)
		return rc;
	*ret_fd = open(home->dir[dir], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_set(err, errno, "open the folder '%s'", home->dir[dir]);
	return 0;
}
