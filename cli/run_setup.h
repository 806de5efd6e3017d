/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the arguments of "msb run" to what a machine gets: descriptors of everything on the host
 * that it may use, opened and locked here, and the words that tell the guest what to do with them.
 */
#ifndef CLI_RUN_SETUP_H
#define CLI_RUN_SETUP_H

#include "cli/run_args.h"
#include "fs/fs.h"
#include "image/image.h"
#include "protocol/protocol.h"
#include "vmm/vmm.h"

#define SETUP_TAG_MAX 24

struct cache; /* store/cache.h */

/* struct setup_share - one tag; @extra: also single files of the host */
struct setup_share {
	char tag[SETUP_TAG_MAX];
	int fd;
	bool read_only;
	enum fs_owner_mode owner;
	struct fs_records records;
	uint64_t quota;
	struct fs_extra extra[MOUNT_ARGS_MAX + 1];
	unsigned n_extra;
};

/*
 * struct setup_disk - @path: canonical, to notice a second use; @folder: the one of its other
 * files; @label: for messages; all allocated, NULL: none
 */
struct setup_disk {
	char id[SETUP_TAG_MAX];
	char *path, *folder, *label;
	struct vm_disk vm;
	bool temporary;
};

/*
 * struct run_setup - zero-initialised is empty; setup_release() closes and frees all
 * @image:  of a reference; NULL for folders and disks
 * @parts:  descriptors of the image's files, borrowed from it
 * @lasting: a disk is written that outlives the machine
 * @created: volumes that there were none of before; borrowed from the arguments
 */
struct run_setup {
	struct setup_share share[VM_MAX_FS];
	unsigned n_shares;
	struct setup_disk disk[VM_MAX_DISKS];
	unsigned n_disks;
	struct image *image;
	int *parts;
	uint32_t upper_mib; /* what config.json says of the size; 0: nothing */
	bool lasting, trust_host_cas;
	const char *created[MOUNT_ARGS_MAX];
	unsigned n_created;

	char name[MOUNT_ARGS_MAX][SETUP_TAG_MAX];
	char device[2][64];
	struct block_root root;
	struct dir_mount dirs[VM_MAX_FS];
	struct file_mount files[MOUNT_ARGS_MAX];
	struct disk_mount disks[VM_MAX_DISKS];
	struct tmpfs_mount tmpfs[MOUNT_ARGS_MAX + 1];
	unsigned n_dirs, n_files, n_disk_mounts, n_tmpfs;
};

/*
 * setup_suit_kernel() - before setup_prepare(): where the user's own kernel is known to be too old
 * for an image of layers, the root becomes a flat one, unless something else was asked for
 * Return: 0, also if the kernel cannot be opened; -EINVAL it was
 */
int setup_suit_kernel(struct run_args *args, struct err *err);

/* setup_prepare() - open everything. Return: 0; -errno (setup_release() is still to be called). */
int setup_prepare(struct run_setup *s, const struct run_args *args, struct err *err);
void setup_release(struct run_setup *s);

/* setup_undo() - nothing ran, and the worker has ended: remove the volumes that were made for it.
 */
void setup_undo(struct run_setup *s);

/* setup_config() - what the image says; NULL for roots that are no images. */
const struct image_config *setup_config(const struct run_setup *s);

/* setup_describe_machine() - add shares and disks to @cfg; both borrow from @s. */
void setup_describe_machine(struct run_setup *s, struct vm_config *cfg);

/* setup_describe_guest() - add root and mounts to @boot; they borrow from @s. */
void setup_describe_guest(const struct run_setup *s, struct bootstrap *boot);

/* setup_close_worker_ends() - what only the worker needs, once it has been forked. */
void setup_close_worker_ends(struct run_setup *s);

/* Inside: cli/setup_root.c, cli/setup_image.c, cli/setup_flat.c, cli/setup_mounts.c */

/* setup_root() - the root file system and what writes to it go to. */
int setup_root(struct run_setup *s, const struct run_args *args, struct err *err);

/* setup_image() - pull the image of a reference and attach it, as the last disk so far: a copy that
 * is written, if the root is to be flat. */
int setup_image(struct run_setup *s, const struct run_args *args, struct err *err);

/* setup_flat() - a copy of the flat image @fd of the cache as a disk of this machine alone. */
int setup_flat(struct run_setup *s, struct cache *cache, int fd, const struct upper_arg *arg,
	struct err *err);

/* setup_mounts() - everything else. */
int setup_mounts(struct run_setup *s, const struct run_args *args, struct err *err);

/* setup_add_share() - a new share of @fd (taken over in any case). Return: it, or NULL. */
struct setup_share *setup_add_share(
	struct run_setup *s, const char *tag, int fd, bool read_only, struct err *err);

/* setup_empty_share() - a share of a folder that holds nothing and has no name. */
struct setup_share *setup_empty_share(
	struct run_setup *s, const char *tag, bool read_only, struct err *err);

/*
 * setup_open_disk() - open and lock a disk image and make it a disk of the machine
 * @writable: what is said is wanted; a vmdk is never
 * @backing: which files it may build on
 * Return: it, or NULL: also if it is in use elsewhere, or already a disk of this machine
 */
struct setup_disk *setup_open_disk(struct run_setup *s, const char *id, const char *path,
	enum block_format format, bool writable, const struct backing_arg *backing,
	struct err *err);

/* setup_add_disk() - a raw disk that is open already; @fd is taken over in any case. */
struct setup_disk *setup_add_disk(
	struct run_setup *s, const char *id, int fd, bool read_only, struct err *err);

/* setup_label() - what messages call the disk from now on; without memory for it, its id. */
void setup_label(struct setup_disk *disk, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* setup_id_of() - tag or disk id of a guest path: its end, and a hash of all of it. */
void setup_id_of(const char *guest_path, char id[SETUP_TAG_MAX]);

#endif
