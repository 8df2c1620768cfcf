/* Discovery as in JGroups, Hazelcast and mDNS: says its name to a group, and hears who else does, without binding an interface.
 *
 *     discover GROUP PORT NAME SECONDS     prints the names that it heard, its own not among them, one per line
 *
 * GROUP is a multicast address of IPv4 or IPv6, or 255.255.255.255. Errors of sending are printed as a name, "cannot send: …". */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NAMES 64

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static char names[NAMES][64];
static int count;

static void heard(const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return;
    if (count < NAMES) snprintf(names[count++], sizeof names[0], "%s", name);
}

int main(int argc, char **argv) {
    if (argc != 5) return 64;
    int port = atoi(argv[2]), yes = 1, six = strchr(argv[1], ':') != NULL;
    const char *own = argv[3];
    struct sockaddr_storage to = {0}, any = {0};
    socklen_t length;
    struct ip_mreqn group = {0};
    struct ipv6_mreq group6 = {0};
    if (six) {
        *(struct sockaddr_in6 *)&any = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        *(struct sockaddr_in6 *)&to = *(struct sockaddr_in6 *)&any;
        if (inet_pton(AF_INET6, argv[1], &group6.ipv6mr_multiaddr) != 1) return 64;
        ((struct sockaddr_in6 *)&to)->sin6_addr = group6.ipv6mr_multiaddr;
        length = sizeof(struct sockaddr_in6);
    } else {
        *(struct sockaddr_in *)&any = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        *(struct sockaddr_in *)&to = *(struct sockaddr_in *)&any;
        if (inet_pton(AF_INET, argv[1], &group.imr_multiaddr) != 1) return 64;
        ((struct sockaddr_in *)&to)->sin_addr = group.imr_multiaddr;
        length = sizeof(struct sockaddr_in);
    }
    int fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) return perror("socket"), 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&any, length) != 0) return perror("bind"), 1;
    /* The interface is left to the kernel, which takes that of its route to the group. */
    if (six) {
        if (setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group6, sizeof group6) != 0) return perror("join"), 1;
    } else if (IN_MULTICAST(ntohl(group.imr_multiaddr.s_addr)) &&
               setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
        return perror("join"), 1;
    }
    double end = now() + atof(argv[4]), next = 0;
    while (now() < end) {
        if (now() >= next) {
            if (sendto(fd, own, strlen(own), 0, (struct sockaddr *)&to, length) < 0) {
                char error[64];
                snprintf(error, sizeof error, "cannot send: %s", strerror(errno));
                heard(error);
            }
            next = now() + 0.2;
        }
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (poll(&readable, 1, 50) <= 0) continue;
        char name[64];
        ssize_t size = recv(fd, name, sizeof name - 1, 0);
        if (size <= 0) continue;
        name[size] = 0;
        if (strcmp(name, own) != 0) heard(name);
    }
    for (int i = 0; i < count; i++) puts(names[i]);
    return 0;
}
