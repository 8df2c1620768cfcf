import OverlayLinux

/// Calls that the server makes of its epoll set, so that tests can make each of it fail.
struct Readiness: Sendable {
    /// Adds a descriptor, with the token of its events.
    var watch: @Sendable (Int32, UInt64, ReadySet.Events) throws(SystemError) -> Void
    /// Changes the events of a descriptor in the set.
    var change: @Sendable (Int32, UInt64, ReadySet.Events) throws(SystemError) -> Void
    /// Waits for events, at most for some milliseconds.
    var wait: @Sendable (Int32) throws(SystemError) -> [(token: UInt64, events: ReadySet.Events)]
    /// Ends a wait. May be called from any thread.
    var wake: @Sendable () -> Void

    /// Those of an epoll set.
    init(_ set: ReadySet) {
        watch = { descriptor, token, events throws(SystemError) in try set.watch(descriptor, token, events) }
        change = { descriptor, token, events throws(SystemError) in try set.change(descriptor, token, events) }
        wait = { milliseconds throws(SystemError) in try set.wait(milliseconds: milliseconds) }
        wake = { set.wake() }
    }
}
