/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/mount_args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define BIT(kind)  (1u << (kind))
#define DIR_KINDS  (BIT(MOUNT_HOST) | BIT(MOUNT_HOST_DIR) | BIT(MOUNT_VOLUME))
#define HOST_KINDS (DIR_KINDS | BIT(MOUNT_HOST_FILE))
#define ALL_KINDS  (~0u)

/* uid 0xffffffff means "no change" to chown(2). */
#define ID_MAX (UINT32_MAX - 1)

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
	int rc;

	m->no_quota = strcmp(value, "none") == 0;
	if (m->no_quota)
		return 0;
	rc = size_parse_mib(value, "quota", &mib, err);
	if (rc == 0)
		m->quota = MIB(mib);
	return rc;
}

/* struct choice - the words that an option may have, in the order of its enum, from 1 */
struct choice {
	const char *option, *words[3];
};

static int choose(const struct choice *c, const char *value, unsigned *ret, struct err *err)
{
	for (unsigned i = 0; i < ARRAY_LEN(c->words) && c->words[i]; i++) {
		if (strcmp(value, c->words[i]) == 0) {
			*ret = i + 1;
			return 0;
		}
	}
	return err_msg(err, EDOM, "no %s '%s': there are %s, %s%s%s", c->option, value, c->words[0],
		c->words[1], c->words[2] ? ", " : "", c->words[2] ? c->words[2] : "");
}

static int set_stat(struct mount_arg *m, const char *value, struct err *err)
{
	static const struct choice c = { "stat-virt", { "strict", "relaxed", "off" } };
	unsigned v = 0;
	int rc = choose(&c, value, &v, err);

	m->stat = (enum mount_stat)v;
	return rc;
}

static int set_perms(struct mount_arg *m, const char *value, struct err *err)
{
	static const struct choice c = { "host-perms", { "private", "mirror" } };
	unsigned v = 0;
	int rc = choose(&c, value, &v, err);

	m->perms = (enum mount_perms)v;
	return rc;
}

static int set_id(const char *value, const char *what, uint32_t *ret, struct err *err)
{
	uint64_t id;

	if (num_parse_u64(value, what, 0, ID_MAX, &id, err) < 0)
		return -EDOM;
	*ret = (uint32_t)id;
	return 0;
}

static int set_uid(struct mount_arg *m, const char *value, struct err *err)
{
	return set_id(value, "uid", &m->uid, err);
}

static int set_gid(struct mount_arg *m, const char *value, struct err *err)
{
	return set_id(value, "gid", &m->gid, err);
}

static int set_follow(struct mount_arg *m, const char *value, struct err *err)
{
	m->follow_links = true;
	return 0;
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

static int set_backing(struct mount_arg *m, const char *value, struct err *err)
{
	return backing_arg_parse(value, &m->backing, err);
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
enum { OPTION_RO, OPTION_RW, OPTION_UID, OPTION_GID };

static const struct mount_option known[] = {
	[OPTION_RO] = { "ro", ALL_KINDS, false, set_ro },
	[OPTION_RW] = { "rw", ALL_KINDS, false, set_rw },
	[OPTION_UID] = { "uid", HOST_KINDS, true, set_uid },
	[OPTION_GID] = { "gid", HOST_KINDS, true, set_gid },
	{ "noexec", ALL_KINDS, false, set_noexec },
	{ "nosuid", ALL_KINDS, false, set_nosuid },
	{ "nodev", ALL_KINDS, false, set_nodev },
	{ "quota", DIR_KINDS, true, set_quota },
	{ "stat-virt", HOST_KINDS, true, set_stat },
	{ "host-perms", HOST_KINDS, true, set_perms },
	{ "follow-root-symlinks", HOST_KINDS & ~BIT(MOUNT_VOLUME), false, set_follow },
	{ "size", BIT(MOUNT_VOLUME) | BIT(MOUNT_TMPFS), true, set_size },
	{ "format", BIT(MOUNT_IMAGE), true, set_format },
	{ "fstype", BIT(MOUNT_IMAGE), true, set_fstype },
	{ "backing", BIT(MOUNT_IMAGE), true, set_backing },
	{ "kind", BIT(MOUNT_VOLUME), true, set_kind },
};

static const struct mount_option *find_option(const char *word, size_t len)
{
	for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
		if (strlen(known[i].name) == len && strncmp(known[i].name, word, len) == 0)
			return &known[i];
	}
	return NULL;
}

/* What would have been right, as far as it fits. */
static int unknown_option(const struct mount_arg *m, const char *word, struct err *err)
{
	static const char *const positive[] = { "exec", "suid", "dev" };
	char list[160] = "";
	size_t len = 0;

	for (unsigned i = 0; i < ARRAY_LEN(positive); i++) {
		if (strcmp(word, positive[i]) == 0)
			return err_msg(err, EDOM,
				"unsupported mount option '%s': that is so unless no%s is given",
				word, word);
	}
	for (unsigned i = 0; i < ARRAY_LEN(known) && len < sizeof(list); i++) {
		if (known[i].kinds & BIT(m->kind))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s%s",
				len ? ", " : "", known[i].name, known[i].has_value ? "=" : "");
	}
	return err_msg(err, EDOM, "unknown mount option '%.60s': there are %s", word, list);
}

