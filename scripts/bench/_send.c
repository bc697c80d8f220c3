/* The baseline of front_send.py: what is left when nothing is done but to send. */

#include <stddef.h>
#include <sys/socket.h>

/* One send a descriptor; how many did not take all. */
int send_each(const int *descriptors, const char *const *frames, const size_t *sizes, int count) {
    int failed = 0;
    for (int at = 0; at < count; at++)
        failed += send(descriptors[at], frames[at], sizes[at], MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizes[at];
    return failed;
}
