/* SPDX-License-Identifier: Apache-2.0 */
#include "image/json.h"

#include <errno.h>
#include <string.h>

json_t *json_document(const char *raw, size_t len, bool array, const char *what, struct err *err)
{
	json_error_t je;
	json_t *doc = len ? json_loadb(raw, len, JSON_REJECT_DUPLICATES, &je) : NULL;

	if (!len) {
		(void)err_msg(err, EBADMSG, "%s is empty", what);
		return NULL;
	}
	if (!doc) {
		(void)err_msg(err, EBADMSG, "%s is not valid JSON: line %d: %.100s", what, je.line,
			je.text);
		return NULL;
	}
	if (array ? json_is_array(doc) : json_is_object(doc))
		return doc;
	json_decref(doc);
	(void)err_msg(err, EBADMSG, "%s is no JSON %s", what, array ? "array" : "object");
	return NULL;
}

const char *json_text(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "";
}

int json_take_text(const json_t *obj, const char *key, char *dst, size_t size)
{
	const char *s = json_text(obj, key);
	size_t len = strlen(s);

	dst[0] = '\0';
	if (len == 0 || len >= size)
		return -EBADMSG;
	memcpy(dst, s, len + 1);
	return 0;
}
