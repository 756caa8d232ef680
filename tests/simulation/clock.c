// The wall clock of a process stands where a file of eight bytes puts it: microseconds since 1970. Preloaded.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *clock_file;

__attribute__((constructor)) static void open_clock(void) {
    int file = open(getenv("CLOCK_FILE"), O_RDONLY);
    void *mapped = mmap(NULL, sizeof *clock_file, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) _exit(71);
    clock_file = mapped;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    if (id != CLOCK_REALTIME || !clock_file) return (int)syscall(SYS_clock_gettime, id, at);
    at->tv_sec = *clock_file / 1000000;
    at->tv_nsec = *clock_file % 1000000 * 1000;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    int done = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return done;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
