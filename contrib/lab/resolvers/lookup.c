/* Looks names up by the C library that it is linked with.
 *
 *     lookup NAME              prints its addresses, one per line; exit 1 if there is none
 *     lookup NAME COUNT        looks it up COUNT times and prints the number of failures, the longest time in milliseconds, the number
 *                              over 100 ms, and the index of the longest (the first look-up has to read files, too) */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    if (argc < 2) return 64;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *all;
    if (argc == 2) {
        int code = getaddrinfo(argv[1], NULL, &hints, &all);
        if (code != 0) return fprintf(stderr, "%s: %s\n", argv[1], gai_strerror(code)), 1;
        for (struct addrinfo *one = all; one; one = one->ai_next) {
            char text[INET6_ADDRSTRLEN];
            const void *address = one->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
                                                            : (void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
            puts(inet_ntop(one->ai_family, address, text, sizeof text));
        }
        return 0;
    }
    long failures = 0, stalls = 0, which = 0, count = atol(argv[2]);
    double longest = 0;
    for (long number = 1; number <= count; number++) {
        double began = milliseconds();
        if (getaddrinfo(argv[1], NULL, &hints, &all) == 0)
            freeaddrinfo(all);
        else
            failures++;
        double took = milliseconds() - began;
        if (took > 100) stalls++;
        if (took > longest) longest = took, which = number;
    }
    printf("%ld %.1f %ld %ld\n", failures, longest, stalls, which);
    return 0;
}
