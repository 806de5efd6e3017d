/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/yaml_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/num.h"

/* struct load - @event: the one looked at; empty while there is none */
struct load {
	const char *name;
	yaml_parser_t parser;
	yaml_event_t event;
	struct err *err;
};

static int bad(struct load *l, const char *what, const char *word)
{
	return err_msg(l->err, EINVAL, "%s, line %zu: %s%.60s", l->name,
		l->event.start_mark.line + 1, what, word);
}

/* The next event. Nobody needs its anchors and tags, so one with any ends the load. */
static int next(struct load *l)
{
	const yaml_event_t *e = &l->event;
	bool odd = false;

	yaml_event_delete(&l->event);
	if (!yaml_parser_parse(&l->parser, &l->event))
		return err_msg(l->err, EINVAL, "%s, line %zu: %s", l->name,
			l->parser.problem_mark.line + 1,
			l->parser.problem ? l->parser.problem : "not YAML");
	if (e->type == YAML_ALIAS_EVENT)
		odd = true;
	else if (e->type == YAML_SCALAR_EVENT)
		odd = e->data.scalar.anchor || e->data.scalar.tag;
	else if (e->type == YAML_SEQUENCE_START_EVENT)
		odd = e->data.sequence_start.anchor || e->data.sequence_start.tag;
	else if (e->type == YAML_MAPPING_START_EVENT)
		odd = e->data.mapping_start.anchor || e->data.mapping_start.tag;
	return odd ? bad(l, "anchors, aliases and tags are not allowed", "") : 0;
}

static bool is_null(const char *s)
{
	return !*s || !strcmp(s, "~") || !strcmp(s, "null");
}

/* ${NAME} to its value, everything else as it is. */
static int substitute(struct load *l, const char *s, struct buf *out)
{
	for (const char *ref; (ref = strstr(s, "${")) != NULL;) {
		size_t n = strcspn(ref + 2, "}");
		cleanup_free char *name = strndup(ref + 2, n);
		const char *value = name ? getenv(name) : NULL;

		if (ref[2 + n] != '}')
			return bad(l, "'${' without '}'", "");
		if (!value)
			return bad(l, "environment variable not set: ", name ? name : "");
		if (buf_append(out, s, (size_t)(ref - s)) < 0 ||
			buf_append(out, value, strlen(value)) < 0)
			return err_set(l->err, ENOMEM, "read '%s'", l->name);
		s = ref + 2 + n + 1;
	}
	return buf_append(out, s, strlen(s)) < 0 ? err_set(l->err, ENOMEM, "read '%s'", l->name)
						 : 0;
}

static int take_text(struct load *l, const char *s, json_t **ret)
{
	cleanup_buf struct buf out = { 0 };
	int rc = substitute(l, s, &out);

	if (rc < 0)
		return rc;
	*ret = json_stringn(out.len ? (const char *)buf_head(&out) : "", out.len);
	return *ret ? 0 : bad(l, "not UTF-8", "");
}

static int take_scalar(struct load *l, json_t **ret)
{
	const char *s = (const char *)l->event.data.scalar.value;
	bool plain = l->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	size_t digits = strspn(s + (*s == '-'), "0123456789");
	char *end;

	if (strlen(s) != l->event.data.scalar.length)
		return bad(l, "NUL in a text", "");
	*ret = NULL;
	if (plain && is_null(s))
		*ret = json_null();
	else if (plain && (!strcmp(s, "true") || !strcmp(s, "false")))
		*ret = json_boolean(*s == 't');
	else if (plain && digits && digits < 19 && !s[digits + (*s == '-')])
		*ret = json_integer(strtoll(s, &end, 10));
	return *ret ? 0 : take_text(l, s, ret);
}

static int take_value(struct load *l, unsigned depth, json_t **ret);

static int take_list(struct load *l, unsigned depth, json_t **ret)
{
	cleanup_json json_t *list = json_array();
	json_t *item;
	int rc = next(l);

	while (rc == 0 && l->event.type != YAML_SEQUENCE_END_EVENT) {
		rc = take_value(l, depth + 1, &item);
		if (rc == 0 && json_array_append_new(list, item) < 0)
			rc = err_set(l->err, ENOMEM, "read '%s'", l->name);
		if (rc == 0)
			rc = next(l);
	}
	if (rc == 0)
		*ret = json_incref(list);
	return rc;
}

