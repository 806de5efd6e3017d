/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run_command.h"

static char *no_words[] = { NULL };

static struct image_config config(void)
{
	static char path[] = "PATH=/bin", a[] = "A=image", *env[] = { path, a, NULL };
	static char entry[] = "/entry", e[] = "-e", *entrypoint[] = { entry, e, NULL };
	static char word[] = "image-word", *cmd[] = { word, NULL };
	static char dir[] = "/srv", user[] = "www:www", sig[] = "SIGQUIT";

	return (struct image_config){
		.env = env,
		.entrypoint = entrypoint,
		.cmd = cmd,
		.working_dir = dir,
		.user = user,
		.stop_signal = sig,
	};
}

static void takes_what_the_image_says(void **state)
{
	struct run_args args = { .command = no_words };
	struct image_config image = config();
	struct run_command c;

	assert_int_equal(run_command_make(&args, &image, false, &c, NULL), 0);
	assert_int_equal(c.argc, 3);
	assert_string_equal(c.argv[1].s, "-e");
	assert_string_equal(c.argv[2].s, "image-word");
	assert_int_equal(c.n_env, 2);
	assert_string_equal(c.cwd.s, "/srv");
	assert_true(c.make_cwd);
	assert_string_equal(c.user.s, "www:www");
	assert_int_equal(c.stop_signal, SIGQUIT);
	run_command_release(&c);
}

static void puts_the_arguments_over_it(void **state)
{
	char my[] = "my", words[] = "words", *command[] = { my, words, NULL };
	struct text env[] = { text_of("A=mine") };
	struct run_args args = {
		.command = command, .env = env, .n_env = 1, .workdir = "/w", .user = "0"
	};
	struct image_config image = config();
	struct run_command c;

	assert_int_equal(run_command_make(&args, &image, true, &c, NULL), 0);
	assert_int_equal(c.argc, 4);
	assert_string_equal(c.argv[0].s, "/entry");
	assert_string_equal(c.argv[3].s, "words");
	assert_int_equal(c.n_env, 4);
	assert_string_equal(c.env[2].s, "A=mine");
	assert_string_equal(c.cwd.s, "/w");
	assert_false(c.make_cwd);
	assert_string_equal(c.user.s, "0");
	run_command_release(&c);
	args.entrypoint = "/other";
	args.workdir = "/srv"; /* which the image names too */
	assert_int_equal(run_command_make(&args, &image, false, &c, NULL), 0);
	assert_int_equal(c.argc, 3);
	assert_string_equal(c.argv[0].s, "/other");
	assert_true(c.make_cwd);
	run_command_release(&c);
}

static void does_without_an_image(void **state)
{
	struct run_args args = { .command = no_words };
	struct run_command c;

	assert_int_equal(run_command_make(&args, NULL, false, &c, NULL), 0);
	assert_int_equal(c.argc, 1);
	assert_string_equal(c.argv[0].s, "/bin/sh");
	assert_null(c.cwd.s);
	assert_false(c.make_cwd);
	assert_null(c.user.s);
	assert_int_equal(c.stop_signal, SIGTERM);
	run_command_release(&c);
}

static void wants_utf8(void **state)
{
	struct run_args args = { .command = (char *[]){ (char *)"ls", (char *)"\xff", NULL } };
	struct err err = ERR_INIT;
	struct run_command c;

	assert_int_equal(run_command_make(&args, NULL, false, &c, &err), -EILSEQ);
	assert_non_null(strstr(err.msg, "a word of the command is not UTF-8"));
	args.command = (char *[]){ (char *)"\xc3\xa9", NULL };
	args.workdir = "/\xc3";
	assert_int_equal(run_command_make(&args, NULL, false, &c, &err), -EILSEQ);
	args.workdir = "/\xc3\xa9";
	assert_int_equal(run_command_make(&args, NULL, false, &c, &err), 0);
	run_command_release(&c);
}

static void knows_signals(void **state)
{
	assert_int_equal(signal_of("SIGTERM"), SIGTERM);
	assert_int_equal(signal_of("int"), SIGINT);
	assert_int_equal(signal_of("9"), 9);
	assert_int_equal(signal_of("SIGNOPE"), 0);
	assert_int_equal(signal_of(""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_what_the_image_says),
		cmocka_unit_test(puts_the_arguments_over_it),
		cmocka_unit_test(does_without_an_image),
		cmocka_unit_test(wants_utf8),
		cmocka_unit_test(knows_signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
