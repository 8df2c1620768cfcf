import HummingbirdCore
import NIOCore
import OverlayModel
import Synchronization

/// Open connections of one server, and the closing of those that give way (``ConnectionTable``).
final class Connections: Sendable {
    typealias Table = ConnectionTable<ObjectIdentifier>

    private struct Open {
        var channel: any Channel
        /// Called when the connection closes, while a request is worked on.
        var abandon: (@Sendable () -> Void)?
    }

    private struct State {
        var table: Table
        var open: [ObjectIdentifier: Open] = [:]
        var isSweeping = false
        /// Time for a request to arrive, once the server shuts down.
        var arrival: UInt64?
    }

    /// Pause between two looks whether an answer was written.
    private static let writePause = TimeAmount.milliseconds(10)

    private let loop: any EventLoop
    private let period: TimeAmount
    private let arrivalAtShutdown: Duration
    private let state: Mutex<State>

    /// - Parameters:
    ///   - loop: Event loop of all connections.
    ///   - arrivalAtShutdown: Time for a request to arrive, once the server shuts down.
    init(loop: any EventLoop, limits: Table.Limits, arrivalAtShutdown: Duration) {
        self.loop = loop
        period = .nanoseconds(Int64(clamping: min(limits.arrival / 4, 1_000_000_000)))
        self.arrivalAtShutdown = arrivalAtShutdown
        state = Mutex(State(table: Table(limits: limits)))
    }

    private static func now() -> UInt64 { NIODeadline.now().uptimeNanoseconds }

    var hasRoom: Bool { state.withLock { $0.table.hasRoom(at: Self.now()) } }

    func opened(_ channel: any Channel) {
        close { state in
            let leaving = state.table.open(ObjectIdentifier(channel), at: Self.now())
            state.open[ObjectIdentifier(channel)] = Open(channel: channel)
            return leaving.map { [$0] } ?? []
        }
    }

    func closed(_ channel: any Channel) {
        let abandon = state.withLock { state in
            state.table.close(ObjectIdentifier(channel))
            return state.open.removeValue(forKey: ObjectIdentifier(channel))?.abandon
        }
        abandon?()
    }

    func received(on channel: any Channel) {
        change { $0.table.received(ObjectIdentifier(channel), at: Self.now()) }
    }

    func began(on channel: any Channel) {
        change { $0.table.began(ObjectIdentifier(channel), at: Self.now()) }
    }

    func holds(_ bytes: Int, on channel: any Channel) {
        close { $0.table.holds(bytes, ObjectIdentifier(channel)) }
    }

    /// - Parameter abandon: Called if the connection closes before the answer is there.
    func complete(on channel: any Channel, abandon: @escaping @Sendable () -> Void) {
        let isOpen = state.withLock { state in
            state.table.complete(ObjectIdentifier(channel))
            state.open[ObjectIdentifier(channel)]?.abandon = abandon
            return state.open[ObjectIdentifier(channel)] != nil
        }
        if !isOpen { abandon() }
    }

    /// - Returns: Number of the answer.
    func answering(on channel: any Channel) -> UInt64 {
        change { state in
            state.open[ObjectIdentifier(channel)]?.abandon = nil
            return state.table.answering(ObjectIdentifier(channel), at: Self.now())
        }
    }

    /// Notes that the answer was handed to the channel. Its loop writes it, so a connection counts as idle only after that: it may be
    /// closed then, and the answer would be lost with it.
    func answered(_ answer: UInt64, on channel: any Channel) { channel.eventLoop.execute { self.settle(channel, answer) } }

    private func settle(_ channel: any Channel, _ answer: UInt64) {
        guard channel.isActive, state.withLock({ $0.table.isAnswering(ObjectIdentifier(channel), answer) }) else { return }
        guard let unsent = try? channel.syncOptions?.getOption(ChannelOptions.bufferedWritableBytes), unsent == 0 else {
            channel.eventLoop.scheduleTask(in: Self.writePause) { self.settle(channel, answer) }
            return
        }
        if state.withLock({ $0.table.answered(ObjectIdentifier(channel), answer, at: Self.now()) }) { channel.close(promise: nil) }
    }

    /// Requests that do not arrive soon are given up, as the server waits for those that have begun.
    func shutDown() {
        change { $0.arrival = UInt64(TimeAmount(arrivalAtShutdown).nanoseconds) }
        loop.scheduleTask(in: TimeAmount(arrivalAtShutdown)) { self.sweep() }
    }

    // MARK: Closing

    /// Makes a change, and closes the connections that it returns.
    private func close(_ body: (inout State) -> [ObjectIdentifier]) {
        let channels = state.withLock { state in body(&state).compactMap { state.open[$0]?.channel } }
        // Closing one changes the table.
        for channel in channels { channel.close(promise: nil) }
    }

    /// Makes a change after which a request may be on its way.
    private func change<Result: Sendable>(_ body: (inout State) -> Result) -> Result {
        let (result, isFirst) = state.withLock { state in
            let result = body(&state)
            defer { state.isSweeping = true }
            return (result, !state.isSweeping)
        }
        if isFirst { loop.scheduleTask(in: period) { self.sweep() } }
        return result
    }

    private func sweep() {
        close { state in state.table.expired(at: Self.now(), arrival: state.arrival) }
        let goesOn = state.withLock { state in
            state.isSweeping = state.table.isWaiting
            return state.isSweeping
        }
        if goesOn { loop.scheduleTask(in: period) { self.sweep() } }
    }
}

/// Tells ``Connections`` of one connection: that it is there, that bytes came, and that it is gone. It stands before the HTTP decoder,
/// because half a head is no request yet.
final class ConnectionWatch: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer

    private let connections: Connections

    init(_ connections: Connections) { self.connections = connections }

    func handlerAdded(context: ChannelHandlerContext) { connections.opened(context.channel) }

    func handlerRemoved(context: ChannelHandlerContext) { connections.closed(context.channel) }

    func channelInactive(context: ChannelHandlerContext) {
        connections.closed(context.channel)
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        connections.received(on: context.channel)
        context.fireChannelRead(data)
    }
}

/// Handler that puts a ``ConnectionWatch`` at the front: the server adds its own handlers before those that it is given.
final class ConnectionWatchInstaller: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = Never

    private let connections: Connections

    init(_ connections: Connections) { self.connections = connections }

    func handlerAdded(context: ChannelHandlerContext) {
        do {
            try context.pipeline.syncOperations.addHandler(ConnectionWatch(connections), position: .first)
        } catch {
            // A connection that is not watched could stay for ever.
            context.close(promise: nil)
        }
    }
}

/// Says to the listening socket whether it may accept.
struct Acceptance: AvailableConnectionsDelegate {
    let connections: Connections

    func connectionOpened() {}
    func connectionClosed() {}
    func isAcceptingNewConnections() -> Bool { connections.hasRoom }
}
