/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/mount_args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define BIT(kind)  (1u << (kind))
#define HOST_KINDS (BIT(MOUNT_HOST) | BIT(MOUNT_HOST_DIR) | BIT(MOUNT_HOST_FILE))
#define ALL_KINDS  (~0u)

/* ---- values ---- */

int size_parse_mib(const char *text, const char *what, uint32_t *ret, struct err *err)
{
	uint64_t bytes;
	int rc = num_parse_size(text, what, MIB(1), &bytes, err);

	if (rc < 0)
		return rc == -EINVAL ? -EDOM : rc;
	if (bytes < MIB(1) || bytes / MIB(1) > UINT32_MAX)
		return err_msg(err, EDOM, "%s must be at least 1M: '%s'", what, text);
	*ret = (uint32_t)(bytes / MIB(1));
	return 0;
}

enum block_format disk_format_of(const char *path)
{
	enum block_format format;

	return block_format_of_path(path, &format, NULL) == 0 ? format : BLOCK_RAW;
}

int fstype_check(const char *fstype, struct err *err)
{
	if (!*fstype || strpbrk(fstype, ",;:= /"))
		return err_msg(err, EDOM, "'%s' is no file system type", fstype);
	return 0;
}

/* cli.md 3.8: absolute, not the root, no "..", none of ": ; ," */
static int check_guest_path(const char *path, struct err *err)
{
	const char *p = path;

	if (path[0] != '/' || path[strspn(path, "/")] == '\0')
		return err_msg(err, EDOM, "guest path must be absolute and not '/': '%s'", path);
	if (strpbrk(path, ":;,"))
		return err_msg(err, EDOM, "guest path may not hold ':', ';' or ',': '%s'", path);
	while (*p) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if ((len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return err_msg(
				err, EDOM, "guest path may not hold '.' or '..': '%s'", path);
		p += len;
	}
	return 0;
}

/* ---- options ---- */

struct mount_option {
	const char *name;
	unsigned kinds;
	bool has_value;
	int (*apply)(struct mount_arg *m, const char *value, struct err *err);
};

static int set_ro(struct mount_arg *m, const char *value, struct err *err)
{
	m->flags.readonly = true;
	return 0;
}

static int set_rw(struct mount_arg *m, const char *value, struct err *err)
{
	return 0;
}

static int set_noexec(struct mount_arg *m, const char *value, struct err *err)
{
	m->flags.noexec = true;
	return 0;
}

static int set_nosuid(struct mount_arg *m, const char *value, struct err *err)
{
	m->flags.nosuid = true;
	return 0;
}

static int set_nodev(struct mount_arg *m, const char *value, struct err *err)
{
	m->flags.nodev = true;
	return 0;
}

static int set_quota(struct mount_arg *m, const char *value, struct err *err)
{
	uint32_t mib;
	int rc = size_parse_mib(value, "quota", &mib, err);

	if (rc == 0)
		m->quota = MIB(mib);
	return rc;
}

static int set_size(struct mount_arg *m, const char *value, struct err *err)
{
	return size_parse_mib(value, "size", &m->size_mib, err);
}

static int set_format(struct mount_arg *m, const char *value, struct err *err)
{
	return block_format_parse(value, &m->format, err) < 0 ? -EDOM : 0;
}

static int set_fstype(struct mount_arg *m, const char *value, struct err *err)
{
	m->fstype = value;
	return fstype_check(value, err);
}

static int set_kind(struct mount_arg *m, const char *value, struct err *err)
{
	m->kind_given = true;
	m->disk = strcmp(value, "disk") == 0;
	if (!m->disk && strcmp(value, "dir") != 0)
		return err_msg(err, EDOM, "no kind of volume '%s': there are dir and disk", value);
	return 0;
}

/* In bits of a mask, so that none is given twice. */
static const struct mount_option options[] = {
	{ "ro", ALL_KINDS, false, set_ro },
	{ "rw", ALL_KINDS, false, set_rw },
	{ "noexec", ALL_KINDS, false, set_noexec },
	{ "nosuid", ALL_KINDS, false, set_nosuid },
	{ "nodev", ALL_KINDS, false, set_nodev },
	{ "quota", BIT(MOUNT_HOST) | BIT(MOUNT_HOST_DIR) | BIT(MOUNT_VOLUME), true, set_quota },
	{ "size", BIT(MOUNT_VOLUME) | BIT(MOUNT_TMPFS), true, set_size },
	{ "format", BIT(MOUNT_IMAGE), true, set_format },
	{ "fstype", BIT(MOUNT_IMAGE), true, set_fstype },
	{ "kind", BIT(MOUNT_VOLUME), true, set_kind },
};

static const struct mount_option *find_option(const char *word, size_t len)
{
	for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
		if (strlen(options[i].name) == len && strncmp(options[i].name, word, len) == 0)
			return &options[i];
	}
	return NULL;
}

