import OverlayLinux

/// Sockets of a sandbox in the epoll set, with the tokens of their events. They leave it when they are closed.
struct WatchedSockets: Sendable {
    let sockets: SandboxSockets
    let datagrams: UInt64
    let upstream: UInt64
    let listener: UInt64

    /// Adds the sockets to the set.
    ///
    /// - Throws: What the kernel says, for example ENOSPC beyond `fs.epoll.max_user_watches`. To be done before questions are led to
    ///   the sockets, as nobody would answer them.
    init(_ sockets: SandboxSockets, in loop: AnswerLoop) throws(SystemError) {
        self.sockets = sockets
        datagrams = loop.newToken()
        upstream = loop.newToken()
        listener = loop.newToken()
        for (socket, token) in [
            (sockets.datagrams.number, datagrams), (sockets.upstream.number, upstream), (sockets.listener.number, listener),
        ] { try loop.ready.watch(socket, token, .readable) }
    }
}
