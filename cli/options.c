/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <errno.h>
#include <string.h>

#include "cli/cli.h"

#define HELP_COLUMN 28
#define NAMES_MAX   64

struct parse {
	const struct option_row *rows;
	void *target;
	int argc, at; /* argv[at] is looked at */
	char **argv;
	struct err *err;
};

static const struct option_row *find_name(const struct option_row *rows, const char *s, size_t len)
{
	for (; rows->name; rows++) {
		if (strlen(rows->name) == len && strncmp(rows->name, s, len) == 0)
			return rows;
	}
	return NULL;
}

static const struct option_row *find_letter(const struct option_row *rows, char c)
{
	for (; rows->name; rows++) {
		if (rows->letter == c)
			return rows;
	}
	return NULL;
}

static int apply(struct parse *p, const struct option_row *row, const char *value)
{
	struct err why = ERR_INIT;
	int rc = row->apply(p->target, value, &why);

	if (rc < 0)
		(void)err_msg(p->err, rc, "--%s: %s", row->name, why.msg);
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

	for (const struct option_row *row = p->rows; row->name && n < NAMES_MAX; row++)
		names[n++] = row->name;
	names[n] = NULL;
	like = strncmp(word, "--", 2) == 0 ? cli_suggest(word + 2, names) : NULL;
	return err_msg(p->err, EINVAL, "unexpected argument '%s'%s%s%s", word,
		like ? "; did you mean '--" : "", like ? like : "", like ? "'?" : "");
}

/* --name, --name value, --name=value */
static int parse_long(struct parse *p, const char *word)
{
	size_t len = strcspn(word + 2, "=");
	const struct option_row *row = find_name(p->rows, word + 2, len);
	const char *value = word[2 + len] == '=' ? word + 2 + len + 1 : NULL;

	if (!row)
		return unknown_option(p, word);
	if (!row->value && value)
		return err_msg(p->err, EINVAL, "--%s takes no value", row->name);
	if (row->value && !value) {
		value = next_word(p, row);
		if (!value)
			return -EINVAL;
	}
	return apply(p, row, value);
}

/* -x, -x value, -xvalue, and several flags in one: -tx */
static int parse_short(struct parse *p, const char *word)
{
	for (const char *c = word + 1; *c; c++) {
		const struct option_row *row = find_letter(p->rows, *c);
		int rc;

		if (!row)
			return unknown_option(p, word);
		if (row->value) {
			const char *value = c[1] ? c + 1 + (c[1] == '=') : next_word(p, row);

			return value ? apply(p, row, value) : -EINVAL;
		}
		rc = apply(p, row, NULL);
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
		else if (*n_args == max)
			return err_msg(err, EINVAL, "unexpected argument '%s'%s", word,
				max ? "; the command goes behind '--'" : "");
		else
			args[(*n_args)++] = word;
		if (rc < 0)
			return rc;
	}
	*ret_rest = p.at;
	return 0;
}

void options_help(const struct option_row *rows, FILE *out)
{
	for (; rows->name; rows++) {
		char left[64], letter[8] = "    ";
		int len;

		if (rows->letter)
			(void)snprintf(letter, sizeof(letter), "-%c, ", rows->letter);
		len = snprintf(left, sizeof(left), "  %s--%s%s%s", letter, rows->name,
			rows->value ? " " : "", rows->value ? rows->value : "");
		if (len >= HELP_COLUMN)
			fprintf(out, "%s\n%*s%s\n", left, HELP_COLUMN, "", rows->help);
		else
			fprintf(out, "%-*s%s\n", HELP_COLUMN, left, rows->help);
	}
}
