/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/conf_fields.h"

#include <errno.h>
#include <string.h>

int conf_bad(const struct conf_field *f, const char *want, struct err *err)
{
	return err_msg(err, EINVAL, "'%s' is not %s", f->key, want);
}

int conf_check_bool(const struct conf_field *f, const json_t *v, struct err *err)
{
	return json_is_boolean(v) ? 0 : conf_bad(f, "true or false", err);
}

int conf_check_text(const struct conf_field *f, const json_t *v, struct err *err)
{
	if (json_is_string(v))
		return 0;
	return conf_bad(f,
		json_is_number(v) || json_is_boolean(v) ? "a text: put it in quotes" : "a text",
		err);
}

int conf_check_word(const struct conf_field *f, const json_t *v, struct err *err)
{
	int rc = conf_check_text(f, v, err);

	if (rc == 0 && !json_string_length(v))
		return err_msg(err, EINVAL, "'%s' is empty", f->key);
	return rc;
}

int conf_check_list(const struct conf_field *f, const json_t *v, struct err *err)
{
	size_t i;
	json_t *item;
	int rc = json_is_array(v) ? 0 : conf_bad(f, "a list", err);

	json_array_foreach((json_t *)v, i, item)
	{
		if (rc == 0 && !json_is_string(item))
			rc = conf_bad(f, "a list of texts", err);
		if (rc == 0 && f->check_item) {
			rc = f->check_item(json_string_value(item), err);
			if (rc < 0)
				rc = err_wrap(err, "%s", f->key);
		}
	}
	return rc;
}

static int check_key(
	const struct conf_field *fields, const char *key, const json_t *v, struct err *err)
{
	for (const struct conf_field *f = fields; f->key; f++) {
		if (strcmp(f->key, key) == 0)
			return json_is_null(v) ? conf_bad(f, "given", err) : f->check(f, v, err);
	}
	return err_msg(err, EINVAL, "unknown field '%.60s'", key);
}

int conf_check_map(const struct conf_field *f, const json_t *v, struct err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(v))
		return conf_bad(f, "a map", err);
	json_object_foreach((json_t *)v, key, value)
	{
		int rc = check_key(f->fields, key, value, err);

		if (rc < 0)
			return rc;
	}
	for (const struct conf_field *r = f->fields; r->key; r++) {
		if (r->required && !json_object_get(v, r->key))
			return err_msg(err, EINVAL, "'%s' lacks '%s'", f->key, r->key);
	}
	return 0;
}

const char *conf_text(const json_t *map, const char *key)
{
	return json_string_value(json_object_get(map, key));
}

bool conf_is_true(const json_t *map, const char *key)
{
	return json_is_true(json_object_get(map, key));
}
