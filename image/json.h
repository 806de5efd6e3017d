/* SPDX-License-Identifier: Apache-2.0 */
/* Reading JSON that a stranger wrote. */
#ifndef IMAGE_JSON_H
#define IMAGE_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "lib/err.h"
#include "lib/json.h"

/*
 * json_document() - parse a whole document whose top is an object or, if @array, an array
 * @what: for the error: "manifest"
 * Return: a new reference, or NULL with -EBADMSG in @err
 */
json_t *json_document(const char *raw, size_t len, bool array, const char *what, struct err *err);

/* json_text() - member @key as text; "" if absent, null or no string. Lives as long as @obj. */
const char *json_text(const json_t *obj, const char *key);

/*
 * json_take_text() - member @key into @dst of @size bytes
 * Return: 0, or -EBADMSG if it is absent, no string, empty or too long (@dst is then "")
 */
int json_take_text(const json_t *obj, const char *key, char *dst, size_t size);

#endif
