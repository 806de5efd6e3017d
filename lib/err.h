/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error idiom. A function that can fail returns 0 (or a count) or a negative errno and
 * takes `struct err *err` last. The place where it happened fills it once: what was attempted, on
 * which object. Callers only add context with err_wrap().
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

#include <stdarg.h>
#include <stddef.h>

/* Longest message kept, with its NUL; longer ones are cut. Failing never allocates. */
#define ERR_MSG_MAX 512

/*
 * struct err - what went wrong
 * @code: positive errno of the failure, 0 while nothing failed
 * @msg:  "attempt on object: reason", no trailing newline; empty while nothing failed
 */
struct err {
	int code;
	char msg[ERR_MSG_MAX];
};

#define ERR_INIT ((struct err){ 0 })

/*
 * err_set() - record a failure with the errno's own words appended: "open 'x': No such file or
 * directory"
 * @err:  filled; may be NULL
 * @code: errno, positive or negative; 0 is taken as EIO so that a failure never looks like success
 * Return: -code, for `return err_set(...)`
 */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* err_msg() - as err_set(), but the message says the reason itself: no errno text is appended. */
int err_msg(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * err_wrap() - prepend context: "pull debian: open 'x': ..."
 * Return: -err->code, or -EIO when err is NULL or unset
 */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* err_clear() - make @err as new. */
void err_clear(struct err *err);

#endif
