/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may stand in a configuration file (cli.md 3.3), as tables: whoever reads a tree that has
 * passed its table need not look at types again.
 */
#ifndef CLI_CONF_FIELDS_H
#define CLI_CONF_FIELDS_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/err.h"

/*
 * struct conf_field - one key of a map; a table of them ends with a row without a key
 * @check:      says whether the value will do, or why not
 * @check_item: of a list: each of its texts
 * @fields:     of a map
 * @required:   a map without it is none
 */
struct conf_field {
	const char *key;
	int (*check)(const struct conf_field *f, const json_t *v, struct err *err);
	int (*check_item)(const char *text, struct err *err);
	const struct conf_field *fields;
	bool required;
};

/* conf_bad() - "'KEY' is not WANT". Return: -EINVAL. */
int conf_bad(const struct conf_field *f, const char *want, struct err *err);

/* To be used as @check. A text may be empty, a word may not. Return: 0; -EINVAL. */
int conf_check_bool(const struct conf_field *f, const json_t *v, struct err *err);
int conf_check_text(const struct conf_field *f, const json_t *v, struct err *err);
int conf_check_word(const struct conf_field *f, const json_t *v, struct err *err);
int conf_check_list(const struct conf_field *f, const json_t *v, struct err *err); /* of texts */
int conf_check_map(const struct conf_field *f, const json_t *v, struct err *err);

/* Shorthand for what has been checked: NULL and false where there is none. */
const char *conf_text(const json_t *map, const char *key);
bool conf_is_true(const json_t *map, const char *key);

#endif