/* The key looked at, allocated. */
static int take_key(struct load *l, const json_t *map, char **ret)
{
	const char *key = (const char *)l->event.data.scalar.value;

	if (l->event.type != YAML_SCALAR_EVENT)
		return bad(l, "a key that is no text", "");
	if (!strcmp(key, "<<"))
		return bad(l, "merge keys are not allowed", "");
	if (strlen(key) != l->event.data.scalar.length)
		return bad(l, "NUL in a text", "");
	if (json_object_get(map, key))
		return bad(l, "given twice: ", key);
	*ret = strdup(key);
	return *ret ? 0 : err_set(l->err, ENOMEM, "read '%s'", l->name);
}

static int take_map(struct load *l, unsigned depth, json_t **ret)
{
	cleanup_json json_t *map = json_object();
	json_t *value;
	int rc = next(l);

	while (rc == 0 && l->event.type != YAML_MAPPING_END_EVENT) {
		cleanup_free char *key = NULL;

		rc = take_key(l, map, &key);
		if (rc == 0)
			rc = next(l);
		if (rc == 0)
			rc = take_value(l, depth + 1, &value);
		if (rc == 0 && json_object_set_new(map, key, value) < 0)
			rc = bad(l, "not UTF-8", "");
		if (rc == 0)
			rc = next(l);
	}
	if (rc == 0)
		*ret = json_incref(map);
	return rc;
}

/* The value that begins with the event looked at; its last event is looked at afterwards. */
static int take_value(struct load *l, unsigned depth, json_t **ret)
{
	if (depth > YAML_DEPTH_MAX)
		return bad(l, "nested too deeply", "");
	switch (l->event.type) {
	case YAML_SCALAR_EVENT:
		return take_scalar(l, ret);
	case YAML_SEQUENCE_START_EVENT:
		return take_list(l, depth, ret);
	case YAML_MAPPING_START_EVENT:
		return take_map(l, depth, ret);
	default:
		return bad(l, "a value is missing", "");
	}
}

static int take_document(struct load *l, json_t **ret)
{
	int rc = next(l); /* stream start */

	if (rc == 0)
		rc = next(l);
	if (rc == 0 && l->event.type != YAML_DOCUMENT_START_EVENT)
		return bad(l, "the file is empty", "");
	if (rc == 0)
		rc = next(l);
	return rc < 0 ? rc : take_value(l, 0, ret);
}

static int take_end(struct load *l)
{
	int rc = next(l); /* document end */

	if (rc == 0)
		rc = next(l);
	if (rc == 0 && l->event.type != YAML_STREAM_END_EVENT)
		return bad(l, "more than one document", "");
	return rc;
}

int yaml_parse(const char *name, const char *text, size_t len, json_t **ret, struct err *err)
{
	struct load l = { .name = name, .err = err };
	cleanup_json json_t *root = NULL;
	int rc;

	if (!yaml_parser_initialize(&l.parser))
		return err_set(err, ENOMEM, "read '%s'", name);
	yaml_parser_set_input_string(&l.parser, (const unsigned char *)text, len);
	rc = take_document(&l, &root);
	if (rc == 0)
		rc = take_end(&l);
	if (rc == 0)
		*ret = json_incref(root);
	yaml_event_delete(&l.event);
	yaml_parser_delete(&l.parser);
	return rc;
}

int yaml_read(const char *path, char **ret, size_t *ret_len, struct err *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_buf struct buf text = { 0 };
	int rc = fd < 0 ? -errno : io_read_to_end(fd, YAML_FILE_MAX, &text);

	if (rc < 0)
		return err_set(err, rc, "read '%s'", path);
	*ret = strndup(text.len ? (const char *)buf_head(&text) : "", text.len);
	if (!*ret)
		return err_set(err, ENOMEM, "read '%s'", path);
	*ret_len = strlen(*ret);
	return 0;
}
