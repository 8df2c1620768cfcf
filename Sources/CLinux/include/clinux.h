/// GNU-only system calls that Swift's Glibc overlay does not export. Every function returns 0 or a descriptor, or −errno.
///
/// A thread that Swift owns must never change its namespace: what needs setns or unshare runs on a throwaway pthread.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Makes a network namespace and pins it by a bind mount on `path`, which must be an existing regular file.
int overlay_netns_create(const char *path);
/// Lets go of the namespace pinned at `path` (lazily, so that open descriptors stay good) and removes the file. What is already
/// missing is no error.
int overlay_netns_remove(const char *path);
/// 1 when `path` is a pinned namespace (nsfs), 0 when it is another file.
int overlay_netns_check(const char *path);
/// Makes `path` a shared mount point, as `ip netns` does. Without this a later `ip netns add` binds the directory on itself and
/// hides our pins beneath copies that nobody unmounts.
int overlay_share_mount(const char *path);
/// Opens a socket that lives in the namespace of the descriptor `ns`.
int overlay_netns_socket(int ns, int domain, int type, int protocol);
/// Sends an Ethernet frame, its header included, out of the device with index `link` by the packet socket `fd`. Never waits.
int overlay_packet_send(int fd, int link, const void *frame, size_t length);
/// Writes `text` to the file `path` as seen from the namespace of `ns` (/proc/sys/net belongs to the reader's namespace).
int overlay_netns_write(int ns, const char *path, const char *text);
/// Reads at most `capacity` − 1 bytes of such a file, ended by a zero byte.
int overlay_netns_read(int ns, const char *path, char *buffer, size_t capacity);

/// Takes an exclusive lock on an open file; −EWOULDBLOCK when another holds it.
int overlay_flock(int fd);
/// Names the calling thread; longer names are cut to 15 bytes.
int overlay_name_thread(const char *name);
/// Fills the buffer from the kernel's generator; blocks only before the generator is seeded at boot.
int overlay_random(void *bytes, size_t count);
/// Lets the process's mappings of the program's own code go. What is run again comes back from the page cache by itself.
int overlay_release_code(void);
/// Raises the soft limit of open files to the hard one.
int overlay_raise_open_files(uint64_t *limit);
/// CLOCK_MONOTONIC in nanoseconds.
int overlay_monotonic(int64_t *nanoseconds);

/// Opens a file for reading as seen from a namespace; it goes on showing that namespace's (/proc/thread-self/net).
int overlay_netns_open(int ns, const char *path);
/// Runs `work` on a thread in a namespace.
int overlay_netns_run(int ns, void (*work)(void *), void *argument);

/// Datagrams that are received together, and the answers to them that are sent together (recvmmsg(2), sendmmsg(2)).
struct overlay_batch;
/// Room for `count` datagrams of `size` bytes each; NULL when there is no memory.
struct overlay_batch *overlay_batch_new(unsigned count, size_t size);
void overlay_batch_free(struct overlay_batch *batch);
/// Receives what is there, at most `count`; never waits. Answers that were not sent are forgotten.
int overlay_batch_receive(struct overlay_batch *batch, int fd);
/// The bytes of a datagram that was received; NULL for one that was longer than there is room for.
const unsigned char *overlay_batch_bytes(const struct overlay_batch *batch, unsigned index, size_t *length);
/// Where it came from: address and port in network byte order (IPv4).
void overlay_batch_source(const struct overlay_batch *batch, unsigned index, uint32_t *address, uint16_t *port);
/// Keeps an answer to it, to be sent; what is longer than there is room for is not kept.
void overlay_batch_answer(struct overlay_batch *batch, unsigned index, const void *bytes, size_t length);
/// Sends the answers. What the socket has no room for is lost, as datagrams are. Returns how many went.
int overlay_batch_send(struct overlay_batch *batch, int fd);

/// epoll(7), level-triggered.
int overlay_epoll_new(void);
enum { overlay_readable = 1, overlay_writable = 2, overlay_ended = 4 };
/// Watches a descriptor for a set of the above; `again` changes that of one that is watched.
int overlay_epoll_watch(int epoll, int fd, uint64_t token, uint32_t events, int again);
/// Waits at most so many milliseconds for what is ready.
int overlay_epoll_wait(int epoll, uint64_t *tokens, uint32_t *events, int capacity, int milliseconds);
/// A counter that wakes whoever watches it.
int overlay_eventfd(void);
/// Takes a connection, non-blocking.
int overlay_accept(int fd);
