/* SPDX-License-Identifier: Apache-2.0 */
/* The command of "msb run": what was asked for on top of what the image says (cli.md 4.3). */
#ifndef CLI_RUN_COMMAND_H
#define CLI_RUN_COMMAND_H

#include "cli/run_args.h"
#include "image/image.h"

/*
 * struct run_command - texts borrowed from arguments, image and environment
 * @argv: never empty
 * @env:  "K=V", of the image first; later ones win
 * @cwd, @user: none if nobody said so
 * @make_cwd: the image says so, and is not wrong when the folder is missing
 * @stop_signal: what SIGTERM to msb becomes
 */
struct run_command {
	struct text *argv, *env;
	size_t argc, n_env;
	struct text cwd, user;
	bool make_cwd;
	int stop_signal;
	char term[128];
};

/*
 * run_command_make() - entrypoint and command, environment, folder, user
 * @config: NULL: no image
 * @tty:    TERM is added unless somebody set it
 * Return: 0 (run_command_release()); -ENOMEM
 */
int run_command_make(const struct run_args *args, const struct image_config *config, bool tty,
	struct run_command *ret, struct err *err);
void run_command_release(struct run_command *c);

/* signal_of() - "SIGTERM", "TERM", "15". Return: the number; 0: unknown. */
int signal_of(const char *name);

#endif
