import Glibc
import OverlayDriver
import OverlayLinux
import OverlayModel
import OverlayNode
import OverlaySimulation
import OverlayStore
import Synchronization

/// Node that owns blocks, with a store on a real disk. The core runs on the caller's thread, as it does on the daemon's event loop; the
/// store has its own.
struct BenchNode {
    struct Outcome {
        /// Time of each call from question to answer, in nanoseconds.
        var times: [Double]
        var took: Double
        var p50: Double { median(times) }
    }

    struct Failed: Error, CustomStringConvertible {
        var description: String
    }

    private var core: Node
    private let store: StateStore
    private let pool: SubnetID
    private let inbox: Inbox
    /// Nanoseconds by which the core's clock is ahead of the machine's.
    private var ahead: Int64
    private var nextRequest: UInt64 = 1 << 32

    /// Makes a cluster of one in virtual time, hands this number of addresses out, takes them back, and waits until they may be used again.
    init(directory: String, addresses: Int) async throws {
        let world = try World(count: 1)
        guard world.makeCluster() else { throw Failed(description: "no cluster") }
        var given: [IPAddress] = []
        let network = try world.createNetwork(0, "bench", subnet: IPPrefix("10.32.0.0/16"))
        for number in 0..<addresses {
            let request = RequestAddress(pool: network.pool, address: nil, purpose: .endpoint(Self.mac(number)))
            guard case .address(let prefix) = world.call(0, .requestAddress(request)) else {
                throw Failed(description: "no address")
            }
            given.append(prefix.address)
        }
        for address in given { _ = world.call(0, .releaseAddress(network.pool, address)) }
        world.run(for: .seconds(70))
        core = world.nodes[0].core
        inbox = try Inbox()
        pool = network.pool
        store = try StateStore(directory: directory)
        try await store.commit(
            [world.nodes[0].rows.flatMap { space, rows in rows.map { .put(space, key: $0.key, value: $0.value) } }])
        ahead = world.now.nanoseconds - MonotonicClock.now()
    }

    private static func mac(_ number: Int) -> MACAddress { MACAddress(bits: 0x0242_0000_0000 | UInt64(number)) }

    /// Hands addresses out, and takes them back without measuring that.
    mutating func handOut(_ count: Int, callers: Int) throws -> Outcome {
        var given: [IPAddress] = []
        let outcome = try run(count, callers: callers) { [pool] number in
            .requestAddress(RequestAddress(pool: pool, address: nil, purpose: .endpoint(Self.mac(number))))
        } answered: { response in
            guard case .address(let prefix) = response else { throw Failed(description: "\(response)") }
            given.append(prefix.address)
        }
        guard Set(given).count == count else { throw Failed(description: "an address was handed out twice") }
        _ = try run(count, callers: 64) { [pool] in
            .releaseAddress(pool, given[$0])
        } answered: { _ in
        }
        passTime(.seconds(61))
        return outcome
    }

    /// Lets the quarantine of freed addresses pass: time in which nothing happens but timers, as one jump would be taken for a stall.
    private mutating func passTime(_ interval: Interval) {
        let end = MonotonicClock.now() + ahead + interval.nanoseconds
        while let next = core.nextDeadline, next.nanoseconds < end { _ = core.handle(.tick, at: next) }
        _ = core.handle(.tick, at: Instant(nanoseconds: end))
        ahead = end - MonotonicClock.now()
    }

    private mutating func run(
        _ count: Int, callers: Int, request: (Int) -> DriverRequest, answered: (DriverResponse) throws -> Void
    ) throws -> Outcome {
        var asked: [RequestID: Int64] = [:]
        var times: [Double] = []
        var next = 0
        var events: [NodeEvent] = []
        let began = MonotonicClock.now()
        while times.count < count {
            while next < count, asked.count < callers {
                let id = RequestID(nextRequest)
                nextRequest += 1
                asked[id] = MonotonicClock.now()
                events.append(.driver(id, request(next)))
                next += 1
            }
            if events.isEmpty { events = inbox.wait() }
            for event in events {
                for effect in core.handle(event, at: Instant(nanoseconds: MonotonicClock.now() + ahead)) {
                    switch effect {
                    case .respond(let id, let response):
                        guard let since = asked.removeValue(forKey: id) else { continue }
                        times.append(Double(MonotonicClock.now() - since))
                        try answered(response)
                    case .store(let id, let writes):
                        store.submit(writes) { [inbox] error in
                            inbox.put(.stored(id, error.map { .failed("\($0)") } ?? .stored))
                        }
                    // A lone node whose containers do not start has no other effects to carry out.
                    default: continue
                    }
                }
            }
            events = []
        }
        return Outcome(times: times, took: Double(MonotonicClock.now() - began))
    }
}

/// Queue of what comes from the store's thread.
private final class Inbox: Sendable {
    private let events = Mutex<[NodeEvent]>([])
    private let ends: (read: Int32, write: Int32)

    init() throws {
        var pair: [Int32] = [0, 0]
        guard pipe(&pair) == 0 else { throw BenchNode.Failed(description: "pipe: \(SystemError.text(of: errno))") }
        ends = (pair[0], pair[1])
    }

    func put(_ event: NodeEvent) {
        let isFirst = events.withLock { events in
            events.append(event)
            return events.count == 1
        }
        if isFirst { _ = write(ends.write, [1], 1) }
    }

    /// Sleeps in the kernel until there is an event, as an event loop does.
    func wait() -> [NodeEvent] {
        var byte: UInt8 = 0
        _ = read(ends.read, &byte, 1)
        return events.withLock { events in
            defer { events = [] }
            return events
        }
    }

    deinit {
        close(ends.read)
        close(ends.write)
    }
}
