/* SPDX-License-Identifier: Apache-2.0 */
/* What "msb run" was told to mount: SOURCE:GUEST[:OPTIONS], checked without opening anything. */
#ifndef CLI_MOUNT_ARGS_H
#define CLI_MOUNT_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "cli/backing_args.h"
#include "lib/err.h"
#include "protocol/protocol.h"

#define MOUNT_ARGS_MAX 32

/* MOUNT_HOST: a folder or a file of the host, whichever is there. */
enum mount_arg_kind {
	MOUNT_HOST,
	MOUNT_HOST_DIR,
	MOUNT_HOST_FILE,
	MOUNT_IMAGE,
	MOUNT_VOLUME,
	MOUNT_TMPFS,
};

/* What folders of the host get that are mounted without quota=: images.md 6.4. */
#define MOUNT_QUOTA_DEFAULT ((uint64_t)4096 << 20)

/* stat-virt=, host-perms=: images.md 5.2 */
enum mount_stat { MOUNT_STAT_DEFAULT, MOUNT_STAT_STRICT, MOUNT_STAT_RELAXED, MOUNT_STAT_OFF };
enum mount_perms { MOUNT_PERMS_DEFAULT, MOUNT_PERMS_PRIVATE, MOUNT_PERMS_MIRROR };

/* Whether a named volume is there, or is to be. */
enum mount_create { MOUNT_ENSURE, MOUNT_EXISTING, MOUNT_CREATE };

/*
 * struct mount_arg - @text is allocated, the strings point into it
 * @source:   path, or name of a volume; NULL with MOUNT_TMPFS
 * @guest:    absolute, not "/", without ".", "..", ':', ';' and ','
 * @quota:    bytes that the guest may add; 0: not given; @no_quota: quota=none
 * @size_mib: of a tmpfs, or of a volume's disk; 0: not given
 * @format:   of MOUNT_IMAGE; @fstype: of its file system, NULL: what the guest finds
 * @backing:  of MOUNT_IMAGE
 * @disk:     a volume of the kind disk; @kind_given: it must be of this kind
 * @stat, @perms: how owners and modes are kept; @has_ids: what has no record belongs to @uid, @gid
 * @follow_links: the way to the source may lead through symbolic links
 */
struct mount_arg {
	enum mount_arg_kind kind;
	char *text;
	const char *source, *guest;
	struct mount_flags flags;
	uint64_t quota;
	uint32_t size_mib;
	enum block_format format;
	const char *fstype;
	struct backing_arg backing;
	bool disk, kind_given;
	enum mount_create create;
	enum mount_stat stat;
	enum mount_perms perms;
	bool has_ids, follow_links, no_quota;
	uint32_t uid, gid;
};

struct mount_args {
	struct mount_arg v[MOUNT_ARGS_MAX];
	unsigned n;
};

/*
 * mount_args_add() - one -v, --mount-... or --tmpfs
 * @kind: MOUNT_HOST also stands for a volume, if the source is no path
 * Return: 0; -EDOM with the reason; -ENOMEM
 */
int mount_args_add(
	struct mount_args *args, enum mount_arg_kind kind, const char *spec, struct err *err);

/*
 * mount_args_add_parts() - the same, already in parts: @source may hold anything
 * @source: NULL for MOUNT_TMPFS
 * @options: words with commas between, may be empty
 */
int mount_args_add_parts(struct mount_args *args, enum mount_arg_kind kind, const char *source,
	const char *guest, const char *options, struct err *err);

/*
 * mount_args_move() - all of @from behind those of @to; @from is empty then
 * Return: 0; -EDOM two at one place, or too many
 */
int mount_args_move(struct mount_args *to, struct mount_args *from, struct err *err);
void mount_args_release(struct mount_args *args);

/* mount_has_policy() - is there an option that only folders and files can have? Return: its name.
 */
const char *mount_has_policy(const struct mount_arg *m);

/* mount_is_below() - is the guest path @inner something inside of @outer? */
bool mount_is_below(const char *inner, const char *outer);

/* mount_args_has() - is something mounted at @guest? */
bool mount_args_has(const struct mount_args *args, const char *guest);

/* disk_format_of() - by the extension of a path; BLOCK_RAW for any other. */
enum block_format disk_format_of(const char *path);

/* fstype_check() - may it be the name of a file system type? Return: 0; -EDOM. */
int fstype_check(const char *fstype, struct err *err);

/* size_parse_mib() - "512" (MiB), "512M", "4G", at least 1 MiB. Return: 0; -EDOM, -ERANGE. */
int size_parse_mib(const char *text, const char *what, uint32_t *ret, struct err *err);

#endif