static int parse_option(struct mount_arg *m, const char *word, unsigned *seen, struct err *err)
{
	size_t len = strcspn(word, "=");
	const struct mount_option *o = find_option(word, len);
	const char *value = word[len] ? word + len + 1 : NULL;
	unsigned bit;

	if (!o)
		return unknown_option(m, word, err);
	if (!(o->kinds & BIT(m->kind)))
		return err_msg(err, EDOM, "mount option '%s' is not valid here", o->name);
	if (o->has_value != (value != NULL))
		return err_msg(err, EDOM, "mount option '%s' takes %s value", o->name,
			o->has_value ? "a" : "no");
	bit = BIT(o - known);
	/* "ro" and "rw" exclude each other, so they count as one */
	if (o == &known[OPTION_RW])
		bit = BIT(OPTION_RO);
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
	m->has_ids = seen & BIT(OPTION_UID);
	if (m->has_ids != ((seen & BIT(OPTION_GID)) != 0))
		return err_msg(err, EDOM, "uid= and gid= go together");
	return 0;
}

const char *mount_has_policy(const struct mount_arg *m)
{
	if (m->stat)
		return "stat-virt";
	if (m->perms)
		return "host-perms";
	if (m->has_ids)
		return "uid";
	return m->quota || m->no_quota ? "quota" : NULL;
}

/* Without records there is nothing to keep an owner or a mode in. */
static int check_policies(const struct mount_arg *m, struct err *err)
{
	if (m->stat != MOUNT_STAT_OFF)
		return 0;
	if (m->perms == MOUNT_PERMS_MIRROR)
		return err_msg(err, EDOM,
			"stat-virt=off and host-perms=mirror: modes are the host's already");
	if (m->has_ids)
		return err_msg(
			err, EDOM, "stat-virt=off and uid=, gid=: owners are the host's then");
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
		return err_msg(err, EDOM,
			"expected SOURCE:GUEST[:OPTIONS] with an absolute GUEST, not '%s'",
			m->text);
	*guest++ = '\0';
	m->source = m->text;
	m->guest = guest;
	*ret_options = strchr(guest, ':');
	if (*ret_options)
		*(*ret_options)++ = '\0';
	else if (strchr(guest, ','))
		return err_msg(err, EDOM, "'%s': options stand behind a colon: %.*s:%s", guest,
			(int)strcspn(guest, ","), guest, strchr(guest, ',') + 1);
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
		return third ? err_msg(err, EDOM, "expected PATH[:SIZE][:OPTIONS], not '%s:%s:%s'",
				       m->text, second, third)
			     : 0;
	}
	*ret_options = third;
	return size_parse_mib(second, "size", &m->size_mib, err);
}

