/* SPDX-License-Identifier: Apache-2.0 */
/* What "msb run" was told, every field checked as far as it can be without opening anything. */
#ifndef CLI_RUN_ARGS_H
#define CLI_RUN_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/fs_file.h"
#include "cli/mount_args.h"
#include "cli/net_args.h"
#include "cli/options.h"
#include "cli/patch_args.h"
#include "cli/root_args.h"
#include "image/image.h"
#include "lib/err.h"
#include "lib/log.h"
#include "protocol/cbor.h"
#include "vmm/vmm.h"

enum run_tty { RUN_TTY_AUTO, RUN_TTY_YES, RUN_TTY_NO };

struct run_args {
	enum vm_engine engine;
	bool engine_given;
	unsigned vcpus;
	uint64_t ram_mib;
	struct text *env; /* "K=V", each allocated */
	size_t n_env;
	const char *workdir;
	const char *user;
	struct mount_args mounts;
	struct patch_args patches;
	struct fs_file fs_file; /* merged into mounts and patches once all is parsed */
	struct upper_arg upper;
	const char *fstype;	    /* of a root that is a disk image; NULL: what the guest finds */
	struct backing_arg backing; /* of the same */
	const char *entrypoint;	    /* in place of the image's */
	enum image_policy pull;
	enum run_tty tty;
	const char *kernel;
	bool timings;
	const char *phases; /* file for the phase lines */
	enum log_level log_level;
	struct net_args net;
	const char
		*image; /* reference, folder or disk image: root_kind_of(); NULL only if net.show */
	char **command; /* what stood behind "--", NULL-terminated; may be empty */
};

extern const struct option_row run_options[];

/*
 * run_args_parse() - argv of "msb run", and MSB_ENGINE of the environment
 * Return: 0 and *ret (run_args_release()); -EINVAL usage error; another -errno
 */
int run_args_parse(int argc, char **argv, struct run_args *ret, struct err *err);
void run_args_release(struct run_args *args);

#endif
