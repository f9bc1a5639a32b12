/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that is stopped while it holds one of a disk's locks:
 *
 *     holder IMAGE gate|commit|stripe|resource|faults|trace|recorder
 *
 * Prints "held" and stops. Continued, it lets go, closes the image and ends. As "recorder" it records, and stops: the
 * ring fills up, and the command that finds it full waits.
 */
#include "device/hooks/hooks.h"
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static void stop_here(void)
{
	puts("held");
	fflush(stdout);
	raise(SIGSTOP);
}

static void hold(zd_dev *dev, pthread_mutex_t *m)
{
	CLAIM(zd_mutex_lock(dev, m) == 0);
	stop_here();
	zd_mutex_unlock(m);
}

int main(int argc, char **argv)
{
	const char *what = argc == 3 ? argv[2] : "";
	struct zd_error err;
	zd_dev *dev;

	CLAIM(argc == 3 && zd_open(argv[1], 0, &dev, &err) == 0);
	if (!strcmp(what, "gate")) {
		CLAIM(zd_door_enter(dev, &err) == 0);
		stop_here();
		zd_door_leave(dev);
	} else if (!strcmp(what, "commit")) {
		hold(dev, &dev->head->commit);
	} else if (!strcmp(what, "stripe")) {
		hold(dev, zd_stripe_of(dev, 3));
	} else if (!strcmp(what, "resource")) {
		hold(dev, &dev->head->resource);
	} else if (!strcmp(what, "faults")) {
		hold(dev, &dev->faults->lock);
	} else if (!strcmp(what, "trace")) {
		hold(dev, &dev->trace->lock);
	} else if (!strcmp(what, "recorder")) {
		int fd = open("/dev/null", O_WRONLY);

		CLAIM(zd_trace_start(dev, fd, &err) == 0);
		close(fd);
		stop_here(); /* all its threads stop, and others fill the ring */
	} else {
		CLAIM(!"a lock of that name");
	}
	CLAIM(zd_close(dev, &err) == 0);
	return 0;
}
