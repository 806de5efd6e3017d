/* SPDX-License-Identifier: Apache-2.0 */
/* What "msb run" was told, every field checked as far as it can be without opening anything. */
#ifndef CLI_RUN_ARGS_H
#define CLI_RUN_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/net_args.h"
#include "cli/options.h"
#include "lib/err.h"
#include "lib/log.h"
#include "protocol/cbor.h"
#include "vmm/vmm.h"

/* The first share of a machine is the root. */
#define RUN_MAX_VOLUMES (VM_MAX_FS - 1)

/* struct run_volume - -v HOST:GUEST[:ro] */
struct run_volume {
	char *host;
	const char *guest; /* absolute, normal, not "/" */
	bool read_only;
};

enum run_tty { RUN_TTY_AUTO, RUN_TTY_YES, RUN_TTY_NO };

struct run_args {
	enum vm_engine engine;
	bool engine_given;
	unsigned vcpus;
	uint64_t ram_mib;
	struct text *env; /* "K=V", each allocated */
	size_t n_env;
	const char *workdir;
	struct run_volume volume[RUN_MAX_VOLUMES];
	unsigned n_volumes;
	enum run_tty tty;
	const char *kernel;
	bool timings;
	const char *phases; /* file for the phase lines */
	enum log_level log_level;
	struct net_args net;
	const char *rootfs; /* NULL only if net.show */
	char **command;	    /* argv of the guest's command, NULL-terminated; never empty */
};

extern const struct option_row run_options[];

/*
 * run_args_parse() - argv of "msb run", and MSB_ENGINE of the environment
 * Return: 0 and *ret (run_args_release()); -EINVAL usage error; another -errno
 */
int run_args_parse(int argc, char **argv, struct run_args *ret, struct err *err);
void run_args_release(struct run_args *args);

#endif