static int parse_option(struct mount_arg *m, const char *word, unsigned *seen, struct err *err)
{
	size_t len = strcspn(word, "=");
	const struct mount_option *o = find_option(word, len);
	const char *value = word[len] ? word + len + 1 : NULL;
	unsigned bit;

	if (!o)
		return err_msg(err, EDOM, "unknown mount option '%s'", word);
	if (!(o->kinds & BIT(m->kind)))
		return err_msg(err, EDOM, "mount option '%s' is not valid here", o->name);
	if (o->has_value != (value != NULL))
		return err_msg(err, EDOM, "mount option '%s' takes %s value", o->name,
			o->has_value ? "a" : "no");
	bit = 1u << (o - options);
	/* "ro" and "rw" exclude each other, so they count as one */
	if (o->apply == set_rw)
		bit = 1u << 0;
	if (*seen & bit)
		return err_msg(err, EDOM, "mount option '%s' given twice", o->name);
	*seen |= bit;
	return o->apply(m, value, err);
}

static int parse_options(struct mount_arg *m, char *text, struct err *err)
{
	unsigned seen = 0;
	char *save = NULL;

	for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		int rc = parse_option(m, word, &seen, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- the whole ---- */

static bool is_path(const char *source)
{
	return source[0] == '/' || source[0] == '.';
}

/* SOURCE:GUEST[:OPTIONS]; the source may hold colons, but not one before a slash */
static int split(struct mount_arg *m, char **ret_options, struct err *err)
{
	char *guest = strstr(m->text, ":/");

	*ret_options = NULL;
	if (!guest || guest == m->text)
		return err_msg(err, EDOM, "expected SOURCE:GUEST[:OPTIONS], not '%s'", m->text);
	*guest++ = '\0';
	m->source = m->text;
	m->guest = guest;
	*ret_options = strchr(guest, ':');
	if (*ret_options)
		*(*ret_options)++ = '\0';
	return 0;
}

/* PATH[:SIZE][:OPTIONS] */
static int split_tmpfs(struct mount_arg *m, char **ret_options, struct err *err)
{
	char *second = strchr(m->text, ':'), *third;

	m->guest = m->text;
	*ret_options = NULL;
	if (!second)
		return 0;
	*second++ = '\0';
	third = strchr(second, ':');
	if (third)
		*third++ = '\0';
	if (second[0] < '0' || second[0] > '9') {
		*ret_options = second;
		return third ? err_msg(err, EDOM, "expected PATH[:SIZE][:OPTIONS]") : 0;
	}
	*ret_options = third;
	return size_parse_mib(second, "size", &m->size_mib, err);
}

static int check_volume(const struct mount_arg *m, struct err *err)
{
	if (is_path(m->source))
		return err_msg(err, EDOM, "a volume has a name, not a path: '%s'", m->source);
	if (m->disk && !m->size_mib)
		return err_msg(err, EDOM, "kind=disk needs size=");
	if (!m->disk && m->size_mib)
		return err_msg(err, EDOM, "size= needs kind=disk");
	if (m->disk && m->quota)
		return err_msg(err, EDOM, "quota= is for folders, not for kind=disk");
	return 0;
}

static int parse(struct mount_arg *m, struct err *err)
{
	char *text = NULL;
	int rc = m->kind == MOUNT_TMPFS ? split_tmpfs(m, &text, err) : split(m, &text, err);

	if (rc < 0)
		return rc;
	if (m->kind == MOUNT_HOST && !is_path(m->source))
		m->kind = MOUNT_VOLUME;
	if (m->kind == MOUNT_IMAGE)
		m->format = disk_format_of(m->source);
	rc = check_guest_path(m->guest, err);
	if (rc == 0 && text)
		rc = parse_options(m, text, err);
	if (rc == 0 && m->kind == MOUNT_VOLUME)
		rc = check_volume(m, err);
	return rc;
}

/* The same place, however many slashes. */
static bool same_place(const char *a, const char *b)
{
	for (;;) {
		size_t x, y;

		a += strspn(a, "/");
		b += strspn(b, "/");
		x = strcspn(a, "/");
		y = strcspn(b, "/");
		if (x != y || strncmp(a, b, x) != 0)
			return false;
		if (x == 0)
			return true;
		a += x;
		b += y;
	}
}

bool mount_args_has(const struct mount_args *args, const char *guest)
{
	for (unsigned i = 0; i < args->n; i++) {
		if (same_place(args->v[i].guest, guest))
			return true;
	}
	return false;
}

int mount_args_add(
	struct mount_args *args, enum mount_arg_kind kind, const char *spec, struct err *err)
{
	struct mount_arg m = { .kind = kind };
	cleanup_free char *text = strdup(spec);
	int rc;

	if (!text)
		return err_set(err, ENOMEM, "copy mount");
	if (args->n == MOUNT_ARGS_MAX)
		return err_msg(err, EDOM, "more than %d mounts", MOUNT_ARGS_MAX);
	m.text = text;
	rc = parse(&m, err);
	if (rc < 0)
		return rc;
	if (mount_args_has(args, m.guest))
		return err_msg(err, EDOM, "two mounts at '%s'", m.guest);
	args->v[args->n++] = m;
	(void)take_ptr(&text);
	return 0;
}

void mount_args_release(struct mount_args *args)
{
	for (unsigned i = 0; i < args->n; i++)
		free(args->v[i].text);
	args->n = 0;
}
