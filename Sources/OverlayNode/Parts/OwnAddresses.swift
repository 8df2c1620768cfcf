import OverlayModel

/// The node's own addresses on its host, and its name in the cluster. Part of ``Surroundings``.
struct OwnAddresses: Sendable {
    /// Pause before a look at the host that something asks for, and between two looks. Containers come and go, and each has a link.
    static let delay = Interval.milliseconds(50)
    static let pause = Interval.milliseconds(250)
    /// Time that an address must be gone before another one is taken: a renewed lease removes it and puts it back.
    static let settling = Interval.seconds(1)
    /// Time for which another member counts as one that wants this node's name. It asks for it once a minute.
    static let namesakeAge = Interval.seconds(150)

    /// The reading of the host's addresses under way.
    private var reading: EffectID?
    private var readAt: Instant?
    /// Times since which the node's address, and its tunnel address, are on no link of the host.
    private(set) var addressGoneAt: Instant?
    private(set) var vtepGoneAt: Instant?
    /// Reason why the catalogue does not take this node's address or name.
    var refusal: String?
    /// Member that wants to be called like this node.
    private(set) var namesake: (address: IPAddress, at: Instant)?

    /// A link or an address of the host changed. Routes matter where another address is to be chosen, and then the host is looked at
    /// every second.
    mutating func changed(into outbox: inout Outbox) {
        let earliest = readAt.map { $0 + Self.pause } ?? outbox.now
        outbox.timers.set(.host, noLaterThan: max(outbox.now + Self.delay, earliest))
    }

    /// Reads the host's addresses, unless that is under way.
    ///
    /// - Parameter mayChoose: True if the node takes another address when its own is gone.
    mutating func read(mayChoose: Bool, into outbox: inout Outbox) {
        guard reading == nil else { return outbox.timers.set(.host, at: outbox.now + Self.pause) }
        outbox.timers.clear(.host)
        readAt = outbox.now
        let id = outbox.newEffect()
        reading = id
        let isSettled = [addressGoneAt, vtepGoneAt].contains { $0.map { outbox.now - $0 >= Self.settling } ?? false }
        outbox.append(.readHost(id, choosing: mayChoose && isSettled))
    }

    /// The host's addresses were read.
    ///
    /// - Parameter view: nil where they could not be read.
    /// - Returns: False where the reading was another one, or failed.
    mutating func wereRead(_ id: EffectID, _ view: HostView?, address: IPAddress, vtep: IPAddress, into outbox: inout Outbox)
        -> Bool
    {
        guard reading == id else { return false }
        reading = nil
        guard let view else { return false }
        addressGoneAt = view.mtus[address] == nil ? addressGoneAt ?? outbox.now : nil
        vtepGoneAt = view.mtus[vtep] == nil ? vtepGoneAt ?? outbox.now : nil
        if addressGoneAt != nil || vtepGoneAt != nil { outbox.timers.set(.host, noLaterThan: outbox.now + Self.settling) }
        return true
    }

    /// The node has other addresses from now on.
    mutating func moved() {
        addressGoneAt = nil
        vtepGoneAt = nil
    }

    mutating func meet(namesakeAt address: IPAddress, at now: Instant) { namesake = (address, now) }
}
