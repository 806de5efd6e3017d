/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files (cli.md 3.3): a YAML of few surprises as a tree of JSON values. One document;
 * no anchors, aliases, merge keys and tags; no key twice; yes, no, on and off are texts. ${NAME} in
 * a text stands for the environment variable, which must be set.
 */
#ifndef CLI_YAML_FILE_H
#define CLI_YAML_FILE_H

#include <jansson.h>
#include <stddef.h>

#include "lib/err.h"

#define YAML_FILE_MAX  (16u << 20)
#define YAML_DEPTH_MAX 64

/*
 * yaml_parse() - @name stands for the file in messages: "NAME, line 3: ..."
 * Return: 0 and *ret, ended by json_decref(); -EINVAL; -ENOMEM
 */
int yaml_parse(const char *name, const char *text, size_t len, json_t **ret, struct err *err);

/* yaml_read() - a file's text. Return: 0 and *ret, for free(); -EFBIG, -errno. */
int yaml_read(const char *path, char **ret, size_t *ret_len, struct err *err);

#endif
