/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where everything lies: the home folder (MSB_HOME, else ~/.microsandbox, else ./.microsandbox)
 * and what config.json says (MSB_CONFIG_PATH, else HOME/config.json). launch-contract.md 6.3,
 * cli.md 3.1.
 */
#ifndef STORE_HOME_H
#define STORE_HOME_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/err.h"

struct json_t; /* jansson */

enum home_dir {
	HOME_CACHE,
	HOME_SANDBOXES,
	HOME_VOLUMES,
	HOME_SNAPSHOTS,
	HOME_SECRETS,
	HOME_LOGS,
	HOME_DIRS,
};

/*
 * struct home_settings - config.json's defaults for sandboxes and the catalogue, checked
 * Strings are NULL, @upper_size_mib is 0 where nothing is said; the others have their defaults.
 */
struct home_settings {
	const char *log_level;
	unsigned busy_timeout_s; /* of the catalogue, 1 to 3600 */
	unsigned cpus;
	uint64_t memory_mib, upper_size_mib;
	const char *shell, *workdir;
	const char *msb, *libkrunfw;
};

/*
 * struct home - immutable after home_init(); every path is absolute
 * @config: the document, an object; NULL without one. @settings points into it
 */
struct home {
	char *root, *config_path;
	char *dir[HOME_DIRS];
	char *db_dir;
	struct json_t *config;
	struct home_settings settings;
};

/*
 * home_init() - from the environment and the configuration file; creates nothing
 * Return: 0 and *ret (home_release()); -EINVAL: config.json is malformed, the message says where;
 * -errno: it cannot be read
 */
int home_init(struct home *ret, struct err *err);
void home_release(struct home *home);
#define cleanup_home cleanup_(home_release)

/*
 * home_open_dir() - one of the folders
 * @create: make it, and those above it, if missing; secrets are only for their owner
 * Return: 0 and *ret_fd, the caller's; -ENOENT; -errno
 */
int home_open_dir(
	const struct home *home, enum home_dir dir, bool create, int *ret_fd, struct err *err);

/* home_make() - mkdir -p @path, with @mode for what is made. Return: 0; -errno */
int home_make(const char *path, unsigned mode, struct err *err);

#endif