static int check_volume(const struct mount_arg *m, struct err *err)
{
	const char *policy = m->disk ? mount_has_policy(m) : NULL;

	if (is_path(m->source))
		return err_msg(err, EDOM, "a volume has a name, not a path: '%s'", m->source);
	if (m->disk && !m->size_mib)
		return err_msg(err, EDOM, "kind=disk needs size=");
	if (!m->disk && m->size_mib)
		return err_msg(err, EDOM, "size= needs kind=disk");
	if (policy)
		return err_msg(err, EDOM, "%s= is for folders, not for kind=disk", policy);
	return 0;
}

/* @options: NULL: none */
static int parse(struct mount_arg *m, char *options, struct err *err)
{
	enum mount_arg_kind asked = m->kind;
	int rc = check_guest_path(m->guest, err);

	if (asked == MOUNT_IMAGE)
		m->format = disk_format_of(m->source);
	if (rc == 0 && options)
		rc = parse_options(m, options, err);
	if (rc == 0)
		rc = check_policies(m, err);
	if (asked == MOUNT_HOST && !is_path(m->source))
		m->kind = MOUNT_VOLUME;
	if (rc == 0 && m->kind == MOUNT_VOLUME)
		rc = check_volume(m, err);
	if (rc == 0 && m->kind == MOUNT_VOLUME && m->follow_links)
		rc = err_msg(err, EDOM, "follow-root-symlinks is for paths: '%s' is a named volume",
			m->source);
	return rc == 0 ? backing_arg_check(&m->backing, m->format, err) : rc;
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

bool mount_is_below(const char *inner, const char *outer)
{
	for (;;) {
		size_t n;

		inner += strspn(inner, "/");
		outer += strspn(outer, "/");
		n = strcspn(outer, "/");
		if (n == 0)
			return *inner != '\0';
		if (n != strcspn(inner, "/") || strncmp(inner, outer, n) != 0)
			return false;
		inner += n;
		outer += n;
	}
}

/* Takes m->text over if it succeeds. */
static int add(struct mount_args *args, const struct mount_arg *m, struct err *err)
{
	if (args->n == MOUNT_ARGS_MAX)
		return err_msg(err, EDOM, "more than %d mounts", MOUNT_ARGS_MAX);
	if (mount_args_has(args, m->guest))
		return err_msg(err, EDOM, "two mounts at '%s'", m->guest);
	args->v[args->n++] = *m;
	return 0;
}

int mount_args_add(
	struct mount_args *args, enum mount_arg_kind kind, const char *spec, struct err *err)
{
	struct mount_arg m = { .kind = kind };
	cleanup_free char *text = strdup(spec);
	char *options;
	int rc;

	if (!text)
		return err_set(err, ENOMEM, "copy mount");
	m.text = text;
	rc = kind == MOUNT_TMPFS ? split_tmpfs(&m, &options, err) : split(&m, &options, err);
	if (rc == 0)
		rc = parse(&m, options, err);
	if (rc == 0)
		rc = add(args, &m, err);
	if (rc == 0)
		(void)take_ptr(&text);
	return rc;
}

int mount_args_add_parts(struct mount_args *args, enum mount_arg_kind kind, const char *source,
	const char *guest, const char *options, struct err *err)
{
	size_t source_len = source ? strlen(source) + 1 : 0, guest_len = strlen(guest) + 1;
	cleanup_free char *text = malloc(source_len + guest_len + strlen(options) + 1);
	struct mount_arg m = { .kind = kind };
	int rc;

	if (!text)
		return err_set(err, ENOMEM, "copy mount");
	if (source)
		m.source = memcpy(text, source, source_len);
	m.guest = memcpy(text + source_len, guest, guest_len);
	m.text = text;
	rc = parse(&m, memcpy(text + source_len + guest_len, options, strlen(options) + 1), err);
	if (rc == 0)
		rc = add(args, &m, err);
	if (rc == 0)
		(void)take_ptr(&text);
	return rc;
}

int mount_args_move(struct mount_args *to, struct mount_args *from, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < from->n; i++) {
		if (rc == 0)
			rc = add(to, &from->v[i], err);
		if (rc < 0)
			free(from->v[i].text);
	}
	from->n = 0;
	return rc;
}

void mount_args_release(struct mount_args *args)
{
	for (unsigned i = 0; i < args->n; i++)
		free(args->v[i].text);
	args->n = 0;
}
