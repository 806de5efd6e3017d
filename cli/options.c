/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <errno.h>
#include <string.h>

#include "cli/cli.h"

#define HELP_COLUMN 28
#define NAMES_MAX   128

struct parse {
	const struct option_row *rows;
	void *target;
	int argc, at; /* argv[at] is looked at */
	char **argv;
	struct err *err;
};

/* struct row_at - a row, and where the part of the target begins that its table is for */
struct row_at {
	const struct option_row *row;
	size_t offset;
};

/* The row itself, or the first of the table that the end of this one leads to; NULL at the end. */
static struct row_at settle(struct row_at at)
{
	while (at.row && !at.row->name)
		at = (struct row_at){ at.row->more, at.row->offset };
	return at;
}

static struct row_at next(struct row_at at)
{
	at.row++;
	return settle(at);
}

#define FOR_EACH_ROW(at, rows)                                                                     \
	for (struct row_at at = settle((struct row_at){ rows, 0 }); (at).row; (at) = next(at))

static struct row_at find_name(const struct option_row *rows, const char *s, size_t len)
{
	FOR_EACH_ROW(at, rows)
	{
		if (strlen(at.row->name) == len && strncmp(at.row->name, s, len) == 0)
			return at;
	}
	return (struct row_at){ 0 };
}

static struct row_at find_letter(const struct option_row *rows, char c)
{
	FOR_EACH_ROW(at, rows)
	{
		if (at.row->letter == c)
			return at;
	}
	return (struct row_at){ 0 };
}

static int apply(struct parse *p, struct row_at at, const char *value)
{
	struct err why = ERR_INIT;
	int rc = at.row->apply((char *)p->target + at.offset, value, &why);

	if (rc < 0)
		(void)err_msg(p->err, rc, "--%s: %s", at.row->name, why.msg);
	return rc;
}

/* Return: the next word as the value of @row, or NULL with the error set. */
static const char *next_word(struct parse *p, const struct option_row *row)
{
	if (p->at + 1 < p->argc)
		return p->argv[++p->at];
	(void)err_msg(p->err, EINVAL, "--%s needs a value: %s", row->name, row->value);
	return NULL;
}

static int unknown_option(struct parse *p, const char *word)
{
	const char *names[NAMES_MAX + 1], *like;
	unsigned n = 0;

	FOR_EACH_ROW(at, p->rows)
	{
		if (n < NAMES_MAX)
			names[n++] = at.row->name;
	}
	names[n] = NULL;
	like = strncmp(word, "--", 2) == 0 ? cli_suggest(word + 2, names) : NULL;
	return err_msg(p->err, EINVAL, "unexpected argument '%s'%s%s%s", word,
		like ? "; did you mean '--" : "", like ? like : "", like ? "'?" : "");
}

/* --name, --name value, --name=value */
static int parse_long(struct parse *p, const char *word)
{
	size_t len = strcspn(word + 2, "=");
	struct row_at at = find_name(p->rows, word + 2, len);
	const char *value = word[2 + len] == '=' ? word + 2 + len + 1 : NULL;

	if (!at.row)
		return unknown_option(p, word);
	if (!at.row->value && value)
		return err_msg(p->err, EINVAL, "--%s takes no value", at.row->name);
	if (at.row->value && !value) {
		value = next_word(p, at.row);
		if (!value)
			return -EINVAL;
	}
	return apply(p, at, value);
}

/* -x, -x value, -xvalue, and several flags in one: -tx */
static int parse_short(struct parse *p, const char *word)
{
	for (const char *c = word + 1; *c; c++) {
		struct row_at at = find_letter(p->rows, *c);
		int rc;

		if (!at.row)
			return unknown_option(p, word);
		if (at.row->value) {
			const char *value = c[1] ? c + 1 + (c[1] == '=') : next_word(p, at.row);

			return value ? apply(p, at, value) : -EINVAL;
		}
		rc = apply(p, at, NULL);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int options_parse(const struct option_row *rows, void *target, int argc, char **argv,
	const char **args, int max, int *n_args, int *ret_rest, struct err *err)
{
	struct parse p = { rows, target, argc, 1, argv, err };

	*n_args = 0;
	for (; p.at < argc; p.at++) {
		const char *word = argv[p.at];
		int rc = 0;

		if (strcmp(word, "--") == 0) {
			p.at++;
			break;
		}
		if (strncmp(word, "--", 2) == 0)
			rc = parse_long(&p, word);
		else if (word[0] == '-' && word[1])
			rc = parse_short(&p, word);
		else if ((*n_args)++ == max)
			break;
		else
			args[*n_args - 1] = word;
		if (rc < 0)
			return rc;
	}
	*ret_rest = p.at;
	return 0;
}

static void help_row(const struct option_row *row, FILE *out)
{
	char left[64], letter[8] = "    ";
	int len;

	if (row->letter)
		(void)snprintf(letter, sizeof(letter), "-%c, ", row->letter);
	len = snprintf(left, sizeof(left), "  %s--%s%s%s", letter, row->name, row->value ? " " : "",
		row->value ? row->value : "");
	if (len >= HELP_COLUMN)
		fprintf(out, "%s\n%*s%s\n", left, HELP_COLUMN, "", row->help);
	else
		fprintf(out, "%-*s%s\n", HELP_COLUMN, left, row->help);
}

void options_help(const struct option_row *rows, FILE *out)
{
	for (; rows; rows = rows->more) {
		for (; rows->name; rows++)
			help_row(rows, out);
		if (rows->more && rows->help)
			fprintf(out, "\n%s:\n", rows->help);
	}
}
