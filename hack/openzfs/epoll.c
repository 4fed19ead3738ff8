/*
 * Preloaded into the User-mode Linux kernel: epoll_wait() returns one event at a time.
 *
 * The kernel keeps the events of its SIGIO handler in one static array (arch/um/os-Linux/irq.c). While it walks the array, the
 * handling of an event can let in another SIGIO, whose handler fills the same array anew: events that were not yet looked at
 * are forgotten. All descriptors are edge triggered, so nobody reports them again, and if it was the disk's, a write never
 * completes and zfs waits for its transaction group for ever. With one event per call there is nothing to overwrite, and the
 * handler asks again until nothing is left.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/epoll.h>

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	(void)max;
	return epoll_pwait(fd, events, 1, timeout, NULL);
}
