/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/run_command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/num.h"

/* ---- stop signal ---- */

int signal_of(const char *name)
{
	uint64_t n;

	if (num_parse_u64(name, "signal", 1, 64, &n, NULL) == 0)
		return (int)n;
	if (strncasecmp(name, "SIG", 3) == 0)
		name += 3;
	for (int sig = 1; sig < 32; sig++) {
		const char *abbrev = sigabbrev_np(sig);

		if (abbrev && strcasecmp(abbrev, name) == 0)
			return sig;
	}
	return 0;
}

static void set_stop_signal(struct run_command *c, const struct image_config *config)
{
	const char *name = config ? config->stop_signal : "";

	c->stop_signal = name && *name ? signal_of(name) : SIGTERM;
	/* The image's mistake is no reason not to run it. */
	if (c->stop_signal < 1 || c->stop_signal > 31)
		c->stop_signal = SIGTERM;
}

/* ---- words ---- */

static size_t count(char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static void add_words(struct run_command *c, char *const *list)
{
	for (size_t i = 0; list && list[i]; i++)
		c->argv[c->argc++] = text_of(list[i]);
}

/* Entrypoint, then the words given or else the image's; without any of them, a shell. */
static int make_argv(
	struct run_command *c, const struct run_args *args, const struct image_config *config)
{
	char *const *entrypoint = config && !args->entrypoint ? config->entrypoint : NULL;
	char *const *words = args->command[0] || !config ? args->command : config->cmd;

	c->argv = calloc(count(entrypoint) + count(words) + 2, sizeof(*c->argv));
	if (!c->argv)
		return -ENOMEM;
	if (args->entrypoint && *args->entrypoint)
		c->argv[c->argc++] = text_of(args->entrypoint);
	add_words(c, entrypoint);
	add_words(c, words);
	if (c->argc == 0)
		c->argv[c->argc++] = text_of("/bin/sh");
	return 0;
}

/* ---- environment ---- */

static bool has_term(const struct run_command *c)
{
	for (size_t i = 0; i < c->n_env; i++) {
		if (strncmp(c->env[i].s, "TERM=", 5) == 0)
			return true;
	}
	return false;
}

/* The caller's kind of terminal, unless that is none or somebody said otherwise. */
static void add_term(struct run_command *c)
{
	const char *term = getenv("TERM");

	if (has_term(c))
		return;
	if (!term || !*term || strcmp(term, "dumb") == 0)
		term = "xterm";
	(void)snprintf(c->term, sizeof(c->term), "TERM=%s", term);
	c->env[c->n_env++] = text_of(c->term);
}

static int make_env(struct run_command *c, const struct run_args *args,
	const struct image_config *config, bool tty)
{
	char *const *image = config ? config->env : NULL;

	c->env = calloc(count(image) + args->n_env + 1, sizeof(*c->env));
	if (!c->env)
		return -ENOMEM;
	for (size_t i = 0; image && image[i]; i++)
		c->env[c->n_env++] = text_of(image[i]);
	for (size_t i = 0; i < args->n_env; i++)
		c->env[c->n_env++] = args->env[i];
	if (tty)
		add_term(c);
	return 0;
}

/* ---- the whole ---- */

static struct text choose(const char *asked, const char *image)
{
	if (asked)
		return text_of(asked);
	return image && *image ? text_of(image) : text_of(NULL);
}

/* An image may name a folder that is in none of its layers. One that the user named and that is not
 * there is a mistake, as it is to upstream, and making it would hide that. */
static void set_cwd(struct run_command *c, const char *asked, const char *image)
{
	c->cwd = choose(asked, image);
	c->make_cwd = c->cwd.s && image && strcmp(c->cwd.s, image) == 0;
}

/* Better said now than by the guest. */
static int check_texts(const struct text *t, size_t n, const char *what, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (!text_valid(&t[i]))
			return err_msg(err, EILSEQ,
				"%s is not UTF-8, which the guest demands: '%s'", what, t[i].s);
	}
	return 0;
}

static int check(const struct run_command *c, struct err *err)
{
	int rc = check_texts(c->argv, c->argc, "a word of the command", err);

	rc = rc ? rc : check_texts(c->env, c->n_env, "an environment variable", err);
	rc = rc ? rc : check_texts(&c->cwd, 1, "the working directory", err);
	return rc ? rc : check_texts(&c->user, 1, "the user", err);
}

int run_command_make(const struct run_args *args, const struct image_config *config, bool tty,
	struct run_command *ret, struct err *err)
{
	int rc;

	*ret = (struct run_command){ 0 };
	rc = make_argv(ret, args, config);
	if (rc == 0)
		rc = make_env(ret, args, config, tty);
	if (rc < 0) {
		run_command_release(ret);
		return err_set(err, rc, "prepare command");
	}
	set_stop_signal(ret, config);
	set_cwd(ret, args->workdir, config ? config->working_dir : NULL);
	ret->user = choose(args->user, config ? config->user : NULL);
	rc = check(ret, err);
	if (rc < 0)
		run_command_release(ret);
	return rc;
}

void run_command_release(struct run_command *c)
{
	free(c->argv);
	free(c->env);
	c->argv = c->env = NULL;
}
