/* SPDX-License-Identifier: Apache-2.0 */
/* What "msb run" was told to mount: SOURCE:GUEST[:OPTIONS], checked without opening anything. */
#ifndef CLI_MOUNT_ARGS_H
#define CLI_MOUNT_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
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

/*
 * struct mount_arg - @text is allocated, the strings point into it
 * @source:   path, or name of a volume; NULL with MOUNT_TMPFS
 * @guest:    absolute, not "/", without ".", "..", ':', ';' and ','
 * @quota:    bytes that the guest may add; 0: no limit
 * @size_mib: of a tmpfs, or of a volume's disk; 0: not given
 * @format:   of MOUNT_IMAGE; @fstype: of its file system, NULL: what the guest finds
 * @disk:     a volume of the kind disk; @kind_given: it must be of this kind
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
	bool disk, kind_given;
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
void mount_args_release(struct mount_args *args);

/* mount_args_has() - is something mounted at @guest? */
bool mount_args_has(const struct mount_args *args, const char *guest);

/* disk_format_of() - by the extension of a path; BLOCK_RAW for any other. */
enum block_format disk_format_of(const char *path);

/* fstype_check() - may it be the name of a file system type? Return: 0; -EDOM. */
int fstype_check(const char *fstype, struct err *err);

/* size_parse_mib() - "512" (MiB), "512M", "4G", at least 1 MiB. Return: 0; -EDOM, -ERANGE. */
int size_parse_mib(const char *text, const char *what, uint32_t *ret, struct err *err);

#endif
