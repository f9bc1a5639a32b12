/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server of a ublk device that starts in no time, for tests that kill it again and again:
 *
 *     ublkserver IMAGE STATE [AFTER]
 *
 * The file STATE is made, and found again by the next server of the same. It says the path of the device once it serves, and ends
 * by SIGTERM. AFTER: it kills itself once so many writes and appends have taken effect, before the last of them is acknowledged.
 */
#include "zoned/ublk.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static _Atomic long left;

int __real_zd_submit(zd_dev *dev, struct zd_request *request);
int __wrap_zd_submit(zd_dev *dev, struct zd_request *request);

int __wrap_zd_submit(zd_dev *dev, struct zd_request *request)
{
	int op = request->op, r = __real_zd_submit(dev, request);

	if ((op == ZD_OP_WRITE || op == ZD_OP_APPEND) && atomic_fetch_sub(&left, 1) == 1)
		kill(getpid(), SIGKILL);
	return r;
}

static int fail(const char *what, const struct zd_error *err)
{
	fprintf(stderr, "%s: %s (%d)\n", what, err->text, err->code);
	return 1;
}

int main(int argc, char **argv)
{
	struct zd_ublk_config config = { .size = sizeof(config), .queues = 2, .depth = 32 };
	struct zd_error err = { 0 };
	struct stat st;
	sigset_t set;
	zd_ublk *ublk;
	zd_dev *dev;
	int r, fd, number;

	if (argc < 3)
		return 2;
	atomic_store(&left, argc > 3 ? atol(argv[3]) : 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st))
		return 1;
	if (zd_open(argv[1], 0, &dev, &err))
		return fail(argv[1], &err);
	if (st.st_size) {
		while ((r = zd_serve_ublk_again(dev, fd, &ublk, &err)) == -EBUSY)
			usleep(2000);
	} else {
		config.path = argv[1];
		r = zd_serve_ublk_new(dev, &config, fd, &ublk, &err);
	}
	if (r)
		return fail("serving", &err);
	printf("/dev/ublkb%u\n", zd_serve_ublk_id(ublk));
	fflush(stdout);
	sigwait(&set, &number);
	zd_serve_ublk_free(ublk);
	return zd_close(dev, &err) ? fail("closing", &err) : 0;
}
