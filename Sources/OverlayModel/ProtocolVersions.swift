/// Versions of the protocol between nodes that a node speaks: all from the oldest to the newest.
///
/// A version is a number for everything that nodes send one another, and for the rules of the catalogue's state machine. A form that
/// a version does not know is not sent before every member speaks a later one, and the catalogue says so (`Wire` has the table).
public struct ProtocolVersions: Hashable, Sendable {
    public let oldest: UInt16
    public let newest: UInt16

    public init?(oldest: UInt16, newest: UInt16) {
        guard oldest > 0, oldest <= newest else { return nil }
        self.init(unchecked: oldest, newest)
    }

    private init(unchecked oldest: UInt16, _ newest: UInt16) {
        self.oldest = oldest
        self.newest = newest
    }

    /// The version whose nodes do not say what they speak.
    public static let unannounced: UInt16 = 2
    /// Versions of a node that says nothing.
    public static let silent = ProtocolVersions(unchecked: unannounced, unannounced)
    /// Versions of this build.
    public static let present = ProtocolVersions(unchecked: 2, 3)

    /// The same without those above a version; nil if none is left.
    public func limited(to newest: UInt16) -> ProtocolVersions? {
        ProtocolVersions(oldest: oldest, newest: min(newest, self.newest))
    }

    /// Text for messages: `2` or `2 to 3`.
    public var text: String { oldest == newest ? "\(newest)" : "\(oldest) to \(newest)" }
}

/// The form in which a member tells its versions: one of its routes. Version 2 has no field for them, keeps routes as they are, and looks
/// at them for overlaps only. The block is for discarding (RFC 6666), so no host is there.
extension ProtocolVersions {
    private static let block = UInt128(0x0100) << 112

    /// Route `100::OLDEST:NEWEST/128`; nil for a node that says nothing.
    public var route: IPPrefix? {
        guard self != .silent else { return nil }
        return IPAddress(family: .v6, bits: Self.block | UInt128(oldest) << 16 | UInt128(newest)).hostPrefix
    }

    public init?(route: IPPrefix) {
        guard Self.isReserved(route), route.length == 128, (route.address.bits & UInt128(UInt64.max)) >> 32 == 0
        else { return nil }
        self.init(
            oldest: UInt16(truncatingIfNeeded: route.address.bits >> 16), newest: UInt16(truncatingIfNeeded: route.address.bits))
    }

    /// True for routes that could be taken for versions. A host's own ones of that kind are not told.
    public static func isReserved(_ route: IPPrefix) -> Bool {
        route.family == .v6 && route.length >= 64 && route.address.bits >> 64 == Self.block >> 64
    }
}
