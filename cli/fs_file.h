/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --fs-conf: mounts and changes to the root file system from a YAML file (cli.md 3.3, images.md
 * 5.9). The keys are `mounts`, `patch_files` and `patches`; relative paths of the host start at the
 * folder of the file that they stand in.
 */
#ifndef CLI_FS_FILE_H
#define CLI_FS_FILE_H

#include "cli/mount_args.h"
#include "cli/patch_args.h"
#include "lib/err.h"

/*
 * struct fs_file - one or several files; zero-initialised is none. Each list that a later file has
 * replaces that of the earlier ones
 * @listed: from the files that `patch_files` names; applied before @patches
 */
struct fs_file {
	struct mount_args mounts;
	struct patch_args listed, patches;
};

/*
 * fs_file_load() - read a file with all that it names, and check every word of it
 * Return: 0; -EINVAL naming file, place and reason; -EDOM; -errno
 */
int fs_file_load(struct fs_file *f, const char *path, struct err *err);

/*
 * fs_file_parse() - as fs_file_load(), from memory
 * @name: stands for the file in messages, and its folder is where relative paths start
 * @follow: read the files of `patch_files`; else they are passed over
 */
int fs_file_parse(struct fs_file *f, const char *name, const char *text, size_t len, bool follow,
	struct err *err);

/*
 * fs_file_finish() - what options asked for comes behind what the files did
 * @f: empty afterwards
 * Return: 0; -EDOM two mounts at one place; -ENOMEM
 */
int fs_file_finish(
	struct fs_file *f, struct mount_args *mounts, struct patch_args *patches, struct err *err);
void fs_file_release(struct fs_file *f);

#endif
